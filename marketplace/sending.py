"""Sends files to whoever may have them: whole, in part, or word that they have not changed.

Behind the gateway the answer is a head only: the gateway sends the file from the disk itself (see
marketplace.gateway.files). Without it the file is read in small pieces. RFC 9110 sections 13 and 14 are kept
with single ranges; several ranges at once are answered with the whole file, as they may be.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from litestar import Response
from litestar.response import Stream

from marketplace.auth import AnyRequest

OFFER = "x-market-file"
"""The gateway's field; nobody else can set it, since the gateway drops it from what clients send."""

_PIECE = 256 << 10
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)
_SHOWN_AS_TEXT = frozenset({".json", ".jsonl", ".md", ".txt", ".yaml", ".yml"})
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
"""What other people's files carry, since they come from the shop's own origin."""


@dataclass(frozen=True)
class Span:
    """The part of a file that is asked for."""

    offset: int
    length: int

    def told(self, size: int) -> str:
        """As Content-Range."""
        return f"bytes {self.offset}-{self.offset + self.length - 1}/{size}"


class Unsatisfiable(Exception):
    """The range lies outside the file."""


@dataclass(frozen=True)
class Sent:
    """What is sent: a file on the disk, or bytes that were made just now; and how it is called."""

    etag: str  # without quotes
    media_type: str
    size: int
    path: Path | None = None
    content: bytes = b""
    filename: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def send(
    request: AnyRequest,
    path: Path,
    *,
    etag: str,
    media_type: str,
    filename: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response[Any]:
    """Answer GET or HEAD with a file: Range, If-Range, If-Match and If-None-Match are heeded.

    `etag` stands for the file's bytes (no quotes); raises FileNotFoundError where there is none.
    """
    size = path.stat().st_size
    return _answer(request, Sent(etag, media_type, size, path, filename=filename, headers=headers or {}))


def send_bytes(
    request: AnyRequest,
    content: bytes,
    *,
    etag: str,
    media_type: str,
    filename: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response[Any]:
    """The same for bytes that lie nowhere on the disk."""
    whole = Sent(etag, media_type, len(content), None, content, filename, headers or {})
    return _answer(request, whole)


def media_type_of(name: str) -> str:
    """How a file of a listing is declared: text for what people read, bytes for all else."""
    suffix = Path(name).suffix.lower()
    return "text/plain; charset=utf-8" if suffix in _SHOWN_AS_TEXT else "application/octet-stream"


def span_of(value: str, size: int) -> Span | None:
    """The one range that a Range field asks for, None where it asks for none that we know.

    Raises Unsatisfiable when it lies outside a file of this size.
    """
    found = _RANGE.fullmatch(value.replace(" ", ""))
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        if length == 0:
            raise Unsatisfiable
        return Span(size - length, length)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return Span(first, min(last, size - 1) - first + 1)


def _answer(request: AnyRequest, sent: Sent) -> Response[Any]:
    etag = f'"{sent.etag}"'
    headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-cache", **sent.headers, "ETag": etag}
    if not _is_wanted(request.headers.get("if-match", "*"), etag):
        return Response(b"", status_code=412, headers={"ETag": etag}, media_type="text/plain")
    if _is_known(request.headers.get("if-none-match", ""), etag):
        return Response(b"", status_code=304, headers=headers)
    headers["Content-Type"] = sent.media_type
    if sent.filename:
        headers["Content-Disposition"] = _attachment(sent.filename)
    try:
        span = _span(request, sent.size, etag)
    except Unsatisfiable:
        told = {"Accept-Ranges": "bytes", "Content-Range": f"bytes */{sent.size}", "ETag": etag}
        return Response(b"", status_code=416, headers=told, media_type="text/plain")
    if span is not None:
        headers["Content-Range"] = span.told(sent.size)
    return _body(request, sent, span or Span(0, sent.size), headers, 206 if span else 200)


def _body(request: AnyRequest, sent: Sent, span: Span, headers: dict[str, str], status: int) -> Response[Any]:
    if request.method == "HEAD":
        headers["Content-Length"] = str(span.length)
        return Response(b"", status_code=status, headers=headers)
    if sent.path is None:
        part = sent.content[span.offset : span.offset + span.length]
        return Response(part, status_code=status, headers=headers)
    below = _below_home(request, sent.path) if request.headers.get(OFFER) == "1" and span.length else None
    if below is not None:
        headers[OFFER] = f"{span.offset} {span.length} {quote(below)}"
        return Response(b"", status_code=status, headers=headers)
    headers["Content-Length"] = str(span.length)
    return Stream(_pieces(sent.path, span), status_code=status, headers=headers)


def _span(request: AnyRequest, size: int, etag: str) -> Span | None:
    """The range to send; one that was asked for of another state of the file does not count."""
    if request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    return span_of(request.headers.get("range", ""), size)


def _is_wanted(field: str, etag: str) -> bool:
    """Whether If-Match names this state of the file; a weak name is not enough."""
    wanted = [one.strip() for one in field.split(",")]
    return "*" in wanted or etag in wanted


def _is_known(field: str, etag: str) -> bool:
    """Whether If-None-Match names this state of the file."""
    known = [one.strip().removeprefix("W/") for one in field.split(",")]
    return "*" in known or etag in known


def _below_home(request: AnyRequest, path: Path) -> str | None:
    """The path as the gateway is told it; None where it is not one that the gateway sends."""
    home: Path = request.app.state.services.settings.home
    try:
        below = path.relative_to(home)
    except ValueError:
        return None
    return below.as_posix() if below.parts[0] in ("blobs", "packages") else None


def _attachment(filename: str) -> str:
    plain = re.sub(r"[^ -!#-\[\]-~]", "_", filename)
    if plain == filename:
        return f'attachment; filename="{filename}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _pieces(path: Path, span: Span) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(span.offset)
        left = span.length
        while left:
            data = file.read(min(left, _PIECE))
            if not data:
                return  # shorter than it was; the server sees that the answer is not complete
            left -= len(data)
            yield data
