"""What both sides of a proxied exchange share: bodies in transit, header rules and limits."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

Headers = list[tuple[bytes, bytes]]

# A sender is stopped when this much of its message waits, and goes on when half of it is gone.
HIGH_WATER = 256 * 1024

# Fields that speak about one connection only (RFC 9110 section 7.6.1), and are never passed on.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)


@dataclass(frozen=True)
class Limits:
    """How long and how much the gateway waits for and takes; seconds and bytes."""

    header_seconds: float = 15.0
    idle_seconds: float = 75.0
    body_seconds: float = 30.0
    write_seconds: float = 120.0
    answer_seconds: float = 900.0
    connect_seconds: float = 5.0
    first_table_seconds: float = 5.0
    going_live_seconds: float = 1.0
    linger_seconds: float = 3.0
    head_bytes: int = 64 * 1024
    header_count: int = 128
    replay_bytes: int = 256 * 1024
    pipelined: int = 64
    connections: int = 8192


class Gone(Exception):
    """The other side of a connection went away in the middle of a message."""


class Body:
    """The bytes of one message on their way; stops their sender while too many wait."""

    __slots__ = ("_chunks", "_error", "_pause", "_resume", "_stopped", "_waiter", "_waiting", "ended", "size")

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._pause, self._resume = pause, resume
        self._stopped = False
        self.ended = False
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Add what came in."""
        self._chunks.append(data)
        self.size += len(data)
        self._waiting += len(data)
        if self._waiting > HIGH_WATER and not self._stopped:
            self._stopped = True
            self._pause()
        self._wake()

    def end(self) -> None:
        """The message is complete."""
        self.ended = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The rest of the message will not come; the reader gets this error after what is there."""
        if not self.ended and self._error is None:
            self._error = error
            self._wake()

    @property
    def wanted(self) -> bool:
        """True while somebody waits for bytes that have not come."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def waiting(self) -> bool:
        """True while bytes are there that nobody has read."""
        return bool(self._chunks)

    async def read(self) -> bytes:
        """All bytes that wait, at least one; empty at the end of the message."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.take()

    def take(self) -> bytes:
        """The bytes that wait now, without waiting for more."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        if self._stopped:
            self._stopped = False
            self._resume()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Valve:
    """Lets a writer wait while the other side does not keep up (pause_writing and resume_writing)."""

    __slots__ = ("_open", "closed_at")

    def __init__(self) -> None:
        self._open: asyncio.Future[None] | None = None
        self.closed_at: float | None = None

    def shut(self) -> None:
        """Writers wait from now on."""
        loop = asyncio.get_running_loop()
        self._open, self.closed_at = loop.create_future(), loop.time()

    def release(self, error: Exception | None = None) -> None:
        """Writers go on, or fail where the connection is lost."""
        waiting, self._open, self.closed_at = self._open, None, None
        if waiting is not None and not waiting.done():
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)
                waiting.exception()  # nobody may be waiting; that is no mistake

    async def passable(self) -> None:
        """Return when bytes may be written."""
        if self._open is not None:
            await asyncio.shield(self._open)


def end_to_end(headers: Headers, drop: frozenset[bytes]) -> Headers:
    """The headers without hop-by-hop fields, those that Connection names, and those in `drop`."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    unwanted = HOP_BY_HOP | drop | named if named else HOP_BY_HOP | drop
    return [field for field in headers if field[0] not in unwanted]


def find(headers: Headers, name: bytes) -> bytes:
    """The first value of a header, empty where it is missing; names are in lower case."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def encode_head(first_line: bytes, headers: Headers) -> bytes:
    """A message head as bytes."""
    return b"".join([first_line, *(b"\r\n%b: %b" % field for field in headers), b"\r\n\r\n"])


def log(event: str, level: str = "info", **facts: object) -> None:
    """Write one JSON line to stderr; callers pass no keys, bodies or query strings."""
    line = {"event": event, "level": level, "logger": "gateway", **facts}
    sys.stderr.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stderr.flush()
