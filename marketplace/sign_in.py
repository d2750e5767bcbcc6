"""Signing in by link or by password, with a wait that grows while passwords are wrong.

An attempt is counted before it is looked at and forgiven when it is right, so that many at once gain
nothing. Names that nobody has are treated as those that somebody has: same wait, same time, same answer.
"""

import ipaddress
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from catalog.models import utcnow
from marketplace import accounts, audit, passwords
from marketplace.accounts import Client
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.errors import InvalidLoginLink
from marketplace.models import Account, SignInFailure
from marketplace.people_errors import TooManyAttempts, UnknownAccount, WrongPassword, WrongSignIn

FREE = {"account": 5, "address": 20}  # wrong attempts in a row that cost no wait
FIRST_WAIT, LONGEST_WAIT = 30, 900  # seconds; doubled with each further wrong one
FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True)
class SignedIn:
    """A browser that was let in: its cookie, which is told once."""

    account: Account
    cookie: str


def by_link(engine: Engine, token: str, client: Client, before: str = "") -> SignedIn:
    """Use up a sign-in link; the browser's session `before` it ends. Raises InvalidLoginLink."""
    try:
        with transaction(engine) as db:
            account = accounts.use_link(db, token)
            return _let_in(db, account, client, before, "link")
    except InvalidLoginLink:
        with transaction(engine) as db:
            _count(db, "address", _network(client.address))  # who guesses fills no log
            _refused(db, "", client, "link")
        raise


def by_password(engine: Engine, name: str, password: str, client: Client, before: str = "") -> SignedIn:
    """Sign in with name and password. Raises WrongSignIn and TooManyAttempts."""
    with transaction(engine) as db:
        _count(db, "address", _network(client.address))
        _count(db, "account", _key(name))
        account = find_account(db, name)
    stored = account.password if account else ""
    right = passwords.verify_password(stored, password)
    fresh = passwords.hash_password(password) if right and passwords.is_outdated(stored) else ""
    with transaction(engine) as db:
        account = db.get(Account, account.id) if account else None
        if not right or account is None or account.disabled or account.password != stored:
            _refused(db, account.name if account else "", client, "password")
            db.commit()
            raise WrongSignIn()
        if fresh:
            account.password = fresh
        _forgive(db, _key(name), _network(client.address))
        return _let_in(db, account, client, before, "password")


def require_password(engine: Engine, account: Account, password: str) -> None:
    """Ask for the present password before a change; raises WrongPassword and TooManyAttempts."""
    with transaction(engine) as db:
        _count(db, "account", _key(account.name))
    if not passwords.verify_password(account.password, password):
        raise WrongPassword()
    with transaction(engine) as db:
        _forgive(db, _key(account.name), "")


def change_password(engine: Engine, actor: audit.Actor, new: str, present: str, cookie: str) -> int:
    """Set one's own password; all other browsers are signed out, and their number is returned.

    Raises InvalidPassword, and, where there is a password, WrongPassword and TooManyAttempts.
    """
    with read_session(engine) as db:
        account = db.get(Account, actor.account_id)
    if account is None:
        raise UnknownAccount(name=actor.name)
    passwords.require_good(new, account.name)
    if account.password:
        require_password(engine, account, present)
    stored = passwords.hash_password(new)
    with transaction(engine) as db:
        db.exec(update(Account).where(col(Account.id) == account.id).values(password=stored))
        ended = accounts.end_other_sessions(db, account.id, cookie)
        audit.record(db, actor, AuditAction.change_password, account.name, sessions_ended=ended)
    return ended


def find_account(db: Session, name: str) -> Account | None:
    """The account of a name, in whatever letters it is typed."""
    exact = db.exec(select(Account).where(Account.name == name)).first()
    if exact is not None:
        return exact
    wanted = _key(name)
    like = (id for id, own in db.exec(select(Account.id, Account.name)) if _key(own) == wanted)
    found = next(like, None)
    return db.get(Account, found) if found else None


def _let_in(db: Session, account: Account, client: Client, before: str, method: str) -> SignedIn:
    accounts.end_session(db, before)
    cookie = accounts.open_session(db, account, client)
    audit.record(db, account, AuditAction.sign_in, account.name, address=client.address, method=method)
    return SignedIn(account, cookie)


def _refused(db: Session, name: str, client: Client, method: str) -> None:
    # What was typed is not kept where no account has the name: people type passwords into that field.
    audit.record(db, None, AuditAction.refuse_sign_in, name, address=client.address, method=method)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()[:64]


def _network(address: str) -> str:
    """What is counted as one address: a whole /64 in IPv6, since one customer has it to himself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)


def _count(db: Session, kind: str, value: str) -> None:
    """Count an attempt; raises TooManyAttempts, and counts nothing, while it must wait."""
    if kind == "address" and not value:
        return  # over the shop's socket, which only this machine's owner reaches
    now = utcnow()
    row = _row(db, f"{kind}:{value}", now)
    if row.until is not None and row.until > now:
        raise TooManyAttempts(seconds=max(1, round((row.until - now).total_seconds())))
    row.count = 1 if now - row.updated > FORGOTTEN else row.count + 1
    row.updated = now
    over = row.count - FREE[kind]
    row.until = now + timedelta(seconds=min(FIRST_WAIT << min(over, 10), LONGEST_WAIT)) if over >= 0 else None


def _row(db: Session, key: str, now: datetime) -> SignInFailure:
    """The counter of a key, held until the transaction ends; old ones are cleared away."""
    db.exec(delete(SignInFailure).where(col(SignInFailure.updated) < now - FORGOTTEN))
    insert = postgresql.insert if db.get_bind().dialect.name == "postgresql" else sqlite.insert
    db.exec(insert(SignInFailure).values(key=key, count=0, until=None, updated=now).on_conflict_do_nothing())
    return db.exec(select(SignInFailure).where(SignInFailure.key == key).with_for_update()).one()


def _forgive(db: Session, account: str, network: str) -> None:
    """Take back what a right attempt was counted: the account's whole row, one of the address's."""
    db.exec(delete(SignInFailure).where(col(SignInFailure.key) == f"account:{account}"))
    if network and (row := db.get(SignInFailure, f"address:{network}")) is not None:
        row.count = max(0, row.count - 1)
        row.until = row.until if row.count >= FREE["address"] else None
