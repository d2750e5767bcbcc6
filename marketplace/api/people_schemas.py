"""What /api says about accounts, tokens, browsers and the audit log."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from marketplace import tokens
from marketplace.accounts import session_id
from marketplace.models import Account, ApiKey, AuditEvent, WebSession


@dataclass(frozen=True)
class MeOut:
    """Who is asking, and what may be done with this session or token."""

    name: str
    roles: list[str]
    permissions: list[str]
    narrowed: bool


@dataclass(frozen=True)
class TokenRequest:
    """A token to be made: permissions or presets (publish, read); none takes all that its maker may."""

    name: str
    scopes: list[str] = field(default_factory=list)
    days: int = tokens.DAYS


@dataclass(frozen=True)
class TokenOut:
    """A token as its owner sees it; `token` itself is there once, when it is made."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    created: datetime
    expires: datetime | None
    used: datetime | None
    expired: bool
    token: str | None = None


@dataclass(frozen=True)
class TokenPage:
    """An account's tokens."""

    items: list[TokenOut]
    total: int


@dataclass(frozen=True)
class SessionOut:
    """A browser that is signed in."""

    id: str
    agent: str
    address: str
    created: datetime
    expires: datetime
    current: bool


@dataclass(frozen=True)
class SessionPage:
    """The browsers in which an account is signed in."""

    items: list[SessionOut]
    total: int


@dataclass(frozen=True)
class AccountRequest:
    """An account to be made."""

    name: str
    roles: list[str] = field(default_factory=lambda: ["opc"])


@dataclass(frozen=True)
class RolesRequest:
    """The roles that an account is to have, and no others."""

    roles: list[str]


@dataclass(frozen=True)
class AccountOut:
    """An account; `url` is a sign-in link that works once, where one was just made."""

    name: str
    roles: list[str]
    has_password: bool
    disabled: datetime | None
    created: datetime
    url: str | None = None
    expires: datetime | None = None


@dataclass(frozen=True)
class AccountPage:
    """All accounts, the oldest first."""

    items: list[AccountOut]
    total: int


@dataclass(frozen=True)
class AuditOut:
    """One deed."""

    id: int
    at: datetime
    account: str
    action: str
    subject: str
    facts: dict[str, Any]
    address: str


@dataclass(frozen=True)
class AuditPage:
    """A part of the audit log, newest first; `total` counts what the filters let through."""

    items: list[AuditOut]
    total: int
    limit: int
    offset: int


def token_out(row: ApiKey, text: str | None = None) -> TokenOut:
    """A token's row."""
    return TokenOut(
        str(row.id),
        row.name,
        row.hint,
        list(row.scopes),
        row.created,
        row.expires,
        row.used,
        tokens.is_over(row),
        text,
    )


def session_out(row: WebSession, here: str) -> SessionOut:
    """A session's row; `here` is the digest of the cookie that asks."""
    return SessionOut(session_id(row), row.agent, row.address, row.created, row.expires, row.digest == here)


def account_out(row: Account, url: str | None = None, expires: datetime | None = None) -> AccountOut:
    """An account's row."""
    return AccountOut(
        row.name, sorted(row.roles), bool(row.password), row.disabled, row.created, url, expires
    )


def audit_out(row: AuditEvent) -> AuditOut:
    """An event's row."""
    return AuditOut(row.id or 0, row.at, row.account, row.action, row.subject, row.facts, row.address)
