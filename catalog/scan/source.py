"""One file as its check sees it: bytes at places, never more of them in memory than asked for."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from catalog.scan.findings import Refused

PIECE = 4 << 20
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)
EDGE = 70_000  # bytes of head and tail that are looked at; a zip's end record lies within 65,557
MOST_AT_ONCE = 64 << 20


class Source:
    """An open file; use it as a context manager."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.path, self.name = path, name or path.name
        # A link that appears after the names were checked is not followed, and a pipe does not block.
        self._file = os.fdopen(os.open(path, _FLAGS), "rb", buffering=0)
        self.size = self._file.seek(0, 2)
        self.head = self.read(0, min(self.size, EDGE))
        self.tail = self.read(max(0, self.size - EDGE), min(self.size, EDGE))
        self._map: mmap.mmap | None = None

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._map is not None:
            self._map.close()
        self._file.close()

    @property
    def mapped(self) -> mmap.mmap:
        """The file mapped, for walks that touch little of it."""
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._map

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes; refuses a file that ends before them."""
        if size > MOST_AT_ONCE:
            raise Refused("file-too-demanding")
        if offset < 0 or size < 0 or offset + size > self.size:
            raise Refused("file-truncated", needed=offset + size, size=self.size)
        self._file.seek(offset)
        parts = []
        while size:
            part = self._file.read(size)
            if not part:
                raise Refused("file-truncated", needed=offset + size, size=self.size)
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, start: int = 0, end: int | None = None, piece: int = PIECE) -> Iterator[bytes]:
        """The bytes from start to end in pieces."""
        end = self.size if end is None else end
        while start < end:
            part = self.read(start, min(piece, end - start))
            yield part
            start += len(part)

    def whole(self, limit: int) -> bytes:
        """All of it, for forms that are read at once; refuses more than `limit` bytes."""
        if self.size > limit:
            raise Refused("file-too-large", size=self.size, limit=limit)
        return b"".join(self.pieces())
