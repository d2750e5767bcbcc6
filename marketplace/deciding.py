"""What operators do about versions: what waits for them, approve, reject, have checked again; and vouching.

A decision is made once: the version is locked while it is made, and one whose state changed meanwhile is
refused by name. Each commits itself, writes the audit log and wakes who watches.
"""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from catalog import listings, review
from catalog.errors import CatalogError
from catalog.models import CheckState, Listing, Version, VersionEvent, VersionState
from marketplace import checking
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


class NotOnShelf(CatalogError):
    """Only versions on the shelf are checked again. Facts: name, state."""

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
    return _with_listing(db, col(Version.state).in_(checking.SHOWN), Version.check_state == CheckState.failed)


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


def approve(
    services: Services, db: Session, viewer: Viewer, listing: Listing, version: Version, *, why: str = ""
) -> None:
    """Put a submitted version on the shelf; commits. Raises VersionStateRefused and VendorUnproved."""
    account = viewer.account(db)
    db.refresh(version, with_for_update=True)
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
    db.refresh(version, with_for_update=True)
    short = [(kind, text.strip()[:LONGEST]) for kind, text in findings]
    review.reject(db, version, by=account.id, findings=short, why=why)
    kinds = ", ".join(dict.fromkeys(kind for kind, _ in short))
    subject = f"{listing.name}@{version.number}"
    record(db, viewer, AuditAction.reject_version, subject, findings=kinds, why=why)
    db.commit()
    checking.notify(services, version.id)


def recheck(services: Services, db: Session, viewer: Viewer, listing: Listing, version: Version) -> None:
    """Have a version on the shelf checked again, by today's rules; commits. Raises NotOnShelf."""
    subject = f"{listing.name}@{version.number}"
    if version.state not in checking.SHOWN:
        raise NotOnShelf(name=subject, state=version.state)
    record(db, viewer, AuditAction.recheck_version, subject)
    checking.recheck(services, db, version)


def recheck_all(services: Services, db: Session, viewer: Viewer) -> list[tuple[Listing, Version]]:
    """Have every version on the shelf checked again, one at a time; commits. Gives them."""
    rows = _with_listing(db, col(Version.state).in_(checking.SHOWN))
    for listing, version in rows:
        recheck(services, db, viewer, listing, version)
    return rows
