"""The HTTP/1.1 front: connections with bounded heads, bodies, buffers and waits, on asyncio and httptools.

A connection answers its requests in their order. A request is shown to the app twice: its head, which the
app may refuse before any body is read, and the whole, which it answers through the request's `Exchange`.
What a stranger may cost is bounded: bytes of a head, of a body, and of all bodies together; seconds of a
request on its way, of an idle connection, and of a caller who does not read.
"""
# ruff: noqa: D102 - asyncio and httptools name the callbacks, and document them

import asyncio
import resource
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools

from deployer.server.errors import Words
from deployer.server.http import Request, Response
from deployer.server.problems import Problem

MAX_HEAD = 64 << 10  # bytes
MAX_BODY = 32 << 20  # bytes
HELD = 4 * MAX_BODY  # bytes of all bodies that wait or are worked on
PIPELINED = 16  # requests that one connection may send ahead
SWALLOWED = 64 << 10  # bytes of a refused body that are read, so that the connection can be kept
REQUEST_SECONDS = 60.0  # for a request to arrive
IDLE_SECONDS = 75.0  # longer than the gateway keeps its end, so that it never meets a closed one
WRITE_SECONDS = 60.0  # for a caller to take what was written
LINGER_SECONDS = 2.0  # for a refused caller to read why
SPARE_FILES = 64  # files that are not connections: the model, the log, the loop's own


class Application(Protocol):
    """What answers requests."""

    def admit(self, request: Request) -> Any:
        """Look at a head; whatever it returns comes back in the exchange. Raises Problem to refuse."""

    def refuse(self, exchange: "Exchange", problem: Problem) -> None:
        """Answer with a refusal."""

    def handle(self, exchange: "Exchange") -> None:
        """Answer a whole request, now or later."""

    def abandon(self, exchange: "Exchange") -> None:
        """The caller of a request that is being answered has gone."""

    def resume(self, exchange: "Exchange") -> None:
        """The caller has taken the parts written so far."""


class Exchange:
    """One request and its answer."""

    route: Any = None
    job: Any = None
    refusal: Problem | None = None
    size = 0  # bytes of the body so far
    complete = False
    begun = False  # being answered
    open = False  # with the app, and not answered yet
    streaming = False
    started = 0.0  # by the loop's clock: when the whole request was there

    def __init__(
        self, connection: "Connection", request: Request, *, keep_alive: bool = False, http10: bool = False
    ) -> None:
        self.connection = connection
        self.request = request
        self.keep_alive = keep_alive
        self.http10 = http10
        self.body = bytearray()

    def respond(self, response: Response) -> None:
        """Send the whole answer, or the head of one that `send` and `end` go on with."""
        self.connection.respond(self, response)

    def send(self, piece: bytes) -> None:
        """Send a piece of a streamed answer."""
        self.connection.send(self, piece)

    def end(self) -> None:
        """The streamed answer is complete."""
        self.connection.end(self)

    def abort(self) -> None:
        """Break a streamed answer off, so that nobody takes it for complete."""
        self.connection.abort()


class Front:
    """All connections of a server."""

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.loop = loop
        self.held = 0
        self.connections: set[Connection] = set()
        self.most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)

    def connect(self) -> "Connection":
        """The protocol of a new connection."""
        return Connection(self)

    def sweep(self) -> None:
        """End what has taken too long; to be called about once a second."""
        now = self.loop.time()
        for connection in list(self.connections):
            connection.sweep(now)

    @property
    def busy(self) -> bool:
        """Whether a request is on its way or being answered."""
        return any(connection.exchanges for connection in self.connections)

    def close(self) -> None:
        """Close all connections once what was written to them is sent; they are gone when that is done."""
        for connection in list(self.connections):
            connection.close()


class Connection(asyncio.Protocol):
    """One connection of a caller."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.exchanges: deque[Exchange] = deque()
        self.arriving: Exchange | None = None
        self.url = b""
        self.headers: dict[bytes, bytes] = {}
        self.unread = 0  # bytes of a head, or of trailers, that are not whole yet
        self.deaf = False  # what still comes is not read
        self.congested = False
        self.buffered = 0  # bytes that the caller had not taken at the last look
        self.reading = True
        self.staying = False  # reads the body of a request that would have been an upgrade
        self.since = front.loop.time()  # when something was last finished: idle or leaving from then on
        self.arriving_since = self.since  # when the first byte of what arrives came
        self.stalled_since = self.since  # when the caller last took something of what was written

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's do not descend from it
        front = self.front
        front.connections.add(self)
        if len(front.connections) > front.most:
            waiting = len(front.connections)
            cause = Words(f"{waiting} connections are open.", f"已有 {waiting} 个连接。")
            problem = Problem("overloaded", cause, headers={"Retry-After": "1"})
            self._refuse(Exchange(self, Request("GET", "", {})), problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.connections.discard(self)
        self.deaf = True
        for exchange in self.exchanges:
            self._let_go(exchange)
            if exchange.open:
                self.front.app.abandon(exchange)
        self.exchanges.clear()
        self.arriving = None

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        if self.arriving is None:
            self.unread += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._stay(data[error.args[0] :])
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError as error:
            self._malformed(str(error) or "it is not HTTP", "不是 HTTP")
        if self.unread > MAX_HEAD:
            self._malformed(f"The head exceeds {MAX_HEAD >> 10} KiB", f"请求头超过 {MAX_HEAD >> 10} KiB")

    def pause_writing(self) -> None:
        self.congested = True
        self.stalled_since = self.front.loop.time()
        self.buffered = self.transport.get_write_buffer_size()
        self._mind_reading()

    def resume_writing(self) -> None:
        self.congested = False
        self._mind_reading()
        if self.exchanges and self.exchanges[0].streaming:
            self.front.app.resume(self.exchanges[0])
        else:
            self._start_next()

    def _mind_reading(self) -> None:
        """Read on only while the caller takes answers, and has not sent too much ahead."""
        wanted = not self.congested and len(self.exchanges) < PIPELINED
        if wanted == self.reading or self.transport.is_closing():
            return
        self.reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    # httptools' side

    def on_message_begin(self) -> None:
        self.url, self.headers = b"", {}
        self.arriving_since = self.front.loop.time()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.arriving is None:
            self.headers[name.lower()] = value
            return
        self.unread += len(name) + len(value)  # a trailer: dropped, as RFC 9110, section 6.5.1, allows

    def on_headers_complete(self) -> None:
        if self.deaf:
            return
        parser = self.parser
        self.unread = 0
        request = Request(_text(parser.get_method()), _path(self.url), self.headers)
        keep_alive, http10 = parser.should_keep_alive(), parser.get_http_version() == "1.0"
        keep_alive = keep_alive and request.method != "CONNECT"  # behind it is no HTTP
        exchange = Exchange(self, request, keep_alive=keep_alive, http10=http10)
        self.arriving = exchange
        self.exchanges.append(exchange)
        announced = self.headers.get(b"content-length", b"")
        if announced and (len(announced) > 12 or int(announced) > MAX_BODY):
            self._refuse(exchange, _too_large())
            return
        try:
            exchange.route = self.front.app.admit(request)
        except Problem as problem:
            if b"transfer-encoding" in self.headers or int(announced or 0) > SWALLOWED:
                self._refuse(exchange, problem)
                return
            exchange.refusal = problem
        expects = self.headers.get(b"expect", b"").lower() == b"100-continue" and not http10
        if expects and len(self.exchanges) == 1 and exchange.refusal is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        exchange, front = self.arriving, self.front
        if exchange is None or self.deaf:
            return
        exchange.size += len(data)
        front.held += len(data)
        if exchange.size > MAX_BODY:
            self._refuse(exchange, _too_large())
        elif front.held > HELD:
            mebi = HELD >> 20
            cause = Words(f"{mebi} MiB of requests are waiting.", f"等待中的请求已达 {mebi} MiB。")
            self._refuse(exchange, Problem("overloaded", cause, headers={"Retry-After": "1"}))
        elif exchange.refusal is None:
            exchange.body += data

    def on_message_complete(self) -> None:
        exchange = self.arriving
        if exchange is None or self.deaf or self._body_follows(exchange):
            return
        self.arriving, self.unread = None, 0
        exchange.request.body = bytes(exchange.body)
        exchange.body = bytearray()
        exchange.complete = True
        if self.exchanges[0] is exchange and not self.congested:
            self._start(exchange)
        else:
            self._mind_reading()

    # the app's side

    def respond(self, exchange: Exchange, response: Response) -> None:
        """Write an answer, and go on with the next request unless this one only begins to stream."""
        if self.transport.is_closing():
            self._let_go(exchange)
            return
        if response.streams:
            exchange.streaming = True
            self.transport.write(_head(exchange, response, None))
            return
        body = response.body
        if exchange.request.method == "HEAD":
            self.transport.write(_head(exchange, response, len(body)))
        else:
            self.transport.write(_head(exchange, response, len(body)) + body)
        self._finish(exchange)

    def send(self, exchange: Exchange, piece: bytes) -> None:
        """Write a piece of a streamed answer."""
        if piece and not self.transport.is_closing():
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if not exchange.http10 else piece
            self.transport.write(framed)

    def end(self, exchange: Exchange) -> None:
        """Close a streamed answer."""
        if self.transport.is_closing():
            return
        if not exchange.http10:
            self.transport.write(b"0\r\n\r\n")
        self._finish(exchange)

    def abort(self) -> None:
        """Break off."""
        self.transport.abort()

    def close(self) -> None:
        """Close once everything is written."""
        self.deaf = True
        self.transport.close()

    def sweep(self, now: float) -> None:
        """End this connection when what it waits for has taken too long."""
        if self.congested:
            left = self.transport.get_write_buffer_size()
            if left < self.buffered:
                self.stalled_since = now
            self.buffered = left
            if now - self.stalled_since > WRITE_SECONDS:
                self.transport.abort()
        elif self.deaf:
            if not self.exchanges and now - self.since > LINGER_SECONDS:
                self.transport.abort()
        elif self.arriving is not None or (self.unread and not self.exchanges):
            if now - self.arriving_since > REQUEST_SECONDS:
                cause = Words(
                    f"It took more than {REQUEST_SECONDS:.0f} s.", f"超过了 {REQUEST_SECONDS:.0f} 秒。"
                )
                self._give_up(Problem("slow-body", cause))
        elif not self.exchanges and now - self.since > IDLE_SECONDS:
            self.close()

    # inside

    def _body_follows(self, exchange: Exchange) -> bool:
        """Whether the parser, which takes a wish to upgrade for granted, left a request's body out."""
        headers = exchange.request.headers
        if b"upgrade" not in headers or self.staying or not self.parser.should_upgrade():
            return False
        return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""

    def _stay(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 with a caller who would upgrade, as RFC 9110, section 7.8, lets a server."""
        exchange = self.arriving
        if exchange is None:
            self.parser = httptools.HttpRequestParser(self)
        else:
            exchange.keep_alive, self.staying = False, True
            headers = exchange.request.headers
            length = headers.get(b"content-length")
            framing = b"content-length: " + length if length else b"transfer-encoding: chunked"
            self.parser = httptools.HttpRequestParser(_Body(self))
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
        if rest:
            self.data_received(rest)

    def _start(self, exchange: Exchange) -> None:
        exchange.begun = True
        exchange.started = self.front.loop.time()
        if exchange.refusal is not None:
            self.front.app.refuse(exchange, exchange.refusal)
        else:
            self.front.app.handle(exchange)

    def _refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Answer a request whose rest is not read: the connection ends with it."""
        exchange.refusal, exchange.keep_alive = problem, False
        self._let_go(exchange)
        self.arriving, self.deaf = None, True
        exchange.complete = True
        if not self.exchanges or self.exchanges[0] is exchange:
            self._start(exchange)

    def _malformed(self, en: str, zh: str) -> None:
        self._give_up(Problem("bad-request", Words(f"{en[:200]}.", f"{zh}。")))

    def _give_up(self, problem: Problem) -> None:
        """Refuse what is arriving, whole or not; nothing more is read."""
        if self.deaf:
            return
        exchange = self.arriving
        if exchange is None:
            exchange = Exchange(self, Request("GET", "", {}))
            self.exchanges.append(exchange)
        self._refuse(exchange, problem)

    def _finish(self, exchange: Exchange) -> None:
        """An answer is written: make room for the next."""
        self._let_go(exchange)
        if self.exchanges and self.exchanges[0] is exchange:
            self.exchanges.popleft()
        self.since = self.front.loop.time()
        if not exchange.keep_alive:
            self._leave()
            return
        if not self.reading:
            self._mind_reading()
        if self.exchanges and self.exchanges[0].complete:
            self.front.loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        ready = self.exchanges and self.exchanges[0].complete and not self.exchanges[0].begun
        if ready and not self.congested and not self.transport.is_closing():
            self._start(self.exchanges[0])

    def _leave(self) -> None:
        """Close, but let a caller who is still sending read the answer first."""
        sending = self.deaf
        self.deaf = True
        for exchange in self.exchanges:
            self._let_go(exchange)
        self.exchanges.clear()
        if sending and self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _let_go(self, exchange: Exchange) -> None:
        self.front.held -= exchange.size
        exchange.size = 0
        exchange.body = bytearray()


class _Body:
    """What a parser tells a connection of that knows the request's head already."""

    def __init__(self, connection: Connection) -> None:
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete


@lru_cache(maxsize=32)
def _text(data: bytes) -> str:
    return data.decode("latin-1")


@lru_cache(maxsize=256)
def _path(target: bytes) -> str:
    """The path of a request's target."""
    return target.partition(b"?")[0].decode("latin-1")


@lru_cache(maxsize=256)
def _beginning(status: int, content_type: str) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n".encode()


def _head(exchange: Exchange, response: Response, length: int | None) -> bytes:
    """Status line and headers; without a length the answer comes in chunks, or ends the connection."""
    head = _beginning(response.status, response.content_type)
    if length is not None:
        head += b"content-length: %d\r\n" % length
    elif not exchange.http10:
        head += b"transfer-encoding: chunked\r\n"
    else:
        exchange.keep_alive = False
    for name, value in response.headers.items():
        head += f"{name.lower()}: {value}\r\n".encode("latin-1", "replace")
    if response.tokens:
        head += b"x-usage-tokens: %d\r\n" % response.tokens  # the gateway counts them
    if not exchange.keep_alive:
        head += b"connection: close\r\n"
    elif exchange.http10:
        head += b"connection: keep-alive\r\n"
    return head + b"\r\n"


def _too_large() -> Problem:
    mebi = MAX_BODY >> 20
    return Problem("too-large", Words(f"At most {mebi} MiB are taken.", f"至多 {mebi} MiB。"))
