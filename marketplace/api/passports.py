"""Passports of versions, ratings of listings, and what their publishers see of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import Response, Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, JSONBody
from sqlmodel import Session

from catalog import listings
from catalog.models import Listing, Rating, Version
from deployer.packager import passport as passport_files
from marketplace import analytics, audit, passports, ratings
from marketplace.audit import AuditAction
from marketplace.auth import Viewer
from marketplace.errors import NotAllowed
from marketplace.permissions import Permission, role_for
from marketplace.services import Services

NO_SNIFF = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache"}


@dataclass(frozen=True)
class PassportFileOut:
    """One file of a passport."""

    name: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PassportOut:
    """A version's passport: the chain that is signed, and the files that it is made of."""

    name: str
    version: str
    digest: str
    fingerprint: str  # of the key that signed
    chain: dict[str, Any]
    files: list[PassportFileOut]


@dataclass(frozen=True)
class RatingIn:
    """Stars from 1 to 5, and words."""

    stars: int
    text: str = ""


@dataclass(frozen=True)
class RatingOut:
    """What somebody who has deployed a listing thinks of it."""

    id: str
    author: str
    stars: int
    text: str
    version: str  # that was deployed
    hidden: bool
    own: bool
    updated: datetime


@dataclass(frozen=True)
class RatingsOut:
    """The ratings of a listing, the newest first."""

    items: list[RatingOut]
    total: int
    mean: float
    by_stars: dict[str, int]


@dataclass(frozen=True)
class DayOut:
    """The sums of one day (UTC)."""

    day: str
    views: int
    deployments: int
    calls: int
    errors: int
    ratings: int


@dataclass(frozen=True)
class AnalyticsOut:
    """A listing's last days, the oldest first; nobody is named in it."""

    name: str
    days: list[DayOut]
    totals: dict[str, int]


def find_listing(db: Session, viewer: Viewer, vendor: str, name: str) -> Listing:
    """The listing that the viewer may know of; raises UnknownListing."""
    every = viewer.may(Permission.decide_reviews)
    return listings.get_visible_listing(db, f"{vendor}/{name}", viewer.account_id, all_states=every)


def find_version(db: Session, viewer: Viewer, vendor: str, name: str, number: str) -> tuple[Listing, Version]:
    """The version that the viewer may see under this number; raises UnknownListing and UnknownVersion."""
    every = viewer.may(Permission.decide_reviews)
    return listings.get_version(db, f"{vendor}/{name}@{number}", viewer.account_id, all_states=every)


@get("/passports/{vendor:str}/{name:str}/{number:str}", permission=Permission.browse, sync_to_thread=True)
def show_passport(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> PassportOut:
    """A version's passport."""
    made = passports.make(services.settings, db, *find_version(db, viewer, vendor, name, number))
    return passport_out(made)


def passport_out(made: passports.Passport) -> PassportOut:
    """A passport as JSON."""
    return PassportOut(
        made.release.name,
        made.release.version,
        made.release.digest,
        made.fingerprint,
        dict(made.chain),
        [PassportFileOut(*each) for each in made.listed()],
    )


@get(
    "/passports/{vendor:str}/{name:str}/{number:str}/files/{file:str}",
    permission=Permission.browse,
    sync_to_thread=True,
)
def passport_file(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
    file: FromPath[str],
) -> Response[bytes]:
    """One file of a passport, such as passport.intoto.json."""
    made = passports.make(services.settings, db, *find_version(db, viewer, vendor, name, number))
    if file not in made.files:
        raise NotFoundException
    headers = NO_SNIFF | {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(made.files[file], media_type=passport_files.MEDIA_TYPES[file], headers=headers)


@get(
    "/passports/{vendor:str}/{name:str}/{number:str}/archive",
    permission=Permission.browse,
    sync_to_thread=True,
)
def passport_archive(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Response[bytes]:
    """All files of a passport as a .zip, which `market verify` takes."""
    made = passports.make(services.settings, db, *find_version(db, viewer, vendor, name, number))
    headers = NO_SNIFF | {"Content-Disposition": f'attachment; filename="{made.slug}.zip"'}
    return Response(passports.archive(made), media_type="application/zip", headers=headers)


# Ratings


@get("/ratings/{vendor:str}/{name:str}", permission=Permission.browse, sync_to_thread=True)
def show_ratings(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    limit: FromQuery[int] = ratings.SHOWN,
    offset: FromQuery[int] = 0,
) -> RatingsOut:
    """The ratings of a listing; operators see the hidden ones too."""
    listing = find_listing(db, viewer, vendor, name)
    rows = ratings.ratings_of(
        db,
        listing,
        hidden=viewer.may(Permission.decide_reviews),
        limit=max(1, min(limit, 200)),
        offset=max(0, min(offset, 1 << 31)),
    )
    found = ratings.summary(db, listing)
    by_stars = {str(stars): n for stars, n in found.by_stars.items()}
    items = [rating_out(row, viewer) for row in rows]
    return RatingsOut(items, found.count, round(found.mean, 2), by_stars)


def rating_out(row: Rating, viewer: Viewer) -> RatingOut:
    """A rating as a viewer sees it."""
    own = row.account_id == viewer.account_id
    return RatingOut(str(row.id), row.author, row.stars, row.text, row.version, row.hidden, own, row.updated)


@put("/ratings/{vendor:str}/{name:str}", permission=Permission.write_ratings, sync_to_thread=True)
def write_rating(
    data: JSONBody[RatingIn],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> RatingOut:
    """Rate a listing that this account has deployed, or change what it said."""
    listing = find_listing(db, viewer, vendor, name)
    row = ratings.rate(db, listing, viewer.account(db), stars=data.stars, text=data.text)
    audit.record(db, viewer, AuditAction.write_rating, listing.name, stars=data.stars)
    db.commit()
    return rating_out(row, viewer)


@delete("/ratings/{vendor:str}/{name:str}", permission=Permission.write_ratings, sync_to_thread=True)
def remove_rating(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> None:
    """Take one's own rating back."""
    listing = find_listing(db, viewer, vendor, name)
    ratings.remove(db, listing, viewer.account(db).id)
    audit.record(db, viewer, AuditAction.remove_rating, listing.name)
    db.commit()


@dataclass(frozen=True)
class HideIn:
    """Whether a rating is hidden."""

    hidden: bool = True


@post(
    "/ratings/{vendor:str}/{name:str}/{rating:uuid}/hidden",
    permission=Permission.decide_reviews,
    status_code=200,
    sync_to_thread=True,
)
def hide_rating(
    data: JSONBody[HideIn],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    rating: FromPath[UUID],
) -> RatingOut:
    """Hide a rating that breaks the rules, or show it again."""
    listing = find_listing(db, viewer, vendor, name)
    row = ratings.hide(db, listing, rating, hidden=data.hidden)
    action = AuditAction.hide_rating if data.hidden else AuditAction.show_rating
    audit.record(db, viewer, action, listing.name, rating=str(row.id))
    db.commit()
    return rating_out(row, viewer)


# Analytics


@get("/analytics/{vendor:str}/{name:str}", permission=Permission.manage_self, sync_to_thread=True)
def show_analytics(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> AnalyticsOut:
    """Views, deployments, calls and ratings of the last 30 days; for the vendor's members and operators."""
    services.views.flush(services.engine)
    listing = find_listing(db, viewer, vendor, name)
    require_insider(db, viewer, listing)
    found = analytics.report(db, listing)
    days = [
        DayOut(day.day, day.views, day.deployments, day.calls, day.errors, day.ratings) for day in found.days
    ]
    return AnalyticsOut(found.name, days, found.totals)


def require_insider(db: Session, viewer: Viewer, listing: Listing) -> None:
    """Only who acts for the vendor, and operators; raises NotAllowed for all others."""
    if viewer.may(Permission.decide_reviews):
        return
    if not ratings.is_own(db, listing, viewer.account(db).id):
        raise NotAllowed(role=role_for(Permission.publish), permission=str(Permission.publish))


router = Router(
    "/api",
    route_handlers=[
        show_passport,
        passport_file,
        passport_archive,
        show_ratings,
        write_rating,
        remove_rating,
        hide_rating,
        show_analytics,
    ],
    tags=["passports"],
)
