"""The head of a client's request, checked.

The parser checks the grammar; this module checks what may not be left to chance where two servers
read the same bytes: one Host, one length, nothing but chunked as transfer coding.
"""

import re
from dataclasses import dataclass

import httptools

from marketplace.gateway.problems import Refusal
from marketplace.gateway.wire import Body, Headers, find

METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=-]*(:\d{0,5})?|\[[0-9A-Fa-f:.]+\](:\d{0,5})?")


@dataclass(slots=True)
class Request:
    """One request, checked; its body may still be on the way."""

    method: bytes
    target: bytes
    headers: Headers
    body: Body
    length: int | None
    http10: bool
    keep_alive: bool
    expects_continue: bool = False
    upgrade: bytes = b""
    refusal: Refusal | None = None

    @property
    def has_body(self) -> bool:
        """True unless the request says that nothing follows its head."""
        return self.length != 0


def not_allowed(method: str) -> Refusal:
    """The refusal of a method that the gateway does not pass on."""
    allow = ", ".join(sorted(m.decode() for m in METHODS))
    return Refusal(
        405,
        "method-not-allowed",
        close=True,
        headers=[(b"allow", allow.encode())],
        method=method,
        allow=allow,
    )


def _bad(why: str) -> Refusal:
    return Refusal(400, "bad-request", close=True, why=why)


def framing(request: Request) -> bytes:
    """A head that says no more than how the body of this request is framed."""
    if request.length is None:
        return b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % request.length


def read_head(parser: httptools.HttpRequestParser, target: bytes, headers: Headers, body: Body) -> Request:
    """Check a request's head; raises Refusal for what two servers could read in two ways."""
    version, method = parser.get_http_version(), parser.get_method()
    if version not in ("1.0", "1.1"):
        raise _bad("HTTP version")
    if method not in METHODS:
        raise not_allowed(method.decode("latin-1"))
    _check_host(headers, version)
    expect = find(headers, b"expect").lower()
    if expect not in (b"", b"100-continue"):
        raise Refusal(417, "expectation-failed", close=True)
    length = _length(headers, version)
    return Request(
        method,
        target,
        headers,
        body,
        length,
        http10=version == "1.0",
        keep_alive=_keep_alive(headers, version),
        expects_continue=bool(expect) and version == "1.1" and length != 0,
        upgrade=find(headers, b"upgrade").lower() if parser.should_upgrade() else b"",
    )


def _check_host(headers: Headers, version: str) -> None:
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        raise _bad("more than one Host")
    if not hosts and version == "1.1":
        raise _bad("Host missing")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise _bad("Host not valid")


def _length(headers: Headers, version: str) -> int | None:
    """Content-Length; 0 where there is no body, None for a chunked one."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and lengths:
        raise _bad("both Transfer-Encoding and Content-Length")
    if codings:
        if version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise _bad("Transfer-Encoding other than chunked")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 15:
        raise _bad("Content-Length not valid")
    return int(lengths[0])


def _keep_alive(headers: Headers, version: str) -> bool:
    options = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    return (
        b"keep-alive" in options and b"close" not in options if version == "1.0" else b"close" not in options
    )
