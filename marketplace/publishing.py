"""Publishing: what comes of an offer until it is checked, and what its vendor does with it afterwards.

A draft is a row with words and a list of files; its files wait in a folder of their own (staging) until the
checks have passed, and only then enter the store. Checking itself stands above this module.
"""

import contextlib
import hashlib
import hmac
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import Session, col, select

from catalog import blobs, listings, review, uploads, vendors
from catalog import manifest as manifests
from catalog.errors import (
    BlobCorrupted,
    BlobMissing,
    CatalogError,
    StorageFull,
    VersionStateRefused,
    VersionTaken,
)
from catalog.models import (
    Artifact,
    Check,
    CheckState,
    Listing,
    Upload,
    Vendor,
    Verdict,
    Version,
    VersionEvent,
    VersionState,
    utcnow,
)
from catalog.offer import Offer
from catalog.offered import SHOWN
from catalog.storage import only_one, require_room, storage_errors
from marketplace import audit
from marketplace.audit import Actor, AuditAction
from marketplace.db import transaction
from marketplace.models import Account
from marketplace.services import Services

S = VersionState
RUNNING = (CheckState.waiting, CheckState.running)
WAITING = timedelta(days=7)
"""How long files of a draft wait for their checks."""


class VersionBusy(CatalogError):
    """A draft is being checked, so it cannot be replaced now. Facts: name, version."""

    code = "version-busy"


class ReasonNeeded(CatalogError):
    """A version is taken off the shelf or put back for a reason. Facts: name, version, state."""

    code = "reason-needed"


class TakenOffByOperator(CatalogError):
    """An operator took the version off the shelf, so its vendor cannot put it back. Facts: name, version."""

    code = "taken-off-by-operator"


class PublicationIncomplete(CatalogError):
    """Files of a draft have not come yet. Facts: name, version, missing (paths), count."""

    code = "publication-incomplete"


def require_member(db: Session, vendor: Vendor, account: Account, *, owner: bool = False) -> None:
    """Refuse with NotMember who does not act for a vendor (or is not its owner)."""
    vendors.require_member(db, vendor, account.id, owner=owner)


def proof_token(services: Services, vendor: Vendor) -> str:
    """What a domain must show to prove a vendor's name; the same each time, and kept nowhere."""
    return hmac.new(services.secret, f"vendor {vendor.id}".encode(), hashlib.sha256).hexdigest()[:32]


# Drafts


def begin(services: Services, db: Session, account: Account, offer: Offer) -> Version:
    """The draft of an offer, new or in place of the draft of the same number; commits.

    The same offer again gives the version as it is, in whatever state; a draft that another member goes on
    with becomes that member's, so that the files they send count. Raises UnknownVendor, NotMember,
    InvalidManifest, VersionTaken for a number that stands for something else, and VersionBusy.
    """
    vendor = vendors.get_vendor(db, offer.vendor)
    require_member(db, vendor, account)
    db.refresh(vendor, with_for_update=True)  # two drafts of one number come one after the other
    manifest = offer.manifest()
    listing = _listing_of(db, vendor, offer)
    found = _numbered(db, listing, offer.number)
    if found is not None and _says(found, offer, manifest):
        if found.state == S.draft and found.check_state not in RUNNING:
            found.created_by = account.id
        db.commit()
        return found
    if found is not None:
        _require_replaceable(db, found, offer, manifest)
    version = found or Version(
        listing_id=listing.id,
        number=offer.number,
        digest="",
        size=0,
        license_package="",
        license_weights="",
    )
    before = _stored(version)
    _fill(services, db, version, offer, manifest)
    version.created_by = account.id
    subject = f"{offer.name}@{offer.number}"
    audit.record(db, account, AuditAction.begin_version, subject, bytes=version.size, digest=version.digest)
    db.commit()
    _keep(services, version, before)
    return version


def _numbered(db: Session, listing: Listing, number: str) -> Version | None:
    """The version with this number, as it is now; nobody else changes it until the commit."""
    rows = select(Version).where(Version.listing_id == listing.id, Version.number == number)
    return db.exec(rows.with_for_update().execution_options(populate_existing=True)).first()


def _stored(version: Version) -> dict[str, str]:
    """The files, by path, that the store has of a draft which passed its checks."""
    if version.check_state != CheckState.passed:
        return {}
    return {a["path"]: a["sha256"] for a in version.manifest["artifacts"]}


def _keep(services: Services, version: Version, before: dict[str, str]) -> None:
    """Bring files of the draft that was replaced back into staging, so that they need not be sent again."""
    for artifact in version.manifest["artifacts"]:
        if before.get(artifact["path"]) == artifact["sha256"]:
            with contextlib.suppress(BlobMissing, BlobCorrupted, StorageFull):  # then they are sent
                blob = blobs.verify(services.settings.home, artifact["sha256"], artifact["path"])
                _copy(blob, staging(services, version) / artifact["path"])


def _listing_of(db: Session, vendor: Vendor, offer: Offer) -> Listing:
    """The offer's listing; a new one has the words of its first draft, which nobody else sees."""
    listing = db.exec(select(Listing).where(Listing.name == offer.name)).first()
    if listing is not None:
        return listing
    words = offer.words()
    listing = Listing(
        name=offer.name,
        vendor_id=vendor.id,
        task=offer.sheet.task,
        title_zh="",
        title_en="",
        summary_zh="",
        summary_en="",
    )
    for name in review.WORDS:
        setattr(listing, name, words[name])
    db.add(listing)
    db.flush()
    return listing


def _says(version: Version, offer: Offer, manifest: dict[str, Any]) -> bool:
    """Whether a version is exactly this offer."""
    mine = (version.digest, version.offer, version.claims, version.source, licenses_of(version))
    theirs = (manifests.digest(manifest), offer.words(), offer.claims, offer.sheet.source, offer.licenses)
    return mine == theirs


def licenses_of(version: Version) -> dict[str, str]:
    """package, weights and base of a version."""
    return {
        "package": version.license_package,
        "weights": version.license_weights,
        "base": version.license_base,
    }


def _require_replaceable(db: Session, found: Version, offer: Offer, manifest: dict[str, Any]) -> None:
    taken = VersionTaken(name=offer.name, version=offer.number)
    if found.state != S.draft:
        raise taken
    if found.check_state in RUNNING:
        raise VersionBusy(name=offer.name, version=offer.number)
    if found.digest != manifests.digest(manifest) and _was_submitted(db, found):
        raise taken  # somebody may have looked at it under this number


def _was_submitted(db: Session, version: Version) -> bool:
    found = select(VersionEvent.id).where(
        VersionEvent.version_id == version.id, VersionEvent.after == S.submitted
    )
    return db.exec(found).first() is not None


def _fill(services: Services, db: Session, version: Version, offer: Offer, manifest: dict[str, Any]) -> None:
    """Write an offer into a draft; what was checked of another one goes."""
    before = {a["path"]: a["sha256"] for a in version.manifest.get("artifacts", [])}
    licenses = offer.licenses
    version.manifest, version.digest = manifest, manifests.digest(manifest)
    version.size = manifests.size(manifest)
    version.license_package, version.license_weights = licenses["package"], licenses["weights"]
    version.license_base, version.source = licenses["base"], offer.sheet.source
    version.offer, version.claims, version.measured = offer.words(), offer.claims, {}
    version.check_state, version.checked, version.wanted = CheckState.none, None, ""
    db.add(version)
    db.flush()
    db.exec(delete(Artifact).where(col(Artifact.version_id) == version.id))
    db.exec(delete(Check).where(col(Check.version_id) == version.id))
    db.add_all(
        Artifact(version_id=version.id, path=a["path"], sha256=a["sha256"], size=a["size"])
        for a in manifest["artifacts"]
    )
    db.flush()
    _prune(services, version, before)


def staging(services: Services, version: Version) -> Path:
    """The folder where a draft's files wait under their own paths; made at the first call."""
    folder = _place(services, version)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def remove_staging(services: Services, identity: UUID) -> None:
    """Remove what waits of the draft with this id; does nothing where nothing does."""
    folder = services.settings.home / "staging" / str(identity)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)


def tidy(services: Services) -> None:
    """Remove uploads that rest for a day, and files that have waited for a week for their draft's checks."""
    with transaction(services.engine) as db:
        uploads.expire(services.settings.home, db)
        drafts = {str(identity) for identity in db.exec(select(Version.id).where(Version.state == S.draft))}
        busy = {str(v) for v in db.exec(select(Version.id).where(col(Version.check_state).in_(RUNNING)))}
    place, now = services.settings.home / "staging", utcnow().timestamp()
    for entry in list(place.iterdir()) if place.is_dir() else []:
        name = entry.name.strip(".").removesuffix(".lock")
        age = now - entry.stat().st_mtime
        if name not in busy and age > (WAITING if name in drafts else uploads.IDLE).total_seconds():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def _place(services: Services, version: Version) -> Path:
    return services.settings.home / "staging" / str(version.id)


def _prune(services: Services, version: Version, before: dict[str, str]) -> None:
    """Remove what lies in staging and is another file now."""
    folder = _place(services, version)
    now = {a["path"]: a["sha256"] for a in version.manifest["artifacts"]}
    kept = {path for path, sha256 in before.items() if now.get(path) == sha256}
    for file in list(folder.rglob("*")) if folder.is_dir() else []:
        if not file.is_dir() and file.relative_to(folder).as_posix() not in kept:
            file.unlink()


def missing(services: Services, db: Session, version: Version) -> list[dict[str, Any]]:
    """The files (path, sha256, size) that must still come before a draft can be checked.

    Not those which lie in staging or among the complete uploads of its account, nor those that the store
    has of a version which this vendor may see anyway.
    """
    if version.check_state == CheckState.passed:
        return []
    folder = _place(services, version)
    return [
        artifact
        for artifact in version.manifest["artifacts"]
        if not _is_staged(folder, artifact)
        and _upload_of(db, version, artifact) is None
        and _known(services, db, version, artifact) is None
    ]


def _is_staged(folder: Path, artifact: dict[str, Any]) -> bool:
    file = folder / artifact["path"]
    return not file.is_symlink() and file.is_file() and file.stat().st_size == artifact["size"]


def _upload_of(db: Session, version: Version, artifact: dict[str, Any]) -> Upload | None:
    if version.created_by is None:
        return None
    return uploads.complete_of(db, version.created_by, artifact["sha256"], artifact["size"])


def _known(services: Services, db: Session, version: Version, artifact: dict[str, Any]) -> Path | None:
    """The store's own copy of a file, where a version of the same vendor or a listed one has it.

    Of any other version nothing is told: who knows a digest must not learn whether somebody has the file.
    """
    path = blobs.blob_path(services.settings.home, artifact["sha256"])
    listing = db.get(Listing, version.listing_id)
    if listing is None or not path.is_file() or path.stat().st_size != artifact["size"]:
        return None
    found = (
        select(Artifact.id)
        .join(Version, col(Version.id) == col(Artifact.version_id))
        .join(Listing, col(Listing.id) == col(Version.listing_id))
        .where(Artifact.sha256 == artifact["sha256"], Version.check_state == CheckState.passed)
        .where((col(Listing.vendor_id) == listing.vendor_id) | col(Version.state).in_(SHOWN))
    )
    return path if db.exec(found).first() is not None else None


def collect(services: Services, db: Session, version: Version) -> Path:
    """Bring a draft's files together in its staging folder; commits, may run twice and beside itself.

    Raises PublicationIncomplete when some have not come, StorageFull, BlobMissing and BlobCorrupted.
    """
    home, folder = services.settings.home, staging(services, version)
    db.commit()  # nobody waits for this lock, nor for the disk, with a transaction open
    with only_one(folder.with_name(f".{folder.name}.lock")):
        if absent := missing(services, db, version):
            paths = [a["path"] for a in absent]
            name = db.get_one(Listing, version.listing_id).name
            raise PublicationIncomplete(
                name=name, version=version.number, missing=paths[:10], count=len(paths)
            )
        _prune(services, version, {a["path"]: a["sha256"] for a in version.manifest["artifacts"]})
        wanted = [a for a in version.manifest["artifacts"] if not _is_staged(folder, a)]
        for number, artifact in enumerate(wanted):
            target = folder / artifact["path"]
            upload = _upload_of(db, version, artifact)
            if upload is None:
                db.commit()
                _copy(blobs.verify(home, artifact["sha256"], artifact["path"]), target)
            elif any(a["sha256"] == artifact["sha256"] for a in wanted[number + 1 :]):
                db.commit()
                _copy(uploads.path_of(home, upload), target)
            else:
                uploads.take(home, db, upload, target)
                db.commit()
    return folder


def _copy(source: Path, target: Path) -> None:
    """A copy, not a link: the checks refuse files that somebody else could change or hold."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = source.stat().st_size
    require_room(target.parent, size)
    half = target.with_name(f".{target.name[:200]}.half")
    with storage_errors(target.parent, size):
        shutil.copyfile(source, half)
        half.chmod(0o600)
        half.replace(target)


def discard(services: Services, db: Session, account: Account, listing: Listing, version: Version) -> None:
    """Remove a draft that was never submitted, with its files; commits. Raises VersionTaken, VersionBusy."""
    vendor = db.get_one(Vendor, listing.vendor_id)
    require_member(db, vendor, account)
    review.lock(db, version)
    if version.state != S.draft or _was_submitted(db, version):
        raise VersionTaken(name=listing.name, version=version.number)
    if version.check_state in RUNNING:
        raise VersionBusy(name=listing.name, version=version.number)
    subject = f"{listing.name}@{version.number}"
    audit.record(db, account, AuditAction.discard_version, subject)
    for table in (Artifact, Check, VersionEvent):
        db.exec(delete(table).where(col(table.version_id) == version.id))
    db.delete(version)
    db.flush()
    if not listings.versions_of(db, listing):
        db.delete(listing)
    db.commit()
    remove_staging(services, version.id)


def was_lenient(db: Session, version: Version) -> bool:
    """Whether a draft passed with a card that what is submitted may not have."""
    found = select(Check.id).where(
        Check.version_id == version.id, Check.check == "card", Check.verdict != Verdict.passed
    )
    return db.exec(found).first() is not None


# What becomes of a version


def submit(services: Services, db: Session, account: Account, listing: Listing, version: Version) -> None:
    """Hand a checked draft to those who decide; commits. Raises VersionStateRefused and VendorUnproved."""
    require_member(db, db.get_one(Vendor, listing.vendor_id), account)
    _change(services, db, account, listing, version, S.submitted, "")


def withdraw(
    services: Services, db: Session, account: Account, listing: Listing, version: Version, why: str = ""
) -> None:
    """Take a submitted version back; its number still stands for the same files. Commits."""
    require_member(db, db.get_one(Vendor, listing.vendor_id), account)
    _change(services, db, account, listing, version, S.draft, why)


def reshelve(
    services: Services,
    db: Session,
    actor: Actor,
    account: Account,
    listing: Listing,
    version: Version,
    after: VersionState,
    *,
    why: str,
    operator: bool,
) -> None:
    """Deprecate, yank or list again a version that was listed; for its vendor and for operators. Commits.

    What an operator took off the shelf only an operator puts back, whatever its vendor did with it since.
    Raises ReasonNeeded, NotMember, TakenOffByOperator, VersionStateRefused and VendorUnproved.
    """
    if not why.strip():
        raise ReasonNeeded(name=listing.name, version=version.number, state=after)
    if not operator:
        require_member(db, db.get_one(Vendor, listing.vendor_id), account)
    review.lock(db, version)
    if not operator and after == S.listed and review.taken_off_by_operator(db, version):
        raise TakenOffByOperator(name=listing.name, version=version.number)
    if after == S.listed and version.state not in (S.deprecated, S.yanked):
        raise VersionStateRefused(number=version.number, state=version.state, wanted=after)
    _change(services, db, account, listing, version, after, why, actor)


def _change(
    services: Services,
    db: Session,
    account: Account,
    listing: Listing,
    version: Version,
    after: VersionState,
    why: str,
    actor: Actor | None = None,
) -> None:
    review.lock(db, version)
    before = version.state
    review.change(db, version, after, by=account.id, why=why)
    subject = f"{listing.name}@{version.number}"
    audit.record(
        db, actor or account, AuditAction.change_version, subject, before=before, after=str(after), why=why
    )
    db.commit()
    services.hub.notify(topic(version))


def topic(version: Version) -> str:
    """The hub's topic of a version: its checks and its state."""
    return f"checks:{version.id}"
