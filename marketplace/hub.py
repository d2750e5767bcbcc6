"""The shelf as a Hub: listings are repositories, and versions are their revisions.

A commit is named by the first 40 digits of its version's digest; `main` is the newest version on the shelf,
and every number is a tag. What was never listed does not exist here, whoever asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, and_, cast, exists, false, func, or_, true
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from catalog import taxonomy
from catalog.errors import UnknownListing, UnknownTask, UnknownVersion
from catalog.listings import visible_versions
from catalog.models import Artifact, Listing, ListingKind, Version, VersionState
from catalog.offered import is_refused, meant, offered
from marketplace.auth import Viewer
from marketplace.errors import InvalidRequest, MarketError
from marketplace.hub_files import LIBRARIES, words_of

MAIN = "main"
COMMIT = 40  # hex digits
PAGE, LARGEST_PAGE = 200, 1000


class HubFileUnknown(MarketError):
    """The version has no such file. Facts: name, path, commit."""

    code = "hub-file-unknown"


class HubAccountNeeded(MarketError):
    """The listing's files are for accounts only, and nobody is signed in. Facts: name."""

    code = "hub-account-needed"


class HubTokenInvalid(MarketError):
    """No account has this token; a deployment's key is none. Facts: name (of the listing, or "")."""

    code = "hub-token-invalid"


@dataclass(frozen=True)
class Repo:
    """A listing with the versions that were ever listed, the newest first."""

    listing: Listing
    versions: Sequence[Version]

    @property
    def shown(self) -> list[Version]:
        """Versions that can be had: all but those that were taken back, or that newer rules refuse."""
        return [v for v in self.versions if v.state != VersionState.yanked and not is_refused(v)]

    @property
    def main(self) -> Version | None:
        """The newest version that is offered, else what the listing's name means."""
        return meant(self.versions)

    def at(self, revision: str) -> Version:
        """The version of a branch, a number or a commit; raises UnknownVersion."""
        wanted = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        if wanted in (MAIN, "HEAD"):
            found = self.main
        else:
            found = next((v for v in self.versions if wanted in (v.number, commit_of(v))), None)
        if found is None:
            raise UnknownVersion(name=self.listing.name, version=revision)
        return found


def commit_of(version: Version) -> str:
    """The commit that stands for a version."""
    return version.digest.removeprefix("sha256:")[:COMMIT]


def find_repo(db: Session, name: str) -> Repo:
    """The repository called vendor/name; raises UnknownListing, also where nothing was ever listed."""
    listing = db.exec(select(Listing).where(Listing.name == name)).first()
    versions = visible_versions(db, listing) if listing else []
    if listing is None or not versions:
        raise UnknownListing(name=name, near=[])
    return Repo(listing, versions)


def require_access(viewer: Viewer, listing: Listing, version: Version, *, told_a_token: bool) -> None:
    """Refuse the files of a gated listing to whoever has no account.

    Raises HubAccountNeeded and HubTokenInvalid.
    """
    if viewer.signed_in or not is_gated(listing, version):
        return
    raise HubTokenInvalid(name=listing.name) if told_a_token else HubAccountNeeded(name=listing.name)


def is_gated(listing: Listing, version: Version) -> bool:
    """Whether its files are for accounts only: as it was listed, or as the listing says now."""
    return bool(listing.gated or words_of(listing, version)["gated"])


def split_place(place: str) -> tuple[str, str]:
    """Revision and inner path out of `revision/inner/path`; revisions with slashes begin with refs/."""
    parts = place.strip("/").split("/")
    count = 3 if parts[0] == "refs" else 1
    return "/".join(parts[:count]), "/".join(parts[count:])


# Lists


@dataclass(frozen=True)
class Wanted:
    """What a list of models is narrowed to; `tags` are tasks, libraries, languages, licences, verticals."""

    search: str = ""
    author: str = ""
    tags: Sequence[str] = field(default_factory=list)
    gated: bool | None = None
    sort: str = ""
    cursor: str = ""
    limit: int = PAGE


@dataclass(frozen=True)
class ModelPage:
    """Some of the models, and where the next ones begin ("" at the end)."""

    items: list[tuple[Listing, Version]]
    cursor: str


def list_models(db: Session, wanted: Wanted) -> ModelPage:
    """Listings on the shelf, the newest first; raises InvalidRequest for a cursor that is none."""
    by_change = wanted.sort == "lastModified"
    moment = col(Version.created) if by_change else col(Listing.created)
    where = [_has_version(true()), *(_tagged(tag) for tag in wanted.tags)]
    where += [_named(word) for word in wanted.search.split()[:12]]
    if wanted.author:
        where.append(col(Listing.name).startswith(f"{wanted.author}/", autoescape=True))
    if wanted.gated is not None:
        where.append(col(Listing.gated) == wanted.gated)
    if wanted.cursor:
        then, name = _read_cursor(wanted.cursor)
        where += [moment <= then, or_(moment < then, col(Listing.name) > name)]
    found = select(Listing, moment).where(*where).order_by(moment.desc(), col(Listing.name))
    if by_change:
        found = found.join(Version, _is_last_listed())
    limit = max(1, min(wanted.limit, LARGEST_PAGE))
    rows = db.execute(found.limit(limit + 1)).all()
    newest = newest_versions(db, [row[0].id for row in rows[:limit]])
    items = [(row[0], newest[row[0].id]) for row in rows[:limit] if row[0].id in newest]
    cursor = ""
    if len(rows) > limit:
        last, then = rows[limit - 1]
        cursor = f"{then.isoformat()}~{last.name}"
    return ModelPage(items, cursor)


def newest_versions(db: Session, listings: Sequence[UUID]) -> dict[UUID, Version]:
    """The newest offered version of each of these listings."""
    newest: dict[UUID, Version] = {}
    found = select(Version).where(col(Version.listing_id).in_(listings), offered())
    for row in db.exec(found):
        known = newest.get(row.listing_id)
        if known is None or _number(row) > _number(known):
            newest[row.listing_id] = row
    return newest


def _number(version: Version) -> tuple[int, ...]:
    return tuple(int(part) for part in version.number.split("."))


def _read_cursor(text: str) -> tuple[datetime, str]:
    moment, _, name = text.partition("~")
    try:
        then = datetime.fromisoformat(moment)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).astimezone(UTC), name
    except (ValueError, OverflowError):
        raise InvalidRequest(why="cursor") from None


def _is_last_listed() -> ColumnElement[bool]:
    """That a version is its listing's, and none of it was offered later."""
    other = aliased(Version)
    at, own = col(Version.created), col(Version.listing_id)
    same_time = and_(col(other.created) == at, col(other.id) > Version.id)
    later = or_(col(other.created) > at, same_time)
    none_later = ~exists().where(col(other.listing_id) == own, offered(other), later)
    return and_(own == Listing.id, offered(), none_later)


def _named(word: str) -> ColumnElement[bool]:
    return or_(
        *(
            col(column).icontains(word, autoescape=True)
            for column in (Listing.name, Listing.title_zh, Listing.title_en)
        )
    )


def _tagged(tag: str) -> ColumnElement[bool]:
    """Listings that have a tag; nothing has one that the catalogue does not know."""
    kind, _, value = tag.rpartition(":")
    if tag == "license:other":
        named = col(Version.license_weights)
        return _has_version(or_(named.contains(" "), named.startswith("LicenseRef-")))
    if kind == "license":
        return _has_version(func.lower(Version.license_weights) == value.lower())
    if tag == "opc-market":
        return true()
    if value in taxonomy.LANGUAGES:
        return _holds(Listing.languages, value)
    if value in taxonomy.VERTICALS:
        return _holds(Listing.verticals, value)
    if value in LIBRARIES.values():
        ending = next(ending for ending, library in LIBRARIES.items() if library == value)
        path = col(Artifact.path).iendswith(ending, autoescape=True)
        return _has_version(select(Artifact.id).where(Artifact.version_id == Version.id, path).exists())
    if value in list(ListingKind):
        return col(Listing.kind) == value
    try:
        return col(Listing.task) == taxonomy.task(value).id
    except UnknownTask:
        return false()


def _holds(column: Any, value: str) -> ColumnElement[bool]:
    # The column is JSON text on every database, and an id has nothing that JSON would escape.
    return cast(column, String).contains(f'"{value}"', autoescape=True)


def _has_version(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    listed = and_(col(Version.listing_id) == Listing.id, offered())
    return select(Version.id).where(listed, condition).correlate(Listing).exists()


def moment_of(time: datetime) -> str:
    """A time as the Hub writes it."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return f"{aware.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{aware.microsecond // 1000:03d}Z"
