"""The catalogue's tables. Times are aware and in UTC."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, Index, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel

from catalog.scan import Verdict as Verdict  # part of the tables' words; it lies where a child loads little


def utcnow() -> datetime:
    """Now, as an aware time in UTC."""
    return datetime.now(UTC)


class CatalogTable(SQLModel):
    """Base of the catalogue's tables; constraint names are fixed so that migrations can name them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )


class ListingKind(StrEnum):
    """What a listing offers."""

    model = "model"
    agent = "agent"


class VersionState(StrEnum):
    """States of a version, in the order of its life."""

    draft = "draft"
    submitted = "submitted"
    listed = "listed"
    rejected = "rejected"
    deprecated = "deprecated"
    yanked = "yanked"


class CheckState(StrEnum):
    """How far the checks of a version are; a version may be had only when they passed."""

    none = ""
    waiting = "waiting"
    running = "running"
    passed = "passed"
    failed = "failed"


class JobState(StrEnum):
    """States of an import."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


class ShelfState(StrEnum):
    """States of one entry of the starter shelf while it is filled."""

    waiting = "waiting"
    fetching = "fetching"
    building = "building"
    ready = "ready"
    failed = "failed"


class Vendor(CatalogTable, table=True):
    """Who publishes; `name` is the first half of a listing's name."""

    __tablename__ = "vendor"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True, max_length=64)
    title_zh: str
    title_en: str
    verified: bool = False
    domain: str = ""  # that the name was proved by
    proof: str = ""  # dns | file | operator
    proved: datetime | None = None
    withdrawn: bool = False  # an operator took its proof back: its owners may not prove it by themselves
    created: datetime = Field(default_factory=utcnow)


class VendorMember(CatalogTable, table=True):
    """An account that may act for a vendor; accounts live in the marketplace."""

    __tablename__ = "vendor_member"
    __table_args__ = (UniqueConstraint("vendor_id", "account_id"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    vendor_id: UUID = Field(foreign_key="vendor.id", index=True)
    account_id: UUID = Field(index=True)
    role: str = "owner"  # owner | publisher
    created: datetime = Field(default_factory=utcnow)


class Listing(CatalogTable, table=True):
    """One offer on the shelf: what people browse and search."""

    __tablename__ = "listing"
    __table_args__ = (Index("ix_listing_created_name", "created", "name"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True, max_length=130)  # vendor/name
    vendor_id: UUID = Field(foreign_key="vendor.id")
    kind: str = ListingKind.model
    task: str = Field(index=True)
    verticals: list[str] = Field(default_factory=list, sa_type=JSON)
    languages: list[str] = Field(default_factory=list, sa_type=JSON)
    title_zh: str
    title_en: str
    summary_zh: str
    summary_en: str
    card_zh: str = ""  # Markdown
    card_en: str = ""
    gated: bool = False  # its files are for accounts only
    price: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # plan and amounts
    created: datetime = Field(default_factory=utcnow)


class Version(CatalogTable, table=True):
    """One immutable state of a listing: a manifest over files named by their sha256."""

    __tablename__ = "version"
    __table_args__ = (
        UniqueConstraint("listing_id", "number"),
        # Nearly all versions are listed: without statistics SQLite would look for a listing's by their state.
        Index("ix_version_listing_id_state", "listing_id", "state"),
        Index("ix_version_state_created", "state", "created"),
    )
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    listing_id: UUID = Field(foreign_key="listing.id")
    number: str = Field(max_length=32)  # 1.0.0
    state: str = VersionState.draft
    manifest: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    digest: str = Field(index=True)  # sha256:… of the canonical manifest
    size: int = Field(sa_type=BigInteger)  # bytes of all files
    license_package: str  # SPDX expression
    license_weights: str
    license_base: str = ""  # of the model that it was made from, where there is one
    source: str = ""  # where the files came from, as a market import SOURCE
    offer: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # words that its listing gets with it
    claims: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what its vendor says that it does
    measured: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what was measured here
    check_state: str = CheckState.none
    check_run: int = 0  # counts starts of its checks
    rules: str = ""  # catalog.scan.RULES that it was checked by
    checked: datetime | None = None
    wanted: str = ""  # state to bring it to when its checks have passed: submitted, listed or none
    reviewed: bool = False  # an operator looked at it, or it is the market's own
    created_by: UUID | None = Field(default=None, index=True)  # account
    created: datetime = Field(default_factory=utcnow)


class Artifact(CatalogTable, table=True):
    """One file of a version, stored once as blobs/sha256/<sha256>."""

    __tablename__ = "artifact"
    __table_args__ = (UniqueConstraint("version_id", "path"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    version_id: UUID = Field(foreign_key="version.id", index=True)
    path: str  # inside the model folder
    sha256: str = Field(index=True, max_length=64)
    size: int = Field(sa_type=BigInteger)


class VersionEvent(CatalogTable, table=True):
    """One change of a version's state: who, when, why."""

    __tablename__ = "version_event"
    id: int | None = Field(default=None, primary_key=True)
    version_id: UUID = Field(foreign_key="version.id", index=True)
    before: str
    after: str
    by: UUID | None = None  # account; nobody: the shop itself
    why: str = ""
    at: datetime = Field(default_factory=utcnow)


class Check(CatalogTable, table=True):
    """One row of a version's checks: about the version as a whole, or one of its files."""

    __tablename__ = "version_check"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    version_id: UUID = Field(foreign_key="version.id", index=True)
    position: int = 0  # order in the table that people see
    check: str  # an id of catalog.scan.CHECKS
    path: str = ""  # the file; "" is the version
    verdict: str = Verdict.unknown
    code: str = ""  # of the words for people; "" where there is nothing to mend
    facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    scanner: str = ""
    scanner_version: str = ""
    at: datetime = Field(default_factory=utcnow)


class Finding(CatalogTable, table=True):
    """What an operator found in a version, for its vendor to mend."""

    __tablename__ = "finding"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    version_id: UUID = Field(foreign_key="version.id", index=True)
    kind: str  # an id of catalog.review.FINDINGS
    text: str = ""
    by: UUID
    at: datetime = Field(default_factory=utcnow)


class Rating(CatalogTable, table=True):
    """What somebody who has deployed a listing thinks of it; one of each account."""

    __tablename__ = "rating"
    __table_args__ = (UniqueConstraint("listing_id", "account_id"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    listing_id: UUID = Field(foreign_key="listing.id", index=True)
    account_id: UUID
    author: str  # name of the account as it was
    stars: int  # 1 to 5
    text: str = ""
    version: str = ""  # that was deployed
    hidden: bool = False  # by an operator
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)


class ListingDay(CatalogTable, table=True):
    """How often a listing's page was opened on one day."""

    __tablename__ = "listing_day"
    listing_id: UUID = Field(foreign_key="listing.id", primary_key=True)
    day: str = Field(primary_key=True, max_length=10)  # 2026-11-25, UTC
    views: int = 0


class Upload(CatalogTable, table=True):
    """A file on its way in; its bytes lie in uploads/<id> of the home until a version takes them."""

    __tablename__ = "upload"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    account_id: UUID = Field(index=True)
    sha256: str = Field(max_length=64, index=True)  # as it was announced
    size: int = Field(sa_type=BigInteger)
    received: int = Field(default=0, sa_type=BigInteger)  # bytes that are safe on the disk
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)


class ImportJob(CatalogTable, table=True):
    """One import of a source into a version."""

    __tablename__ = "import_job"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    source: str  # as it was asked for
    pinned: str = ""  # the same with its revision fixed
    name: str = ""  # vendor/name
    options: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # task, version, wanted …
    owner: UUID = Field(index=True)
    revision: int = 1  # counts starts of the workflow
    state: str = Field(default=JobState.pending, index=True)
    cancel: bool = False
    step: str = ""
    done: int = Field(default=0, sa_type=BigInteger)  # bytes
    total: int = Field(default=0, sa_type=BigInteger)
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    version_id: UUID | None = None
    version: str = ""  # number
    mirror_id: UUID | None = Field(default=None, index=True)
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)


class Mirror(CatalogTable, table=True):
    """A listing that is kept in step with its source."""

    __tablename__ = "mirror"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True, max_length=130)  # vendor/name
    source: str
    options: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    owner: UUID
    period: int  # seconds between two looks
    enabled: bool = True
    pinned: str = ""  # source and revision that it has
    looked: datetime | None = None
    due: datetime = Field(default_factory=utcnow, index=True)
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created: datetime = Field(default_factory=utcnow)


class ShelfItem(CatalogTable, table=True):
    """How far one entry of the starter shelf has come."""

    __tablename__ = "shelf_item"
    id: str = Field(primary_key=True)  # the entry's id; its listing is opc-market/<id>
    position: int = 0  # smallest first
    state: str = ShelfState.waiting
    done: int = Field(default=0, sa_type=BigInteger)  # bytes fetched
    total: int = Field(default=0, sa_type=BigInteger)  # bytes to fetch
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    updated: datetime = Field(default_factory=utcnow)
