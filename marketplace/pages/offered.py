"""What a listing's page shows beyond the listing itself: figures, badges, licence, ratings; and rating it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect
from sqlmodel import Session

from catalog import listings, review
from catalog.models import Listing, Rating, Vendor, Verdict, Version, VersionState
from catalog.offered import is_refused
from marketplace import audit, ratings
from marketplace.audit import AuditAction
from marketplace.auth import AnyRequest, Viewer
from marketplace.errors import MarketError
from marketplace.pages import checked
from marketplace.pages.forms import see_other
from marketplace.permissions import Permission
from marketplace.problems import problem_of
from marketplace.services import Services

S = VersionState
NOTED = (S.deprecated, S.yanked)


@dataclass(frozen=True)
class Note:
    """Why a version was deprecated or taken off the shelf, and since when."""

    state: str
    why: str
    at: datetime


@dataclass(frozen=True)
class RatingShown:
    """A rating as a viewer sees it."""

    row: Rating
    own: bool


@dataclass(frozen=True)
class MayRate:
    """Whether the viewer may rate the listing; what to do first where not."""

    ok: bool
    why: str = ""
    own: Rating | None = None


def about(
    services: Services, db: Session, request: AnyRequest, viewer: Viewer, row: Listing, version: Version
) -> dict[str, Any]:
    """All of it, for the listing's template; the view is counted unless an insider looks."""
    reviewer = viewer.may(Permission.decide_reviews)
    insider = reviewer or _is_member(db, row, viewer)
    if not insider:
        services.views.count(
            row.id, request.headers.get("user-agent", ""), request.headers.get("sec-purpose", "")
        )
    seen = [v for v in listings.visible_versions(db, row) if v.state != S.yanked or reviewer]
    return {
        "vendor": db.get_one(Vendor, row.vendor_id),
        "insider": insider,
        "licence_said": checked.licence_said(version, viewer.lang),
        "figures": checked.figures(version, viewer.lang),
        "badges": checked.badges(db, version, viewer.lang),
        "versions": seen,
        "refused": {v.number for v in seen if is_refused(v)},
        "refusals": _refusals(db, version, viewer.lang),
        "notes": {v.number: note for v in seen if (note := note_of(db, v))},
        "rating": ratings.summary(db, row),
        "ratings": [
            RatingShown(each, each.account_id == viewer.account_id)
            for each in ratings.ratings_of(db, row, hidden=reviewer)
        ],
        "may_rate": may_rate(db, row, viewer),
        "hub": f"HF_ENDPOINT={services.settings.url}/hf hf download {row.name}",
    }


def _refusals(db: Session, version: Version, lang: str) -> list[str]:
    """The checks that newer rules refuse a version for; none where it is offered."""
    if not is_refused(version):
        return []
    return [check.title for check in checked.table(db, version, lang) if check.verdict == Verdict.failed]


def _is_member(db: Session, row: Listing, viewer: Viewer) -> bool:
    return viewer.account_id is not None and listings.is_member(db, row.vendor_id, viewer.account_id)


def note_of(db: Session, version: Version) -> Note | None:
    """Why it is deprecated or yanked."""
    if version.state not in NOTED:
        return None
    last = [event for event in review.events_of(db, version) if event.after == version.state][-1:]
    return Note(str(version.state), last[0].why, last[0].at) if last else None


def may_rate(db: Session, row: Listing, viewer: Viewer) -> MayRate:
    """Whether this viewer may rate the listing."""
    if viewer.account_id is None or not viewer.may(Permission.write_ratings):
        return MayRate(False)
    try:
        ratings.require_may_rate(db, row, viewer.account_id)
    except MarketError as error:
        return MayRate(False, problem_of(error, viewer.lang).next)
    return MayRate(True, own=ratings.rating_of(db, row, viewer.account_id))


PATH = "/listings/{vendor:str}/{name:str}/ratings"


@post(PATH, permission=Permission.write_ratings, include_in_schema=False, sync_to_thread=True)
def rate(
    data: URLEncodedBody[dict[str, str]],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Redirect:
    """Rate the listing, or change what one said."""
    listing = listings.get_visible_listing(db, f"{vendor}/{name}", viewer.account_id)
    text = data.get("stars", "")
    stars = int(text) if text.isascii() and text.isdecimal() and len(text) == 1 else 0
    ratings.rate(db, listing, viewer.account(db), stars=stars, text=data.get("text", ""))
    audit.record(db, viewer, AuditAction.write_rating, listing.name, stars=stars)
    db.commit()
    return see_other(f"/listings/{listing.name}#ratings-title")


@post(f"{PATH}/remove", permission=Permission.write_ratings, include_in_schema=False, sync_to_thread=True)
def remove(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Redirect:
    """Take one's own rating back."""
    listing = listings.get_visible_listing(db, f"{vendor}/{name}", viewer.account_id)
    ratings.remove(db, listing, viewer.account(db).id)
    audit.record(db, viewer, AuditAction.remove_rating, listing.name)
    db.commit()
    return see_other(f"/listings/{listing.name}#ratings-title")


@post(
    f"{PATH}/{{rating:uuid}}/hidden",
    permission=Permission.decide_reviews,
    include_in_schema=False,
    sync_to_thread=True,
)
def hide(
    data: URLEncodedBody[dict[str, str]],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    rating: FromPath[UUID],
) -> Redirect:
    """Hide a rating that breaks the rules, or show it again."""
    listing = listings.get_listing(db, f"{vendor}/{name}")
    hidden = data.get("hidden", "yes") == "yes"
    row = ratings.hide(db, listing, rating, hidden=hidden)
    action = AuditAction.hide_rating if hidden else AuditAction.show_rating
    audit.record(db, viewer, action, listing.name, rating=str(row.id))
    db.commit()
    return see_other(f"/listings/{listing.name}#ratings-title")


handlers = [rate, remove, hide]
