"""Files that the shop has the gateway send: found below the home, and sent without being read here.

The shop decides who may have which file and answers with a head; its field X-Market-File names a piece of
a file, and the kernel copies that piece from the disk to the client's socket. Only the shop's own socket is
believed: the field is dropped from what clients send and from what model servers answer.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

FIELD = b"x-market-file"
OFFER = (FIELD, b"1")
"""The field of a request by which the shop knows that files may be left to its sender."""

FOLDERS = frozenset({"blobs", "packages"})
"""Folders of the home that files are sent from."""

_STEP = 2 << 20  # bytes handed to the kernel at once, so that one fast client does not hold up the others
_COPIED = 256 << 10
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOTSOCK})
_CORK: int | None = getattr(socket, "TCP_CORK", None)


class NotSendable(Exception):
    """What the shop named cannot be sent."""


class CutShort(Exception):
    """The file ended before the piece did."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a file: its path below the home, where the part begins, and its bytes."""

    path: str
    offset: int
    length: int

    @classmethod
    def parse(cls, value: bytes) -> "Piece":
        """Read a field such as `0 1024 blobs/sha256/ab12`; raises NotSendable."""
        words = value.split(b" ")
        if len(words) != 3 or not all(w.isdigit() and len(w) < 19 for w in words[:2]):
            raise NotSendable("not a piece of a file")
        return cls(unquote(words[2].decode("latin-1")), int(words[0]), int(words[1]))


def open_piece(home: Path, piece: Piece) -> int:
    """A descriptor of the piece's file; raises NotSendable.

    The path is walked folder by folder without following a link, so that nothing outside can be meant;
    only the first folder may be a link, which whoever owns the home has set to another disk.
    """
    first, *inner = piece.path.split("/")
    if first not in FOLDERS or not inner or any(name in ("", ".", "..") or "\0" in name for name in inner):
        raise NotSendable("not a path of a kept file")
    try:
        folder = os.open(home / first, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in inner[:-1]:
            folder = _enter(folder, name)
        file = _inside(folder, inner[-1], os.O_NONBLOCK)
    except OSError as error:
        raise NotSendable(error.strerror or type(error).__name__) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotSendable("not a plain file")
        if found.st_size < piece.offset + piece.length:
            raise NotSendable("the file is shorter than told")
    except BaseException:
        os.close(file)
        raise
    return file


def _enter(folder: int, name: str) -> int:
    return _inside(folder, name, os.O_DIRECTORY)


def _inside(folder: int, name: str, flags: int) -> int:
    """Open a name of a folder, and let go of the folder."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    finally:
        os.close(folder)


class Sender:
    """Sends a head and a piece of an open file over a connection whose own buffer is empty.

    It works on a duplicate of the socket, because an event loop watches a transport's socket for itself.
    """

    def __init__(self, connection: int, head: bytes, file: int, offset: int, length: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(fileno=os.dup(connection))
        self._socket.setblocking(False)
        self._head = memoryview(head)
        self._file, self._offset, self._left = file, offset, length
        self._copies = False
        self._done: asyncio.Future[None] = self._loop.create_future()
        self.sent = 0
        self.moved_at = self._loop.time()

    async def run(self) -> None:
        """Return when all of it is in the kernel's hands; raises OSError or CutShort."""
        watching = False
        self._cork(True)
        try:
            if not self._advance():
                self._loop.add_writer(self._socket.fileno(), self._on_writable)
                watching = True
                await self._done
        finally:
            if watching:
                self._loop.remove_writer(self._socket.fileno())
            self._cork(False)
            self._socket.close()

    def _cork(self, on: bool) -> None:
        """Have the kernel send full segments only, the head with the first bytes: a fifth less work."""
        if _CORK is not None:
            with contextlib.suppress(OSError):  # not TCP, or gone
                self._socket.setsockopt(socket.IPPROTO_TCP, _CORK, int(on))

    def _on_writable(self) -> None:
        if self._done.done():
            return
        try:
            if self._advance():
                self._done.set_result(None)
        except (OSError, CutShort) as error:
            self._done.set_exception(error)

    def _advance(self) -> bool:
        """Send what fits now; true when nothing is left."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            if self._head:
                gone = self._socket.send(self._head)
                self._head = self._head[gone:]
                self.moved_at = self._loop.time()
            if not self._head and self._left:
                gone = self._copy() if self._copies else self._hand_over()
                if not gone:
                    raise CutShort("the file is shorter than told")
                self._offset, self._left = self._offset + gone, self._left - gone
                self.sent += gone
                self.moved_at = self._loop.time()
        return not self._head and not self._left

    def _hand_over(self) -> int:
        try:
            return os.sendfile(self._socket.fileno(), self._file, self._offset, min(self._left, _STEP))
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        self._copies = True  # a file system that cannot; its bytes go through this process
        return self._copy()

    def _copy(self) -> int:
        data = os.pread(self._file, min(self._left, _COPIED), self._offset)
        return self._socket.send(data) if data else 0
