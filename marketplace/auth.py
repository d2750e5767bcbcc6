"""Who is asking: a browser session by cookie, or a key; and what they may do."""

from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Guard
from sqlmodel import Session

from marketplace import accounts
from marketplace.db import read_session
from marketplace.errors import ForeignRequest, NotAllowed, SignInNeeded
from marketplace.i18n import negotiate
from marketplace.models import Account
from marketplace.permissions import ANYONE, Permission, permissions_of, role_for
from marketplace.services import Services

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
AnyRequest: TypeAlias = Request[Any, Any, Any]

COOKIE = "session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Viewer:
    """The asker: an account or nobody, and the language to answer in."""

    account_id: UUID | None
    name: str
    roles: frozenset[str]
    lang: str
    permissions: frozenset[Permission] = ANYONE

    def may(self, permission: Permission) -> bool:
        """Whether this asker has a permission."""
        return permission in self.permissions

    @property
    def signed_in(self) -> bool:
        """Whether there is an account."""
        return self.account_id is not None

    def account(self, db: Session) -> Account:
        """The account's row; raises SignInNeeded for nobody."""
        row = db.get(Account, self.account_id) if self.account_id else None
        if row is None:
            raise SignInNeeded()
        return row


def see(connection: Connection, services: Services) -> Viewer:
    """Find out who is asking; a deployment's key is nobody here, it opens the gateway only."""
    lang = negotiate(connection, services.settings.lang)
    authorization = connection.headers.get("authorization", "")
    cookie = connection.cookies.get(COOKIE, "")
    if not authorization and not cookie:
        return Viewer(None, "", frozenset(), lang)
    with read_session(services.engine) as db:
        account = _account(db, authorization, cookie)
        if account is None:
            return Viewer(None, "", frozenset(), lang)
        roles = frozenset(account.roles)
        return Viewer(account.id, account.name, roles, lang, permissions_of(roles))


def _account(db: Session, authorization: str, cookie: str) -> Account | None:
    if not authorization:
        return accounts.account_of_session(db, cookie)
    scheme, _, token = authorization.partition(" ")
    key = accounts.find_key(db, token.strip()) if scheme.lower() == "bearer" else None
    return key.account if key and key.deployment in ("", accounts.HOME_SCOPE) else None


def provide_viewer(request: AnyRequest, services: Services) -> Viewer:
    """Dependency `viewer`."""
    return see(request, services)


def authorize(connection: Connection, handler: BaseRouteHandler) -> None:
    """The shop's one guard: whoever asks must have the permission that the route names."""
    permission: Permission | None = handler.opt.get("permission")
    if permission is None or permission in ANYONE:
        return
    viewer = see(connection, connection.app.state.services)
    if not viewer.signed_in:
        raise SignInNeeded()
    if not viewer.may(permission):
        raise NotAllowed(role=role_for(permission), permission=str(permission))


def require(role: str) -> Guard:
    """A guard that lets only accounts of this role through."""

    def guard(connection: Connection, _: BaseRouteHandler) -> None:
        viewer = see(connection, connection.app.state.services)
        if not viewer.signed_in:
            raise SignInNeeded()
        if role not in viewer.roles:
            raise NotAllowed(role=role)

    return guard


def refuse_foreign(request: AnyRequest) -> None:
    """Refuse a change that another site made a signed-in browser send (a before-request hook).

    Browsers say where a request comes from (Sec-Fetch-Site, else Origin); clients with a key send
    neither and are not concerned, since no browser adds the key by itself.
    """
    if request.method in SAFE or COOKIE not in request.cookies or "authorization" in request.headers:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if foreign:
        raise ForeignRequest()
