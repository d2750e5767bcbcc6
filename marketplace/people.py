"""What operators do with accounts: make them, give roles, disable, help somebody in."""

import re
import unicodedata
from collections.abc import Collection

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from catalog import imports
from catalog.models import utcnow
from marketplace import accounts, audit, sign_in
from marketplace.audit import AuditAction
from marketplace.models import Account
from marketplace.people_errors import (
    AccountDisabled,
    AccountExists,
    InvalidAccountName,
    LastOperator,
    UnknownAccount,
    UnknownRole,
)
from marketplace.services import Services

NAME = re.compile(r"\w[\w.-]{0,63}")


def list_accounts(db: Session) -> list[Account]:
    """All accounts, the oldest first."""
    return list(db.exec(select(Account).order_by(col(Account.created), col(Account.id))))


def get_account(db: Session, name: str, *, lock: bool = False) -> Account:
    """The account of this name; raises UnknownAccount."""
    found = sign_in.find_account(db, name)
    if found is None:
        raise UnknownAccount(name=name)
    if lock:
        db.refresh(found, with_for_update=True)
    return found


def create_account(db: Session, actor: audit.Actor, name: str, roles: Collection[str]) -> Account:
    """A new account without a password; raises InvalidAccountName, AccountExists and UnknownRole."""
    name = unicodedata.normalize("NFC", name.strip())
    if not NAME.fullmatch(name):
        raise InvalidAccountName(name=name[:80])
    chosen = _roles(roles)
    if sign_in.find_account(db, name) is not None:
        raise AccountExists(name=name)
    account = Account(name=name, roles=chosen)
    db.add(account)
    try:
        db.flush()
    except IntegrityError:  # made by another operator in the same moment
        db.rollback()
        raise AccountExists(name=name) from None
    audit.record(db, actor, AuditAction.create_account, name, roles=chosen)
    return account


def change_roles(db: Session, actor: audit.Actor, name: str, roles: Collection[str]) -> Account:
    """Give an account these roles and no others; raises UnknownAccount, UnknownRole and LastOperator."""
    chosen = _roles(roles)
    everybody = _lock_all(db)
    account = get_account(db, name)
    if "operator" not in chosen:
        _require_other_operator(everybody, account)
    before, account.roles = account.roles, chosen
    db.flush()
    accounts.rehome(db)
    audit.record(db, actor, AuditAction.change_roles, account.name, before=sorted(before), roles=chosen)
    return account


def disable(db: Session, actor: audit.Actor, name: str) -> Account:
    """Shut an account out at once: its browsers, links, tokens and keys open nothing any more.

    Nothing goes on in its name: its mirrors look no more, and its imports end.

    Raises UnknownAccount and LastOperator.
    """
    everybody = _lock_all(db)
    account = get_account(db, name)
    _require_other_operator(everybody, account)
    if account.disabled is None:
        account.disabled = utcnow()
        db.flush()
        imports.switch_mirrors(db, account.id, on=False)
        accounts.end_other_sessions(db, account.id)
        accounts.rehome(db)
        audit.record(db, actor, AuditAction.disable_account, account.name)
    return account


def enable(db: Session, actor: audit.Actor, name: str) -> Account:
    """Let an account in again; its tokens and keys work as before. Raises UnknownAccount."""
    account = get_account(db, name, lock=True)
    if account.disabled is not None:
        account.disabled = None
        imports.switch_mirrors(db, account.id, on=True)
        audit.record(db, actor, AuditAction.enable_account, account.name)
    return account


def link_for(db: Session, actor: audit.Actor | None, account: Account) -> str:
    """A sign-in link's token for an account; raises AccountDisabled."""
    if account.disabled is not None:
        raise AccountDisabled(name=account.name)
    token = accounts.create_login_link(db, account)
    audit.record(db, actor, AuditAction.create_link, account.name)
    return token


def reset_password(db: Session, actor: audit.Actor, name: str) -> Account:
    """Take a forgotten password away: the account signs in by link, and its browsers are signed out.

    Raises UnknownAccount.
    """
    account = get_account(db, name, lock=True)
    account.password = ""
    accounts.end_other_sessions(db, account.id)
    audit.record(db, actor, AuditAction.reset_password, account.name)
    return account


def commit(services: Services, db: Session) -> None:
    """Commit a change of who may do what, and wait until it is in force at the gateway too."""
    db.commit()
    services.routes.wait_in_force(services.routes.publish(), timeout=2)


def _roles(roles: Collection[str]) -> list[str]:
    for role in roles:
        if role not in accounts.ROLES:
            raise UnknownRole(role=role, known=list(accounts.ROLES))
    return sorted(set(roles))


def _lock_all(db: Session) -> list[Account]:
    # Two operators who disable each other at once would leave none: one of them waits here.
    return list(db.exec(select(Account).order_by(col(Account.id)).with_for_update()))


def _require_other_operator(everybody: list[Account], account: Account) -> None:
    others = (each for each in everybody if each.id != account.id and each.disabled is None)
    alone = not any("operator" in each.roles for each in others)
    if alone and "operator" in account.roles and account.disabled is None:
        raise LastOperator(name=account.name)
