"""/api/uploads: files on their way in, in pieces that can be taken up again."""

from dataclasses import dataclass

from litestar import Response, delete, get, head, patch, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from sqlmodel import Session

from catalog import uploads
from marketplace.api.publication_schemas import UploadOut, UploadPage, upload_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import write_session
from marketplace.errors import InvalidRequest
from marketplace.permissions import Permission
from marketplace.services import Services

OFFSET = "Upload-Offset"
LENGTH = "Upload-Length"
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class UploadRequest:
    """The file that will come."""

    sha256: str
    size: int


@post("/uploads", permission=Permission.publish, status_code=201, sync_to_thread=True)
def announce(
    data: JSONBody[UploadRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> UploadOut:
    """Announce a file; the same one again tells how much of it is here."""
    if len(data.sha256) != 64 or not set(data.sha256) <= _HEX or not 0 <= data.size < 2**50:
        raise InvalidRequest(why="sha256 has 64 digits of 0-9 and a-f, size is a number of bytes")
    home, settings = services.settings.home, services.settings
    uploads.expire(home, db)
    account = viewer.account(db)
    found = uploads.announce(home, db, account.id, data.sha256, data.size, limit=settings.upload_limit)
    db.commit()
    return upload_out(services, found)


@get("/uploads", permission=Permission.publish, sync_to_thread=True)
def index(
    services: NamedDependency[Services], db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> UploadPage:
    """The asker's uploads."""
    rows = uploads.list_uploads(db, viewer.account(db).id)
    return UploadPage([upload_out(services, row) for row in rows], len(rows))


@get("/uploads/{identity:str}", permission=Permission.publish, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Response[UploadOut]:
    """One upload; the offset stands in a header too."""
    found = upload_out(services, uploads.get_upload(db, viewer.account(db).id, identity))
    return Response(found, headers=_headers(found))


@head("/uploads/{identity:str}", permission=Permission.publish, sync_to_thread=True)
def offset(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Response[None]:
    """How much of an upload is here."""
    found = upload_out(services, uploads.get_upload(db, viewer.account(db).id, identity))
    return Response(None, headers=_headers(found))


@patch("/uploads/{identity:str}", permission=Permission.publish)
async def append(
    request: AnyRequest,
    services: NamedDependency[Services],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Response[UploadOut]:
    """Add the body, which begins at the byte that Upload-Offset names."""
    told = request.headers.get(OFFSET, "")
    if not told.isascii() or not told.isdigit() or len(told) > 16:
        raise InvalidRequest(why=f"the header {OFFSET} is missing or no number")
    piece = await request.body()
    found = await sync_to_thread(_append, services, viewer, identity, int(told), piece)
    return Response(found, headers=_headers(found))


def _append(services: Services, viewer: Viewer, identity: str, begin: int, piece: bytes) -> UploadOut:
    with write_session(services.engine) as db:
        account = viewer.account(db)
        db.rollback()  # others may write while this piece waits for the one before it
        home = services.settings.home
        return upload_out(services, uploads.append(home, db, account.id, identity, begin, piece))


@delete("/uploads/{identity:str}", permission=Permission.publish, sync_to_thread=True)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> None:
    """Forget an upload with its bytes."""
    uploads.remove(services.settings.home, db, viewer.account(db).id, identity)


def _headers(upload: UploadOut) -> dict[str, str]:
    return {OFFSET: str(upload.offset), LENGTH: str(upload.size), "Cache-Control": "no-store"}


handlers = [announce, index, show, offset, append, remove]
