"""Files by content: blobs/sha256/<hex>, and model folders laid out of them.

A blob appears only whole, is read-only, and is checked whenever a model folder is laid out. One that
no longer has its digest is moved aside, so that fetching it again mends the store. Model folders are
hard links into the store (copies where the disk cannot link), so that a model lies on the disk once.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from catalog import manifest as manifests
from catalog.errors import BlobCorrupted, BlobMissing, DigestMismatch
from catalog.storage import CHUNK, only_one, require_room, sha256_of, storage_errors, sync


def store(home: Path) -> Path:
    """The folder of the blobs."""
    return home / "blobs" / "sha256"


def blob_path(home: Path, sha256: str) -> Path:
    """Where a blob lies, or would lie."""
    return store(home) / sha256


def put(home: Path, source: Path, sha256: str | None = None) -> str:
    """Copy a file into the store and return its sha256; a damaged blob of that name is replaced.

    Raises DigestMismatch when the file is not what `sha256` says, and StorageFull.
    """
    got = sha256_of(source)
    if sha256 is not None and got != sha256:
        raise DigestMismatch(source=source.name, file=source.name, expected=sha256, got=got)
    target = blob_path(home, got)
    if target.exists() and sha256_of(target) == got:
        os.utime(target)  # whoever collects what nobody names leaves fresh files alone
        return got
    target.parent.mkdir(parents=True, exist_ok=True)
    require_room(target.parent, source.stat().st_size)
    handle, half = tempfile.mkstemp(dir=target.parent, prefix=".")
    try:
        with storage_errors(target.parent, source.stat().st_size), os.fdopen(handle, "wb") as out:
            with source.open("rb") as file:
                shutil.copyfileobj(file, out, CHUNK)
            sync(out)
        if sha256_of(Path(half)) != got:
            raise DigestMismatch(source=source.name, file=source.name, expected=got, got="changed meanwhile")
        Path(half).chmod(0o444)
        Path(half).replace(target)
    finally:
        Path(half).unlink(missing_ok=True)
    return got


def verify(home: Path, sha256: str, path: str = "") -> Path:
    """The blob's path after its digest was checked; `path` is its name for people.

    Raises BlobMissing, or BlobCorrupted after the bad file was moved aside.
    """
    blob = blob_path(home, sha256)
    if not blob.is_file():
        raise BlobMissing(sha256=sha256, path=path)
    if sha256_of(blob) != sha256:
        # Kept for whoever looks for the cause, under a name that nothing looks up.
        blob.replace(store(home) / f".corrupted-{sha256}")
        raise BlobCorrupted(sha256=sha256, path=path)
    return blob


def missing(home: Path, manifest: dict[str, Any]) -> list[str]:
    """Paths of the manifest's files that are not in the store; says nothing about damaged ones."""
    return [
        a["path"]
        for a in manifest["artifacts"]
        if not _has_size(blob_path(home, a["sha256"]), int(a["size"]))
    ]


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def model_dir(home: Path, digest: str) -> Path:
    """The folder of the version with this digest, whether it is there or not."""
    return home / "models" / digest.removeprefix("sha256:")


def materialize(home: Path, manifest: dict[str, Any], digest: str = "") -> Path:
    """Lay out a version's model folder with manifest.json; every file's digest is checked each time.

    May run twice and beside itself. Raises BlobMissing, BlobCorrupted or StorageFull.
    """
    folder = model_dir(home, digest or manifests.digest(manifest))
    with only_one(folder.parent / f".{folder.name}.lock"):
        blobs = {a["path"]: verify(home, a["sha256"], a["path"]) for a in manifest["artifacts"]}
        text = manifests.canonical(manifest)
        if not _is_laid_out(folder, blobs, text):
            _lay_out(folder, blobs, text)
    return folder


def _is_laid_out(folder: Path, blobs: dict[str, Path], text: bytes) -> bool:
    """Whether the folder holds exactly these files; a copy is read, a link has been read already."""
    described = folder / manifests.FILE_NAME
    if not described.is_file() or described.read_bytes() != text:
        return False
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}
    if present != {*blobs, manifests.FILE_NAME}:
        return False
    return all(_same(folder / path, blob) for path, blob in blobs.items())


def _same(file: Path, blob: Path) -> bool:
    return file.samefile(blob) or sha256_of(file) == blob.name


def _lay_out(folder: Path, blobs: dict[str, Path], text: bytes) -> None:
    """Make the folder beside its place and move it there; a server that reads the old one goes on."""
    half = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with storage_errors(folder.parent):
            for path, blob in blobs.items():
                target = half / path
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(blob, target)
            described = half / manifests.FILE_NAME
            described.write_bytes(text)
            described.chmod(0o444)
        for inner in (half, *(p for p in half.rglob("*") if p.is_dir())):
            inner.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
            folder.replace(old)
            half.replace(folder)
            shutil.rmtree(old)
        else:
            half.replace(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _link(blob: Path, target: Path) -> None:
    try:
        os.link(blob, target)
    except OSError:
        # Another disk, or one without hard links.
        require_room(target.parent, blob.stat().st_size)
        shutil.copyfile(blob, target)
        target.chmod(0o444)
