"""The runtime image in a real engine: made once, the same everywhere, loaded layer by layer."""

import threading
import time
from pathlib import Path

import docker
import pytest

from deployer.errors import PackagingFailed
from deployer.packager import engine
from deployer.packager.image import Image, read_image
from deployer.packager.layout import Layout
from deployer.packager.runtime_image import REPOSITORY, ensure_runtime_image
from deployer.spec import silent

pytestmark = [pytest.mark.engine, pytest.mark.network]

IMPORT_ALL = """
import importlib, os, pkgutil, deployer.server
for module in pkgutil.walk_packages(deployer.server.__path__, "deployer.server."):
    importlib.import_module(module.name)
import ssl, onnxruntime, tokenizers, uvloop, httptools, PIL.Image
from onnxruntime.capi import onnxruntime_pybind11_state
print(os.getuid(), os.environ["ORT_DISABLE_TELEMETRY"], os.path.exists("/bin/sh"))
"""


@pytest.fixture(scope="module")
def tag(client: docker.DockerClient, image_home: Path) -> str:
    return ensure_runtime_image(client, image_home, "auto", silent)


def image_of(layout: Layout, tag: str) -> Image:
    """The image of a layout by its name there."""
    manifest = layout.tagged(tag)
    assert manifest, f"{tag} is not in the layout"
    return read_image(layout, manifest)


def test_the_server_and_all_it_needs_can_be_imported_in_it(client: docker.DockerClient, tag: str) -> None:
    said = client.containers.run(
        tag, ["-c", IMPORT_ALL], entrypoint="python3", network_mode="none", read_only=True, remove=True
    )
    assert said.decode().split() == ["65532", "1", "False"]


def test_the_engine_calls_it_by_our_digest(client: docker.DockerClient, tag: str) -> None:
    assert client.api.inspect_image(tag)["Id"].startswith(f"sha256:{tag.rpartition(':')[2]}")
    assert tag.startswith(f"{REPOSITORY}:")


def test_knowing_that_it_is_there_takes_no_time(
    client: docker.DockerClient, image_home: Path, tag: str
) -> None:
    fastest = 1.0
    for _ in range(5):
        began = time.perf_counter()
        assert ensure_runtime_image(client, image_home, "auto", silent) == tag
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.05


def test_another_home_makes_the_same_image(
    client: docker.DockerClient, image_home: Path, tag: str, tmp_path: Path
) -> None:
    """Only what was fetched is shared; every layer is made anew."""
    (tmp_path / "cache").symlink_to(image_home / "cache")
    assert ensure_runtime_image(client, tmp_path, "auto", silent) == tag
    assert {path.name for path in (tmp_path / "images/blobs/sha256").iterdir()} <= {
        path.name for path in (image_home / "images/blobs/sha256").iterdir()
    }


def test_two_at_once_make_it_once(client: docker.DockerClient, image_home: Path, tag: str) -> None:
    client.images.remove(tag, force=True)
    tags: list[str] = []
    loads: list[str] = []

    def note(done: int, total: int, text: str = "") -> None:
        if text == "load":
            loads.append(text)

    threads = [
        threading.Thread(target=lambda: tags.append(ensure_runtime_image(client, image_home, "auto", note)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tags == [tag] * 3
    assert loads == ["load"]


def test_an_engine_gets_only_the_layers_that_it_lacks(
    client: docker.DockerClient, image_home: Path, tag: str
) -> None:
    layout = Layout(image_home / "images")
    image = image_of(layout, tag)
    spare = "opc-market-test/spare:1"
    try:
        assert engine.load(client, layout, image, spare) == len(image.layers)
        assert engine.has(client, spare)
    finally:
        client.images.remove(spare, force=True)
    assert not engine.has(client, spare)


def test_any_image_with_a_python_can_be_the_base(
    client: docker.DockerClient, image_home: Path, tag: str, tmp_path: Path
) -> None:
    """Here the assembled image itself stands in for one from a registry."""
    (tmp_path / "cache").symlink_to(image_home / "cache")
    base = "opc-market-test/python:3-slim"
    client.images.get(tag).tag(*base.rsplit(":", 1))
    try:
        made = ensure_runtime_image(client, tmp_path, base, silent)
        assert made != tag
        said = client.containers.run(made, ["-c", IMPORT_ALL], entrypoint="python3", remove=True)
        assert said.decode().split()[:2] == ["65532", "1"]
        client.images.remove(made, force=True)
    finally:
        client.images.remove(base)


def test_a_base_that_cannot_be_had_is_named_with_the_reason(
    client: docker.DockerClient, tmp_path: Path
) -> None:
    with pytest.raises(PackagingFailed) as refused:
        ensure_runtime_image(client, tmp_path, "127.0.0.1:9/nobody/python:3", silent)
    assert refused.value.facts["image"] == "127.0.0.1:9/nobody/python:3"
    assert "refused" in str(refused.value.facts["why"])
    assert not [path for path in (tmp_path / "images").iterdir() if path.name.startswith(".blob")]
