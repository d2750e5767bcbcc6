"""Listings, their versions and vendors: publish them, look them up, put them on shelves."""

import difflib
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlmodel import Session, col, select

from catalog import manifest as manifests
from catalog import search
from catalog.errors import InvalidManifest, UnknownListing, UnknownVersion, VersionNotReady, VersionTaken
from catalog.models import (
    Artifact,
    CheckState,
    Listing,
    ListingKind,
    Vendor,
    VendorMember,
    Version,
    VersionEvent,
    VersionState,
)
from catalog.offered import is_refused, meant, number_of
from catalog.search import Page, search_listings

__all__ = [
    "NewListing",
    "Page",
    "current_version",
    "ensure_vendor",
    "find_version",
    "get_listing",
    "get_version",
    "get_visible_listing",
    "is_member",
    "publish_version",
    "require_ready",
    "search_listings",
    "versions_of",
    "visible_versions",
]


@dataclass(frozen=True)
class NewListing:
    """What people read about a listing; its name and task come from the manifest."""

    title_zh: str
    title_en: str
    summary_zh: str
    summary_en: str
    card_zh: str = ""
    card_en: str = ""
    verticals: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    kind: str = ListingKind.model


def ensure_vendor(db: Session, name: str, *, title_zh: str, title_en: str, verified: bool = False) -> Vendor:
    """The vendor of this name, made when it is not there."""
    vendor = db.exec(select(Vendor).where(Vendor.name == name)).first()
    if vendor is None:
        vendor = Vendor(name=name, title_zh=title_zh, title_en=title_en, verified=verified)
        db.add(vendor)
        db.flush()
    return vendor


def publish_version(
    db: Session,
    vendor: Vendor,
    offer: NewListing,
    manifest: dict[str, Any],
    *,
    license_package: str,
    license_weights: str,
    source: str = "",
    state: str = VersionState.listed,
) -> Version:
    """Add a version to its listing, made or brought up to date on the way; the caller commits.

    The same manifest again gives the version that is there. Raises InvalidManifest, and VersionTaken
    when the number stands for something else already.
    """
    manifest = manifests.validate(manifest)
    name, number = manifest["name"], manifest["version"]
    if name.partition("/")[0] != vendor.name:
        raise InvalidManifest(path="name", why=f"{name} is not under the vendor {vendor.name}")
    listing = _write_listing(db, vendor, offer, manifest, state)
    digest = manifests.digest(manifest)
    taken = db.exec(select(Version).where(Version.listing_id == listing.id, Version.number == number)).first()
    if taken is not None:
        if taken.digest != digest:
            raise VersionTaken(name=name, version=number)
        search.refresh(db, listing)
        return taken
    version = Version(
        listing_id=listing.id,
        number=number,
        state=state,
        manifest=manifest,
        digest=digest,
        size=manifests.size(manifest),
        license_package=license_package,
        license_weights=license_weights,
        source=source,
        check_state=CheckState.passed if state == VersionState.listed else CheckState.none,
        reviewed=state == VersionState.listed,  # the market's own
    )
    db.add(version)
    db.flush()
    db.add_all(
        Artifact(version_id=version.id, path=a["path"], sha256=a["sha256"], size=a["size"])
        for a in manifest["artifacts"]
    )
    if state != VersionState.draft:
        db.add(VersionEvent(version_id=version.id, before=VersionState.draft, after=state))
    search.refresh(db, listing)
    return version


def _write_listing(
    db: Session, vendor: Vendor, offer: NewListing, manifest: dict[str, Any], state: str
) -> Listing:
    """The listing with these words, unless the version is not to be listed, or a later one is."""
    name, task = manifest["name"], manifest["task"]
    listing = db.exec(select(Listing).where(Listing.name == name)).first()
    if listing is not None:
        listed = select(Version.number).where(
            Version.listing_id == listing.id, Version.state == VersionState.listed
        )
        later = any(number_of(other) > number_of(manifest["version"]) for other in db.exec(listed))
        if later or state != VersionState.listed:
            return listing
    else:
        listing = Listing(
            name=name,
            vendor_id=vendor.id,
            task=task,
            title_zh=offer.title_zh,
            title_en=offer.title_en,
            summary_zh=offer.summary_zh,
            summary_en=offer.summary_en,
        )
    listing.task, listing.kind = task, offer.kind
    listing.title_zh, listing.title_en = offer.title_zh, offer.title_en
    listing.summary_zh, listing.summary_en = offer.summary_zh, offer.summary_en
    listing.card_zh, listing.card_en = offer.card_zh, offer.card_en
    listing.verticals, listing.languages = list(offer.verticals), list(offer.languages)
    db.add(listing)
    db.flush()
    return listing


def get_listing(db: Session, name: str) -> Listing:
    """The listing called vendor/name; raises UnknownListing with names that are close."""
    listing = db.exec(select(Listing).where(Listing.name == name)).first()
    if listing is None:
        raise UnknownListing(name=name, near=_near(db, name))
    return listing


def get_visible_listing(
    db: Session, name: str, asker: UUID | None = None, *, all_states: bool = False
) -> Listing:
    """The listing called vendor/name if the asker may know of one of its versions; raises UnknownListing."""
    listing = get_listing(db, name)
    if not visible_versions(db, listing, asker, all_states=all_states):
        raise UnknownListing(name=name, near=_near(db, name))
    return listing


def _near(db: Session, name: str) -> list[str]:
    """Up to three names that look like this one, by the whole name or its second half."""
    names = search.names_like(db, name)
    short = name.rpartition("/")[2]
    halves: dict[str, str] = {}
    for known in names:
        halves.setdefault(known.rpartition("/")[2], known)
    close = difflib.get_close_matches(name, names, 3, 0.6)
    close += [halves[h] for h in difflib.get_close_matches(short, halves, 3, 0.6)]
    close += [known for half, known in halves.items() if len(short) > 2 and short in half]
    return list(dict.fromkeys(close))[:3]


def versions_of(db: Session, listing: Listing) -> list[Version]:
    """All versions of a listing, the newest number first."""
    rows = db.exec(select(Version).where(Version.listing_id == listing.id))
    return sorted(rows, key=lambda v: number_of(v.number), reverse=True)


def current_version(db: Session, listing: Listing) -> Version:
    """What the listing's name means to everybody; raises UnknownVersion, or UnknownListing if none ever was.

    The newest that is offered, else one that is deprecated, else one that newer rules refuse.
    """
    rows = visible_versions(db, listing)
    found = meant(rows)
    if not rows:
        raise UnknownListing(name=listing.name, near=[])  # of drafts nobody is told
    if found is None:
        raise UnknownVersion(name=listing.name, version="")
    return found


def get_version(
    db: Session, reference: str, asker: UUID | None = None, *, all_states: bool = False
) -> tuple[Listing, Version]:
    """What vendor/name[@version] names to an account, or to anybody; raises UnknownListing, UnknownVersion.

    Without a number the newest that is offered, else one that is deprecated; where there is neither, the
    newest that the asker made, or makes with others of its vendor, once its checks have passed; else what
    newer rules refuse. With a number any version that was ever listed; one that was not is for those alone,
    and with `all_states` for everybody.
    """
    name, at, number = reference.partition("@")
    listing = get_listing(db, name)
    rows = visible_versions(db, listing, asker, all_states=all_states)
    if not rows:
        raise UnknownListing(name=name, near=_near(db, name))
    if at:
        found = next((row for row in rows if row.number == number), None)
    else:
        found = meant(rows)
        if found is None or is_refused(found):
            own = (row for row in rows if row.check_state == CheckState.passed and row.state in OWN)
            found = next(own, found)
    if found is None:
        raise UnknownVersion(name=name, version=number)
    return listing, found


def find_version(db: Session, name: str, number: str) -> Version | None:
    """The version of vendor/name with this number, in whatever state; None where there is none."""
    found = select(Version).join(Listing, col(Listing.id) == col(Version.listing_id))
    return db.exec(found.where(Listing.name == name, Version.number == number)).first()


OWN = (VersionState.draft, VersionState.submitted)
UNLISTED = (*OWN, VersionState.rejected)
"""States in which a version is seen by those who make it and by those who decide about it."""


def require_ready(listing: Listing, version: Version) -> None:
    """Refuse with VersionNotReady to run what did not pass its checks, or was rejected."""
    unchecked = version.state in OWN and version.check_state != CheckState.passed
    if unchecked or version.check_state == CheckState.failed:  # also one that newer rules refuse
        raise VersionNotReady(
            name=listing.name, version=version.number, state=version.check_state or "unchecked"
        )
    if version.state == VersionState.rejected:
        raise VersionNotReady(name=listing.name, version=version.number, state=version.state)


def visible_versions(
    db: Session, listing: Listing, asker: UUID | None = None, *, all_states: bool = False
) -> list[Version]:
    """The versions of a listing that an account may know of, the newest number first."""
    rows = versions_of(db, listing)
    if all_states or (asker is not None and is_member(db, listing.vendor_id, asker)):
        return rows
    return [row for row in rows if row.state not in UNLISTED or (asker and row.created_by == asker)]


def is_member(db: Session, vendor_id: UUID, account_id: UUID) -> bool:
    """Whether an account may act for a vendor."""
    found = select(VendorMember.id).where(
        VendorMember.vendor_id == vendor_id, VendorMember.account_id == account_id
    )
    return db.exec(found).first() is not None
