"""The life of a version: draft → submitted → listed or rejected → deprecated or yanked.

Every change is an event with who and why. A version's files and words are fixed from the moment that it is
submitted; before that the same number may be published again. A yanked version stays what it is for those
who have it, and is offered to nobody; a deprecated one is offered with a warning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlmodel import Session, col, select

from catalog.errors import VersionStateRefused
from catalog.models import CheckState, Finding, Listing, Version, VersionEvent, VersionState

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

    Raises VersionStateRefused when this state may not follow, or its checks have not passed.
    """
    if after not in ALLOWED[version.state]:
        raise VersionStateRefused(number=version.number, state=version.state, wanted=after)
    if after in (S.submitted, S.listed) and version.check_state != CheckState.passed:
        raise VersionStateRefused(number=version.number, state="unchecked", wanted=after)
    db.add(VersionEvent(version_id=version.id, before=version.state, after=after, by=by, why=why))
    version.state = after
    db.add(version)
    if after == S.listed:
        _write_words(db, version)
    db.flush()


def approve(db: Session, version: Version, *, by: UUID, why: str = "") -> None:
    """List a submitted version; its words become its listing's."""
    version.reviewed = True
    change(db, version, S.listed, by=by, why=why)


def reject(
    db: Session, version: Version, *, by: UUID, findings: Sequence[tuple[str, str]], why: str = ""
) -> None:
    """Refuse a submitted version for findings of (kind, text); raises KeyError for an unknown kind."""
    change(db, version, S.rejected, by=by, why=why)
    version.reviewed = True
    for kind, text in findings:
        db.add(Finding(version_id=version.id, kind=FINDINGS[kind].id, text=text, by=by))
    db.flush()


def events_of(db: Session, version: Version) -> list[VersionEvent]:
    """Its history, the oldest first."""
    found = select(VersionEvent).where(VersionEvent.version_id == version.id).order_by(col(VersionEvent.id))
    return list(db.exec(found))


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
"""Columns of a listing that its newest listed version decides; they stand in `Version.offer` until then."""


def _write_words(db: Session, version: Version) -> None:
    listing = db.get(Listing, version.listing_id)
    if listing is None:
        raise LookupError(f"version without its listing {version.listing_id}")
    words: dict[str, Any] = version.offer
    for name in WORDS:
        if name in words:
            setattr(listing, name, words[name])
    listing.task = str(version.manifest.get("task", listing.task))
    db.add(listing)
