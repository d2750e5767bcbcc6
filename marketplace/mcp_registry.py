"""The agents on the shelf as an MCP Registry tells them: servers with all versions that were ever listed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import case, func
from sqlmodel import Session, col, select

from catalog.listings import UNLISTED
from catalog.models import Listing, ListingKind, Version, VersionEvent, VersionState
from catalog.offered import is_refused, meant
from marketplace.errors import InvalidRequest, MarketError

PAGE, LARGEST_PAGE = 30, 100
LATEST = "latest"
_CHUNK = 100
STATUS = {
    VersionState.listed: "active",
    VersionState.deprecated: "deprecated",
    VersionState.yanked: "deleted",
}


class UnknownServer(MarketError):
    """No agent of this name, or no such version of it, was ever listed. Facts: name, version."""

    code = "mcp-server-unknown"


@dataclass(frozen=True)
class Server:
    """One version of an agent."""

    listing: Listing
    version: Version
    published: datetime
    """When it was first listed; a draft of it may be older."""
    changed: datetime
    latest: bool

    @property
    def status(self) -> str:
        """active, deprecated or deleted; what newer rules refuse is as good as deleted while they do."""
        if is_refused(self.version):
            return "deleted"
        return STATUS[VersionState(self.version.state)]

    @property
    def cursor(self) -> str:
        """Where a page that ends with this one goes on."""
        return f"{self.listing.name}:{self.version.number}"


@dataclass(frozen=True)
class Wanted:
    """What a list is narrowed to."""

    search: str = ""
    version: str = ""
    since: datetime | None = None
    deleted: bool = False

    def takes(self, server: Server) -> bool:
        """Whether a server belongs to the list; who follows changes is told what was taken back, too."""
        if self.since is not None and _aware(server.changed) < _aware(self.since):
            return False
        if server.status == "deleted" and not self.deleted and self.since is None:
            return False
        if self.version == LATEST:
            return server.latest
        return self.version in ("", server.version.number)


def list_servers(db: Session, wanted: Wanted, *, cursor: str = "", limit: int = PAGE) -> list[Server]:
    """Servers by name, each with its newest version first; one more than `limit` where others follow."""
    begin, colon, number = cursor.rpartition(":")
    if cursor and not (colon and number):
        raise InvalidRequest(why="cursor")
    found: list[Server] = []
    for server in _servers(db, wanted.search, begin):
        if server.listing.name == begin and number_of(server.version.number) >= number_of(number):
            continue
        if wanted.takes(server):
            found.append(server)
        if len(found) > limit:
            break
    return found


def versions_of(db: Session, name: str, *, deleted: bool = False) -> list[Server]:
    """All versions of a server, the newest first; raises UnknownServer."""
    listing = db.exec(select(Listing).where(Listing.name == name, Listing.kind == ListingKind.agent)).first()
    found = _with_versions(db, [listing]) if listing else []
    shown = [server for server in found if deleted or server.status != "deleted"]
    if not shown:
        raise UnknownServer(name=name, version="")
    return shown


def get_server(db: Session, name: str, number: str, *, deleted: bool = False) -> Server:
    """One version of a server, or its latest; raises UnknownServer."""
    for server in versions_of(db, name, deleted=deleted):
        if server.version.number == number or (number == LATEST and server.latest):
            return server
    raise UnknownServer(name=name, version=number)


def number_of(number: str) -> tuple[int, ...]:
    """A version's number to compare; raises InvalidRequest for what is none."""
    try:
        return tuple(int(part) for part in number.split("."))
    except ValueError:
        raise InvalidRequest(why="cursor") from None


def _servers(db: Session, search: str, begin: str) -> Iterator[Server]:
    name = col(Listing.name)
    found = select(Listing).where(Listing.kind == ListingKind.agent).order_by(name).limit(_CHUNK)
    if search:
        found = found.where(name.icontains(search, autoescape=True))
    chunk = db.exec(found.where(name >= begin)).all()
    while chunk:
        yield from _with_versions(db, chunk)
        chunk = db.exec(found.where(name > chunk[-1].name)).all()


def _with_versions(db: Session, listings: Sequence[Listing]) -> list[Server]:
    """The versions of these listings that were ever listed, in their order, the newest first."""
    ids = [listing.id for listing in listings]
    rows = db.exec(
        select(Version).where(col(Version.listing_id).in_(ids), col(Version.state).not_in(UNLISTED))
    ).all()
    histories = _histories(db, [row.id for row in rows])
    found = []
    for listing in listings:
        own = sorted(
            (row for row in rows if row.listing_id == listing.id),
            key=lambda row: number_of(row.number),
            reverse=True,
        )
        latest = meant(own)
        for row in own:
            published, changed = histories.get(row.id, (row.created, row.created))
            found.append(Server(listing, row, published, changed, row is latest))
    return found


def _histories(db: Session, versions: Sequence[UUID]) -> dict[UUID, tuple[datetime, datetime]]:
    """When each version was first listed, and when anything last became of it."""
    at = col(VersionEvent.at)
    listed = func.min(case((col(VersionEvent.after) == VersionState.listed, at)))
    found = (
        select(VersionEvent.version_id, listed, func.max(at))
        .where(col(VersionEvent.version_id).in_(versions))
        .group_by(col(VersionEvent.version_id))
    )
    return {identity: (first or last, last) for identity, first, last in db.execute(found).all()}


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
