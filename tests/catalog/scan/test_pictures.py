"""Pictures drawn anew: the same pixels, and nothing else that the file carried."""

import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

import catalog
from catalog.scan import child, pictures
from catalog.scan.findings import Refused
from deployer.optimizer import worker
from tests.catalog.scan import forge

_SECRET = b"taken at home"


def _picture(form: str, mode: str) -> bytes:
    made = io.BytesIO()
    picture = Image.radial_gradient("L").resize((40, 30)).convert(mode)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", _SECRET.decode())
    exif = Image.Exif()
    exif[0x010E] = _SECRET.decode()
    picture.save(made, form, **({"pnginfo": notes} if form == "PNG" else {"exif": exif.tobytes()}))
    return made.getvalue()


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "L"),
        ("PNG", "P"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("WEBP", "RGBA"),
    ],
)
def test_picture_is_drawn_anew_without_its_words(form: str, mode: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(_picture(form, mode))
    assert _SECRET in source.read_bytes()
    told = pictures.reencode(source, target)
    assert (told["form"], told["width"], told["height"]) == (form.lower(), 40, 30)
    assert _SECRET not in target.read_bytes()
    with Image.open(source) as before, Image.open(target) as after:
        assert after.size == before.size
        if form == "PNG":
            assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()


@pytest.mark.parametrize(
    "body",
    [
        forge.png() + b"PK",
        forge.png(60_000, 60_000, pixels=b""),
        b"GIF89a" + bytes(99),
        forge.png(9, 9, pixels=b"\0"),
    ],
)
def test_picture_that_is_none_is_refused(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(body)
    with pytest.raises(Refused):
        pictures.reencode(tmp_path / "a.png", tmp_path / "b.png")


def test_picture_is_drawn_in_a_child_that_may_write_beside_it_only(tmp_path: Path) -> None:
    source, work = tmp_path / "in", tmp_path / "work"
    source.mkdir()
    work.mkdir()
    (source / "a.png").write_bytes(forge.png())
    done = worker.run(
        "catalog.scan.child:reencode",
        {"source": source / "a.png", "target": work / "b.png"},
        read=[Path(catalog.__file__).parent, source],
        write=[work],
        memory=1 << 30,
        seconds=20,
    )
    assert done.result == {"form": "png", "width": 2, "height": 2, "size": (work / "b.png").stat().st_size}


def test_refusal_of_a_picture_in_the_child_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(forge.png()[:-30])
    told = child.reencode(str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    assert told == {"code": "picture-broken", "facts": {}}
