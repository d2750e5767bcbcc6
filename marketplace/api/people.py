"""Accounts, tokens, sessions and the audit log."""

from datetime import UTC, datetime

from litestar import Router, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from sqlmodel import Session

from catalog.models import utcnow
from marketplace import accounts, audit, people, tokens
from marketplace.api.people_schemas import (
    AccountOut,
    AccountPage,
    AccountRequest,
    AuditPage,
    MeOut,
    RolesRequest,
    SessionPage,
    TokenOut,
    TokenPage,
    TokenRequest,
    account_out,
    audit_out,
    session_out,
    token_out,
)
from marketplace.audit import AuditAction
from marketplace.auth import COOKIE, AnyRequest, Viewer
from marketplace.errors import InvalidRequest
from marketplace.models import Account
from marketplace.permissions import Permission
from marketplace.services import Services

MOST = 200  # events at once
LAST = 2**31 - 1


@get("/account", permission=Permission.manage_self, sync_to_thread=False)
def me(viewer: NamedDependency[Viewer]) -> MeOut:
    """Who you are here, and what this session or token may do."""
    return MeOut(viewer.name, sorted(viewer.roles), sorted(viewer.permissions), viewer.narrowed)


# Tokens


@get("/tokens", permission=Permission.manage_self, sync_to_thread=True)
def list_tokens(db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> TokenPage:
    """Your tokens, the newest first."""
    rows = tokens.list_tokens(db, viewer.account(db).id)
    return TokenPage([token_out(row) for row in rows], len(rows))


@post("/tokens", permission=Permission.manage_self, sync_to_thread=True)
def create_token(
    data: JSONBody[TokenRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> TokenOut:
    """A new token; its text is in this answer and nowhere else."""
    made = tokens.create_token(db, maker_of(viewer, db), data.name, data.scopes, data.days)
    people.commit(services, db)
    return token_out(made.row, made.text)


def maker_of(viewer: Viewer, db: Session) -> tokens.Maker:
    """The viewer as somebody who makes a token; raises SignInNeeded for nobody."""
    return tokens.Maker(viewer, viewer.account(db), viewer.permissions, viewer.narrowed, viewer.key_expires)


@delete("/tokens/{identity:str}", permission=Permission.manage_self, sync_to_thread=True)
def revoke_token(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> None:
    """End a token; it opens nothing from now on."""
    tokens.revoke_token(db, viewer, viewer.account(db).id, identity)
    people.commit(services, db)


# Browsers


@get("/sessions", permission=Permission.manage_self, sync_to_thread=True)
def list_sessions(
    request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> SessionPage:
    """The browsers in which you are signed in."""
    here = accounts.digest(request.cookies.get(COOKIE, ""))
    rows = accounts.sessions_of(db, viewer.account(db).id)
    return SessionPage([session_out(row, here) for row in rows], len(rows))


@delete("/sessions/{identity:str}", permission=Permission.manage_self, sync_to_thread=True)
def end_session(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], identity: FromPath[str]
) -> None:
    """Sign one browser out."""
    accounts.end_session_by_id(db, viewer.account(db).id, identity)
    audit.record(db, viewer, AuditAction.end_sessions, viewer.name, sessions_ended=1)
    db.commit()


@delete("/sessions", permission=Permission.manage_self, sync_to_thread=True)
def end_other_sessions(
    request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> None:
    """Sign all browsers out but the one that asks."""
    ended = accounts.end_other_sessions(db, viewer.account(db).id, request.cookies.get(COOKIE, ""))
    audit.record(db, viewer, AuditAction.end_sessions, viewer.name, sessions_ended=ended)
    db.commit()


# Accounts, for operators


@get("/accounts", permission=Permission.manage_accounts, sync_to_thread=True)
def list_accounts(db: NamedDependency[Session]) -> AccountPage:
    """Everybody who has an account."""
    rows = people.list_accounts(db)
    return AccountPage([account_out(row) for row in rows], len(rows))


@post("/accounts", permission=Permission.manage_accounts, sync_to_thread=True)
def create_account(
    data: JSONBody[AccountRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> AccountOut:
    """A new account, with a link that signs in once, where the asker may make links: no token may."""
    account = people.create_account(db, viewer, data.name, data.roles)
    if viewer.may(Permission.create_sign_in_links) and not viewer.by_key:
        return with_link(services, db, viewer, account)
    db.commit()
    return account_out(account)


@put("/accounts/{name:str}/roles", permission=Permission.manage_accounts, sync_to_thread=True)
def change_roles(
    data: JSONBody[RolesRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> AccountOut:
    """Give an account these roles and no others."""
    account = people.change_roles(db, viewer, name, data.roles)
    people.commit(services, db)
    return account_out(account)


@post(
    "/accounts/{name:str}/disable",
    permission=Permission.manage_accounts,
    status_code=200,
    sync_to_thread=True,
)
def disable(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> AccountOut:
    """Shut an account out at once, with all its browsers, tokens and keys."""
    account = people.disable(db, viewer, name)
    people.commit(services, db)
    return account_out(account)


@post(
    "/accounts/{name:str}/enable",
    permission=Permission.manage_accounts,
    status_code=200,
    sync_to_thread=True,
)
def enable(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> AccountOut:
    """Let an account in again."""
    account = people.enable(db, viewer, name)
    people.commit(services, db)
    return account_out(account)


@post(
    "/accounts/{name:str}/reset-password",
    permission=Permission.manage_accounts,
    status_code=200,
    sync_to_thread=True,
)
def reset_password(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], name: FromPath[str]
) -> AccountOut:
    """Take a forgotten password away; the account signs in by link until it sets another."""
    account = people.reset_password(db, viewer, name)
    db.commit()
    return account_out(account)


@post("/accounts/{name:str}/login-link", permission=Permission.create_sign_in_links, sync_to_thread=True)
def login_link(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> AccountOut:
    """A link that signs an account in once, within half an hour; not for tokens."""
    return with_link(services, db, viewer, people.get_account(db, name))


def with_link(services: Services, db: Session, viewer: Viewer, account: Account) -> AccountOut:
    """Make a sign-in link for an account and commit; raises AccountDisabled, and SessionNeeded for a token.

    Whoever follows it may all that the account may, for weeks, which no token is to hand out.
    """
    viewer.require_session()
    token = people.link_for(db, viewer, account)
    db.commit()
    return account_out(account, f"{services.settings.url}/login/{token}", utcnow() + accounts.LINK_LIFE)


# The audit log


@get("/audit", permission=Permission.read_audit, sync_to_thread=True)
def audit_log(
    db: NamedDependency[Session],
    account: FromQuery[str] = "",
    action: FromQuery[str] = "",
    subject: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    limit: FromQuery[int] = 50,
    offset: FromQuery[int] = 0,
) -> AuditPage:
    """Who did what, newest first. `action` is whole or its subject alone; times are ISO 8601."""
    limit, offset = max(1, min(limit, MOST)), max(0, min(offset, LAST))
    found, total = audit.events(
        db,
        account=account,
        action=action,
        subject=subject,
        since=moment(since),
        until=moment(until),
        limit=limit,
        offset=offset,
    )
    return AuditPage([audit_out(row) for row in found], total, limit, offset)


def moment(text: str) -> datetime | None:
    """A time as people write it, in UTC unless it says otherwise; raises InvalidRequest."""
    if not text.strip():
        return None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidRequest(why=str(error)) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


router = Router(
    "/api",
    route_handlers=[
        me,
        list_tokens,
        create_token,
        revoke_token,
        list_sessions,
        end_session,
        end_other_sessions,
        list_accounts,
        create_account,
        change_roles,
        disable,
        enable,
        reset_password,
        login_link,
        audit_log,
    ],
    tags=["people"],
)
