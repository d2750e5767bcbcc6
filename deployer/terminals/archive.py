"""A folder as a .zip with one spelling: the same files give the same bytes on every machine.

Stored, not deflated: weights hardly shrink, and compressors differ between machines. Sorted, without times
and owners, and read and written in pieces. All lies in one top folder, which `unpack` leaves out again.
"""

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from deployer.errors import PackagingFailed
from deployer.packager.layout import roomy
from deployer.spec import Progress, silent

CHUNK = 1 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a .zip can name
LARGEST = 64 << 30  # bytes of all files of one that is unpacked
MOST = 100_000  # files


def pack(folder: Path, path: Path, top: str, progress: Progress = silent) -> None:
    """Write the folder's files into the .zip `path`, below the folder `top`; refuses links."""
    files = sorted((f.relative_to(folder).as_posix(), f) for f in folder.rglob("*") if not f.is_dir())
    total, done = sum(file.lstat().st_size for _, file in files), 0
    with path.open("xb") as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for name, file in files:
                if file.is_symlink() or not file.is_file():
                    raise PackagingFailed(image=path.name, why=f"{name} is no plain file")
                done = _add(archive, f"{top}/{name}", file, done, total, progress)
        out.flush()
        os.fsync(out.fileno())


def _add(archive: zipfile.ZipFile, name: str, file: Path, done: int, total: int, progress: Progress) -> int:
    """Add one file; returns the bytes done so far."""
    runs = file.stat().st_mode & 0o111
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix, wherever this runs: only then are the modes read
    entry.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
    entry.file_size = file.stat().st_size
    with file.open("rb") as source, archive.open(entry, "w") as target:
        while chunk := source.read(CHUNK):
            target.write(chunk)
            done += len(chunk)
            progress(done, total)
    return done


def unpack(path: Path, folder: Path) -> None:
    """Unpack what `pack` wrote into a new folder, without its top, whole or not at all.

    Refused with PackagingFailed are names that lead elsewhere or occur twice, links, damage, and a folder
    that is there and not empty. A full disk is DiskFull.
    """
    if folder.exists() and any(folder.iterdir()):
        raise PackagingFailed(image=str(folder), why="the folder is not empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with roomy(folder.parent), zipfile.ZipFile(path) as archive:
            for inner, entry in _checked(path, archive).items():
                target = half / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, target.open("xb") as out:
                    shutil.copyfileobj(source, out, CHUNK)
                target.chmod(0o755 if (entry.external_attr >> 16) & 0o111 else 0o644)
        half.chmod(0o755)
        half.replace(folder)  # takes the place of an empty one
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise PackagingFailed(image=path.name, why=f"it is no sound .zip: {error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _checked(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries by their path below the top folder."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        parts = PurePosixPath(entry.filename).parts
        inner = "/".join(parts[1:])
        plain = "/".join(parts) == entry.filename and not {"..", "/"} & set(parts) and "\\" not in inner
        mode = entry.external_attr >> 16
        if not inner or not plain or (mode and not stat.S_ISREG(mode)) or inner in entries:
            raise PackagingFailed(image=path.name, why=f"{entry.filename[:200]!r} cannot stand in it")
        entries[inner] = entry
    if len(entries) > MOST or sum(entry.file_size for entry in entries.values()) > LARGEST:
        raise PackagingFailed(image=path.name, why="it holds too much")
    for inner in entries:
        if any(str(parent) in entries for parent in PurePosixPath(inner).parents):
            raise PackagingFailed(image=path.name, why=f"{inner} lies below a file")
    return entries
