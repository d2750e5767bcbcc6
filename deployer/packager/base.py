"""The base of an image: Debian packages where this machine has them, or any image with a Python.

`debian` assembles, which gives the smallest base, without a shell; `auto` does so too, or where the machine
has no apt-get takes python:<our own version>-slim; anything else is the name of an image, which comes from
an engine where there is one and from its registry elsewhere.
"""

import gzip
import hashlib
import json
import re
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from deployer.errors import ContentCorrupted, PackagingFailed
from deployer.packager import bytecode, debian, engine
from deployer.packager.image import Platform
from deployer.packager.layers import LAYER, layer
from deployer.packager.layout import PART, BlobWriter, Descriptor, Layout
from deployer.spec import Progress

if TYPE_CHECKING:
    import docker

ASSEMBLED, AUTO = "debian", "auto"
FORM = 2  # counts up when an assembled base changes its form
LARGEST_LAYER = 8 << 30  # bytes unpacked; a small file can unpack to any size
PYTHON = re.compile(r"^(?:\./)?(?:usr/(?:local/)?)?bin/python(3\.\d+)$")


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


def find(
    layout: Layout,
    cache: Path,
    wanted: str,
    arch: str,
    progress: Progress,
    client: "docker.DockerClient | None" = None,
) -> Base:
    """The base that is wanted (debian, auto, or the name of an image) for an architecture.

    An image comes from the engine when one is given, else from its registry. Raises PackagingFailed.
    """
    if wanted == ASSEMBLED or (wanted == AUTO and debian.available()):
        return assembled(layout, cache, arch)
    name = usual_image() if wanted == AUTO else wanted
    if client is not None:
        return from_engine(client, layout, name, progress, arch=arch)
    return from_registry(layout, name, arch, progress)


def assembled(layout: Layout, cache: Path, arch: str) -> Base:
    """A base out of Debian packages."""
    packages = debian.fetch(cache / f"debian-{FORM}" / arch, arch)
    python = debian.python_version(packages)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in packages]
    key = ["debian", FORM, debian.LEFT_OUT.pattern, arch, digests, bytecode.identity(python)]
    made = layer(layout, key, lambda: bytecode.sourceless(debian.root_tree(packages), python))
    return Base(ASSEMBLED, python, (made,), {"PATH": "/usr/bin:/bin"})


def from_engine(
    client: "docker.DockerClient", layout: Layout, image: str, progress: Progress, *, arch: str = ""
) -> Base:
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
    if arch and facts.get("Architecture") not in {"", arch}:
        raise PackagingFailed(
            image=image, why=f"the engine has it for {facts['Architecture']}, not for {arch}"
        )
    return _base(layout, image, layers, facts["Config"].get("Env"))


def from_registry(layout: Layout, image: str, arch: str, progress: Progress) -> Base:
    """A base that is an image of a registry, fetched without an engine."""
    from deployer.packager import registry

    root = registry.pull(image, layout, platform=Platform("linux", arch), progress=progress)
    manifest = _for_architecture(layout, root, arch)
    try:
        packed = [Descriptor.of(told) for told in manifest["layers"]]
        config = layout.document(Descriptor.of(manifest["config"]))
        diff_ids = [str(digest) for digest in config["rootfs"]["diff_ids"]]
        pairs = list(zip(packed, diff_ids, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise PackagingFailed(image=image, why="not the manifest of an image") from error
    layers = tuple(_unpacked(layout, descriptor, diff_id) for descriptor, diff_id in pairs)
    return _base(layout, image, layers, (config.get("config") or {}).get("Env"))


def _for_architecture(layout: Layout, root: Descriptor, arch: str) -> dict[str, Any]:
    """The manifest for an architecture out of an index; a manifest is taken as it is."""
    told = layout.document(root)
    for entry in told.get("manifests") or ():
        one = Descriptor.of(entry)
        if (one.platform.get("os"), one.platform.get("architecture")) == ("linux", arch):
            return layout.document(one)
    return told


def _base(layout: Layout, image: str, layers: tuple[Descriptor, ...], variables: list[str] | None) -> Base:
    environment = dict(entry.split("=", 1) for entry in variables or [])
    python = ".".join(environment.get("PYTHON_VERSION", "").split(".")[:2]) or _python_of(layout, layers)
    if not python:
        raise PackagingFailed(image=image, why="there is no python3 in it")
    return Base(image, python, layers, environment)


def _python_of(layout: Layout, layers: tuple[Descriptor, ...]) -> str:
    """The version of the interpreter that the layers hold, such as 3.11; the uppermost layer counts."""
    for one in reversed(layers):
        try:
            with tarfile.open(layout.path(one.digest)) as archive:
                found = [match[1] for member in archive if (match := PYTHON.match(member.name))]
        except tarfile.TarError as error:
            raise PackagingFailed(image=one.digest, why=f"a layer is no tar file: {error}") from error
        if found:
            return found[-1]
    return ""


def _reference(image: str) -> tuple[str, str]:
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")


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
    with layout.writing() as writer:
        _unpack(source, writer)
    return Descriptor(LAYER, writer.digest(), writer.size)


def _unpacked(layout: Layout, packed: Descriptor, diff_id: str) -> Descriptor:
    """A registry's layer as an uncompressed blob; ContentCorrupted when it is not what the config lists."""
    known = layout.path(diff_id)
    if not known.exists():
        with layout.path(packed.digest).open("rb") as source, layout.writing() as writer:
            _unpack(source, writer)
            if writer.digest() != diff_id:
                raise ContentCorrupted(what=packed.digest, expected=diff_id, got=writer.digest())
    return Descriptor(LAYER, diff_id, known.stat().st_size)


def _unpack(source: IO[bytes], writer: BlobWriter) -> None:
    """Copy a layer, uncompressed; refuses what is packed otherwise than with gzip, and what has no end."""
    start = source.read(4)
    source.seek(0)
    if start == b"\x28\xb5\x2f\xfd":
        raise PackagingFailed(image="base", why="a layer is packed with zstd, which cannot be read here")
    try:
        with gzip.open(source) if start.startswith(b"\x1f\x8b") else source as stream:
            while part := stream.read(PART):
                writer.write(part)
                if writer.size > LARGEST_LAYER:
                    raise PackagingFailed(image="base", why=f"a layer is larger than {LARGEST_LAYER} bytes")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PackagingFailed(image="base", why=f"a layer is broken: {error}") from error
