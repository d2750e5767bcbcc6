"""What operators do about versions: what waits for them, approve, reject, have checked again; and vouching.

A decision is made once: the version is locked while it is made, and one whose state changed meanwhile is
refused by name. Each commits itself, writes the audit log and wakes who watches.
"""

import hashlib
import json
from collections.abc import Sequence

from sqlmodel import Session, col, select

from catalog import listings, review
from catalog.errors import CatalogError
from catalog.models import CheckState, Listing, Version, VersionEvent, VersionState
from catalog.offered import SHOWN
from marketplace import checking, publishing
from marketplace.audit import AuditAction, record
from marketplace.auth import Viewer
from marketplace.permissions import Permission
from marketplace.services import Services
from marketplace.vendoring import vouch

__all__ = [
    "approve",
    "find",
    "marked",
    "recheck",
    "recheck_all",
    "reject",
    "vouch",
    "waiting",
]

LONGEST = 2000  # characters of a finding's text


class FindingsNeeded(CatalogError):
    """A version is rejected for findings, and none was given. Facts: kinds (that there are)."""

    code = "findings-needed"


class OlderRules(CatalogError):
    """A version was checked by older rules, and by today's not yet. Facts: name, version."""

    code = "checked-by-older-rules"


class ChangedMeanwhile(CatalogError):
    """A version is not what the reviewer has read any more. Facts: name, version."""

    code = "changed-meanwhile"


class NotOnShelf(CatalogError):
    """Only what is submitted or on the shelf is checked again. Facts: name, state."""

    code = "not-on-shelf"


def waiting(db: Session) -> list[tuple[Listing, Version]]:
    """Versions that wait for a decision, the one that was submitted first at the head."""
    submitted = (
        select(VersionEvent.version_id, VersionEvent.id)
        .where(VersionEvent.after == VersionState.submitted)
        .order_by(col(VersionEvent.id))
    )
    last = dict(db.exec(submitted).all())
    rows = _with_listing(db, Version.state == VersionState.submitted)
    return sorted(rows, key=lambda row: last.get(row[1].id) or 0)


def marked(db: Session) -> list[tuple[Listing, Version]]:
    """Versions on the shelf that newer rules refuse: offered to nobody new until an operator decides."""
    return _with_listing(db, col(Version.state).in_(SHOWN), Version.check_state == CheckState.failed)


def _with_listing(db: Session, *conditions: object) -> list[tuple[Listing, Version]]:
    found = (
        select(Listing, Version)
        .join(Version, col(Version.listing_id) == col(Listing.id))
        .where(*conditions)  # type: ignore[arg-type]
        .order_by(col(Version.created), col(Version.id))
    )
    return [(listing, version) for listing, version in db.exec(found)]


def find(db: Session, name: str, viewer: Viewer) -> tuple[Listing, Version]:
    """A version by vendor/name[@number], in whatever state; without a number the one that waits, if one does.

    Raises UnknownListing and UnknownVersion.
    """
    bare, at, _ = name.partition("@")
    everything = viewer.may(Permission.decide_reviews)
    if not at:
        for listing, version in waiting(db):
            if listing.name == bare and everything:
                return listing, version
    return listings.get_version(db, name, viewer.account_id, all_states=everything)


def fingerprint(version: Version) -> str:
    """Of all that a reviewer reads: files, words, licences, price and claims."""
    read = [version.digest, version.offer, publishing.licenses_of(version), version.claims]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]


def approve(
    services: Services,
    db: Session,
    viewer: Viewer,
    listing: Listing,
    version: Version,
    *,
    why: str = "",
    seen: str = "",
) -> None:
    """Put a submitted version on the shelf; commits. `seen` is the fingerprint of what was read.

    Raises ChangedMeanwhile, OlderRules, VersionStateRefused and VendorUnproved.
    """
    account = viewer.account(db)
    review.lock(db, version)
    if seen and seen != fingerprint(version):
        raise ChangedMeanwhile(name=listing.name, version=version.number)
    if version.state == VersionState.submitted and checking.is_outdated(version):
        raise OlderRules(name=listing.name, version=version.number)
    review.approve(db, version, by=account.id, why=why)
    record(db, viewer, AuditAction.approve_version, f"{listing.name}@{version.number}", why=why)
    db.commit()
    checking.notify(services, version.id)


def reject(
    services: Services,
    db: Session,
    viewer: Viewer,
    listing: Listing,
    version: Version,
    *,
    findings: Sequence[tuple[str, str]],
    why: str = "",
) -> None:
    """Refuse a submitted version for findings of (kind, text); commits.

    Raises FindingsNeeded, UnknownFinding and VersionStateRefused.
    """
    if not findings:
        raise FindingsNeeded(kinds=list(review.FINDINGS))
    account = viewer.account(db)
    review.lock(db, version)
    short = [(kind, text.strip()[:LONGEST]) for kind, text in findings]
    review.reject(db, version, by=account.id, findings=short, why=why)
    kinds = ", ".join(dict.fromkeys(kind for kind, _ in short))
    subject = f"{listing.name}@{version.number}"
    record(db, viewer, AuditAction.reject_version, subject, findings=kinds, why=why)
    db.commit()
    checking.notify(services, version.id)


def recheck(services: Services, db: Session, viewer: Viewer, listing: Listing, version: Version) -> None:
    """Have a version, submitted or on the shelf, checked by today's rules; commits. Raises NotOnShelf."""
    subject = f"{listing.name}@{version.number}"
    if version.state not in checking.RECHECKED:
        raise NotOnShelf(name=subject, state=version.state)
    record(db, viewer, AuditAction.recheck_version, subject)
    checking.recheck(services, db, version)


def recheck_all(services: Services, db: Session, viewer: Viewer) -> list[tuple[Listing, Version]]:
    """Have every version on the shelf checked again, one at a time; commits. Gives them."""
    rows = _with_listing(db, col(Version.state).in_(SHOWN))
    for listing, version in rows:
        recheck(services, db, viewer, listing, version)
    return rows
