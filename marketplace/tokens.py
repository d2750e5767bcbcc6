"""API tokens: shown once, stored as a digest, narrowed to scopes, and over after some days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session, col, select

from catalog.models import utcnow
from marketplace import accounts, audit
from marketplace.audit import AuditAction
from marketplace.models import Account, ApiKey
from marketplace.people_errors import InvalidToken, ScopeTooWide, UnknownToken
from marketplace.permissions import GRANTABLE, Permission, expand_scopes

DAYS, MOST_DAYS = 90, 366
LONGEST_NAME = 64


@dataclass(frozen=True)
class Maker:
    """Who makes a token: the account, what it may do here, and until when, if its own key ends."""

    actor: audit.Actor
    account: Account
    permissions: frozenset[Permission]
    narrowed: bool = False
    expires: datetime | None = None


@dataclass(frozen=True)
class Token:
    """A new token and its plain text, which is shown once."""

    row: ApiKey
    text: str


def create_token(db: Session, maker: Maker, name: str, scopes: Sequence[str] = (), days: int = DAYS) -> Token:
    """A token that may do what its scopes say, or (without any) what its maker may.

    It never may do more than its maker, nor outlive the token that it was made with.
    Raises InvalidToken, UnknownScope and ScopeTooWide.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidToken(
            why=f"its name has 1 to {LONGEST_NAME} characters", why_zh=f"名称须为 1 到 {LONGEST_NAME} 个字符"
        )
    if not 1 <= days <= MOST_DAYS:
        raise InvalidToken(
            why=f"it is valid for 1 to {MOST_DAYS} days", why_zh=f"有效期须为 1 到 {MOST_DAYS} 天"
        )
    wanted = expand_scopes(scopes)
    if over := wanted - maker.permissions:
        raise ScopeTooWide(scopes=sorted(over))
    if not wanted and maker.narrowed:
        wanted = maker.permissions & GRANTABLE
    expires = utcnow() + timedelta(days=days)
    text = accounts.create_key(db, maker.account)
    row = db.exec(select(ApiKey).where(ApiKey.digest == accounts.digest(text))).one()
    row.name, row.scopes = name, sorted(wanted)
    row.expires = min(expires, maker.expires) if maker.expires else expires
    audit.record(
        db, maker.actor, AuditAction.create_token, name, id=str(row.id), scopes=row.scopes, days=days
    )
    return Token(row, text)


def list_tokens(db: Session, account_id: UUID) -> list[ApiKey]:
    """An account's tokens that are not revoked, the newest first; expired ones are among them."""
    rows = select(ApiKey).where(
        ApiKey.account_id == account_id, ApiKey.deployment == "", col(ApiKey.revoked).is_(None)
    )
    return list(db.exec(rows.order_by(col(ApiKey.created).desc())))


def revoke_token(db: Session, actor: audit.Actor, account_id: UUID, identity: str) -> ApiKey:
    """End one of an account's tokens; raises UnknownToken."""
    for row in list_tokens(db, account_id):
        if str(row.id) == identity:
            row.revoked = utcnow()
            audit.record(db, actor, AuditAction.revoke_token, row.name, id=identity)
            return row
    raise UnknownToken(id=identity)


def is_over(row: ApiKey) -> bool:
    """Whether a token has expired."""
    return row.expires is not None and row.expires <= utcnow()
