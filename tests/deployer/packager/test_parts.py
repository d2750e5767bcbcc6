"""A release's layers: the same bytes from the same files, checked while read, shared where they are alike."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.errors import ContentCorrupted, PackagingFailed
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.parts import files_of, parts
from tests.deployer.packager.releases import FILES, made


def members(layout: Layout, layer: Descriptor) -> dict[str, tuple[int, int, int]]:
    with tarfile.open(layout.path(layer.digest)) as read:
        return {one.name: (one.mode, one.mtime, one.uid) for one in read}


def test_weights_config_and_documents_are_layers_of_their_own(tmp_path: Path) -> None:
    layout, release = Layout(tmp_path / "layout"), made(tmp_path / "model")
    found = parts(layout, release)
    assert members(layout, found.weights) == {
        "model": (0o755, 0, 0),
        "model/model.onnx": (0o644, 0, 0),
        "model/model.onnx.data": (0o644, 0, 0),
    }
    assert list(members(layout, found.config)) == ["model", "model/labels.json", "model/manifest.json"]
    assert found.docs and list(members(layout, found.docs)) == ["model", "model/LICENSE", "model/card.md"]
    assert found.layers == (found.weights, found.config, found.docs)
    assert files_of(release)["weights"] == ["model.onnx", "model.onnx.data"]


def test_weights_lie_in_their_layer_as_they_are(tmp_path: Path) -> None:
    layout, release = Layout(tmp_path / "layout"), made(tmp_path / "model")
    layer = layout.path(parts(layout, release).weights.digest)
    with tarfile.open(layer) as read:
        at = read.getmember("model/model.onnx.data").offset_data
    content = FILES["model.onnx.data"]
    assert layer.read_bytes()[at : at + len(content)] == content


def test_another_home_makes_the_same_layers(tmp_path: Path) -> None:
    one, two = (parts(Layout(tmp_path / home), made(tmp_path / home / "model")) for home in ("one", "two"))
    assert one == two


def test_a_new_version_of_the_same_weights_adds_none(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    first = parts(layout, made(tmp_path / "first"))
    second = parts(layout, made(tmp_path / "second", version="1.0.1"))
    assert first.weights == second.weights
    assert first.docs == second.docs
    assert first.config != second.config


def test_without_card_and_licences_there_are_no_documents(tmp_path: Path) -> None:
    files = {name: content for name, content in FILES.items() if name != "LICENSE"}
    release = replace(made(tmp_path / "model", files), card="")
    found = parts(Layout(tmp_path / "layout"), release)
    assert found.docs is None
    assert len(found.layers) == 2


@pytest.mark.parametrize("content", [b"short", FILES["model.onnx"] + b"more", FILES["model.onnx"][::-1]])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path, content: bytes) -> None:
    layout, release = Layout(tmp_path / "layout"), made(tmp_path / "model")
    (release.folder / "model.onnx").write_bytes(content)
    with pytest.raises(ContentCorrupted) as refused:
        parts(layout, release)
    assert refused.value.facts["what"] == "model.onnx"
    assert list(layout.blobs.iterdir()) == []


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../b", "./a", "manifest.json"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    release = made(tmp_path / "model")
    artifacts = [{"path": path, "sha256": "0" * 64, "size": 0}]
    hostile = replace(release, manifest={**release.manifest, "artifacts": artifacts})
    with pytest.raises(PackagingFailed, match="no path of a model"):
        parts(Layout(tmp_path / "layout"), hostile)
