"""Connections to replicas and to the shop, kept open and used again, one exchange at a time."""
# ruff: noqa: D102 - asyncio and httptools name the callbacks, and document them

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import httptools

from marketplace.gateway.wire import Body, Gone, Headers, Limits, Valve, encode_head, find

# A server closes idle connections on its own clock (uvicorn: 5 s); we let go of them first.
_IDLE_SECONDS = 4.0
_IDLE_KEPT = 64
_NO_BODY = (204, 304)


class UpstreamGone(Gone):
    """The server behind us could not be reached, or broke off. `begun`: part of an answer had come."""

    def __init__(self, why: str, *, begun: bool = False) -> None:
        super().__init__(why)
        self.begun = begun


@dataclass(slots=True)
class Response:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Headers
    body: Body
    length: int | None
    keep_alive: bool = field(default=False)


class Upstream(asyncio.Protocol):
    """One connection to a server behind the gateway."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._headers: Headers = []
        self._head_size = 0
        self._method = b""
        self._interim = False
        self._valve = Valve()
        self.alive = False
        self.idle_since = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's do not descend from it
        self._transport, self.alive = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._valve.release(UpstreamGone("connection lost"))
        body = self._response.body if self._response else None
        if body is not None and not body.ended and self._ends_with_connection() and exc is None:
            body.end()
        self._fail(UpstreamGone("connection closed", begun=self._response is not None or self._head_size > 0))

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()  # bytes that nobody asked for
            return
        if self._response is None:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._response is None or not self._response.body.ended:
                self._broken(f"not HTTP: {error.__context__ or error}")
            else:
                self.close()
        else:
            # One chunk holds at most 256 KiB, so an endless head is noticed soon after the limit.
            if self._response is None and self._head_size > 2 * self._limits.head_bytes + (1 << 18):
                self._broken("headers too large")

    def pause_writing(self) -> None:
        self._valve.shut()

    def resume_writing(self) -> None:
        self._valve.release()

    # httptools' side

    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:
            self._headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("unexpected protocol upgrade")
        self._interim = status < 200
        if self._interim or self._response is not None or self._answer is None:
            return
        codings = [v.lower() for n, v in self._headers if n == b"transfer-encoding"]
        length = find(self._headers, b"content-length")
        if codings not in ([], [b"chunked"]) or (codings and length) or (length and not length.isdigit()):
            raise ValueError("ambiguous length")
        body = Body(self._pause_reading, self._resume_reading)
        self._response = Response(status, self._headers, body, int(length) if length else None)
        if self._method == b"HEAD" or status in _NO_BODY:
            self._complete()
        if not self._answer.done():
            self._answer.set_result(self._response)

    def on_body(self, data: bytes) -> None:
        if self._response is not None and not self._response.body.ended:
            self._response.body.feed(data)

    def on_message_complete(self) -> None:
        if not self._interim:
            self._complete()

    # the gateway's side

    def begin(self, method: bytes, head: bytes) -> None:
        """Send a request head, with what body is joined to it."""
        if not self.alive or self._transport is None or self._transport.is_closing():
            raise UpstreamGone("connection closed")
        self._parser = httptools.HttpResponseParser(self)
        self._response, self._method, self._head_size = None, method, 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head)

    async def answer(self) -> Response:
        """The answer, as soon as its head is here; raises UpstreamGone."""
        assert self._answer is not None
        return await self._answer

    async def send(self, data: bytes) -> None:
        """Send more of the request's body; waits while the server does not keep up."""
        if not self.alive or self._transport is None:
            raise UpstreamGone("connection lost")
        self._transport.write(data)
        await self._valve.passable()

    def fail(self, error: Exception) -> None:
        """Give the exchange up: whoever waits for the answer gets this error."""
        self._fail(error)
        self.close()

    def close(self) -> None:
        """Close the connection; what is under way on it is lost."""
        self.alive = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def release(self) -> bool:
        """Forget the finished exchange; True if the connection can carry another one."""
        response, self._response, self._parser, self._answer = self._response, None, None, None
        fit = self.alive and response is not None and response.body.ended and response.keep_alive
        if not fit:
            self.close()
        return fit

    def _complete(self) -> None:
        if self._response is None or self._parser is None or self._response.body.ended:
            return
        self._response.keep_alive = self._parser.should_keep_alive()
        self._response.body.end()

    def _ends_with_connection(self) -> bool:
        """True where neither a length nor chunks say where the body ends (RFC 9112 section 6.3)."""
        return (
            self._response is not None
            and self._response.length is None
            and not find(self._response.headers, b"transfer-encoding")
        )

    def _broken(self, why: str) -> None:
        self.fail(UpstreamGone(why, begun=True))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # the one who asked may be gone already
        if self._response is not None:
            self._response.body.fail(error)

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class Pools:
    """Idle connections by address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: dict[str, list[Upstream]] = {}

    async def connect(self, address: str, *, fresh: bool = False) -> tuple[Upstream, bool]:
        """A connection to unix:/path or tcp:host:port, and whether it is a used one (never if `fresh`)."""
        now = asyncio.get_running_loop().time()
        idle = self._idle.get(address, [])
        while idle and not fresh:
            connection = idle.pop()
            if connection.alive and now - connection.idle_since < _IDLE_SECONDS:
                return connection, True
            connection.close()
        return await self._open(address), False

    def put_back(self, address: str, connection: Upstream) -> None:
        """Keep a connection for the next request, if it is fit for one."""
        if not connection.release():
            return
        idle = self._idle.setdefault(address, [])
        if len(idle) >= _IDLE_KEPT:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle.append(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        for address, idle in list(self._idle.items()):
            kept = [c for c in idle if c.alive and now - c.idle_since < _IDLE_SECONDS]
            for connection in set(idle).difference(kept):
                connection.close()
            if kept:
                self._idle[address] = kept
            else:
                del self._idle[address]

    def keep_only(self, addresses: Iterable[str]) -> None:
        """Close the idle connections to all other addresses."""
        for address in set(self._idle).difference(addresses):
            for connection in self._idle.pop(address):
                connection.close()

    async def ask(
        self, address: str, method: bytes, path: bytes, body: bytes = b"", *, seconds: float
    ) -> tuple[int, bytes]:
        """One small exchange of the gateway's own; raises UpstreamGone."""
        headers = [
            (b"host", b"gateway"),
            (b"connection", b"close"),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        connection: Upstream | None = None
        try:
            async with asyncio.timeout(seconds):
                connection, _ = await self.connect(address, fresh=True)
                head = encode_head(b"%b %b HTTP/1.1" % (method, path), headers)
                connection.begin(method, head + body)
                response = await connection.answer()
                parts = []
                while chunk := await response.body.read():
                    parts.append(chunk)
                return response.status, b"".join(parts)
        except TimeoutError:
            raise UpstreamGone("timeout") from None
        finally:
            if connection is not None:
                connection.close()

    async def _open(self, address: str) -> Upstream:
        loop = asyncio.get_running_loop()
        kind, _, place = address.partition(":")
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                if kind == "unix":
                    _, connection = await loop.create_unix_connection(lambda: Upstream(self._limits), place)
                else:
                    host, _, port = place.rpartition(":")
                    _, connection = await loop.create_connection(
                        lambda: Upstream(self._limits), host.strip("[]"), int(port)
                    )
        except TimeoutError:
            raise UpstreamGone("no connection in time") from None
        except (OSError, ValueError) as error:
            raise UpstreamGone(getattr(error, "strerror", None) or str(error)) from None
        return connection
