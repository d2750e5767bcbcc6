"""Tar layers whose bytes depend on their content alone: sorted, no times, no owners, uncompressed.

Uncompressed, since a local engine takes them faster so, and weights can be mapped in place; compression
belongs to the way to a registry. The digest of an uncompressed layer is also its diff id.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployer.packager.layout import BlobWriter, Descriptor, Layout

LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Entry:
    """One thing in a layer: a file (`read`), a symbolic link (`link`) or a folder (neither)."""

    mode: int = 0o644
    read: Callable[[], bytes] | None = None
    link: str = ""


Tree = dict[str, Entry]
"""Entries by path, without a leading slash."""

# Of the packages, what a server never loads: sources of extensions, test suites, tools, type stubs.
NEVER_LOADED = re.compile(
    r"(^|/)(tests?|_examples|examples|include|__pycache__)/"
    r"|\.(pyi|pyx|pxd|c|h|a|lib)$|\.dist-info/(RECORD|WHEEL|INSTALLER|direct_url\.json|sboms/)"
    r"|^numpy/(f2py|distutils)/"
    r"|^onnxruntime/(transformers|quantization|tools|datasets|backend)/"
)


def file(data: bytes, mode: int = 0o644) -> Entry:
    """A file with these bytes."""
    return Entry(mode, lambda: data)


def _wheel_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Members with the path that an installer would give them; scripts and headers are left out."""
    for info in archive.infolist():
        path = info.filename
        if info.is_dir():
            continue
        if ".data/" in path:
            kind, _, path = path.split(".data/", 1)[1].partition("/")
            if kind not in {"purelib", "platlib"}:
                continue
        if not NEVER_LOADED.search(path):
            yield path, info


def from_wheels(wheels: Iterable[Path], prefix: str, stack: ExitStack) -> Tree:
    """What installing these wheels would put into a folder; `stack` keeps the archives open."""
    tree: Tree = {}
    for wheel in sorted(wheels):
        archive = stack.enter_context(zipfile.ZipFile(wheel))
        for path, info in _wheel_members(archive):
            mode = 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
            tree[f"{prefix}/{path}"] = Entry(mode, lambda a=archive, i=info: a.read(i))  # type: ignore[misc]
    return tree


def with_parents(tree: Tree) -> Tree:
    """The tree with every folder that its paths go through."""
    whole = dict(tree)
    for path in tree:
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                whole.setdefault(str(parent), Entry(0o755))
    return whole


def write_tar(tree: Tree, out: BlobWriter | io.BytesIO) -> None:
    """Write the tree; the same tree gives the same bytes."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for path, entry in sorted(with_parents(tree).items()):
            info = tarfile.TarInfo(path)
            info.mode = entry.mode
            if entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
                archive.addfile(info)
            elif entry.read is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                data = entry.read()
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def layer(layout: Layout, key: object, make: Callable[[], Tree]) -> Descriptor:
    """The layer for these inputs: from the cache, or made and kept."""
    known = layout.recall(["layer", key])
    if known:
        return Descriptor(known["media_type"], known["digest"], known["size"])
    with layout.writing() as writer:
        write_tar(make(), writer)
    made = Descriptor(LAYER, writer.digest(), writer.size)
    layout.remember(["layer", key], {"media_type": made.media_type, "digest": made.digest, "size": made.size})
    return made
