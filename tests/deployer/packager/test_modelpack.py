"""ModelPack artifacts by the rules of the format's specification 0.0.7, and the weights as an image.

The rules stand here as assertions of our own: the published schema comes in no package.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import oras.client
import pytest

from deployer.packager.image import MANIFEST, PLATFORMS, Platform, images_of
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.modelpack import modelpack, weights_image
from deployer.packager.referrers import attach, referrers
from deployer.packager.registry import Pace, pull, push
from deployer.packager.release import Release, Workshop
from tests.deployer.packager.registries import Debian, debian, skopeo
from tests.deployer.packager.releases import FILES, made

QUICK = Pace(tries=3, pause=0.01)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MODALITIES = {"text", "image", "audio", "video", "embedding", "other"}
LAYERS = re.compile(r"application/vnd\.cncf\.model\.(weight|weight\.config|doc)\.v1\.tar")
STRINGS = {"family", "name", "docURL", "sourceURL", "version", "revision", "vendor", "title", "description"}


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with debian(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def release(tmp_path: Path) -> Release:
    folder = tmp_path / "release"
    folder.mkdir()
    words = {
        "title_en": "Made",
        "title_zh": "样品",
        "summary_en": "Made for a test.",
        "languages": ("zh", "en-GB"),
    }
    return replace(made(folder, FILES | {"model.onnx": b"\x08\x0a graph" * 100_000}), **words)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "home")


def check_config(config: dict[str, Any]) -> None:
    """Every rule of the published schema of the config: what must be there, what may, and of which form."""
    assert set(config) == {"descriptor", "config", "modelfs"}
    descriptor, technical, modelfs = config["descriptor"], config["config"], config["modelfs"]
    assert set(descriptor) <= STRINGS | {"createdAt", "authors", "datasetsURL", "licenses"}
    assert all(isinstance(descriptor[key], str) for key in STRINGS & set(descriptor))
    assert descriptor["name"]
    for key in {"authors", "datasetsURL", "licenses"} & set(descriptor):
        assert all(isinstance(word, str) for word in descriptor[key])
    words = {"architecture", "format", "paramSize", "precision", "quantization"}
    assert set(technical) <= words | {"capabilities"}
    assert all(isinstance(technical[key], str) for key in words & set(technical))
    can = technical.get("capabilities", {})
    assert set(can) <= {
        "inputTypes",
        "outputTypes",
        "knowledgeCutoff",
        "reasoning",
        "toolUsage",
        "reward",
        "languages",
    }
    assert set(can.get("inputTypes", ())) | set(can.get("outputTypes", ())) <= MODALITIES
    assert all(re.fullmatch("[a-z]{2}", code) for code in can.get("languages", ()))
    assert set(modelfs) == {"type", "diffIds"}
    assert modelfs["type"] == "layers"
    assert modelfs["diffIds"]
    assert all(DIGEST.fullmatch(digest) for digest in modelfs["diffIds"])


def members(layout: Layout, layer: dict[str, Any]) -> dict[str, bytes]:
    with tarfile.open(layout.path(layer["digest"])) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]


def test_the_artifact_is_as_the_specification_says(workshop: Workshop, release: Release) -> None:
    layout, root = modelpack(workshop, release)
    manifest = layout.document(root)
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == root.media_type == MANIFEST
    assert manifest["artifactType"] == root.artifact_type == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert all(LAYERS.fullmatch(layer["mediaType"]) for layer in manifest["layers"])
    config = layout.document(Descriptor.of(manifest["config"]))
    check_config(config)
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["descriptor"] == {
        "vendor": "test",
        "name": "made",
        "version": "1.0.0",
        "title": "Made",
        "description": "Made for a test.",
        "revision": release.digest,
        "licenses": ["Apache-2.0", "MIT"],
    }
    assert config["config"] == {
        "format": "onnx",
        "capabilities": {"inputTypes": ["other"], "outputTypes": ["other"], "languages": ["en", "zh"]},
    }
    assert layout.tagged("test/made:1.0.0-modelpack").digest == root.digest  # type: ignore[union-attr]


def test_what_was_done_to_the_weights_is_told(workshop: Workshop, release: Release) -> None:
    steps = [
        {"step": "source", "in": [], "out": []},
        {"step": "quantisation", "recipes": {"encoder": "int8-static", "decoder": "int8-dynamic"}},
    ]
    manifest = {**release.manifest, "task": "image-to-text"}
    layout, root = modelpack(workshop, replace(release, chain={"steps": steps}, manifest=manifest))
    config = layout.document(Descriptor.of(layout.document(root)["config"]))
    check_config(config)
    assert config["config"]["quantization"] == "int8-dynamic,int8-static"
    assert config["config"]["capabilities"]["inputTypes"] == ["image"]


def test_all_files_of_the_release_are_inside_with_their_paths(workshop: Workshop, release: Release) -> None:
    layout, root = modelpack(workshop, release)
    weights, settings, docs = layout.document(root)["layers"]
    assert members(layout, weights) == {
        f"model/{name}": (release.folder / name).read_bytes() for name in ("model.onnx", "model.onnx.data")
    }
    assert set(members(layout, settings)) == {"model/labels.json", "model/manifest.json"}
    assert members(layout, docs) == {"model/LICENSE": b"Apache-2.0", "model/card.md": b"# Card\n"}
    for layer, title in ((weights, "weights.tar"), (settings, "config.tar"), (docs, "docs.tar")):
        assert layer["annotations"] == {
            "org.cncf.model.filepath": "model",
            "org.opencontainers.image.title": title,
        }


def test_a_layer_of_one_file_tells_about_the_file(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    layout, root = modelpack(workshop, made(tmp_path / "one", {"model.onnx": b"graph"}))
    annotations = layout.document(root)["layers"][0]["annotations"]
    assert annotations["org.cncf.model.filepath"] == "model/model.onnx"
    assert json.loads(annotations["org.cncf.model.file.metadata+json"]) == {
        "name": "model.onnx",
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": 5,
        "mtime": "1970-01-01T00:00:00Z",
        "typeflag": ord("0"),
    }


def test_another_home_gives_the_same_digests(workshop: Workshop, release: Release, tmp_path: Path) -> None:
    other = Workshop(tmp_path / "other")
    assert modelpack(other, release)[1] == modelpack(workshop, release)[1]
    assert weights_image(other, release) == weights_image(workshop, release)


def test_the_image_after_the_artifact_sends_no_weights(
    registry: Debian, workshop: Workshop, release: Release
) -> None:
    """Which of the two comes second: config and manifest are all that it sends."""
    layout, artifact = modelpack(workshop, release)
    image = weights_image(workshop, release, platforms=PLATFORMS[:1])
    weights = layout.document(artifact)["layers"][0]
    assert [layer["digest"] for layer in layout.document(image)["layers"]] == [weights["digest"]]
    first = push(layout, artifact, f"{registry.host}/models/made:modelpack", pace=QUICK)
    assert first.sent_bytes > weights["size"]
    second = push(layout, image, f"{registry.host}/models/made:weights", pace=QUICK)
    assert second.skipped_bytes == weights["size"]
    assert second.sent_bytes < 2000
    index = push(layout, weights_image(workshop, release), f"{registry.host}/models/made:both", pace=QUICK)
    assert index.sent_bytes < 4000


def test_it_travels_with_what_is_attached(
    registry: Debian, workshop: Workshop, release: Release, tmp_path: Path
) -> None:
    layout, root = modelpack(workshop, release)
    card = attach(layout, root, "text/markdown", release.card.encode(), title="card.md")
    name = f"{registry.host}/models/attached:1"
    push(layout, root, name, pace=QUICK)
    there = Layout(tmp_path / "there")
    assert pull(name, there, pace=QUICK) == root.plain()
    assert referrers(there, root) == [card]
    listed = {path.name: path.read_bytes() for path in there.blobs.iterdir()}
    assert listed == {path.name: layout.path(path.name).read_bytes() for path in there.blobs.iterdir()}


def test_two_other_clients_read_it(
    registry: Debian, workshop: Workshop, release: Release, tmp_path: Path
) -> None:
    """oras saves the layers under their titles; skopeo copies the artifact with all its blobs."""
    layout, root = modelpack(workshop, release)
    name = f"{registry.host}/models/clients:1"
    push(layout, root, name, pace=QUICK)
    client = oras.client.OrasClient(insecure=True)
    saved = client.pull(target=name, outdir=str(tmp_path / "oras"))
    client.session.close()
    assert {Path(path).name for path in saved} == {"weights.tar", "config.tar", "docs.tar"}
    for layer in layout.document(root)["layers"]:
        path = tmp_path / "oras" / layer["annotations"]["org.opencontainers.image.title"]
        assert f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == layer["digest"]
    skopeo(f"docker://{name}", f"oci:{tmp_path / 'skopeo'}:1")
    kept = Layout(tmp_path / "skopeo")
    assert kept.document(
        Descriptor.of(json.loads((kept.root / "index.json").read_bytes())["manifests"][0])
    ) == (layout.document(root))
    assert all(kept.has(Descriptor.of(layer)) for layer in layout.document(root)["layers"])


@pytest.mark.engine
def test_an_engine_pulls_the_weights_as_an_image(
    registry: Debian, client: docker.DockerClient, workshop: Workshop, release: Release
) -> None:
    name = f"{registry.host}/models/weights"
    root = weights_image(workshop, release)
    layout = Layout(workshop.images)
    push(layout, root, f"{name}:1", pace=QUICK)
    image = next(one for one in images_of(layout, root) if one.platform == Platform.parse("amd64"))
    pulled = client.images.pull(name, tag="1")
    container = client.containers.create(pulled.id, command=["none"])
    try:
        assert pulled.id == image.config.digest
        stream, _ = container.get_archive("/model/model.onnx")
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            found = archive.extractfile("model.onnx").read()  # type: ignore[union-attr]
        assert found == (release.folder / "model.onnx").read_bytes()
    finally:
        container.remove()
        client.images.remove(pulled.id, force=True)
