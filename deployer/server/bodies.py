"""Reading requests' bodies within bounds: of one body, of all that are held at once, and of time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from deployer.server.http import MAX_BODY, Request
from deployer.server.predictor import Words
from deployer.server.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

HELD = 4 * MAX_BODY  # bytes of all bodies that wait or are worked on
SECONDS = 60.0
CLOSE = {"Connection": "close"}  # the rest of a refused body is not read


class Bodies:
    """What is held of the bodies in flight, in bytes."""

    def __init__(self) -> None:
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, counted as held until the work on it is done.

        Refuses more than MAX_BODY bytes as soon as they are announced or seen, more than HELD together
        with other bodies, and a body that takes longer than SECONDS.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and (len(announced) > 12 or int(announced) > MAX_BODY):
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(SECONDS):
                    more = True
                    while more:
                        chunk, more = await _chunk(receive)
                        size += len(chunk)
                        self.held += len(chunk)
                        self._check(size)
                        chunks.append(chunk)
            except TimeoutError as error:
                cause = Words(f"It took more than {SECONDS:.0f} s.", f"超过了 {SECONDS:.0f} 秒。")
                raise Problem("slow-body", cause, headers=dict(CLOSE)) from error
            yield b"".join(chunks)
        finally:
            self.held -= size

    def _check(self, size: int) -> None:
        if size > MAX_BODY:
            raise _too_large()
        if self.held > HELD:
            mebi = HELD >> 20
            cause = Words(f"{mebi} MiB of requests are waiting.", f"等待中的请求已达 {mebi} MiB。")
            raise Problem("overloaded", cause, headers={"Retry-After": "1", **CLOSE})


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next piece, and whether more follow; a caller who left is a ConnectionResetError."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ConnectionResetError
    return message.get("body", b""), message.get("more_body", False)


def _too_large() -> Problem:
    mebi = MAX_BODY >> 20
    return Problem(
        "too-large", Words(f"At most {mebi} MiB are taken.", f"至多 {mebi} MiB。"), headers=dict(CLOSE)
    )
