"""Accounts, sign-in links, browser sessions and keys.

Tokens are 32 random bytes; the database keeps only their SHA-256, which is enough for secrets that
nobody chose.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from catalog.models import utcnow
from marketplace.errors import InvalidLoginLink
from marketplace.models import Account, ApiKey, LoginLink, WebSession

LINK_LIFE = timedelta(minutes=30)
SESSION_LIFE = timedelta(days=30)
ROLES = ("opc", "operator", "vendor")


@dataclass(frozen=True)
class Key:
    """What a key opens: its account, and one deployment or (empty) the whole API."""

    id: UUID
    account: Account
    deployment: str


def digest(token: str) -> str:
    """SHA-256 of a token in hex, as the tables keep it."""
    return hashlib.sha256(token.encode()).hexdigest()


def first_account(db: Session) -> Account:
    """The account that a fresh machine is given, with every role; the same one on every call."""
    account = db.exec(select(Account).order_by(col(Account.created))).first()
    if account is None:
        account = Account(name="owner", roles=list(ROLES))
        db.add(account)
        db.flush()
    return account


def create_login_link(db: Session, account: Account) -> str:
    """A token for /login/<token>; works once, for half an hour."""
    now = utcnow()
    db.exec(delete(LoginLink).where(col(LoginLink.expires) < now))
    token = secrets.token_urlsafe(24)
    db.add(LoginLink(digest=digest(token), account_id=account.id, expires=now + LINK_LIFE))
    return token


def redeem_link(db: Session, token: str) -> str:
    """Use up a sign-in link and open a browser session; returns the cookie's value.

    Raises InvalidLoginLink when the link is unknown, used or too old.
    """
    # Deleted and read in one statement, so that two browsers cannot both use it.
    used = delete(LoginLink).where(col(LoginLink.digest) == digest(token), col(LoginLink.expires) >= utcnow())
    account_id = db.exec(used.returning(col(LoginLink.account_id))).scalar_one_or_none()
    if account_id is None:
        raise InvalidLoginLink()
    cookie = secrets.token_urlsafe(32)
    db.add(WebSession(digest=digest(cookie), account_id=account_id, expires=utcnow() + SESSION_LIFE))
    return cookie


def account_of_session(db: Session, cookie: str) -> Account | None:
    """Who is signed in with this cookie."""
    session = db.get(WebSession, digest(cookie))
    if session is None or session.expires < utcnow():
        return None
    return db.get(Account, session.account_id)


def end_session(db: Session, cookie: str) -> None:
    """Sign a browser out."""
    db.exec(delete(WebSession).where(col(WebSession.digest) == digest(cookie)))


def create_key(db: Session, account: Account, deployment: str = "") -> str:
    """A new key; the plain text is returned once and kept nowhere."""
    key = "mk_" + secrets.token_urlsafe(32)
    db.add(ApiKey(digest=digest(key), hint=key[-4:], account_id=account.id, deployment=deployment))
    return key


def find_key(db: Session, token: str) -> Key | None:
    """What this key opens, or None when it is unknown or revoked."""
    row = db.exec(select(ApiKey).where(ApiKey.digest == digest(token), col(ApiKey.revoked).is_(None))).first()
    if row is None:
        return None
    account = db.get(Account, row.account_id)
    return Key(row.id, account, row.deployment) if account else None


def live_keys(db: Session) -> list[ApiKey]:
    """All keys that are not revoked, for the gateway."""
    return list(db.exec(select(ApiKey).where(col(ApiKey.revoked).is_(None))))


def revoke_keys(db: Session, deployment: str) -> None:
    """Revoke every key of a deployment."""
    db.exec(
        update(ApiKey)
        .where(col(ApiKey.deployment) == deployment, col(ApiKey.revoked).is_(None))
        .values(revoked=utcnow())
    )


def replace_home_key(db: Session, account: Account) -> str:
    """The key that server.json gives the CLI; earlier keys of this kind end."""
    revoke_keys(db, HOME_SCOPE)
    return create_key(db, account, HOME_SCOPE)


# The home's own key opens the API like any account key, but each start of the shop replaces it.
HOME_SCOPE = "*home*"
