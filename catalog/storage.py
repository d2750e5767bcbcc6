"""Writing to disk so that a full disk is a named refusal and a killed process leaves nothing half-made."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from catalog.errors import StorageFull

CHUNK = 1 << 20
MARGIN = 16 << 20  # bytes left free for the database and logs, which must go on working
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def free_bytes(folder: Path) -> int:
    """Bytes free on the disk that holds the folder, or the nearest parent that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_room(folder: Path, needed: int) -> None:
    """Refuse with StorageFull when the folder's disk has no room for so many bytes."""
    free = free_bytes(folder)
    if free < needed + MARGIN:
        raise StorageFull(path=str(folder), needed=needed, free=free)


@contextmanager
def storage_errors(folder: Path, needed: int = 0) -> Iterator[None]:
    """Turn "no space left" from the system into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(path=str(folder), needed=needed, free=free_bytes(folder)) from error
        raise


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(file: BinaryIO) -> None:
    """Bring what was written down to the disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Wait until no other thread or process is in here with the same file; ends with the process."""
    # Only POSIX has it, and the shop runs on POSIX; imported here so that the module loads elsewhere.
    import fcntl

    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
