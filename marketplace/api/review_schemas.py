"""What the API tells of versions that wait for a decision: the whole table, badges of files, history."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from catalog import licences, review
from catalog.models import Listing, Vendor, Version
from marketplace import checks, deciding, problems, publishing
from marketplace.api.publication_schemas import (
    ChangeOut,
    CheckOut,
    FileOut,
    FindingOut,
    change_out,
    check_out,
    findings_out,
    names_of,
)
from marketplace.services import Services


@dataclass(frozen=True)
class BadgeOut:
    """What one scanner says of one file; unknown is never safe."""

    path: str
    scanner: str
    scanner_version: str
    verdict: str  # pass, warn, fail, unknown
    code: str
    summary: str
    at: datetime | None


@dataclass(frozen=True)
class ReviewOut:
    """A version that waits, or that newer rules refuse; `marked` says the latter."""

    name: str
    version: str
    state: str
    check_state: str
    marked: bool
    vendor: str
    vendor_verified: bool
    vendor_domain: str  # that its name was proved by
    title: str
    summary: str
    task: str
    size: int
    created: datetime
    checked: datetime | None
    rules: str
    url: str
    counts: dict[str, int]  # rows by verdict


@dataclass(frozen=True)
class ReviewDetail:
    """All that a decision needs."""

    review: ReviewOut
    licenses: dict[str, str]
    terms: list[str]  # what the licences ask, such as non-commercial
    claims: dict[str, Any]
    measured: dict[str, Any]
    words: dict[str, Any]
    seen: str  # fingerprint of what a decision is about: words, licences, files, claims
    files: list[FileOut] = field(default_factory=list)
    checks: list[CheckOut] = field(default_factory=list)
    badges: list[BadgeOut] = field(default_factory=list)
    history: list[ChangeOut] = field(default_factory=list)
    findings: list[FindingOut] = field(default_factory=list)


@dataclass(frozen=True)
class ReviewPage:
    """What waits, the oldest first, then what is marked; and the kinds of findings that there are."""

    items: list[ReviewOut]
    total: int
    findings: dict[str, str] = field(default_factory=dict)


def review_out(services: Services, db: Session, listing: Listing, version: Version, lang: str) -> ReviewOut:
    """A row of the queue."""
    vendor = db.get_one(Vendor, listing.vendor_id)
    rows = checks.rows_of(db, version)
    return ReviewOut(
        name=listing.name,
        version=version.number,
        state=version.state,
        check_state=version.check_state,
        marked=checks.is_marked(version),
        vendor=vendor.name,
        vendor_verified=vendor.verified,
        vendor_domain=vendor.domain,
        title=_word(listing, version, f"title_{lang}"),
        summary=_word(listing, version, f"summary_{lang}"),
        task=str(version.manifest.get("task", listing.task)),
        size=version.size,
        created=version.created,
        checked=version.checked,
        rules=version.rules,
        url=f"{services.settings.url}/reviews/{listing.name}/{version.number}",
        counts={verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS},
    )


VERDICTS = ("pass", "warn", "fail", "unknown")


def _word(listing: Listing, version: Version, name: str) -> str:
    return str(version.offer.get(name) or getattr(listing, name))


def badge_out(badge: checks.Badge, lang: str) -> BadgeOut:
    """A badge in words."""
    facts = {name: value for name, value in badge.facts.items() if name not in ("code", "lang")}
    summary = problems.problem(badge.code, lang, **facts).title if badge.code else ""
    return BadgeOut(
        badge.path, badge.scanner, badge.scanner_version, badge.verdict, badge.code, summary, badge.at
    )


def detail_out(
    services: Services, db: Session, listing: Listing, version: Version, lang: str
) -> ReviewDetail:
    """Everything about one version."""
    licenses = publishing.licenses_of(version)
    changes = review.events_of(db, version)
    names = names_of(db, (change.by for change in changes))
    return ReviewDetail(
        review=review_out(services, db, listing, version, lang),
        licenses=licenses,
        terms=[str(term) for term in licences.terms_of(licenses)],
        claims=version.claims,
        measured=version.measured,
        words=version.offer,
        seen=deciding.fingerprint(version),
        files=[FileOut(a["path"], a["sha256"], a["size"]) for a in version.manifest.get("artifacts", [])],
        checks=[check_out(row, lang) for row in checks.rows_of(db, version)],
        badges=[badge_out(badge, lang) for badge in checks.badges(db, version)],
        history=[change_out(change, names) for change in changes],
        findings=findings_out(db, version, lang),
    )
