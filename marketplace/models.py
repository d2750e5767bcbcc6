"""The marketplace's tables: accounts, sign-in, keys and usage. Times are aware and in UTC."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, MetaData
from sqlmodel import Field, SQLModel

from catalog.models import CatalogTable, utcnow


class MarketTable(SQLModel):
    """Base of the marketplace's tables; constraint names follow the catalogue's convention."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=CatalogTable.metadata.naming_convention)


class Account(MarketTable, table=True):
    """A person; on a fresh machine one account holds every role."""

    __tablename__ = "account"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True, max_length=64)
    roles: list[str] = Field(default_factory=list, sa_type=JSON)
    password: str = ""  # argon2 hash; "" signs in by link only
    disabled: datetime | None = None
    created: datetime = Field(default_factory=utcnow)


class LoginLink(MarketTable, table=True):
    """A sign-in link that works once; only the digest of its token is kept."""

    __tablename__ = "login_link"
    digest: str = Field(primary_key=True, max_length=64)
    account_id: UUID = Field(foreign_key="account.id")
    expires: datetime


class WebSession(MarketTable, table=True):
    """A signed-in browser; only the digest of its cookie is kept."""

    __tablename__ = "web_session"
    digest: str = Field(primary_key=True, max_length=64)
    account_id: UUID = Field(foreign_key="account.id", index=True)
    agent: str = ""  # what the browser says that it is
    address: str = ""  # that it signed in from
    created: datetime = Field(default_factory=utcnow)
    expires: datetime


class ApiKey(MarketTable, table=True):
    """A key: for the API in its account's name (`deployment` empty) or for one deployment."""

    __tablename__ = "api_key"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    digest: str = Field(unique=True, max_length=64)
    hint: str  # the last four characters, so that a person can tell keys apart
    account_id: UUID = Field(foreign_key="account.id", index=True)
    deployment: str = Field(default="", index=True)
    name: str = ""  # what its owner calls it
    scopes: list[str] = Field(default_factory=list, sa_type=JSON)  # permissions; none means its account's
    expires: datetime | None = None
    used: datetime | None = None  # last, to the minute
    created: datetime = Field(default_factory=utcnow)
    revoked: datetime | None = None


class SignInFailure(MarketTable, table=True):
    """Wrong passwords in a row, by account or by address; one that is right takes the row away."""

    __tablename__ = "sign_in_failure"
    key: str = Field(primary_key=True, max_length=100)  # account:<name> or address:<address>
    count: int = 0
    until: datetime | None = None  # nobody may try before
    updated: datetime = Field(default_factory=utcnow)


class AuditEvent(MarketTable, table=True):
    """Who did what to what, when and from where; never changed, never a secret in it."""

    __tablename__ = "audit_event"
    id: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(default_factory=utcnow, index=True)
    account_id: UUID | None = Field(default=None, index=True)
    account: str = ""  # its name as it was
    action: str = Field(index=True)  # an AuditAction
    subject: str = ""  # vendor/name@version, account, key …
    facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    address: str = ""


class UsageBatch(MarketTable, table=True):
    """A batch of usage that was taken; the gateway may send it again."""

    __tablename__ = "usage_batch"
    id: UUID = Field(primary_key=True)
    created: datetime = Field(default_factory=utcnow)


class UsageEvent(MarketTable, table=True):
    """Requests to one deployment with one key, added up over one batch."""

    __tablename__ = "usage_event"
    id: int | None = Field(default=None, primary_key=True)
    batch_id: UUID = Field(foreign_key="usage_batch.id", index=True)
    deployment: str = Field(index=True)
    key_id: str = Field(index=True)
    requests: int = 0
    errors: int = 0
    tokens: int = Field(default=0, sa_type=BigInteger)
    bytes_in: int = Field(default=0, sa_type=BigInteger)
    bytes_out: int = Field(default=0, sa_type=BigInteger)
    milliseconds: int = Field(default=0, sa_type=BigInteger)
    at: datetime = Field(default_factory=utcnow)
