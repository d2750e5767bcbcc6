"""Accounts, sign-in links, browser sessions and keys.

Tokens are 32 random bytes; the database keeps only their SHA-256, which is enough for secrets that
nobody chose. A disabled account opens nothing, by whatever way.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, delete, or_, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from catalog.models import utcnow
from marketplace.db import transaction
from marketplace.errors import InvalidLoginLink
from marketplace.models import Account, ApiKey, LoginLink, WebSession
from marketplace.people_errors import AccountDisabled, UnknownSession

LINK_LIFE = timedelta(minutes=30)
SESSION_LIFE = timedelta(days=30)
ROLES = ("opc", "operator", "vendor")


@dataclass(frozen=True)
class Key:
    """What a key opens: its account, and one deployment or (empty) the whole API within its scopes."""

    id: UUID
    account: Account
    deployment: str
    scopes: frozenset[str] = frozenset()  # none narrows nothing
    expires: datetime | None = None
    used: datetime | None = None


@dataclass(frozen=True)
class Client:
    """Who sends a request, as far as it can be seen: what the browser says, and the address."""

    agent: str = ""
    address: str = ""


def digest(token: str) -> str:
    """SHA-256 of a token in hex, as the tables keep it."""
    return hashlib.sha256(token.encode()).hexdigest()


def first_account(db: Session) -> Account:
    """The account of this machine's owner: the oldest operator who may sign in.

    A fresh machine is given one, with every role.
    """
    oldest = None
    for account in db.exec(select(Account).order_by(col(Account.created), col(Account.id))):
        oldest = oldest or account
        if "operator" in account.roles and account.disabled is None:
            return account
    if oldest is None:
        oldest = Account(name="owner", roles=list(ROLES))
        db.add(oldest)
        db.flush()
    return oldest


def create_login_link(db: Session, account: Account) -> str:
    """A token for /login/<token>; works once, for half an hour. Raises AccountDisabled."""
    if account.disabled is not None:
        raise AccountDisabled(name=account.name)
    now = utcnow()
    db.exec(delete(LoginLink).where(col(LoginLink.expires) < now))
    token = secrets.token_urlsafe(24)
    db.add(LoginLink(digest=digest(token), account_id=account.id, expires=now + LINK_LIFE))
    return token


def use_link(db: Session, token: str) -> Account:
    """Use up a sign-in link and say whose it was.

    Raises InvalidLoginLink when the link is unknown, used or too old, or its account is disabled.
    """
    # Deleted and read in one statement, so that two browsers cannot both use it.
    used = delete(LoginLink).where(col(LoginLink.digest) == digest(token), col(LoginLink.expires) >= utcnow())
    account_id = db.exec(used.returning(col(LoginLink.account_id))).scalar_one_or_none()
    account = db.get(Account, account_id) if account_id else None
    if account is None or account.disabled is not None:
        raise InvalidLoginLink()
    return account


def redeem_link(db: Session, token: str, client: Client | None = None) -> str:
    """Use up a sign-in link and open a browser session; returns the cookie's value.

    Raises InvalidLoginLink.
    """
    return open_session(db, use_link(db, token), client or Client())


def open_session(db: Session, account: Account, client: Client) -> str:
    """Sign a browser in; returns the cookie's value. Sessions that are over are cleared away."""
    now = utcnow()
    db.exec(delete(WebSession).where(col(WebSession.expires) < now))
    cookie = secrets.token_urlsafe(32)
    db.add(
        WebSession(
            digest=digest(cookie),
            account_id=account.id,
            agent=client.agent[:300],
            address=client.address[:64],
            expires=now + SESSION_LIFE,
        )
    )
    return cookie


def account_of_session(db: Session, cookie: str) -> Account | None:
    """Who is signed in with this cookie."""
    session = db.get(WebSession, digest(cookie))
    if session is None or session.expires < utcnow():
        return None
    account = db.get(Account, session.account_id)
    return account if account is not None and account.disabled is None else None


def sessions_of(db: Session, account_id: UUID) -> list[WebSession]:
    """The browsers in which an account is signed in, the newest first."""
    live = select(WebSession).where(WebSession.account_id == account_id, col(WebSession.expires) >= utcnow())
    return list(db.exec(live.order_by(col(WebSession.created).desc())))


def session_id(session: WebSession) -> str:
    """How a session is named to its owner: enough of its digest to tell it from others."""
    return session.digest[:16]


def end_session_by_id(db: Session, account_id: UUID, identity: str) -> None:
    """Sign one of an account's browsers out; raises UnknownSession."""
    for session in sessions_of(db, account_id):
        if session_id(session) == identity:
            db.delete(session)
            return
    raise UnknownSession()


def end_other_sessions(db: Session, account_id: UUID, cookie: str = "") -> int:
    """Sign all browsers out but the one with this cookie; unused sign-in links end too."""
    db.exec(delete(LoginLink).where(col(LoginLink.account_id) == account_id))
    others = delete(WebSession).where(
        col(WebSession.account_id) == account_id, col(WebSession.digest) != digest(cookie)
    )
    return int(db.exec(others).rowcount)


def end_session(db: Session, cookie: str) -> None:
    """Sign a browser out."""
    db.exec(delete(WebSession).where(col(WebSession.digest) == digest(cookie)))


def create_key(db: Session, account: Account, deployment: str = "") -> str:
    """A new key; the plain text is returned once and kept nowhere."""
    key = "mk_" + secrets.token_urlsafe(32)
    db.add(ApiKey(digest=digest(key), hint=key[-4:], account_id=account.id, deployment=deployment))
    return key


def find_key(db: Session, token: str) -> Key | None:
    """What this key opens, or None when it is unknown, revoked or expired, or its account is disabled."""
    found = db.exec(_live().where(ApiKey.digest == digest(token))).first()
    if found is None:
        return None
    row, account = found
    return Key(row.id, account, row.deployment, frozenset(row.scopes), row.expires, row.used)


def live_keys(db: Session) -> list[tuple[ApiKey, Account]]:
    """All keys that open something, with their accounts, for the gateway."""
    return list(db.exec(_live()))


def _live() -> Select[ApiKey, Account]:
    return (
        select(ApiKey, Account)
        .join(Account, col(Account.id) == col(ApiKey.account_id))
        .where(
            col(ApiKey.revoked).is_(None),
            or_(col(ApiKey.expires).is_(None), col(ApiKey.expires) > utcnow()),
            col(Account.disabled).is_(None),
        )
    )


def is_due(used: datetime | None) -> bool:
    """Whether a key's last use should be written again: it is kept to the minute."""
    return used is None or utcnow() - used >= timedelta(minutes=1)


def mark_used(engine: Engine, key_id: UUID) -> None:
    """Note that a key was used just now, in a transaction of its own."""
    with transaction(engine) as db:
        db.exec(update(ApiKey).where(col(ApiKey.id) == key_id).values(used=utcnow()))


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


def rehome(db: Session) -> None:
    """Hand the home's key to whoever is the machine's owner now."""
    owner = first_account(db)
    held = update(ApiKey).where(col(ApiKey.deployment) == HOME_SCOPE, col(ApiKey.revoked).is_(None))
    db.exec(held.values(account_id=owner.id))


# The home's own key opens the API like any account key, but each start of the shop replaces it.
HOME_SCOPE = "*home*"
