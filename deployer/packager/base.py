"""The base of the runtime image: an image of a registry where one answers, Debian packages elsewhere.

`auto` takes python:<our own version>-slim when the engine has it or its registry answers at once, and
otherwise assembles a base; `debian` always assembles; anything else is the name of an image.
"""

import contextlib
import gzip
import hashlib
import json
import sys
import tarfile
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import PackagingFailed
from deployer.packager import bytecode, debian, engine
from deployer.packager.layers import LAYER, layer
from deployer.packager.layout import Descriptor, Layout
from deployer.spec import Progress

if TYPE_CHECKING:
    import docker

ASSEMBLED = "debian"
REGISTRY_PATIENCE = 3  # seconds for a registry to answer before the base is assembled
FORM = 1  # counts up when an assembled base changes its form


@dataclass(frozen=True)
class Base:
    """Where an image begins: its layers, its Python, and the environment that it brings."""

    name: str
    python: str
    layers: tuple[Descriptor, ...]
    environment: dict[str, str] = field(default_factory=dict)


def usual_image() -> str:
    """The official image of the Python that the shop itself runs on."""
    return f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def choose(client: "docker.DockerClient", wanted: str) -> str:
    """What `auto` means here: the name of an image, or `debian`."""
    if wanted != "auto":
        return wanted
    image = usual_image()
    return image if engine.has(client, image) or _registry_answers(client, image) else ASSEMBLED


def _registry_answers(client: "docker.DockerClient", image: str) -> bool:
    """Ask through the engine, which has the proxies and mirrors; an engine may try for a minute."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    answers: list[Any] = []

    def ask() -> None:
        with contextlib.suppress(DockerException, RequestException):
            answers.append(client.api.inspect_distribution(image))

    asking = threading.Thread(target=ask, name="registry-look", daemon=True)
    asking.start()
    asking.join(REGISTRY_PATIENCE)
    return bool(answers)


def assembled(layout: Layout, cache: Path, arch: str) -> Base:
    """A base out of Debian packages."""
    packages = debian.fetch(cache / "debian" / arch, arch)
    python = debian.python_version(packages)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in packages]
    key = ["debian", FORM, arch, digests, bytecode.identity(python)]

    def make() -> Any:
        tree = debian.root_tree(packages)
        return tree | bytecode.compiled(tree, python)

    return Base(ASSEMBLED, python, (layer(layout, key, make),), {"PATH": "/usr/bin:/bin"})


def from_engine(client: "docker.DockerClient", layout: Layout, image: str, progress: Progress) -> Base:
    """A base that is an image of the engine, fetched from its registry when it is not there yet."""
    from docker.errors import DockerException

    try:
        if not engine.has(client, image):
            progress(0, 0, f"base {image}")
            client.images.pull(*_reference(image))
        facts = client.api.inspect_image(image)
        layers = _layers(client, layout, facts)
    except DockerException as error:
        raise PackagingFailed(image=image, why=str(error)) from error
    environment = dict(entry.split("=", 1) for entry in facts["Config"].get("Env") or [])
    python = ".".join(environment.get("PYTHON_VERSION", "").split(".")[:2])
    if not python:
        python = _ask_python(client, image)
    return Base(image, python, layers, environment)


def _reference(image: str) -> tuple[str, str]:
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")


def _ask_python(client: "docker.DockerClient", image: str) -> str:
    """The version that an image's python3 says of itself."""
    from docker.errors import DockerException

    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = client.containers.run(
            image, ["-c", program], entrypoint="python3", network_mode="none", remove=True
        )
    except DockerException as error:
        raise PackagingFailed(image=image, why=f"no python3 in it: {error}") from error
    return str(said.decode().strip())


def _layers(client: "docker.DockerClient", layout: Layout, facts: dict[str, Any]) -> tuple[Descriptor, ...]:
    """The image's layers as blobs of the layout, uncompressed, checked against the engine's list."""
    wanted: list[str] = facts["RootFS"]["Layers"]
    if all(layout.path(digest).exists() for digest in wanted):
        return tuple(Descriptor(LAYER, digest, layout.path(digest).stat().st_size) for digest in wanted)
    with tempfile.TemporaryFile(dir=layout.root) as spool:
        for part in client.api.get_image(facts["Id"]):
            spool.write(part)
        spool.seek(0)
        with tarfile.open(fileobj=spool) as archive:
            member = archive.extractfile("manifest.json")
            names = json.load(member)[0]["Layers"] if member else []
            kept = tuple(_keep(layout, archive, name) for name in names)
    if [layer.digest for layer in kept] != wanted:
        raise PackagingFailed(image=facts["Id"], why="the engine gave other layers than it lists")
    return kept


def _keep(layout: Layout, archive: tarfile.TarFile, name: str) -> Descriptor:
    source = archive.extractfile(name)
    if source is None:
        raise PackagingFailed(image=name, why="a layer is missing in the engine's archive")
    packed = source.read(2) == b"\x1f\x8b"
    source.seek(0)
    with layout.writing() as writer, gzip.open(source) if packed else source as stream:
        while part := stream.read(1 << 20):
            writer.write(part)
    return Descriptor(LAYER, writer.digest(), writer.size)
