"""What is wanted out of fetched archives, and a folder as it is to be looked at: plain files by path."""

import difflib
import os
from pathlib import Path

from catalog.errors import ArchiveInvalid
from catalog.importers.choosing import MOST, fits
from catalog.importers.errors import InnerPathMissing
from catalog.importers.unpack import Member, entries, unpack
from catalog.progress import Progress, silent


def take(archive: Path, inner: str, out: Path, progress: Progress = silent) -> list[str]:
    """Unpack what a file's name, a folder or a pattern means below `out`; says which paths came.

    The one folder that many archives begin with (package/, name-1.0/) may be left out of `inner`, and is left
    out of the paths. Raises InnerPathMissing and ArchiveInvalid.
    """
    sizes = entries(archive)
    # Nothing of such an archive is to be trusted, also where the name itself was not asked for.
    if climbing := next((path for path in sizes if path.startswith("/") or ".." in path.split("/")), ""):
        raise ArchiveInvalid(source=archive.name, why=f"{climbing[:80]} leads out of it")
    top = _top(sizes)
    wanted = fits(sizes, inner) or fits(sizes, top + inner)
    if not wanted:
        raise InnerPathMissing(source=archive.name, file=inner or "*", near=_near(sizes, inner))
    if len(wanted) > MOST:
        raise ArchiveInvalid(source=archive.name, why=f"{inner or 'it'} means more than {MOST} files")
    total, done, came = sum(sizes[path] for path in wanted), 0, []
    members = []
    for path in wanted:
        here = _below(path, inner, top)
        target = out / here
        if not is_plain(here) or here in came:
            raise ArchiveInvalid(source=archive.name, why=f"{path[:80]} is no plain path")
        came.append(here)
        members.append(Member(path, target, sizes[path]))
    # One walk for all: a tar is a stream.
    progress(done, total, archive.name)
    unpack(archive, members)
    progress(total, total, archive.name)
    return came


NAMED = 6
"""Paths of an archive that a refusal names."""
_MODELS = (".onnx", ".gguf", ".safetensors", ".tflite")


def _near(sizes: dict[str, int], inner: str) -> list[str]:
    """The paths that are most like the one that is not there, then models, then others."""
    name = inner.rpartition("/")[2]
    by_name: dict[str, str] = {path.rpartition("/")[2]: path for path in reversed(sizes)}
    close = [by_name[found] for found in difflib.get_close_matches(name, list(by_name)[:1000], 3, 0.6)]
    models = [path for path in sizes if path.lower().endswith(_MODELS)]
    return [path[:120] for path in dict.fromkeys([*close, *models, *sizes])][:NAMED]


def _top(sizes: dict[str, int]) -> str:
    """The one folder in which everything lies, with its slash."""
    tops = {path.partition("/")[0] for path in sizes if "/" in path}
    return f"{tops.pop()}/" if len(tops) == 1 and all("/" in path for path in sizes) else ""


def _below(path: str, inner: str, top: str) -> str:
    """A path as it lies below the folder that was meant."""
    if not inner:
        return path.removeprefix(top)
    if any(sign in inner for sign in "*?["):
        fixed = inner[: min(inner.index(sign) for sign in "*?[" if sign in inner)].rpartition("/")[0]
    else:
        fixed = inner
    for start in (fixed, top + fixed):
        if path == start:
            return path.rpartition("/")[2]
        if start and path.startswith(start.rstrip("/") + "/"):
            return path[len(start.rstrip("/")) + 1 :]
    return path.removeprefix(top)


def is_plain(path: str) -> bool:
    """Whether a path stays below its folder on every system."""
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    return plain and "\\" not in path and "\0" not in path and len(path) <= 255


def listed(folder: Path) -> dict[str, int | None]:
    """The plain files below a folder with their sizes; links and devices are left out."""
    found: dict[str, int | None] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(place) / name).is_symlink()]
        for name in files:
            path = Path(place) / name
            if path.is_file() and not path.is_symlink() and not name.endswith((".part", ".mark")):
                found[path.relative_to(folder).as_posix()] = path.stat().st_size
    return found


def link(source: Path, target: Path) -> None:
    """The same file at another place of the disk, without its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)
