"""The layers below a model: small, whole for each group of tasks and architecture, the same each time."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import httpx
import pytest

from deployer.errors import PackagingFailed, PlatformNotSupported, RegistryUnavailable
from deployer.examples import check
from deployer.packager import base as bases
from deployer.packager import engine, registry, wheels
from deployer.packager.image import assemble
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.runtime_image import runtime_layers, settings
from deployer.spec import silent
from tests.deployer.packager import registries
from tests.deployer.packager.shared_objects import MACHINES, read
from tests.deployer.runtimes.models import ask, eventually
from tests.shelf_files import model_dir
from tests.shop import wait_until

pytestmark = pytest.mark.network

MEGABYTE = 1_000_000
# Bytes unpacked, without the model; what the figure of 150 MB must hold for, with room for updates.
LIMITS = {"file-type": 118, "image-classification": 126, "feature-extraction": 126, "text-to-speech": 118}
EVERYTHING, WITH_MODEL = 135, 180
MODELS = {
    "file-type": "filetype-magika",
    "image-classification": "doc-orientation",
    "feature-extraction": "en-minilm-l6-int8",
    "text-to-speech": "tts-kokoro-82m-int8",
}
FORMATS = """
import io
from PIL import Image
from deployer.server.vision.images import FORMATS, decode
picture = Image.effect_noise((64, 48), 60).convert("RGB")
done = []
for kind, options in [*((kind, {}) for kind in FORMATS), ("TIFF", {"compression": "tiff_lzw"}),
                      ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "zstd"}),
                      ("TIFF", {"compression": "tiff_deflate"}), ("WEBP", {"lossless": True})]:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    done.append(decode(out.getvalue()).size == (64, 48))
print(len(done), all(done))
"""
OTHERS = """
import importlib.util, os, sys
print([name for name in ("PIL", "tokenizers", "lameenc") if importlib.util.find_spec(name)])
print(os.getuid(), os.path.exists("/bin/sh"), os.path.exists("/usr/bin/dpkg"))
for charset in ("gbk", "gb18030", "big5", "shift_jis", "euc-kr", "utf-16", "windows-1252"):
    "x".encode(charset)
"""

Layers = Callable[..., tuple[Descriptor, ...]]


@pytest.fixture(scope="module")
def layout(image_home: Path) -> Layout:
    return Layout(image_home / "images")


def made(layout: Layout, image_home: Path, arch: str, task: str | None) -> tuple[Descriptor, ...]:
    base = bases.find(layout, image_home / "cache", "debian", arch, silent)
    tasks = None if task is None else frozenset({task})
    return runtime_layers(layout, image_home / "cache", base, arch, tasks=tasks)


@pytest.fixture
def loaded(client: docker.DockerClient, layout: Layout, image_home: Path) -> Iterator[Callable[[str], str]]:
    tags: list[str] = []

    def load(task: str) -> str:
        arch = engine.platform(client).architecture
        base = bases.find(layout, image_home / "cache", "debian", arch, silent)
        image = assemble(layout, made(layout, image_home, arch, task), settings(base), arch=arch)
        tags.append(f"opc-market-test/{task}:{uuid.uuid4().hex[:8]}")
        engine.load(client, layout, image, tags[-1])
        return tags[-1]

    yield load
    for tag in tags:
        client.images.remove(tag, force=True)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="opc-"))
    folder.chmod(0o777)  # the container's user is nobody here
    yield folder
    shutil.rmtree(folder)


@pytest.mark.engine
@pytest.mark.parametrize("task", MODELS)
def test_an_image_of_a_tasks_packages_is_small_and_answers(
    client: docker.DockerClient, loaded: Callable[[str], str], socket_folder: Path, task: str
) -> None:
    tag, model = loaded(task), model_dir(MODELS[task])
    facts = client.api.inspect_image(tag)
    assert facts["Size"] < LIMITS[task] * MEGABYTE
    if task == "feature-extraction":  # a model of 25 MB
        files = sum(path.stat().st_size for path in model.iterdir())
        assert files > 20 * MEGABYTE and facts["Size"] + files < WITH_MODEL * MEGABYTE
    assert facts["Config"]["User"] == "65532:65532"
    container = client.containers.run(
        tag,
        ["/model", "--name", "m", "--uds", "/run/market/s"],
        detach=True,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        volumes={
            str(model): {"bind": "/model", "mode": "ro"},
            str(socket_folder): {"bind": "/run/market", "mode": "rw"},
        },
    )
    address = f"unix:{socket_folder}/s"
    try:
        eventually(lambda: ask(address, "GET", "/v2/health/ready")[0] == 200, seconds=60)
        example = json.loads((model / "manifest.json").read_text())["examples"][0]
        status, answer = ask(address, "POST", "/predict", example["request"], timeout=60)
        assert status == 200, answer
        assert check(answer, example["expect"]) == []
        if task == "text-to-speech":
            speech = {"model": "m", "input": "你好。", "voice": "zf_xiaobei", "response_format": "mp3"}
            with httpx.Client(transport=httpx.HTTPTransport(uds=f"{socket_folder}/s"), timeout=60) as http:
                spoken = http.post("http://server/v1/audio/speech", json=speech)
            assert spoken.status_code == 200 and spoken.content[:1] == b"\xff"  # an MPEG frame
    finally:
        log = container.logs().decode()
        container.remove(force=True)
    assert "listening" in log and "rror" not in log


@pytest.mark.engine
def test_every_kind_of_picture_is_read_with_what_is_left_of_pillow(
    client: docker.DockerClient, loaded: Callable[[str], str]
) -> None:
    tag = loaded("image-classification")
    said = client.containers.run(tag, ["-c", FORMATS], entrypoint="python3", read_only=True, remove=True)
    assert said.decode().split() == ["11", "True"]


@pytest.mark.engine
def test_what_other_tasks_need_is_not_in_it(
    client: docker.DockerClient, loaded: Callable[[str], str]
) -> None:
    said = client.containers.run(loaded("tensors"), ["-c", OTHERS], entrypoint="python3", remove=True)
    assert said.decode().splitlines() == ["[]", "65532 False False"]


@pytest.mark.parametrize("arch", MACHINES)
def test_every_layer_is_for_its_architecture_and_no_library_lacks(
    layout: Layout, image_home: Path, arch: str
) -> None:
    names: set[str] = set()
    needed: dict[str, frozenset[str]] = {}
    licensed: set[str] = set()
    told: set[str] = set()
    layers = made(layout, image_home, arch, None)
    for layer in layers:
        with tarfile.open(layout.path(layer.digest)) as archive:
            for member in archive:
                names.add(member.name.rpartition("/")[2])
                if ".dist-info/" in member.name and "licen" in member.name.lower():
                    licensed.add(member.name.split("/")[2].split("-")[0])
                if member.name.endswith(".dist-info/METADATA"):
                    told.add(member.name.split("/")[2].split("-")[0])
                source = archive.extractfile(member) if member.isfile() else None
                data = source.read() if source and ".so" in member.name else b""
                if data.startswith(b"\x7fELF"):
                    found = read(data)
                    assert found.machine == MACHINES[arch], member.name
                    needed[member.name] = found.needed
    assert len(needed) > 60
    assert not {(name, one) for name, wanted in needed.items() for one in wanted if one not in names}
    assert told == set(wheels.versions())
    # One has its licence beside its modules, one names it in its metadata alone.
    assert licensed >= told - {"onnxruntime", "tokenizers"}
    assert {"LICENSE", "ThirdPartyNotices.txt"} <= names
    assert sum(layer.size for layer in layers) < EVERYTHING * MEGABYTE


BUILD = """
import sys
from pathlib import Path
from deployer.packager import base
from deployer.packager.layout import Layout
from deployer.packager.runtime_image import runtime_layers
from deployer.spec import silent
home = Path(sys.argv[1])
layout = Layout(home / "images")
found = base.find(layout, home / "cache", "debian", "amd64", silent)
runtime_layers(layout, home / "cache", found, "amd64", tasks=frozenset({"image-classification"}))
"""


def test_another_home_makes_the_same_layers_for_both_at_once_after_a_killed_build(
    layout: Layout, image_home: Path, tmp_path: Path
) -> None:
    """Only what was fetched is shared; the two architectures are made at the same time."""
    (tmp_path / "cache").symlink_to(image_home / "cache")
    other = Layout(tmp_path / "images")
    with subprocess.Popen([sys.executable, "-c", BUILD, tmp_path]) as build:
        wait_until(lambda: list(other.root.glob(".blob-*")), within=60, what="a layer is being written")
        build.kill()

    def make(arch: str) -> tuple[Descriptor, ...]:
        return made(other, tmp_path, arch, "image-classification")

    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(make, MACHINES))
    assert again == [made(layout, image_home, arch, "image-classification") for arch in MACHINES]
    blobs = {path.name: path for path in other.blobs.iterdir()}
    assert set(blobs) == {one.digest.removeprefix("sha256:") for layers in again for one in layers}
    for name, path in blobs.items():
        with path.open("rb") as content:
            assert hashlib.file_digest(content, "sha256").hexdigest() == name


def test_tasks_share_all_layers_but_those_of_their_groups(layout: Layout, image_home: Path) -> None:
    pictures = made(layout, image_home, "amd64", "image-to-text")
    bare = made(layout, image_home, "amd64", "tensors")
    assert made(layout, image_home, "amd64", "object-detection") == pictures
    assert set(bare) < set(pictures) and len(pictures) == len(bare) + 1


def test_a_base_comes_from_a_registry_without_an_engine(
    layout: Layout, image_home: Path, tmp_path: Path
) -> None:
    own = bases.find(layout, image_home / "cache", "debian", "amd64", silent)
    image = assemble(layout, own.layers, {"Env": ["PATH=/usr/bin", "FROM_BASE=yes"]}, arch="amd64")
    with registries.debian(tmp_path / "registry") as running:
        reference = f"{running.host}/library/python:3-slim"
        registry.push(layout, image.manifest, reference)
        other = Layout(tmp_path / "images")
        base = bases.find(other, image_home / "cache", reference, "amd64", silent)
        assert (base.name, base.python, base.layers) == (reference, own.python, own.layers)
        assert base.environment == {"PATH": "/usr/bin", "FROM_BASE": "yes"}
        assert "FROM_BASE=yes" in settings(base)["Env"]
        assert other.path(base.layers[0].digest).exists()
        with pytest.raises(PlatformNotSupported):
            bases.find(other, image_home / "cache", reference, "arm64", silent)
    with pytest.raises(RegistryUnavailable):
        bases.find(Layout(tmp_path / "empty"), image_home / "cache", reference, "amd64", silent)


@pytest.mark.engine
def test_a_base_that_an_engine_pushed_is_unpacked(
    client: docker.DockerClient, layout: Layout, image_home: Path, tmp_path: Path
) -> None:
    """Engines push layers packed with gzip, under the media types of Docker."""
    own = bases.find(layout, image_home / "cache", "debian", "amd64", silent)
    image = assemble(layout, own.layers, {}, arch="amd64")
    with registries.debian(tmp_path / "registry") as running:
        reference = f"{running.host}/library/python:pushed"
        engine.load(client, layout, image, reference)
        try:
            assert "error" not in client.images.push(reference)
            base = bases.from_registry(Layout(tmp_path / "images"), reference, "amd64", silent)
        finally:
            client.images.remove(reference)
    assert (base.python, base.layers) == (own.python, own.layers)


def test_a_layer_that_is_no_tar_or_packed_strangely_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for content, why in ((b"\x28\xb5\x2f\xfd" + bytes(60), "zstd"), (b"\x1f\x8b" + bytes(60), "broken")):
        packed = layout.add(content, "application/vnd.oci.image.layer.v1.tar+gzip")
        with pytest.raises(PackagingFailed, match=why):
            bases._unpacked(layout, packed, f"sha256:{'0' * 64}")
    assert len(list(layout.blobs.iterdir())) == 2
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("etc/motd"))
    empty = layout.add(out.getvalue(), "application/vnd.oci.image.layer.v1.tar")
    with pytest.raises(PackagingFailed, match="no python3"):
        bases._base(layout, "x", (empty,), [])
