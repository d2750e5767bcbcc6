"""The runtime image in a bundle: taken out of the home's layout, and brought into another's."""

import hashlib
import json
from pathlib import Path

from deployer.errors import DiskFull, PackagingFailed
from deployer.packager import runtime_image
from deployer.packager.image import read_image
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.release import Workshop
from deployer.spec import Progress, silent
from marketplace.bundles.contents import Table, refuse
from marketplace.bundles.writing import Part

FOLDER = "images"
BASES = ("auto", "debian")  # what a shop asks for unless it is told otherwise


def image(workshop: Workshop, arch: str, progress: Progress = silent) -> tuple[str, dict[str, Part]]:
    """Name and files of the runtime image, made when it is not there; raises PackagingFailed."""
    layout = Layout(workshop.images)
    made = runtime_image.make(layout, workshop.cache, workshop.base, arch, progress)
    manifest = made.manifest.plain()
    told = {"manifest": manifest.to_json(), "fits": _fits(arch)}
    parts = {f"{FOLDER}/image.json": Part(canonical(told))}
    for blob in (manifest, made.config, *made.layers):
        sha256 = blob.digest.removeprefix("sha256:")
        parts[f"{FOLDER}/{sha256}"] = Part(layout.path(blob.digest), sha256=sha256)
    return made.tag(runtime_image.REPOSITORY), parts


def keep(home: Path, root: Path, table: Table, file: str) -> bool:
    """Bring the image of an unpacked bundle into the home; whether this release of the shop can use it."""
    layout = Layout(home / "images")
    folder = root / FOLDER
    try:
        told = json.loads((folder / "image.json").read_bytes())
        manifest = Descriptor.of(told["manifest"])
        _bring(layout, folder, manifest)
        config, *layers = _below(layout, manifest)
        for blob in (config, *layers):
            _bring(layout, folder, blob)
        found = read_image(layout, manifest)
        if found.tag(runtime_image.REPOSITORY) != table.image:
            raise ValueError("it is another image than the table says")
        arch = found.platform.architecture
    except DiskFull:
        raise
    except (OSError, ValueError, KeyError, TypeError, PackagingFailed) as error:
        refuse(file, f"its runtime image: {error}", f"其中的运行镜像：{error}")
    if told.get("fits") != _fits(arch):
        return False
    runtime_image.adopt(layout, found, BASES, arch)
    return True


def _below(layout: Layout, manifest: Descriptor) -> list[Descriptor]:
    told = layout.document(manifest)
    return [Descriptor.of(told["config"]), *map(Descriptor.of, told["layers"])]


def _bring(layout: Layout, folder: Path, blob: Descriptor) -> None:
    """Copy one blob; what the layout has already is what it has to be."""
    if layout.has(blob):
        return
    source = folder / blob.digest.removeprefix("sha256:")
    with source.open("rb") as file, layout.writing(blob) as writer:
        while part := file.read(1 << 20):
            writer.write(part)


def _fits(arch: str) -> str:
    """Names what an image must have been made of to be this release's own."""
    inputs = runtime_image.inputs_of(BASES[0], arch, runtime_image.server_sources())
    return hashlib.sha256(canonical(inputs)).hexdigest()
