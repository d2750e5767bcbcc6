"""What the API tells of versions that are published, their checks and history, uploads and vendors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlmodel import Session, col, select

from catalog import review, uploads, vendor_proof, vendors
from catalog.models import Check, CheckState, Listing, Upload, Vendor, Version, VersionEvent
from catalog.scan import CHECKS
from marketplace import problems, publishing
from marketplace.auth import Viewer
from marketplace.models import Account
from marketplace.services import Services


@dataclass(frozen=True)
class FileOut:
    """One file of a version."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class CheckOut:
    """One row of a version's checks; the words are empty where there is nothing to mend."""

    check: str
    title: str
    path: str
    verdict: str  # pass, warn, fail, unknown
    code: str
    summary: str
    detail: str
    next: str
    scanner: str
    scanner_version: str
    at: datetime


@dataclass(frozen=True)
class ChangeOut:
    """One change of a version's state."""

    before: str
    after: str
    by: str
    why: str
    at: datetime


@dataclass(frozen=True)
class FindingOut:
    """What an operator found in a version."""

    kind: str
    title: str
    text: str
    at: datetime


@dataclass(frozen=True)
class PublicationOut:
    """A version on its way to the shelf, or there."""

    name: str
    version: str
    state: str
    check_state: str
    wanted: str
    reviewed: bool
    proved: bool  # its vendor's name
    digest: str
    size: int
    created: datetime
    checked: datetime | None
    url: str
    missing: list[FileOut] = field(default_factory=list)  # that must be uploaded before it can be checked
    checks: list[CheckOut] = field(default_factory=list)
    history: list[ChangeOut] = field(default_factory=list)
    findings: list[FindingOut] = field(default_factory=list)


@dataclass(frozen=True)
class PublicationPage:
    """Versions, the newest number first."""

    items: list[PublicationOut]
    total: int


@dataclass(frozen=True)
class UploadOut:
    """A file on its way in; `offset` bytes of it are safe, `chunk` is the largest piece that is taken."""

    id: str
    sha256: str
    size: int
    offset: int
    complete: bool
    chunk: int


@dataclass(frozen=True)
class UploadPage:
    """The asker's uploads."""

    items: list[UploadOut]
    total: int


@dataclass(frozen=True)
class MemberOut:
    """Who acts for a vendor."""

    account: str
    role: str


@dataclass(frozen=True)
class ProofOut:
    """What proves a vendor's name, in one of two places."""

    record: str
    file: str  # path on the domain's site


@dataclass(frozen=True)
class VendorProfile:
    """A vendor; members and what would prove its name are told to those who act for it, and to operators."""

    name: str
    title_zh: str
    title_en: str
    verified: bool
    proof: str
    domain: str
    created: datetime
    role: str = ""  # of the asker
    members: list[MemberOut] = field(default_factory=list)
    to_prove: ProofOut | None = None
    withdrawn: bool = False  # an operator took its proof back, and lets it prove nothing by itself


@dataclass(frozen=True)
class VendorPage:
    """Vendors by name."""

    items: list[VendorProfile]
    total: int


def names_of(db: Session, accounts: Iterable[UUID | None]) -> dict[UUID, str]:
    """Names of accounts."""
    wanted = {identity for identity in accounts if identity}
    if not wanted:
        return {}
    found = db.exec(select(Account.id, Account.name).where(col(Account.id).in_(wanted)))
    return dict(found.all())


def publication_out(
    services: Services,
    db: Session,
    listing: Listing,
    version: Version,
    lang: str,
    *,
    inside: bool,
    whole: bool = True,
) -> PublicationOut:
    """A version; who is `inside` sees who did what, its checks' causes and which files must still come."""
    changes = review.events_of(db, version) if whole else []
    names = names_of(db, (change.by for change in changes)) if inside else {}
    waits = (
        inside and version.state == "draft" and version.check_state in (CheckState.none, CheckState.failed)
    )
    return PublicationOut(
        name=listing.name,
        version=version.number,
        state=version.state,
        check_state=version.check_state,
        wanted=version.wanted,
        reviewed=version.reviewed,
        proved=db.get_one(Vendor, listing.vendor_id).verified,
        digest=version.digest,
        size=version.size,
        created=version.created,
        checked=version.checked,
        url=f"{services.settings.url}/listings/{listing.name}",
        missing=[FileOut(**a) for a in publishing.missing(services, db, version)] if waits and whole else [],
        checks=checks_out(db, version, lang) if whole else [],
        history=[change_out(change, names) for change in changes],
        findings=findings_out(db, version, lang) if inside and whole else [],
    )


def checks_out(db: Session, version: Version, lang: str) -> list[CheckOut]:
    """The table of checks, in its order."""
    rows = db.exec(select(Check).where(Check.version_id == version.id).order_by(col(Check.position)))
    return [check_out(row, lang) for row in rows]


def check_out(row: Check, lang: str) -> CheckOut:
    """One row, in words."""
    kind = CHECKS.get(row.check)
    facts = {name: value for name, value in row.facts.items() if name not in ("code", "lang")}
    words = problems.problem(row.code, lang, **facts) if row.code else None
    return CheckOut(
        check=row.check,
        title=(kind.title_zh if lang == "zh" else kind.title_en) if kind else row.check,
        path=row.path,
        verdict=row.verdict,
        code=row.code,
        summary=words.title if words else "",
        detail=words.detail if words else "",
        next=words.next if words else "",
        scanner=row.scanner,
        scanner_version=row.scanner_version,
        at=row.at,
    )


def change_out(change: VersionEvent, names: Mapping[UUID, str]) -> ChangeOut:
    """One change; who made it is told where `names` says so."""
    by = names.get(change.by, "") if change.by else ""
    return ChangeOut(change.before, change.after, by, change.why, change.at)


def findings_out(db: Session, version: Version, lang: str) -> list[FindingOut]:
    """What operators found."""
    found = []
    for row in review.findings_of(db, version):
        kind = review.FINDINGS[row.kind]
        found.append(FindingOut(row.kind, kind.title_zh if lang == "zh" else kind.title_en, row.text, row.at))
    return found


def upload_out(services: Services, upload: Upload) -> UploadOut:
    """An upload."""
    return UploadOut(
        id=str(upload.id),
        sha256=upload.sha256,
        size=upload.size,
        offset=upload.received,
        complete=uploads.is_complete(upload),
        chunk=min(uploads.CHUNK, services.settings.max_body),
    )


def vendor_out(
    services: Services, db: Session, vendor: Vendor, viewer: Viewer, *, operator: bool = False
) -> VendorProfile:
    """A vendor, as much of it as the asker may see."""
    mine = vendors.membership(db, vendor.id, viewer.account_id) if viewer.account_id else None
    members: list[MemberOut] = []
    if mine or operator:
        rows = vendors.members_of(db, vendor)
        names = names_of(db, (row.account_id for row in rows))
        members = [MemberOut(names.get(row.account_id, ""), row.role) for row in rows]
    record = vendor_proof.record_for(publishing.proof_token(services, vendor))
    return VendorProfile(
        name=vendor.name,
        title_zh=vendor.title_zh,
        title_en=vendor.title_en,
        verified=vendor.verified,
        proof=vendor.proof,
        domain=vendor.domain,
        created=vendor.created,
        role=mine.role if mine else "",
        members=members,
        to_prove=ProofOut(record, vendor_proof.FILE) if mine and not vendor.withdrawn else None,
        withdrawn=vendor.withdrawn and bool(mine or operator),
    )
