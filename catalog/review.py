"""The life of a version: draft → submitted → listed or rejected → deprecated or yanked.

Every change is an event with who and why. A version's files and words are fixed from the moment that it is
submitted; before that the same number may be published again. A deprecated version is searched for no more,
and given with a warning; a yanked one stays what it is for those who have it, and is offered to nobody. A
change is decided on the row as it is once it is locked, not as it was when somebody read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import InvalidRequestError
from sqlmodel import Session, col, select

from catalog import search_index
from catalog.errors import CatalogError, UnknownVersion, VersionStateRefused
from catalog.models import (
    CheckState,
    Finding,
    Listing,
    Vendor,
    VendorMember,
    Version,
    VersionEvent,
    VersionState,
)
from catalog.offered import SHOWN, newest, offered
from catalog.vendors import require_proved

S = VersionState
ALLOWED: dict[str, tuple[str, ...]] = {
    S.draft: (S.submitted,),
    S.submitted: (S.listed, S.rejected, S.draft),
    S.listed: (S.deprecated, S.yanked),
    S.rejected: (),
    S.deprecated: (S.listed, S.yanked),
    S.yanked: (S.listed,),
}
"""What each state may become; submitted → draft is the vendor taking it back."""
WHY = 1000
"""Characters of a reason that are kept."""


class UnknownFinding(CatalogError):
    """Findings have kinds, and this is none. Facts: kind, known."""

    code = "unknown-finding"


@dataclass(frozen=True)
class FindingKind:
    """One kind of thing that an operator may find wrong."""

    id: str
    title_zh: str
    title_en: str


FINDINGS = {
    kind.id: kind
    for kind in (
        FindingKind("licence", "许可不清或不合", "The licence is unclear or does not fit"),
        FindingKind("description", "说明不实或不全", "The description is wrong or incomplete"),
        FindingKind("quality", "效果达不到所称", "It does not do what it claims"),
        FindingKind("safety", "有安全隐患", "It is not safe"),
        FindingKind("duplicate", "与已有商品重复", "It repeats a listing that is there"),
        FindingKind("other", "其他", "Something else"),
    )
}


def change(db: Session, version: Version, after: VersionState, *, by: UUID | None, why: str = "") -> None:
    """Bring a version to another state and write it down; the caller commits.

    Raises VersionStateRefused when this state may not follow, or its checks have not passed,
    VendorUnproved when nobody proved its vendor's name, and UnknownVersion when it was removed meanwhile.
    """
    lock(db, version)
    if after not in ALLOWED[version.state]:
        raise VersionStateRefused(number=version.number, state=version.state, wanted=after)
    if after in (S.submitted, S.listed) and version.check_state != CheckState.passed:
        raise VersionStateRefused(number=version.number, state="unchecked", wanted=after)
    if after in (S.submitted, S.listed):
        require_proved(_vendor_of(db, version))
    before = version.state
    db.add(VersionEvent(version_id=version.id, before=before, after=after, by=by, why=why.strip()[:WHY]))
    version.state = after
    db.add(version)
    db.flush()
    if S.listed in (before, after):
        write_words(db, version.listing_id)
    db.flush()


def lock(db: Session, version: Version) -> None:
    """Read a version as it is now, and keep others from changing it until the commit.

    Raises UnknownVersion when it was removed meanwhile.
    """
    listing = db.get(Listing, version.listing_id)
    name, number = listing.name if listing else "", version.number
    try:
        db.refresh(version, with_for_update=True)
    except InvalidRequestError:
        raise UnknownVersion(name=name, version=number) from None


def _vendor_of(db: Session, version: Version) -> Vendor:
    listing = db.get_one(Listing, version.listing_id)
    return db.get_one(Vendor, listing.vendor_id)


def approve(db: Session, version: Version, *, by: UUID, why: str = "") -> None:
    """List a submitted version; its words become its listing's."""
    change(db, version, S.listed, by=by, why=why)
    version.reviewed = True
    db.flush()


def reject(
    db: Session, version: Version, *, by: UUID, findings: Sequence[tuple[str, str]], why: str = ""
) -> None:
    """Refuse a submitted version for findings of (kind, text); raises UnknownFinding for another kind."""
    for kind, _ in findings:
        if kind not in FINDINGS:
            raise UnknownFinding(kind=kind, known=list(FINDINGS))
    change(db, version, S.rejected, by=by, why=why)
    version.reviewed = True
    for kind, text in findings:
        db.add(Finding(version_id=version.id, kind=FINDINGS[kind].id, text=text, by=by))
    db.flush()


def events_of(db: Session, version: Version) -> list[VersionEvent]:
    """Its history, the oldest first."""
    found = select(VersionEvent).where(VersionEvent.version_id == version.id).order_by(col(VersionEvent.id))
    return list(db.exec(found))


def taken_off_by_operator(db: Session, version: Version) -> bool:
    """Whether somebody who does not act for its vendor took it off the shelf since it was last listed.

    What was noted without changing the state, as checks that came again, is nobody's decision.
    """
    listing = db.get_one(Listing, version.listing_id)
    members = set(db.exec(select(VendorMember.account_id).where(VendorMember.vendor_id == listing.vendor_id)))
    for event in reversed(events_of(db, version)):
        if event.before == event.after:
            continue
        if event.after == S.listed:
            break
        if event.before in SHOWN and event.by not in members:
            return True
    return False


def findings_of(db: Session, version: Version) -> list[Finding]:
    """What operators found in it."""
    return list(db.exec(select(Finding).where(Finding.version_id == version.id).order_by(col(Finding.at))))


WORDS = (
    "kind",
    "title_zh",
    "title_en",
    "summary_zh",
    "summary_en",
    "card_zh",
    "card_en",
    "verticals",
    "languages",
    "gated",
    "price",
)
"""Columns of a listing that its newest offered version decides; they stand in `Version.offer` until then."""


def write_words(db: Session, listing_id: UUID) -> None:
    """Give a listing the words of its newest offered version, and the index what follows from it.

    It keeps the words that it has when none is offered; the caller commits.
    """
    listing = db.get(Listing, listing_id)
    if listing is None:
        raise LookupError(f"version without its listing {listing_id}")
    found = newest(db.exec(select(Version).where(Version.listing_id == listing_id, offered())))
    words: dict[str, Any] = found.offer if found else {}
    for name in WORDS:
        if name in words:
            setattr(listing, name, words[name])
    if found:
        listing.task = str(found.manifest.get("task", listing.task))
    db.add(listing)
    search_index.refresh(db, listing)
