"""Style, script and pictures of the pages, read once and named by their content.

A URL carries the first digits of the file's digest, so a browser may keep it for a year; the vendored
scripts are put beside ours by `python -m marketplace.assets`, and a shop without them still works.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from litestar import Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery

from marketplace.auth import AnyRequest
from marketplace.permissions import Permission

WEB = Path(__file__).resolve().parent.parent.parent / "web"
TEMPLATES = WEB / "templates"
STATIC = WEB / "static"
MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".png": "image/png",
}


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, the same compressed, and its digest."""

    content: bytes
    compressed: bytes
    digest: str
    media_type: str


@lru_cache
def assets() -> dict[str, Asset]:
    """All files under web/static by their path in it."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        content = path.read_bytes()
        found[path.relative_to(STATIC).as_posix()] = Asset(
            content,
            gzip.compress(content, 9, mtime=0),
            hashlib.sha256(content).hexdigest()[:12],
            media_type,
        )
    return found


def has_asset(path: str) -> bool:
    """Whether the file is there."""
    return path in assets()


def static_url(path: str) -> str:
    """The URL of a file with its digest."""
    return f"/static/{path}?v={assets()[path].digest}"


@get("/static/{path:path}", permission=Permission.browse, include_in_schema=False, sync_to_thread=False)
def static_file(request: AnyRequest, path: FromPath[str], v: FromQuery[str] = "") -> Response[bytes]:
    """One file; kept for a year under its digest, asked for again under any other name."""
    asset = assets().get(path.lstrip("/"))
    if asset is None:
        raise NotFoundException
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable" if v == asset.digest else "no-cache",
        "ETag": f'"{asset.digest}"',
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(b"", status_code=304, headers=headers, media_type=asset.media_type)
    content = asset.content
    if "gzip" in request.headers.get("accept-encoding", "") and len(asset.compressed) < len(content):
        headers["Content-Encoding"] = "gzip"
        content = asset.compressed
    return Response(content, headers=headers, media_type=asset.media_type)


def static_router() -> Router:
    """The router of all static files."""
    return Router("/", route_handlers=[static_file])
