"""A vendor with a listing whose versions are in every state, as rows alone, for pages to be looked at."""

from datetime import timedelta
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from catalog import listings, review
from catalog.listings import NewListing
from catalog.models import (
    Artifact,
    Check,
    CheckState,
    Finding,
    ImportJob,
    JobState,
    Listing,
    ListingDay,
    Mirror,
    Rating,
    Vendor,
    VendorMember,
    Version,
    VersionEvent,
    VersionState,
    utcnow,
)
from catalog.scan import CHECKS
from marketplace import analytics
from marketplace.models import Account
from tests.marketplace.shelves import manifest

NAME = "looked-at/reader"
CLAIMS = {"latency_ms": 4, "memory": 30_000_000, "accuracy": {"metric": "accuracy", "value": 0.9}}
MEASURED = {
    "device": "cpu",
    "runtime": "process",
    "examples": {"right": 2, "of": 2},
    "latency_ms": {"p50": 3.12, "p95": 18.4, "n": 200},
    "memory": 38_600_000,
    "cold_start_ms": 240.0,
    "accuracy": {"metric": "accuracy", "value": 0.855, "rows": 200},
    "at": "2026-11-25T05:00:00+00:00",
}
FAILED = {"format": "onnx-malformed"}


def publish(db: Session, owner: Account) -> dict[str, str]:
    """The paths of its pages, by what they show."""
    vendor = listings.ensure_vendor(db, "looked-at", title_zh="看店", title_en="Looked At")
    vendor.verified, vendor.proof, vendor.domain = True, "dns", "example.com"
    db.add(VendorMember(vendor_id=vendor.id, account_id=owner.id))
    offer = NewListing("读字", "Reader", "读一行字。", "Reads a line.", card_zh="# 读", card_en="# Read")
    for number, state in (
        ("1.0.0", VersionState.deprecated),
        ("1.1.0", VersionState.listed),
        ("1.2.0", VersionState.submitted),
        ("1.3.0", VersionState.draft),
        ("1.4.0", VersionState.rejected),
    ):
        made = listings.publish_version(
            db,
            vendor,
            offer,
            manifest(NAME, number, artifacts=artifacts(number)),
            license_package="MIT",
            license_weights="CC-BY-NC-4.0" if state == VersionState.submitted else "Apache-2.0",
        )
        bring(db, made, owner, state)
    listing = listings.get_listing(db, NAME)
    for ago in range(20):
        day = f"{utcnow() - timedelta(days=ago):%Y-%m-%d}"
        db.add(ListingDay(listing_id=listing.id, day=day, views=3 * ago % 17 + 1))
    said = {"author": "li", "stars": 4, "text": "快。", "version": "1.0.0"}
    db.add(Rating(listing_id=listing.id, account_id=vendor.id, **said))
    assert analytics.report(db, listing).total("views") > 0
    fetching, failed = imported(db, owner)
    place = f"/vendor/listings/{NAME}"
    return {
        "vendor": "/vendor",
        "publish": "/vendor/publish",
        "new-version": f"/vendor/publish?of={NAME}",
        "own-listing": place,
        "passed": f"{place}/1.1.0",
        "did-not-pass": f"{place}/1.3.0",
        "rejected": f"{place}/1.4.0",
        "reviews": "/reviews",
        "review": f"/reviews/{NAME}/1.2.0",
        "passport": f"/listings/{NAME}/versions/1.1.0/passport",
        "passport-own": "/listings/opc-market/zh-sentiment/versions/1.0.0/passport",
        "offered": f"/listings/{NAME}",
        "import": "/import",
        "importing": f"/imports/{fetching.id}",
        "not-imported": f"/imports/{failed.id}",
    }


def imported(db: Session, owner: Account) -> tuple[ImportJob, ImportJob]:
    """An import that fetches and one that failed, and a mirror that could not be looked at."""
    source = "hf://looked-at/reader-with-a-rather-long-name"
    fetching = ImportJob(
        source=source,
        pinned=f"{source}@{'0a' * 20}",
        name=NAME,
        owner=owner.id,
        state=JobState.running,
        step="fetch",
        done=7_000_000,
        total=21_000_800,
    )
    wrong = {"error_code": "source-denied", "error_facts": {"source": source, "variable": "HF_TOKEN"}}
    failed = ImportJob(source=source, name=NAME, owner=owner.id, state=JobState.failed, step="look", **wrong)
    mirror = Mirror(name=NAME, source=source, owner=owner.id, period=86400, looked=utcnow(), **wrong)
    db.add_all([fetching, failed, mirror])
    db.flush()
    return fetching, failed


def artifacts(number: str) -> list[dict[str, Any]]:
    digit = number[2]
    return [
        {"path": "model.onnx", "sha256": digit * 64, "size": 21_000_000},
        {"path": "a-folder/with-a-rather-long-name/labels.json", "sha256": "e" * 64, "size": 800},
    ]


def bring(db: Session, version: Version, owner: Account, state: VersionState) -> None:
    """Give a version its checks, figures and history, up to a state."""
    version.claims, version.measured, version.created_by = CLAIMS, MEASURED, owner.id
    version.offer = {"title_en": "Reader", "title_zh": "读字", "summary_en": "Reads two lines."}
    version.rules, version.checked = "1", utcnow()
    version.state, version.check_state = VersionState.draft, CheckState.passed
    failed = FAILED if state == VersionState.draft else {}
    for position, check in enumerate(CHECKS):
        db.add(_row(version, position, check, failed))
    if failed:
        version.check_state = CheckState.failed
    db.add(version)
    db.flush()
    if state == VersionState.draft:
        return
    review.change(db, version, VersionState.submitted, by=owner.id)
    if state == VersionState.rejected:
        review.reject(db, version, by=owner.id, findings=[("quality", "Line 2 is read wrongly.")])
    elif state != VersionState.submitted:
        version.state = VersionState.listed  # without an approval, its words stay
    if state == VersionState.deprecated:
        review.change(db, version, VersionState.deprecated, by=owner.id, why="1.1.0 reads better")
    db.flush()


def _row(version: Version, position: int, check: str, failed: dict[str, str]) -> Check:
    verdict, code = "pass", ""
    if check in failed:
        verdict, code = "fail", failed[check]
    elif check == "scanner":
        verdict, code = "unknown", "scanner-none"
    elif check == "card":
        verdict, code = "warn", "card-incomplete"
    facts = {"path": "model.onnx", "byte": 19, "language": "zh", "absent": "limits"}
    return Check(
        version_id=version.id,
        position=position,
        check=check,
        path="model.onnx" if check == "format" else "",
        verdict=verdict,
        code=code,
        facts=facts,
        scanner="opc-market",
        scanner_version="1",
        at=utcnow() + timedelta(milliseconds=120 * position),
    )


def remove(db: Session) -> None:
    """Take all of it away again."""
    for about in (ImportJob, Mirror):
        db.exec(delete(about).where(col(about.name) == NAME))
    listing = listings.get_listing(db, NAME)
    ids = [version.id for version in listings.versions_of(db, listing)]
    for table in (Artifact, Check, VersionEvent, Finding):
        db.exec(delete(table).where(col(table.version_id).in_(ids)))
    for own in (Rating, ListingDay, Version):
        db.exec(delete(own).where(col(own.listing_id) == listing.id))
    vendor_id = listing.vendor_id
    db.exec(delete(Listing).where(col(Listing.id) == listing.id))
    db.exec(delete(VendorMember).where(col(VendorMember.vendor_id) == vendor_id))
    vendor = db.exec(select(Vendor).where(Vendor.id == vendor_id)).one()
    db.delete(vendor)
