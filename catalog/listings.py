"""Listings, their versions and vendors: publish them, look them up, put them on shelves."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select

from catalog import manifest as manifests
from catalog.errors import InvalidManifest, UnknownListing, UnknownVersion, VersionTaken
from catalog.models import Artifact, CheckState, Listing, ListingKind, Vendor, Version, VersionState
from catalog.search import Page, is_on_shelf, search_listings

__all__ = [
    "NewListing",
    "Page",
    "current_version",
    "ensure_vendor",
    "get_listing",
    "get_version",
    "listings_by_vertical",
    "publish_version",
    "search_listings",
    "versions_of",
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
    listing = _write_listing(db, vendor, offer, name, manifest["task"])
    digest = manifests.digest(manifest)
    taken = db.exec(select(Version).where(Version.listing_id == listing.id, Version.number == number)).first()
    if taken is not None:
        if taken.digest != digest:
            raise VersionTaken(name=name, version=number)
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
    db.flush()
    return version


def _write_listing(db: Session, vendor: Vendor, offer: NewListing, name: str, task: str) -> Listing:
    listing = db.exec(select(Listing).where(Listing.name == name)).first()
    if listing is None:
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


def _near(db: Session, name: str) -> list[str]:
    """Up to three names that look like this one, by the whole name or its second half."""
    names = list(db.exec(select(Listing.name).where(is_on_shelf()).limit(2000)))
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
    return sorted(rows, key=lambda v: _number(v.number), reverse=True)


def _number(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("."))


def current_version(db: Session, listing: Listing) -> Version:
    """The newest version that is on the shelf; raises UnknownVersion when there is none."""
    rows = db.exec(
        select(Version).where(Version.listing_id == listing.id, Version.state == VersionState.listed)
    )
    newest = max(rows, key=lambda v: _number(v.number), default=None)
    if newest is None:
        raise UnknownVersion(name=listing.name, version="")
    return newest


def get_version(db: Session, reference: str) -> tuple[Listing, Version]:
    """What vendor/name[@version] names; without a version the newest on the shelf.

    Raises UnknownListing or UnknownVersion. A version that is asked for by number may be in any state.
    """
    name, at, number = reference.partition("@")
    listing = get_listing(db, name)
    if not at:
        return listing, current_version(db, listing)
    version = db.exec(
        select(Version).where(Version.listing_id == listing.id, Version.number == number)
    ).first()
    if version is None:
        raise UnknownVersion(name=name, version=number)
    return listing, version


def listings_by_vertical(db: Session) -> dict[str, list[Listing]]:
    """The listings on each shelf, fullest shelf first; a listing may stand on several."""
    shelves: dict[str, list[Listing]] = {}
    for listing in db.exec(select(Listing).where(is_on_shelf()).order_by(col(Listing.name))):
        for vertical in listing.verticals:
            shelves.setdefault(vertical, []).append(listing)
    return dict(sorted(shelves.items(), key=lambda shelf: (-len(shelf[1]), shelf[0])))
