"""Archives and texts of strangers are read in a child: what is refused there is refused here likewise."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from catalog.errors import ArchiveInvalid
from catalog.importers.errors import ImportNotInferred
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes
from catalog.progress import silent
from deployer.errors import DeployerError
from marketplace import import_child
from tests import tiny_models
from tests.catalog.sources import zip_of

WISHES = Wishes(name="acme/m", version="1.0.0", source="hf://a/b", task="tensors", languages=("zh",))


class Enough(Exception):
    """Somebody cancels."""


def stop(done: int, total: int, note: str = "") -> None:
    raise Enough


def tar_with_notes(path: Path, members: int, size: int) -> Path:
    """A small archive, each member of which carries a long note that its reader keeps."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as opened:
        for number in range(members):
            info = tarfile.TarInfo(f"{number}.txt")
            info.pax_headers = {"comment": "x" * size}
            opened.addfile(info, io.BytesIO())
    return path


def test_an_archive_comes_out_in_the_child(tmp_path: Path) -> None:
    archive = tmp_path / "m.zip"
    archive.write_bytes(zip_of({"top/a.onnx": b"a", "top/b.txt": b"b"}))
    came = import_child.take([(archive, "*.onnx"), (archive, "top/b.txt")], tmp_path / "out", silent)
    assert came == ["a.onnx", "b.txt"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {"a.onnx": b"a", "b.txt": b"b"}
    assert import_child.take([], tmp_path / "none", silent) == []


def test_a_refusal_of_the_child_keeps_its_name_and_facts(tmp_path: Path) -> None:
    archive = tmp_path / "m.zip"
    archive.write_bytes(zip_of({"top/model.onnx": b"a"}))
    with pytest.raises(DeployerError) as refused:
        import_child.take([(archive, "modle.onnx")], tmp_path / "out", silent)
    assert refused.value.code == "inner-path-missing"
    assert refused.value.facts == {"source": "m.zip", "file": "modle.onnx", "near": ["top/model.onnx"]}


def test_what_takes_too_much_memory_ends_the_child_alone(tmp_path: Path) -> None:
    archive = tar_with_notes(tmp_path / "m.tar.gz", 700, 1_000_000)
    assert archive.stat().st_size < 8 << 20
    with pytest.raises(ArchiveInvalid, match="not enough memory") as refused:
        import_child.take([(archive, "")], tmp_path / "out", silent)
    assert refused.value.facts["source"] == "m.tar.gz"


def test_who_cancels_ends_the_child(tmp_path: Path) -> None:
    archive = tmp_path / "m.zip"
    archive.write_bytes(zip_of({"a.onnx": b"a"}))
    with pytest.raises(Enough):
        import_child.take([(archive, "")], tmp_path / "out", stop)


@pytest.mark.parametrize(
    ("members", "whole", "came"),
    [
        (["opt/model/a.onnx", "etc/passwd"], False, ["a.onnx"]),
        (["etc/passwd"], False, []),
        (["opt/model/a.onnx"], True, ["a.onnx"]),
        (["opt/model/a.onnx", "b.txt"], True, ["opt/model/a.onnx", "b.txt"]),
        ([], True, []),
    ],
)
def test_of_an_image_only_the_models_folder_is_taken(
    tmp_path: Path, members: list[str], whole: bool, came: list[str]
) -> None:
    layer = tmp_path / "layer-0.tar"
    with tarfile.open(layer, "w") as opened:
        for name in members:
            opened.addfile(tarfile.TarInfo(name), io.BytesIO())
    out = tmp_path / "out"
    assert sorted(import_child.take_layers([layer], "opt/model", out, silent, whole=whole)) == sorted(came)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == sorted(came)


def test_texts_are_read_in_the_child(tmp_path: Path) -> None:
    made = tiny_models.write(
        {"m.onnx": tiny_models.plain_graph(), "README.md": b"# A title\n\nWords."}, tmp_path / "m"
    )
    (made / "other.bin").write_bytes(b"x")
    found = import_child.describe(made, "m.onnx", Hints(), WISHES, tmp_path / "room", silent, fixed=False)
    assert found.sheet["title"] == {"zh": "A title", "en": "A title"} and found.sheet["languages"] == ["zh"]
    assert found.sheet["files"] == {"model": "m.onnx"} and set(found.cards) == {"zh", "en"}
    assert sorted(found.superfluous) == ["README.md", "other.bin"]


def test_a_package_of_ours_keeps_what_it_says(tmp_path: Path) -> None:
    manifest = {
        "task": "tensors",
        "files": {"model": "m.onnx"},
        "options": {"a": 1},
        "examples": [{"request": {}}],
    }
    made = tiny_models.write({"m.onnx": b"x", "manifest.json": json.dumps(manifest).encode()}, tmp_path / "m")
    found = import_child.describe(made, "", Hints(), WISHES, tmp_path / "room", silent, fixed=False)
    assert (found.sheet["options"], found.superfluous) == ({"a": 1}, ("manifest.json",))
    (made / "market.yaml").write_text("name: other/x\nversion: 3.1.0\ntask: tensors\n")
    found = import_child.describe(made, "", Hints(), WISHES, tmp_path / "room", silent, fixed=False)
    assert (found.sheet["name"], found.sheet["version"], found.superfluous) == ("acme/m", "3.1.0", ())


@pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 100_000, b'{"task": "tensors"}', b" " * (3 << 20)])
def test_a_manifest_that_says_nothing_is_refused_in_the_child(tmp_path: Path, content: bytes) -> None:
    made = tiny_models.write({"m.onnx": b"x", "manifest.json": content}, tmp_path / "m")
    with pytest.raises(DeployerError) as refused:
        import_child.describe(made, "", Hints(), WISHES, tmp_path / "room", silent, fixed=False)
    assert refused.value.code == ImportNotInferred.code and refused.value.facts["why_zh"]
