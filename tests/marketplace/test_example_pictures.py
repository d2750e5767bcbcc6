"""Pictures of examples: drawn by a child, kept, and never decoded in the shop."""

import io
from pathlib import Path

from PIL import Image

from marketplace import example_pictures
from tests.catalog.scan import forge


def _photo(width: int, height: int, form: str = "JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, form)
    return out.getvalue()


def test_a_picture_is_drawn_small_and_kept(tmp_path: Path) -> None:
    content = _photo(1200, 600)
    small = example_pictures.small(tmp_path, content)
    assert small is not None
    with Image.open(io.BytesIO(small)) as shown:
        assert (shown.format, shown.size) == ("WEBP", (320, 160))
    kept = list((tmp_path / "cache" / "pictures").glob("*.webp"))
    assert len(kept) == 1 and kept[0].read_bytes() == small
    kept[0].write_bytes(b"kept")
    assert example_pictures.small(tmp_path, content) == b"kept"  # nothing is drawn twice


def test_what_a_picture_carried_is_gone(tmp_path: Path) -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "canary"
    Image.new("RGB", (9, 9)).save(out, "JPEG", exif=exif)
    assert b"canary" in out.getvalue()
    assert b"canary" not in (example_pictures.small(tmp_path, out.getvalue()) or b"canary")


def test_what_is_no_picture_is_remembered_as_none(tmp_path: Path) -> None:
    for content in (b"<svg onload=alert(1)>", forge.png()[:-30], _photo(9, 9, "GIF"), b""):
        assert example_pictures.small(tmp_path, content) is None
    kept = [path for path in (tmp_path / "cache" / "pictures").iterdir() if path.suffix == ".webp"]
    assert [path.stat().st_size for path in kept] == [0] * 4


def test_a_bomb_of_pixels_is_not_drawn(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.new("1", (16_000, 16_000)).save(out, "PNG")
    assert example_pictures.small(tmp_path, out.getvalue()) is None
