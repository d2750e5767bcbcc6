"""One connection of a client: requests come in, answers go out in the same order."""
# ruff: noqa: D102 - asyncio and httptools name the callbacks, and document them

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

import httptools

from marketplace.gateway.files import CutShort, Sender
from marketplace.gateway.heads import Request, framing, not_allowed, read_head
from marketplace.gateway.problems import Refusal, render
from marketplace.gateway.wire import Body, Gone, Headers, Limits, Valve, encode_head

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class ClientGone(Gone):
    """The client closed its connection before the answer was complete."""


class Client(asyncio.Protocol):
    """The protocol of one client connection; `handle` answers one request at a time."""

    def __init__(
        self, limits: Limits, handle: Callable[["Client", Request], Awaitable[None]], peers: set["Client"]
    ) -> None:
        self._limits, self._handle, self._peers = limits, handle, peers
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Request] = deque()
        self._incoming: Request | None = None
        self._valve = Valve()
        self._headers: Headers = []
        self._url = b""
        self._head_size = self._unfinished = 0
        self._begun = self._deaf = self._upgraded = False
        self._body_stopped = self._reading_stopped = False
        self._chunked_out = False
        self._sender: Sender | None = None
        self._last_read = self._since = 0.0
        self.answering: Request | None = None
        self.answered = False
        self.streaming_events = False
        self.peer = ""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's do not descend from it
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else "local"
        self._since = asyncio.get_running_loop().time()
        self._peers.add(self)
        if len(self._peers) > self._limits.connections:
            self._refuse(Refusal(503, "too-many-connections", headers=[(b"retry-after", b"5")]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._deaf = True
        gone = ClientGone("client gone")
        self._valve.release(gone)
        if self._incoming is not None:
            self._incoming.body.fail(gone)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._last_read = asyncio.get_running_loop().time()
        if self._incoming is None and not self._head_size:
            self._since = self._last_read
        self._begun = False
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refusal) else Refusal(400, "bad-request", why=str(error)))
        except httptools.HttpParserInvalidMethodError:
            self._refuse(not_allowed("?"))
        except httptools.HttpParserError as error:
            self._refuse(Refusal(400, "bad-request", why=str(error) or "not HTTP"))
        else:
            self._bound_head(len(data))

    def pause_writing(self) -> None:
        self._valve.shut()

    def resume_writing(self) -> None:
        self._valve.release()

    # httptools' side

    def on_message_begin(self) -> None:
        self._headers, self._url, self._head_size, self._begun = [], b"", 1, True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._incoming is not None:
            return  # a trailer: dropped, as RFC 9110 section 6.5.1 allows
        self._headers.append((name.lower(), value.strip()))
        self._grow(len(name) + len(value))
        if len(self._headers) > self._limits.header_count:
            raise self._too_large()

    def on_headers_complete(self) -> None:
        self._head_size = self._unfinished = 0
        if self._upgraded:
            return  # the head that _feed made up, to read the body of an ignored upgrade
        request = read_head(self._parser, self._url, self._headers, Body(self._stop_body, self._go_on_body))
        self._incoming = request
        self._queue.append(request)
        if len(self._queue) > self._limits.pipelined:
            raise Refusal(400, "bad-request", why="too many requests at once")
        self._start_next()

    def on_body(self, data: bytes) -> None:
        if self._incoming is not None:
            self._incoming.body.feed(data)

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        if request is None:
            return
        if request.upgrade and not self._upgraded and request.has_body:
            self._incoming = request  # only llhttp thinks so: it hands over after the head
            return
        self._upgraded = False
        request.body.end()
        if not request.keep_alive:
            self._deaf = True
        self._since = asyncio.get_running_loop().time()

    # the gateway's side

    def start_answer(self, status: int, headers: Headers, *, length: int | None) -> bytes:
        """Make ready to answer the present request; returns the head, to be written with the first bytes."""
        request = self.answering
        assert request is not None
        self.answered = True
        self._chunked_out = False
        fields = headers
        if length is None and request.method != b"HEAD" and status not in (204, 304):
            if request.http10:
                request.keep_alive = False  # the end of the connection is the end of the body
            else:
                self._chunked_out = True
                fields = [*fields, (b"transfer-encoding", b"chunked")]
        if not request.keep_alive or (request.expects_continue and request.has_body):
            request.keep_alive = False
            fields = [*fields, (b"connection", b"close")]
        elif request.http10:
            fields = [*fields, (b"connection", b"keep-alive")]
        return encode_head(b"HTTP/1.1 %d %b" % (status, _REASONS.get(status, b"-")), fields)

    async def write(self, head: bytes, data: bytes, *, last: bool = False) -> None:
        """Write part of the answer; waits while the client does not keep up."""
        if self._chunked_out:
            framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = framed + b"0\r\n\r\n" if last else framed
        self.write_raw(head + data)
        await self._valve.passable()

    def write_raw(self, data: bytes) -> None:
        """Write bytes as they are; raises ClientGone."""
        if self._transport is None or self._transport.is_closing():
            raise ClientGone("client gone")
        if data:
            self._transport.write(data)

    async def send_file(self, head: bytes, file: int, offset: int, length: int) -> int:
        """Write a head and then part of an open file; the bytes of it that went out. Raises ClientGone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGone("client gone")
        transport.set_write_buffer_limits(high=0)  # the valve is shut until all that was written is out
        try:
            await self._valve.passable()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()
        if transport.is_closing():
            raise ClientGone("client gone")
        connection = transport.get_extra_info("socket").fileno()
        self._sender = sender = Sender(connection, head, file, offset, length)
        try:
            await sender.run()
        except CutShort as cut:
            self.abort()  # half a file is out: the client must not take it for a whole one
            raise ClientGone(str(cut)) from None
        except OSError as error:
            self.abort()
            raise ClientGone(error.strerror or "client gone") from None
        finally:
            self._sender = None
        return sender.sent

    def send_continue(self, request: Request) -> None:
        """Tell a client that asked first that it may send its body."""
        if request.expects_continue:
            request.expects_continue = False
            self.write_raw(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def send(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the present request with these bytes."""
        assert self.answering is not None
        fields = [*headers, (b"content-length", b"%d" % len(body))]
        head = self.start_answer(status, fields, length=len(body))
        await self.write(head, b"" if self.answering.method == b"HEAD" else body)

    async def refuse(self, refusal: Refusal, path: str, language: str) -> None:
        """Answer the present request with a refusal."""
        assert self.answering is not None
        if refusal.close:
            self.answering.keep_alive = False
        body, headers = render(refusal, path, language)
        await self.send(refusal.status, headers, body)

    def close(self) -> None:
        """Close after what is written has gone out."""
        self._deaf = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """Close at once, so that the client sees an answer that is not complete."""
        self._deaf = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def busy(self) -> bool:
        """True while a request is answered or on its way."""
        return self._task is not None or bool(self._head_size)

    def sweep(self, now: float) -> None:
        """Close or refuse what is too slow."""
        limits = self._limits
        if self._valve.closed_at is not None and now - self._valve.closed_at > limits.write_seconds:
            self.abort()
        elif self._sender is not None:
            if now - self._sender.moved_at > limits.write_seconds:
                self.abort()
        elif self._deaf:
            return
        elif self._head_size:
            if now - self._since > limits.header_seconds:
                self._refuse(Refusal(408, "request-timeout", seconds=limits.header_seconds))
        elif self._incoming is not None:
            slow = now - max(self._last_read, self._since) > limits.body_seconds
            if self._incoming.body.wanted and slow:
                self._incoming.body.fail(
                    Refusal(408, "request-timeout", close=True, seconds=limits.body_seconds)
                )
        elif self._task is None and now - self._since > limits.idle_seconds:
            self.close()

    # inside

    def _feed(self, data: bytes) -> None:
        while data and not self._deaf:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # llhttp stops at every upgrade. We ignore all of them, so a new parser goes on from
                # there; where a body follows, it is told first how that body is framed.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                if self._incoming is not None:
                    self._upgraded = True
                    self._parser.feed_data(framing(self._incoming))

    def _bound_head(self, size: int) -> None:
        """Bound a head of which no field ends, which the parser holds without telling."""
        if not self._head_size or self._begun:
            return
        self._unfinished += size
        if self._unfinished > self._limits.head_bytes:
            self._refuse(self._too_large())

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head_bytes:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        return Refusal(
            431, "headers-too-large", limit=self._limits.head_bytes, count=self._limits.header_count
        )

    def _refuse(self, refusal: Refusal) -> None:
        """What comes in makes no sense any more: fail what is being read, answer in turn, then close."""
        if self._deaf:
            return
        self._deaf = True
        self._head_size = 0
        refusal.close = True
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.keep_alive = False
            incoming.body.fail(refusal)
            return
        body = Body(lambda: None, lambda: None)
        body.end()
        self._queue.append(
            Request(b"GET", self._url or b"/", self._headers, body, 0, False, False, refusal=refusal)
        )
        self._start_next()

    def _start_next(self) -> None:
        if self._task is None and self._queue:
            self.answering, self.answered = self._queue.popleft(), False
            self._task = asyncio.get_running_loop().create_task(self._answer(self.answering))
        self._set_reading()

    async def _answer(self, request: Request) -> None:
        try:
            await self._handle(self, request)
            await self._finish(request)
        except (ClientGone, asyncio.CancelledError):
            request.keep_alive = False
            self.abort()
        finally:
            self._task, self.answering, self.streaming_events = None, None, False
        self._since = asyncio.get_running_loop().time()
        if request.keep_alive:
            self._start_next()

    async def _finish(self, request: Request) -> None:
        """Take in the rest of a request that was answered early; close where nothing more can be said."""
        if not request.body.ended and request.keep_alive:
            await self._drain(request)
        if not request.keep_alive:
            if request.body.ended and request.refusal is None:
                self.close()
            else:
                self._close_softly()

    def _close_softly(self) -> None:
        """Close while bytes may still come in: a plain close sends a reset, in which the answer is lost."""
        self._deaf = True
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(self._limits.linger_seconds, self._transport.abort)

    async def _drain(self, request: Request) -> None:
        taken = 0
        try:
            async with asyncio.timeout(self._limits.linger_seconds):
                while chunk := await request.body.read():
                    taken += len(chunk)
                    if taken > 64 << 20:
                        break
        except (TimeoutError, Refusal):
            pass
        if not request.body.ended:
            request.keep_alive = False

    def _stop_body(self) -> None:
        self._body_stopped = True
        self._set_reading()

    def _go_on_body(self) -> None:
        self._body_stopped = False
        self._last_read = asyncio.get_running_loop().time()
        self._set_reading()

    def _set_reading(self) -> None:
        """Read on unless the body in transit or the requests in line are enough for now."""
        stop = self._body_stopped or len(self._queue) > 0
        if self._transport is None or stop == self._reading_stopped or self._transport.is_closing():
            return
        self._reading_stopped = stop
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
