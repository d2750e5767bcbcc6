"""Write a bundle: its table, the signature over it, the files in the table's order; the same each time."""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from catalog.storage import require_room, sha256_of, storage_errors, sync
from deployer.spec import Progress, silent
from marketplace.bundles.contents import ENVELOPE, KEY, TABLE, Item, Table, refuse

Seal = Callable[[bytes], tuple[bytes, bytes]]
"""Gives the signed envelope for the table's bytes, and the public key to check it with."""


@dataclass(frozen=True)
class Part:
    """A file to put into a bundle: one of the disk, or some bytes."""

    source: Path | bytes
    mode: int = 0o644
    sha256: str = ""
    """Known already, such as a blob's; "" reads the file for it."""

    def item(self, path: str) -> Item:
        """Its line in the table."""
        if isinstance(self.source, bytes):
            return Item(path, hashlib.sha256(self.source).hexdigest(), len(self.source), self.mode)
        return Item(path, self.sha256 or sha256_of(self.source), self.source.stat().st_size, self.mode)


def write(
    target: Path, table: Table, parts: Mapping[str, Part], seal: Seal, progress: Progress = silent
) -> Table:
    """Write the bundle, whole or not at all; raises StorageFull, and BundleRefused when a file changed."""
    items = [parts[path].item(path) for path in sorted(parts)]
    table = replace(table, items=items)
    content = table.encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    require_room(target.parent, table.size)
    handle, half = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    try:
        with storage_errors(target.parent, table.size), os.fdopen(handle, "wb") as out:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                envelope, key = seal(content)
                for name, head in ((TABLE, content), (ENVELOPE, envelope), (KEY, key)):
                    _add(archive, Item(name, "", len(head)), io.BytesIO(head))
                _add_all(target, archive, table, parts, progress)
            sync(out)
        Path(half).chmod(0o644)
        Path(half).replace(target)
    finally:
        Path(half).unlink(missing_ok=True)
    return table


class _Hashing:
    """Reads a file and keeps the digest of what was read: a file may change between table and tar."""

    def __init__(self, file: io.BufferedReader | io.BytesIO) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _add_all(
    target: Path, archive: tarfile.TarFile, table: Table, parts: Mapping[str, Part], progress: Progress
) -> None:
    done = 0
    for item in table.items:
        source = parts[item.path].source
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            reader = _Hashing(file)
            _add(archive, item, reader)
        if reader.hash.hexdigest() != item.sha256:
            refuse(target.name, f"{item.path} is damaged", f"{item.path} 已损坏")
        done += item.size
        progress(done, table.size, item.path)


def _add(archive: tarfile.TarFile, item: Item, file: "_Hashing | io.BytesIO") -> None:
    info = tarfile.TarInfo(item.path)
    info.size, info.mode = item.size, item.mode
    archive.addfile(info, file)  # type: ignore[arg-type]
