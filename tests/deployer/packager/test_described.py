"""What a release's server says of it: found out once, by a child that is shut in."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.errors import PackagingFailed
from deployer.packager.described import described
from deployer.packager.layout import Layout
from deployer.runtimes import landlock
from tests.deployer.packager.releases import made, shelf


def test_it_is_found_out_once(tmp_path: Path) -> None:
    release = shelf("doc-orientation")
    copy = replace(release, folder=Path(shutil.copytree(release.folder, tmp_path / "model")))
    layout = Layout(tmp_path / "layout")
    found = described(layout, copy)
    assert found["signature"]["model"]["inputs"] == [
        {"name": "x", "dtype": "FP32", "shape": [-1, 3, 224, 224]}
    ]
    assert found["openapi"]["info"]["title"] == "doc-orientation"
    shutil.rmtree(copy.folder)
    assert described(layout, copy) == found
    with pytest.raises(PackagingFailed):
        described(layout, replace(copy, digest="sha256:" + "0" * 64))


def test_a_graph_for_each_role_is_told(tmp_path: Path) -> None:
    signature = described(Layout(tmp_path), shelf("vad-silero-6"))["signature"]
    assert [one["name"] for one in signature["model"]["inputs"]] == ["input", "h", "c"]
    assert all(one["dtype"] == "FP32" for one in signature["model"]["outputs"])


@pytest.mark.skipif(not landlock.abi(), reason="this kernel cannot shut in a process")
def test_a_model_cannot_read_beyond_its_folder(tmp_path: Path) -> None:
    """Not even by a link that a careless import left in it."""
    secret = tmp_path / "secret.onnx"
    shutil.copy(shelf("doc-orientation").folder / "model.onnx", secret)
    release = made(tmp_path / "model")
    (release.folder / "model.onnx").unlink()
    (release.folder / "model.onnx").symlink_to(secret)
    with pytest.raises(PackagingFailed, match="cannot load it"):
        described(Layout(tmp_path / "layout"), release)


@pytest.mark.parametrize(
    "manifest", [{"task": "tensors", "files": {"model": "../secret.onnx"}}, {"task": "../x", "files": {}}, []]
)
def test_a_manifest_of_nonsense_is_refused(tmp_path: Path, manifest: object) -> None:
    release = made(tmp_path / "model")
    (release.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackagingFailed, match="cannot load it"):
        described(Layout(tmp_path / "layout"), release)
