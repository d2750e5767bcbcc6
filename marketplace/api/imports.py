"""/api/imports and /api/mirrors: models from elsewhere, fetched once or kept in step."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from litestar import Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import ServerSentEvent
from msgspec.json import encode
from sqlmodel import Session

from catalog import imports
from catalog.models import VersionState
from marketplace import importing, mirroring
from marketplace.api.import_schemas import (
    ImportOut,
    ImportPage,
    MirrorOut,
    MirrorPage,
    import_out,
    mirror_out,
)
from marketplace.api.streams import changes
from marketplace.auth import Viewer
from marketplace.db import read_session
from marketplace.errors import NotAllowed
from marketplace.importing import Order
from marketplace.permissions import Permission, role_for
from marketplace.services import Services

MANAGE = Permission.manage_imports


@dataclass(frozen=True)
class ImportRequest:
    """A source, and what is wanted of it; see `market import` for the forms of a source."""

    source: str
    name: str = ""  # vendor/name; else the account's one vendor and the source's own name
    wanted: str = ""  # submitted | listed | "": stays a draft that its owner may deploy
    options: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # uploaded: path → {sha256, size}
    every: int = 0  # seconds: keep the listing in step from now on

    def order(self) -> Order:
        """As the domain takes it."""
        return Order(self.source, self.name, self.wanted, self.options, self.files)


def require_wanted(viewer: Viewer, wanted: str) -> None:
    """Who lists at once must be allowed to decide, and to publish at all."""
    needed = Permission.decide_reviews if wanted == VersionState.listed else Permission.publish
    if wanted and not viewer.may(needed):
        raise NotAllowed(role=role_for(needed), permission=str(needed))


def whose(viewer: Viewer, db: Session) -> UUID | None:
    """Whose imports and mirrors the asker may look at and end: their own, and anybody's for operators."""
    return None if viewer.may(Permission.decide_reviews) else viewer.account(db).id


def _asked(viewer: Viewer, db: Session, everybody: bool) -> UUID | None:
    """Whose are to be listed."""
    if everybody and not viewer.may(needed := Permission.decide_reviews):
        raise NotAllowed(role=role_for(needed), permission=str(needed))
    return None if everybody else viewer.account(db).id


@post("/imports", permission=MANAGE, status_code=202, sync_to_thread=True)
def create(
    data: JSONBody[ImportRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> ImportOut:
    """Begin an import; the answer comes at once."""
    require_wanted(viewer, data.wanted)
    account = viewer.account(db)
    if data.every:
        _, job = mirroring.add(services, db, viewer, account, data.order(), data.every)
    else:
        job = importing.ask(services, db, viewer, account, data.order())
    return import_out(services, db, job, viewer.lang)


@get("/imports", permission=MANAGE, sync_to_thread=True)
def index(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    everybody: FromQuery[bool] = False,
) -> ImportPage:
    """The asker's imports, the newest first; everybody's for operators who ask for them."""
    rows = imports.of_account(db, _asked(viewer, db, everybody))
    return ImportPage([import_out(services, db, row, viewer.lang) for row in rows], len(rows))


@get("/imports/{identity:str}", permission=MANAGE, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ImportOut:
    """One import."""
    job = imports.get(db, identity, whose(viewer, db))
    return import_out(services, db, job, viewer.lang)


@post("/imports/{identity:str}/cancel", permission=MANAGE, status_code=200, sync_to_thread=True)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ImportOut:
    """Stop an import that waits or runs; operators may stop anybody's."""
    job = importing.cancel(services, db, viewer, whose(viewer, db), identity)
    return import_out(services, db, job, viewer.lang)


@post("/imports/{identity:str}/retry", permission=MANAGE, status_code=202, sync_to_thread=True)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ImportOut:
    """Begin one that failed or was cancelled again, from where it was."""
    job = importing.retry(services, db, viewer, viewer.account(db), identity)
    return import_out(services, db, job, viewer.lang)


@delete("/imports/{identity:str}", permission=MANAGE, sync_to_thread=True)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> None:
    """Forget an import that ended; its version stays."""
    importing.remove(services, db, viewer, viewer.account(db), identity)


@get("/imports/{identity:str}/events", permission=MANAGE, sync_to_thread=True)
def events(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ServerSentEvent:
    """The import whenever it changes, until it ends."""
    owner = whose(viewer, db)
    found = str(imports.get(db, identity, owner).id)

    def read() -> tuple[str, bool]:
        with read_session(services.engine) as later:
            job = imports.get(later, found, owner)
            return encode(import_out(services, later, job, viewer.lang)).decode(), importing.ended(job)

    news = changes(services, importing.topic(found), "import", read, imports.UnknownImport)
    return ServerSentEvent(news)


# Mirrors


@get("/mirrors", permission=MANAGE, sync_to_thread=True)
def mirrors(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], everybody: FromQuery[bool] = False
) -> MirrorPage:
    """The asker's mirrors by name; everybody's for operators who ask for them."""
    rows = imports.mirrors_of(db, _asked(viewer, db, everybody))
    return MirrorPage([mirror_out(row, viewer.lang) for row in rows], len(rows))


@post("/mirrors/{vendor:str}/{name:str}/run", permission=MANAGE, status_code=202, sync_to_thread=True)
def run(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> MirrorOut:
    """Look at a mirror's source now."""
    mirror = mirroring.run(services, db, viewer, viewer.account(db), f"{vendor}/{name}")
    return mirror_out(mirror, viewer.lang)


@delete("/mirrors/{vendor:str}/{name:str}", permission=MANAGE, sync_to_thread=True)
def forget(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> None:
    """Keep a listing in step no more; what it has stays. Operators may end anybody's mirror."""
    mirroring.remove(services, db, viewer, whose(viewer, db), f"{vendor}/{name}")


router = Router(
    "/api",
    route_handlers=[create, index, show, cancel, retry, remove, events, mirrors, run, forget],
    tags=["imports"],
)
