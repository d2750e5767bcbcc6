"""Who is asking: a browser session by cookie, or a key; and what they may do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from litestar import Litestar, Request
from litestar.concurrency import sync_to_thread
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from sqlmodel import Session

from marketplace import accounts
from marketplace.db import read_session
from marketplace.errors import ForeignRequest, InvalidRequest, NotAllowed, SignInNeeded
from marketplace.i18n import negotiate
from marketplace.models import Account
from marketplace.people_errors import KeyRefused, SessionNeeded, TokenTooNarrow
from marketplace.permissions import ANYONE, Permission, permissions_of, role_for
from marketplace.services import Services

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]
AnyRequest: TypeAlias = Request[Any, Any, Any]

COOKIE = "session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_VIEWER, _USED = "viewer", "used_key"  # what a request's scope remembers


@dataclass(frozen=True)
class Viewer:
    """The asker: an account or nobody, what it may do here, and the language to answer in."""

    account_id: UUID | None
    name: str
    roles: frozenset[str]
    lang: str
    permissions: frozenset[Permission] = ANYONE
    address: str = ""  # where the request came from, as the gateway says
    narrowed: bool = False  # by the scopes of a token
    by_key: bool = False
    key_expires: datetime | None = None

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

    def require_session(self) -> None:
        """Refuse tokens: what opens the account itself is changed by a person. Raises SessionNeeded."""
        if self.by_key:
            raise SessionNeeded()


def see(connection: Connection, services: Services) -> Viewer:
    """Find out who is asking, once for each request.

    A deployment's key is nobody here: it opens the gateway only.
    """
    state = connection.scope["state"]
    if _VIEWER not in state:
        state[_VIEWER] = _look(connection, services)
    viewer: Viewer = state[_VIEWER]
    return viewer


def _look(connection: Connection, services: Services) -> Viewer:
    lang = negotiate(connection, services.settings.lang)
    nobody = Viewer(None, "", frozenset(), lang, address=client_of(connection).address)
    authorization = connection.headers.get("authorization", "")
    cookie = connection.cookies.get(COOKIE, "")
    if not authorization and not cookie:
        return nobody
    with read_session(services.engine) as db:
        if authorization:
            return _of_key(connection, db, authorization, nobody)
        account = accounts.account_of_session(db, cookie)
        return _viewer(account, nobody) if account else nobody


def _of_key(connection: Connection, db: Session, authorization: str, nobody: Viewer) -> Viewer:
    scheme, _, token = authorization.partition(" ")
    key = accounts.find_key(db, token.strip()) if scheme.lower() == "bearer" else None
    if key is None or key.deployment not in ("", accounts.HOME_SCOPE):
        return nobody
    if accounts.is_due(key.used):
        connection.scope["state"][_USED] = key.id
    return _viewer(key.account, nobody, key)


def _viewer(account: Account, nobody: Viewer, key: accounts.Key | None = None) -> Viewer:
    has = permissions_of(account.roles)
    if key is not None and key.scopes:
        has = ANYONE | {each for each in has if each in key.scopes}
    return Viewer(
        account.id,
        account.name,
        frozenset(account.roles),
        nobody.lang,
        has,
        nobody.address,
        narrowed=bool(key and key.scopes),
        by_key=bool(key and key.deployment != accounts.HOME_SCOPE),
        key_expires=key.expires if key else None,
    )


def from_outside(connection: Connection) -> bool:
    """Whether a request came through the gateway, which stamps every one that it passes on."""
    return "x-forwarded-for" in connection.headers


def client_of(connection: Connection) -> accounts.Client:
    """Browser and address of whoever asks. The gateway drops what clients say about their address."""
    headers = connection.headers
    return accounts.Client(headers.get("user-agent", ""), headers.get("x-forwarded-for", ""))


async def provide_viewer(request: AnyRequest, services: NamedDependency[Services]) -> Viewer:
    """Dependency `viewer`."""
    return await _seen(request, services)


async def _seen(connection: Connection, services: Services) -> Viewer:
    known = _VIEWER in connection.scope["state"]
    anonymous = COOKIE not in connection.cookies and "authorization" not in connection.headers
    if known or anonymous:  # no database is asked, so no thread is needed
        return see(connection, services)
    return await sync_to_thread(see, connection, services)


async def authorize(connection: Connection, handler: BaseRouteHandler) -> None:
    """The shop's one guard: whoever asks must have the permission that the route names.

    Raises SignInNeeded, KeyRefused, TokenTooNarrow and NotAllowed.
    """
    if connection.scope.get("method") == "OPTIONS":
        return  # litestar's own answer: which methods there are
    permission: Permission | None = handler.opt.get("permission")
    if permission is Permission.use_socket and from_outside(connection):
        raise NotFoundException
    if permission in ANYONE:
        return
    viewer = await _seen(connection, connection.app.state.services)
    if permission is None:
        raise NotAllowed(role="", permission="")
    if viewer.may(permission):
        return
    if not viewer.signed_in:
        raise KeyRefused() if "authorization" in connection.headers else SignInNeeded()
    facts = {"role": role_for(permission), "permission": str(permission)}
    if viewer.narrowed and permission in permissions_of(viewer.roles):
        raise TokenTooNarrow(**facts)
    raise NotAllowed(**facts)


def require_permissions(app: Litestar) -> None:
    """Refuse to start with a route that names no permission; raises RuntimeError."""
    if found := [f"{' '.join(sorted(methods))} {path}" for path, methods in _unguarded(app)]:
        raise RuntimeError(f"routes without a permission: {', '.join(found)}")


def _unguarded(app: Litestar) -> Iterator[tuple[str, set[str]]]:
    for route in app.routes:
        handlers = getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[union-attr]
        for handler in handlers:
            methods = {str(each) for each in getattr(handler, "http_methods", {"ASGI"})}
            if not isinstance(handler.opt.get("permission"), Permission) and methods != {"OPTIONS"}:
                yield route.path, methods


async def note_use(request: AnyRequest) -> None:
    """Write down, after the answer is sent, that a key was used (an after-response hook)."""
    key_id = request.scope["state"].get(_USED)
    if key_id is not None:
        await sync_to_thread(accounts.mark_used, request.app.state.services.engine, key_id)


def refuse_unsound(request: AnyRequest) -> None:
    """Refuse what no handler is to see (a before-request hook): InvalidRequest and ForeignRequest."""
    # No name or word holds it, and PostgreSQL takes no text that does.
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise InvalidRequest(why="NUL")
    refuse_foreign(request)


def refuse_foreign(request: AnyRequest) -> None:
    """Refuse a change that another site made a signed-in browser send.

    Browsers say where a request comes from (Sec-Fetch-Site, else Origin); clients with a key send
    neither and are not concerned, since no browser adds the key by itself. Signing in counts as a change
    too: nobody is to be signed in to somebody else's account.
    """
    if request.method in SAFE or "authorization" in request.headers:
        return
    if COOKIE not in request.cookies and not request.url.path.startswith("/login"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and origin.partition("://")[2] != request.headers.get("host")
    if foreign:
        raise ForeignRequest()
