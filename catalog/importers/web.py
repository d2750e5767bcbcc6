"""Fetching an address that somebody named, without becoming their tool inside this network.

A URL is judged (`reach`), its host is looked up once, and the connection goes to exactly one of the addresses
that were judged, under the host's own name for Host, SNI and certificate. Redirects are followed here, each
judged like the first. The environment's proxies are not used: a proxy looks names up itself, after us, so
nothing that was judged would hold for it. (Package indexes and the Hub are named by the operator, not by
whoever asks; these go through the clients that pip and huggingface_hub use, proxies included.)
"""

import os
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import certifi
import httpcore
import httpx

from catalog.errors import SourceUnreachable
from catalog.importers.errors import RedirectsEndless, SourceTooLarge, UrlRefused
from catalog.importers.pace import Pace
from catalog.importers.reach import Place, Reach, place_of

CONNECT, READ = 15.0, 60.0  # seconds: to connect, and between two pieces
HEAD = 60.0  # seconds for the whole head of an answer
REDIRECTS = 5
SMALL = 1 << 20  # bytes of an answer, where the caller names no limit
_MOVED = {301, 302, 303, 307, 308}
_OWN_ORIGIN_ONLY = {"authorization", "cookie"}


class _Pinned(httpcore.NetworkBackend):
    """Connects to judged addresses only; whatever name it is given is judged first."""

    def __init__(self, reach: Reach, shown: str, seconds: float) -> None:
        self._reach, self._shown = reach, shown
        self._plain = httpcore.SyncBackend()
        self.until = time.monotonic() + seconds
        """When all reading ends: a server that sends a byte now and then is never silent."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Look the host up, judge all its addresses, and connect to the first that answers."""
        failure: Exception = OSError()
        for address in self._reach.addresses(host, port, self._shown):
            try:
                stream = self._plain.connect_tcp(address, port, timeout, local_address, socket_options)
                return _Timed(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Never: no URL leads to a socket file."""
        raise httpcore.ConnectError(path)

    def sleep(self, seconds: float) -> None:
        """Used by the pool between its own attempts, of which there are none."""
        time.sleep(seconds)


class _Timed(httpcore.NetworkStream):
    """A connection on which nothing is waited for beyond its backend's end."""

    def __init__(self, stream: httpcore.NetworkStream, backend: _Pinned) -> None:
        self._stream, self._backend = stream, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come; raises ReadTimeout."""
        left = self._backend.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("no answer in time")
        return self._stream.read(max_bytes, left if timeout is None else min(timeout, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same, encrypted."""
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, timeout), self._backend)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a connection."""
        return self._stream.get_extra_info(info)


@dataclass
class Answer:
    """The head of an answer, and its body piece by piece."""

    url: str  # that it came from, after redirects
    status: int
    headers: Mapping[str, str]  # names in lower case
    limit: int
    source: str  # for people
    deadline: float
    _body: Iterator[bytes] = field(repr=False)

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; raises SourceTooLarge past the limit and SourceUnreachable when it breaks."""
        came = 0
        with _reported(self.source):
            for piece in self._body:
                came += len(piece)
                if came > self.limit:
                    raise SourceTooLarge(source=self.source, limit=self.limit)
                if time.monotonic() > self.deadline:
                    raise SourceUnreachable(source=self.source, why="no answer in time")
                yield piece

    def read(self) -> bytes:
        """The whole body, for small ones."""
        return b"".join(self.pieces())


@contextmanager
def open_web(
    url: str,
    *,
    reach: Reach,
    headers: Mapping[str, str] | None = None,
    limit: int = SMALL,
    seconds: float = float("inf"),
) -> Iterator[Answer]:
    """GET an address; the answer's body is read inside of the block, at most `limit` bytes of it.

    Any final status is an answer. Raises UrlRefused, AddressRefused, RedirectsEndless, SourceTooLarge and
    SourceUnreachable. `seconds` bounds the whole, which a server that sends byte after byte would draw out.
    """
    place = place_of(url)
    source, deadline = place.shown, time.monotonic() + seconds
    sent = {"user-agent": "opc-market", "accept": "*/*", "accept-encoding": "identity", **(headers or {})}
    for _ in range(REDIRECTS + 1):
        with _exchange(place, reach, sent, deadline) as answer:
            moved = answer.headers.get("location", "") if answer.status in _MOVED else ""
            if not moved:
                answer.limit, answer.source = limit, source
                if _declared(answer) > limit:
                    raise SourceTooLarge(source=source, limit=limit)
                yield answer
                return
        place, sent = _next(place, moved, sent)
    raise RedirectsEndless(source=source, count=REDIRECTS)


def _next(place: Place, moved: str, sent: dict[str, str]) -> tuple[Place, dict[str, str]]:
    """Where a redirect leads, and what is sent there."""
    after = place_of(urljoin(place.url, moved))
    if place.scheme == "https" and after.scheme == "http":
        why = "it leads from https to http"
        raise UrlRefused(source=after.shown, why=why, why_zh="从 https 跳转到了 http")
    if after.origin != place.origin:
        sent = {name: value for name, value in sent.items() if name.lower() not in _OWN_ORIGIN_ONLY}
    return after, sent


@contextmanager
def _exchange(place: Place, reach: Reach, headers: Mapping[str, str], deadline: float) -> Iterator[Answer]:
    """One request to one place; a connection of its own, so that nothing judged earlier is used again."""
    left = max(0.1, deadline - time.monotonic())
    connect, read = min(CONNECT, left), min(READ, left)
    timeouts = {"connect": connect, "read": read, "write": read, "pool": connect}
    where = httpcore.URL(
        scheme=place.scheme.encode(),
        host=place.host.encode(),
        port=place.port,
        target=place.target.encode(),
    )
    backend = _Pinned(reach, place.shown, min(HEAD, left))
    with (
        httpcore.ConnectionPool(ssl_context=_trust(reach), network_backend=backend) as pool,
        _reported(place.shown),
    ):
        request = pool.stream(
            "GET",
            where,
            headers=[("host", place.authority), *headers.items()],
            extensions={"timeout": timeouts},
        )
        with request as response:
            backend.until = deadline
            named = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
            body = iter(response.iter_stream())
            yield Answer(place.url, response.status, named, SMALL, place.shown, deadline, body)


@contextmanager
def _reported(source: str) -> Iterator[None]:
    """Name what went wrong on the line."""
    try:
        yield
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise SourceUnreachable(source=source, why="no answer in time") from error
    except ssl.SSLError as error:
        raise SourceUnreachable(source=source, why="the certificate was not accepted") from error
    except httpcore.ConnectError as error:
        tls = "SSL" in repr(error) or "certificate" in repr(error).lower()
        why = "the certificate was not accepted" if tls else "the connection was refused or broke"
        raise SourceUnreachable(source=source, why=why) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise SourceUnreachable(source=source, why="the connection was refused or broke") from error


def _declared(answer: Answer) -> int:
    length = answer.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _trust(reach: Reach) -> ssl.SSLContext:
    return ssl.create_default_context(
        cafile=reach.certificates or os.environ.get("SSL_CERT_FILE") or certifi.where()
    )


class PinnedTransport(httpx.BaseTransport):
    """For clients that are httpx: connects to judged addresses only, and uses no proxy."""

    def __init__(self, reach: Reach, source: str, seconds: float) -> None:
        """`seconds` is how long all of it may take."""
        backend = _Pinned(reach, source, seconds)
        self._pool = httpcore.ConnectionPool(
            ssl_context=_trust(reach), network_backend=backend, max_connections=10
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the answer's body is still to be read."""
        place = place_of(str(request.url))
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=place.scheme.encode(),
                host=place.host.encode(),
                port=place.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _for_httpx():
            answer = self._pool.handle_request(sent)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        pace, came = Pace(), 0
        with _for_httpx():
            for piece in self._answer.iter_stream():
                came += len(piece)
                if why := pace.complaint(came):
                    raise httpx.ReadTimeout(why)
                yield piece

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _for_httpx() -> Iterator[None]:
    """Errors of the line as httpx's own."""
    try:
        yield
    except httpcore.ConnectTimeout as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except httpcore.ConnectError as error:
        raise httpx.ConnectError(str(error)) from error
    except httpcore.ProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error)) from error
