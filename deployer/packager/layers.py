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
from functools import partial
from pathlib import Path, PurePosixPath

from deployer.errors import PackagingFailed
from deployer.packager import elf
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

# Of the packages, what a server never loads: sources of extensions, test suites, tools, type stubs; parts of
# numpy and Pillow that it does not import, with the libraries for them; onnxruntime's library for C programs,
# which is a second copy of what its Python module holds.
NEVER_LOADED = re.compile(
    r"(^|/)(tests?|_examples|examples|include|__pycache__)/"
    r"|\.(pyi|pyx|pxd|c|h|a|lib)$|\.dist-info/(RECORD|WHEEL|INSTALLER|direct_url\.json)$"
    r"|^numpy/(f2py|distutils|testing|_pyinstaller)/"
    r"|^numpy/_core/(_simd|_(multiarray|rational|struct_ufunc|operand_flag|umath)_tests)\."
    r"|^PIL/_(avif|imagingcms|imagingft|imagingmath|imagingmorph|imagingtk)\."
    r"|^pillow\.libs/lib(avif|brotlicommon|brotlidec|freetype|harfbuzz|lcms2|png16)-"
    r"|^onnxruntime/(transformers|quantization|tools|datasets|backend)/|^onnxruntime/capi/libonnxruntime\.so"
)
# And these, where numpy itself loads them only when asked for: since its second version.
LOADED_LATE = re.compile(r"^numpy/(polynomial|random)/")
SECOND_NUMPY = "numpy/_core/__init__.py"
SHARED_OBJECT = re.compile(r"\.so(\.[0-9.]+)?$")


def file(data: bytes, mode: int = 0o644) -> Entry:
    """A file with these bytes."""
    return Entry(mode, lambda: data)


def _wheel_members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Members with the path that an installer would give them; scripts and headers are left out."""
    lean = SECOND_NUMPY in archive.NameToInfo
    for info in archive.infolist():
        path = info.filename
        if info.is_dir():
            continue
        if ".data/" in path:
            kind, _, path = path.split(".data/", 1)[1].partition("/")
            if kind not in {"purelib", "platlib"}:
                continue
        if not (NEVER_LOADED.search(path) or (lean and LOADED_LATE.search(path))):
            yield path, info


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    data = archive.read(info)
    return elf.shorn(data) if SHARED_OBJECT.search(info.filename) else data


def from_wheels(wheels: Iterable[Path], prefix: str, stack: ExitStack) -> Tree:
    """What of these wheels, installed into a folder, a server loads; `stack` keeps the archives open.

    Wheels hold no links, so a library under several names is in them several times: here it is once.
    """
    tree: Tree = {}
    for wheel in sorted(wheels):
        archive = stack.enter_context(zipfile.ZipFile(wheel))
        libraries: dict[tuple[PurePosixPath, int, int], zipfile.ZipInfo] = {}
        for path, info in sorted(_wheel_members(archive), key=lambda member: member[0]):
            place = PurePosixPath(path)
            first = info
            if SHARED_OBJECT.search(path):
                first = libraries.setdefault((place.parent, info.CRC, info.file_size), info)
            if first is not info and archive.read(first) == archive.read(info):
                tree[f"{prefix}/{path}"] = Entry(link=PurePosixPath(first.filename).name)
            else:
                mode = 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
                tree[f"{prefix}/{path}"] = Entry(mode, partial(_member, archive, info))
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
    """Write the tree; the same tree gives the same bytes. Refuses paths that lead out of it."""
    astray = [path for path in tree if path.startswith("/") or ".." in PurePosixPath(path).parts]
    if astray:
        raise PackagingFailed(image="layer", why=f"a path leads out of it: {astray[0]}")
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
