"""oci://: models out of registries: ModelPack artifacts of anybody, and images that this market made.

Pulled as packages are, but over connections that go to judged addresses only. Layers are read as archives,
whatever else an image holds: of it only the model's folder is taken.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from catalog.errors import ArchiveInvalid, SourceMissing
from catalog.importers.errors import SourceDenied
from catalog.importers.hints import Hints
from catalog.importers.pace import LONGEST
from catalog.importers.plans import Gate
from catalog.importers.taking import is_plain, link
from catalog.importers.web import PinnedTransport
from deployer.errors import RegistryRefused
from deployer.packager import registry
from deployer.packager.image import Platform
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.modelpack import ARTIFACT, FILE_PATH
from deployer.packager.parts import FOLDER
from deployer.packager.registry import manifests
from deployer.packager.registry.connection import Connection
from deployer.spec import Progress
from marketplace import import_child

PLATFORM = Platform("linux", "amd64")
"""Of an image for several; the model in them is the same."""
LOOK = 120.0  # seconds that a manifest may take
_RAW = ".raw"
_WORDS = "org.opencontainers.image."


def pinned_of(reference: str, gate: Gate) -> str:
    """The reference with the digest that it stands for now; only the manifest is fetched.

    What `docker login` left is used as the gate's other keys are. Raises SourceDenied.
    """
    wanted = registry.Reference.parse(reference)
    with (
        _denied(reference, gate),
        PinnedTransport(gate.reach, f"oci://{wanted}", LOOK) as transport,
        Connection(
            wanted,
            {wanted.repository: "pull"},
            insecure=False,
            pace=registry.Pace(),
            transport=transport,
            anonymous=not gate.keys,
        ) as connection,
    ):
        root, _ = manifests.get(connection, wanted.target)
    return f"oci://{wanted.registry}/{wanted.repository}@{root.digest}"


@contextmanager
def _denied(source: str, gate: Gate) -> Iterator[None]:
    """Where no key was shown, a refusal may be for want of one."""
    try:
        yield
    except RegistryRefused as error:
        if gate.keys or error.facts.get("status") not in (401, 403):
            raise
        raise SourceDenied(source=source, variable="docker login") from None


def bring(pinned: str, gate: Gate, folder: Path, out: Path, progress: Progress) -> Hints:
    """Pull into `folder`, and lay the model's files out below `out`; says what the registry tells of them."""
    layout = Layout(folder)
    with _denied(pinned, gate), PinnedTransport(gate.reach, pinned, LONGEST) as transport:
        root = registry.pull(
            pinned,
            layout,
            platform=PLATFORM,
            progress=progress,
            transport=transport,
            anonymous=not gate.keys,
        )
    told = layout.document(root)
    pack = told.get("artifactType") == ARTIFACT or "cncf.model" in str(
        (told.get("config") or {}).get("mediaType")
    )
    archives = []
    for number, entry in enumerate(told.get("layers") or ()):
        layer = Descriptor.of(entry)
        if pack and layer.media_type.endswith(_RAW):
            _link_layer(layout, layer, out)
        else:
            archives.append(_archive(layout, layer, number, folder))
    import_child.take_layers(archives, FOLDER, out, progress, whole=pack)
    if not any(out.rglob("*")):
        raise SourceMissing(source=pinned, file=f"{FOLDER}/")
    return _hints(told.get("annotations") or {})


def _link_layer(layout: Layout, layer: Descriptor, out: Path) -> None:
    """A layer of a ModelPack artifact that is a file as it is."""
    path = str(layer.annotations.get(FILE_PATH, "")).strip("/")
    if not is_plain(path):
        raise ArchiveInvalid(source=layer.digest, why="its layer names no plain path")
    link(layout.path(layer.digest), out / path)


def _archive(layout: Layout, layer: Descriptor, number: int, folder: Path) -> Path:
    """The blob under a name that says what it is."""
    if "zstd" in layer.media_type:
        raise ArchiveInvalid(source=layer.digest, why="layers in zstd cannot be read")
    ending = ".tar.gz" if "gzip" in layer.media_type else ".tar"
    place = folder / f"layer-{number}{ending}"
    link(layout.path(layer.digest), place)
    return place


def _hints(annotations: Mapping[str, Any]) -> Hints:
    def word(name: str) -> str:
        value = annotations.get(name)
        return value[:200] if isinstance(value, str) else ""

    return Hints(license=word(f"{_WORDS}licenses"), title=word(f"{_WORDS}title"), task=word("market.task"))
