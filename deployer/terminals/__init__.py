"""Where a model can be taken: the table of terminals, and a package of a release for one of them.

A package is one file in packages/<key>/ of the home, beside package.json, which tells what it is. The key
stands for all that decides about the bytes, so what was made once is there the next time.
"""

import functools
import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from deployer.packager import wheels
from deployer.packager.layout import Descriptor, Layout, canonical, roomy
from deployer.packager.release import Release, Workshop
from deployer.spec import Progress, silent
from deployer.terminals.table import (
    ACCELERATORS,
    MEDIA_TYPES,
    PLATFORMS,
    TERMINALS,
    Order,
    Terminal,
    UnknownTerminal,
    order,
    platforms_of,
    require,
    terminal,
)

__all__ = [
    "ACCELERATORS",
    "PLATFORMS",
    "TERMINALS",
    "Order",
    "Package",
    "Terminal",
    "UnknownTerminal",
    "folder_of",
    "kept",
    "key_of",
    "order",
    "package",
    "platforms_of",
    "require",
    "terminal",
]

FILE_NAME = "package.json"
Enter = Callable[[str], None]
"""Told of each step as it begins: assemble, prove, write."""


# What is made


@dataclass(frozen=True)
class Package:
    """A package in the home: its file, and what its maker says of it."""

    path: Path
    file_name: str
    media_type: str
    size: int
    """Bytes."""
    digest: str
    """sha256:… of the file."""
    facts: dict[str, Any] = field(default_factory=dict)


@functools.cache
def form() -> str:
    """A digest of the sources and libraries that make packages: what others made is made again."""
    root = Path(__file__).parents[1]
    found = hashlib.sha256(canonical(wheels.versions()))
    for part in ("packager", "server", "terminals", "optimizer/targets"):
        for path in sorted((root / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and "node_modules" not in path.parts:
                found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def key_of(workshop: Workshop, digest: str, wanted: Order) -> str:
    """The key of a package of the release with this digest: 64 hex digits."""
    plain = {
        "form": form(),
        "release": digest,
        "terminal": wanted.terminal.id,
        "device": wanted.device,
        "platforms": wanted.platforms,
        "base": workshop.base,
        "signer": hashlib.sha256(workshop.public_key).hexdigest(),
    }
    return hashlib.sha256(canonical(plain)).hexdigest()


def folder_of(home: Path, key: str) -> Path:
    """Where a package lies, whether it is there or not."""
    return home / "packages" / key


def kept(home: Path, key: str) -> Package | None:
    """The package of this key if it is there, whole."""
    folder = folder_of(home, key)
    try:
        told = json.loads((folder / FILE_NAME).read_bytes())
        found = Package(folder / told["file_name"], **told)
        return found if found.path.stat().st_size == found.size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def package(
    workshop: Workshop,
    release: Release,
    id: str,
    *,
    platforms: Sequence[str] = (),
    device: str = "",
    key: str = "",
    progress: Progress = silent,
    entering: Enter = lambda step: None,
) -> Package:
    """Package a release for a terminal; what is there already is returned at once.

    It lies under `key`, that of `key_of` unless one is given: the software may be renewed meanwhile.
    Raises UnknownTerminal, UnknownDevice, PlatformNotSupported, TerminalNotSupported, PackagingFailed.
    """
    wanted = order(id, platforms=platforms, device=device)
    require(release, wanted, workshop.base)
    key = key or key_of(workshop, release.digest, wanted)
    place = folder_of(workshop.home, key)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{key}.lock")), roomy(place.parent):
        if found := kept(workshop.home, key):
            return found
        for left in place.parent.glob(f".{key}-*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        half = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{key}-"))
        try:
            _make(workshop, release, wanted, half, progress, entering)
            half.chmod(0o755)
            shutil.rmtree(place, ignore_errors=True)  # damaged, else `kept` had found it
            half.replace(place)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    made = kept(workshop.home, key)
    assert made is not None
    return made


def _make(
    workshop: Workshop, release: Release, wanted: Order, half: Path, progress: Progress, entering: Enter
) -> None:
    """Fill the folder `half` with the package's file and package.json."""
    name = name_of(release, wanted)
    path = half / f"{name}.{wanted.terminal.form}"
    make = _make_tar if wanted.terminal.form == "tar" else _make_zip
    facts = make(workshop, release, wanted, path, progress, entering)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    made = Package(
        path,
        path.name,
        MEDIA_TYPES[wanted.terminal.form],
        path.stat().st_size,
        f"sha256:{digest}",
        facts,
    )
    told = {name: value for name, value in asdict(made).items() if name != "path"}
    with (half / FILE_NAME).open("wb") as out:
        out.write(canonical(told))
        out.flush()
        os.fsync(out.fileno())


def name_of(release: Release, wanted: Order) -> str:
    """The package's name without its ending: what, which version, for what."""
    parts = [release.slug, release.version, wanted.terminal.id]
    if wanted.device in ACCELERATORS:
        parts.append(wanted.device)
    if len(wanted.platforms) == 1:
        parts.append(wanted.platforms[0].rpartition("/")[2])
    return "-".join(parts)


def _make_tar(
    workshop: Workshop, release: Release, wanted: Order, path: Path, progress: Progress, entering: Enter
) -> dict[str, Any]:
    from deployer.packager import output, provenance

    entering("assemble")
    layout, root, name = _assembled(workshop, release, wanted, progress)
    entering("prove")
    attached = provenance.dress(workshop, layout, root, release, terminal=wanted.terminal.id)
    entering("write")
    output.to_tar(layout, root, path, name, attached)
    return {"root": root.digest, "reference": name}


def _assembled(
    workshop: Workshop, release: Release, wanted: Order, progress: Progress
) -> tuple[Layout, Descriptor, str]:
    """The manifest or index in the home's layout, and its name."""
    if wanted.terminal.id == "modelpack":
        from deployer.packager import modelpack

        return *modelpack.modelpack(workshop, release), f"{release.name}:{release.version}"
    from deployer.packager import sealed
    from deployer.packager.image import Platform

    platforms = tuple(Platform.parse(each) for each in wanted.platforms)
    made = sealed.seal(workshop, release, platforms=platforms, device=wanted.device, progress=progress)
    return made.layout, made.root, made.name


def _make_zip(
    workshop: Workshop, release: Release, wanted: Order, path: Path, progress: Progress, entering: Enter
) -> dict[str, Any]:
    from deployer.packager import provenance
    from deployer.terminals import archive

    maker = importlib.import_module(f"deployer.terminals.{wanted.terminal.maker}")
    build = {"android": "build_android", "ios": "build_ios"}.get(wanted.terminal.id, "build")
    entering("assemble")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="folder-") as folder:
        facts: dict[str, Any] = getattr(maker, build)(workshop, release, Path(folder), progress)
        entering("prove")
        provenance.dress_folder(workshop, Path(folder), release, facts, terminal=wanted.terminal.id)
        entering("write")
        archive.pack(Path(folder), path, path.stem, progress)
    return facts
