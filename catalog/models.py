"""The catalogue's tables. Times are aware and in UTC."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel


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
    created: datetime = Field(default_factory=utcnow)


class Listing(CatalogTable, table=True):
    """One offer on the shelf: what people browse and search."""

    __tablename__ = "listing"
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
    created: datetime = Field(default_factory=utcnow)


class Version(CatalogTable, table=True):
    """One immutable state of a listing: a manifest over files named by their sha256."""

    __tablename__ = "version"
    __table_args__ = (UniqueConstraint("listing_id", "number"),)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    listing_id: UUID = Field(foreign_key="listing.id", index=True)
    number: str = Field(max_length=32)  # 1.0.0
    state: str = VersionState.draft
    manifest: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    digest: str = Field(index=True)  # sha256:… of the canonical manifest
    size: int = Field(sa_type=BigInteger)  # bytes of all files
    license_package: str  # SPDX expression
    license_weights: str
    source: str = ""  # where the files came from, as a market import SOURCE
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
