"""/api/publications and /api/versions: drafts with their checks, and what becomes of versions."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from litestar import Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import ServerSentEvent
from msgspec.json import encode
from sqlalchemy import func
from sqlmodel import Session, col, select

from catalog import listings, offer, review, vendors
from catalog.errors import UnknownListing, UnknownVersion
from catalog.models import CheckState, Listing, Vendor, VendorMember, Version, VersionState
from catalog.vendors import require_proved
from marketplace import audit, checking, deciding, publishing
from marketplace.api import uploads as uploads_api
from marketplace.api import vendors as vendors_api
from marketplace.api.deployments import on_nesting
from marketplace.api.publication_schemas import PublicationOut, PublicationPage, publication_out
from marketplace.api.streams import changes
from marketplace.audit import AuditAction
from marketplace.auth import Viewer
from marketplace.db import read_session
from marketplace.errors import InvalidRequest, NotAllowed
from marketplace.permissions import Permission, role_for
from marketplace.services import Services

CHANGES = {
    "deprecate": VersionState.deprecated,
    "yank": VersionState.yanked,
    "relist": VersionState.listed,
}
WANTED = ("", VersionState.submitted, VersionState.listed)


@dataclass(frozen=True)
class PublishRequest:
    """An offer, as catalog.offer.Offer.to_json gives it."""

    sheet: dict[str, Any]
    cards: dict[str, Any] | None = None


@dataclass(frozen=True)
class CheckRequest:
    """What is wanted once the checks have passed: submitted, listed, or nothing."""

    wanted: str = "submitted"


@dataclass(frozen=True)
class WhyRequest:
    """Why a version changes its state."""

    why: str = ""


@cache
def _schema() -> dict[str, Any]:
    return offer.json_schema()


@get("/market-yaml.schema.json", permission=Permission.browse, sync_to_thread=False)
def schema() -> Response[dict[str, Any]]:
    """The JSON Schema of market.yaml."""
    return Response(_schema(), media_type="application/schema+json")


def _out(
    services: Services, db: Session, listing: Listing, version: Version, viewer: Viewer
) -> PublicationOut:
    return publication_out(
        services, db, listing, version, viewer.lang, inside=_inside(db, listing, version, viewer)
    )


def _inside(db: Session, listing: Listing, version: Version, viewer: Viewer) -> bool:
    """Whether the asker made the version, acts for its vendor, or decides about it."""
    if viewer.may(Permission.decide_reviews):
        return True
    asker = viewer.account_id
    return asker is not None and (
        version.created_by == asker or listings.is_member(db, listing.vendor_id, asker)
    )


def _find(db: Session, vendor: str, name: str, number: str, viewer: Viewer) -> tuple[Listing, Version]:
    return listings.get_version(
        db,
        f"{vendor}/{name}@{number}",
        viewer.account_id,
        all_states=viewer.may(Permission.decide_reviews),
    )


def _own(db: Session, vendor: str, name: str, number: str, viewer: Viewer) -> tuple[Listing, Version]:
    """A version that the asker may publish; raises NotMember where it may only be seen."""
    found = _find(db, vendor, name, number, viewer)
    publishing.require_member(db, vendors.get_vendor(db, vendor), viewer.account(db))
    return found


# Drafts


@post("/publications", permission=Permission.publish, status_code=201, sync_to_thread=True)
def begin(
    data: JSONBody[PublishRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> PublicationOut:
    """Begin a draft, or find it; the answer says which files must be uploaded."""
    offered = offer.parse({"sheet": data.sheet, "cards": data.cards or {}})
    version = publishing.begin(services, db, viewer.account(db), offered)
    return _out(services, db, listings.get_listing(db, offered.name), version, viewer)


@get("/publications", permission=Permission.publish, sync_to_thread=True)
def index(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    only: FromQuery[str] = "",
    limit: FromQuery[int] = 50,
    offset: FromQuery[int] = 0,
) -> PublicationPage:
    """The versions of the vendors that the asker acts for, or those in one state; the newest first."""
    found = (
        select(Version, Listing)
        .join(Listing, col(Listing.id) == col(Version.listing_id))
        .join(VendorMember, col(VendorMember.vendor_id) == col(Listing.vendor_id))
        .where(VendorMember.account_id == viewer.account(db).id)
    )
    if only:
        found = found.where(Version.state == only)
    page = found.order_by(col(Version.created).desc(), col(Version.id))
    rows = list(db.exec(page.limit(max(1, min(limit, 200))).offset(max(0, min(offset, 1 << 31)))))
    items = [
        publication_out(services, db, listing, version, viewer.lang, inside=True, whole=False)
        for version, listing in rows
    ]
    total = db.exec(select(func.count()).select_from(found.subquery())).one()
    return PublicationPage(items, total)


@get("/publications/{vendor:str}/{name:str}/{number:str}", permission=Permission.publish, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> PublicationOut:
    """A version of the asker's vendor, with its checks and the files that must still come."""
    return _out(services, db, *_own(db, vendor, name, number, viewer), viewer)


@post(
    "/publications/{vendor:str}/{name:str}/{number:str}/checks",
    permission=Permission.publish,
    status_code=202,
    sync_to_thread=True,
)
def check(
    data: JSONBody[CheckRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> PublicationOut:
    """Begin the checks of a draft whose files are here; a draft that passed them goes on at once."""
    listing, version = _own(db, vendor, name, number, viewer)
    require_wanted(db, data.wanted, vendor, viewer)
    begin_checks(services, db, viewer, listing, version, data.wanted)
    return _out(services, db, listing, version, viewer)


def require_wanted(db: Session, wanted: str, vendor: str, viewer: Viewer) -> None:
    """Refuse what may not come of the checks: no name that is not proved, no listing without a decision."""
    if wanted not in WANTED:
        raise InvalidRequest(why="wanted is submitted, listed or empty")
    if wanted:
        require_proved(vendors.get_vendor(db, vendor))
    if wanted == VersionState.listed and not viewer.may(Permission.decide_reviews):
        permission = Permission.decide_reviews
        raise NotAllowed(role=role_for(permission), permission=str(permission))


def begin_checks(
    services: Services, db: Session, viewer: Viewer, listing: Listing, version: Version, wanted: str
) -> None:
    """Start the checks of a draft, or do what is wanted of one that passed; does nothing while they run.

    One that older rules let through, or a card that may not be submitted, is checked again before it goes on.
    """
    publishing.require_member(db, db.get_one(Vendor, listing.vendor_id), viewer.account(db))
    if version.state != VersionState.draft or version.check_state in publishing.RUNNING:
        return
    subject = f"{listing.name}@{version.number}"
    again = bool(wanted) and (checking.is_outdated(version) or publishing.was_lenient(db, version))
    if version.check_state == CheckState.passed and not again:
        if wanted:
            publishing.submit(services, db, viewer.account(db), listing, version)
        if wanted == VersionState.listed:
            deciding.approve(services, db, viewer, listing, version)
        return
    publishing.collect(services, db, version)
    review.lock(db, version)
    if version.state != VersionState.draft or version.check_state in publishing.RUNNING:
        return  # somebody else was quicker
    audit.record(db, viewer, AuditAction.check_version, subject, wanted=wanted)
    checking.start(services, db, version, wanted=wanted)


@post(
    "/publications/{vendor:str}/{name:str}/{number:str}/withdraw",
    permission=Permission.publish,
    status_code=200,
    sync_to_thread=True,
)
def withdraw(
    data: JSONBody[WhyRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> PublicationOut:
    """Take a submitted version back."""
    listing, version = _own(db, vendor, name, number, viewer)
    publishing.withdraw(services, db, viewer.account(db), listing, version, data.why)
    return _out(services, db, listing, version, viewer)


@delete(
    "/publications/{vendor:str}/{name:str}/{number:str}", permission=Permission.publish, sync_to_thread=True
)
def discard(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> None:
    """Remove a draft that was never submitted."""
    listing, version = _own(db, vendor, name, number, viewer)
    publishing.discard(services, db, viewer.account(db), listing, version)


@get(
    "/publications/{vendor:str}/{name:str}/{number:str}/events",
    permission=Permission.publish,
    sync_to_thread=True,
)
def events(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> ServerSentEvent:
    """The version whenever it changes, until its checks end."""
    _, version = _own(db, vendor, name, number, viewer)

    def read() -> tuple[str, bool]:
        with read_session(services.engine) as later:
            listing, row = _find(later, vendor, name, number, viewer)
            over = row.check_state not in publishing.RUNNING
            return encode(_out(services, later, listing, row, viewer)).decode(), over

    gone = _Gone
    return ServerSentEvent(changes(services, publishing.topic(version), "publication", _named(read), gone))


class _Gone(Exception):
    """The version was removed while somebody looked."""


def _named(read: Any) -> Any:
    def wrapped() -> tuple[str, bool]:
        try:
            found: tuple[str, bool] = read()
        except (UnknownListing, UnknownVersion):
            raise _Gone from None
        return found

    return wrapped


# Versions


@get("/versions/{vendor:str}/{name:str}", permission=Permission.browse, sync_to_thread=True)
def versions(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> PublicationPage:
    """All versions of a listing that the asker may know of, the newest first."""
    listing = listings.get_listing(db, f"{vendor}/{name}")
    all_states = viewer.may(Permission.decide_reviews)
    rows = listings.visible_versions(db, listing, viewer.account_id, all_states=all_states)
    if not rows:
        raise UnknownListing(name=listing.name, near=[])
    return PublicationPage([_out(services, db, listing, row, viewer) for row in rows], len(rows))


@get("/versions/{vendor:str}/{name:str}/{number:str}", permission=Permission.browse, sync_to_thread=True)
def version(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> PublicationOut:
    """One version with its checks and history."""
    return _out(services, db, *_find(db, vendor, name, number, viewer), viewer)


@post(
    "/versions/{vendor:str}/{name:str}/{number:str}/{change:str}",
    permission=Permission.change_versions,
    status_code=200,
    sync_to_thread=True,
)
def reshelve(
    data: JSONBody[WhyRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
    change: FromPath[str],
) -> PublicationOut:
    """Deprecate, yank or relist a version that was listed."""
    if change not in CHANGES:
        raise InvalidRequest(why=f"{change}: one of {', '.join(CHANGES)} is expected")
    listing, row = _find(db, vendor, name, number, viewer)
    publishing.reshelve(
        services,
        db,
        viewer,
        viewer.account(db),
        listing,
        row,
        CHANGES[change],
        why=data.why,
        operator=viewer.may(Permission.decide_reviews),
    )
    return _out(services, db, listing, row, viewer)


router = Router(
    "/api",
    route_handlers=[
        schema,
        begin,
        index,
        show,
        check,
        withdraw,
        discard,
        events,
        versions,
        version,
        reshelve,
        *uploads_api.handlers,
        *vendors_api.handlers,
    ],
    tags=["publishing"],
    exception_handlers={RecursionError: on_nesting},
)
