"""/api/reviews: what waits for an operator, and what is decided about it; badges for everybody."""

from dataclasses import dataclass, field

from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlmodel import Session

from catalog.review import FINDINGS
from marketplace import checks, deciding
from marketplace.api.review_schemas import (
    BadgeOut,
    ReviewDetail,
    ReviewPage,
    badge_out,
    detail_out,
    review_out,
)
from marketplace.auth import Viewer
from marketplace.permissions import Permission
from marketplace.services import Services

PATH = "/reviews/{vendor:str}/{name:str}/{number:str}"


@dataclass(frozen=True)
class FindingIn:
    """One finding: a kind that GET /api/reviews names, and what to mend."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class ApproveRequest:
    """Why it may be had; may stay empty. `seen` is what GET told: refused when it is another by now."""

    why: str = ""
    seen: str = ""


@dataclass(frozen=True)
class RejectRequest:
    """Why it may not be had: at least one finding."""

    findings: list[FindingIn] = field(default_factory=list)
    why: str = ""


@dataclass(frozen=True)
class RecheckRequest:
    """What to check again: vendor/name[@number], or everything on the shelf when empty."""

    name: str = ""


@dataclass(frozen=True)
class BadgePage:
    """Badges by file and scanner."""

    items: list[BadgeOut]
    total: int


@get("/reviews", permission=Permission.decide_reviews, sync_to_thread=True)
def index(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    limit: FromQuery[int] = 50,
    offset: FromQuery[int] = 0,
) -> ReviewPage:
    """What waits for a decision, the oldest first; then what newer rules refuse."""
    rows = [*deciding.waiting(db), *deciding.marked(db)]
    first = max(0, offset)
    shown = rows[first : first + max(1, min(limit, 200))]
    items = [review_out(services, db, listing, version, viewer.lang) for listing, version in shown]
    kinds = {kind.id: kind.title_zh if viewer.lang == "zh" else kind.title_en for kind in FINDINGS.values()}
    return ReviewPage(items, len(rows), kinds)


@get(PATH, permission=Permission.decide_reviews, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> ReviewDetail:
    """One version with its checks, badges, words, history and findings."""
    found = deciding.find(db, f"{vendor}/{name}@{number}", viewer)
    return detail_out(services, db, *found, viewer.lang)


@get(f"{PATH}/badges", permission=Permission.browse, sync_to_thread=True)
def badges(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> BadgePage:
    """Which scanner saw which file of a version, when, and what it said; for everybody who may see it."""
    _, version = deciding.find(db, f"{vendor}/{name}@{number}", viewer)
    found = [badge_out(badge, viewer.lang) for badge in checks.badges(db, version)]
    return BadgePage(found, len(found))


@post(f"{PATH}/approve", permission=Permission.decide_reviews, status_code=200, sync_to_thread=True)
def approve(
    data: JSONBody[ApproveRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> ReviewDetail:
    """Put a submitted version on the shelf."""
    listing, version = deciding.find(db, f"{vendor}/{name}@{number}", viewer)
    deciding.approve(services, db, viewer, listing, version, why=data.why, seen=data.seen)
    return detail_out(services, db, listing, version, viewer.lang)


@post(f"{PATH}/reject", permission=Permission.decide_reviews, status_code=200, sync_to_thread=True)
def reject(
    data: JSONBody[RejectRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> ReviewDetail:
    """Refuse a submitted version for what was found, which its vendor gets to read."""
    listing, version = deciding.find(db, f"{vendor}/{name}@{number}", viewer)
    findings = [(finding.kind, finding.text) for finding in data.findings]
    deciding.reject(services, db, viewer, listing, version, findings=findings, why=data.why)
    return detail_out(services, db, listing, version, viewer.lang)


@post("/reviews/rescan", permission=Permission.decide_reviews, status_code=202, sync_to_thread=True)
def rescan(
    data: JSONBody[RecheckRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> ReviewPage:
    """Have a version, or all that are on the shelf, checked again by today's rules; they stay there."""
    if data.name:
        rows = [deciding.find(db, data.name, viewer)]
        deciding.recheck(services, db, viewer, *rows[0])
    else:
        rows = deciding.recheck_all(services, db, viewer)
    items = [review_out(services, db, listing, version, viewer.lang) for listing, version in rows]
    return ReviewPage(items, len(items))


router = Router("/api", route_handlers=[index, show, badges, approve, reject, rescan], tags=["reviews"])
