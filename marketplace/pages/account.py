"""Who one is here: signing in, the language, and the page for whatever went wrong."""

from typing import Any
from urllib.parse import urlsplit

from litestar import get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from marketplace import accounts, i18n, sign_in
from marketplace.auth import COOKIE, AnyRequest, Viewer, client_of, see
from marketplace.errors import MarketError
from marketplace.models import Account
from marketplace.pages.forms import inside, see_other, sign_in_first
from marketplace.pages.rendering import is_partial, page
from marketplace.permissions import Permission
from marketplace.problems import Problem, problem_of
from marketplace.services import Services

YEAR = 365 * 24 * 3600


@get("/lang/{code:str}", permission=Permission.browse, include_in_schema=False, sync_to_thread=False)
def switch_language(code: FromPath[str], next: FromQuery[str] = "/") -> Redirect:
    """Read on in another language."""
    response = see_other(inside(next))
    if code in i18n.LANGUAGES:
        response.set_cookie(Cookie(i18n.COOKIE, path="/", value=code, max_age=YEAR, samesite="lax"))
    return response


@get("/login", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def login(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    next: FromQuery[str] = "/",
) -> Template | Redirect:
    """Name and password, or a sign-in link."""
    if viewer.signed_in:
        return see_other(inside(next))
    return page(request, viewer, "login.html", **_login(db, next))


def _login(db: Session, then: str, name: str = "", problem: Problem | None = None) -> dict[str, Any]:
    # On a fresh machine nobody has a password: the form for one would only lead astray.
    has = db.exec(select(Account.id).where(col(Account.password) != "").limit(1)).first() is not None
    return {"next": inside(then), "name": name, "problem": problem, "passwords": has}


@post("/login/password", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def login_with_password(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    viewer: NamedDependency[Viewer],
    db: NamedDependency[Session],
) -> Template | Redirect:
    """Sign in with name and password; a refusal is said on the form."""
    name, then = data.get("name", "").strip(), data.get("next", "/")
    before = request.cookies.get(COOKIE, "")
    try:
        entered = sign_in.by_password(
            services.engine, name, data.get("password", ""), client_of(request), before
        )
    except MarketError as error:
        problem = problem_of(error, viewer.lang)
        return _with_headers(
            page(request, viewer, "login.html", status=problem.status, **_login(db, then, name, problem)),
            problem,
        )
    return _enter(services, entered.cookie, then)


@post("/login", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def login_with_link(
    request: AnyRequest, data: URLEncodedBody[dict[str, str]], services: NamedDependency[Services]
) -> Redirect:
    """Sign in with a pasted link or its last part."""
    token = data.get("link", "").strip().rstrip("/").rpartition("/")[2]
    return _use_link(request, services, token, data.get("next", "/"))


@get("/login/{token:str}", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def login_by_link(request: AnyRequest, services: NamedDependency[Services], token: FromPath[str]) -> Redirect:
    """Use up a sign-in link; raises InvalidLoginLink."""
    return _use_link(request, services, token, "/")


def _use_link(request: AnyRequest, services: Services, token: str, then: str) -> Redirect:
    before = request.cookies.get(COOKIE, "")
    entered = sign_in.by_link(services.engine, token, client_of(request), before)
    return _enter(services, entered.cookie, then)


def _enter(services: Services, cookie: str, then: str) -> Redirect:
    response = see_other(inside(then))
    response.set_cookie(
        Cookie(
            COOKIE,
            path="/",
            value=cookie,
            max_age=int(accounts.SESSION_LIFE.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=services.settings.url.startswith("https:"),
        )
    )
    return response


@post("/logout", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def logout(request: AnyRequest, db: NamedDependency[Session]) -> Redirect:
    """Sign out here."""
    accounts.end_session(db, request.cookies.get(COOKIE, ""))
    db.commit()
    response = see_other("/")
    response.delete_cookie(COOKIE, path="/")
    return response


def problem_page(request: AnyRequest, problem: Problem) -> Template | Redirect:
    """A refusal as a page: what happened, why, and the one next step; to sign in first is one of them."""
    services: Services = request.app.state.services
    then = _wanted(request) if problem.code == "sign-in-needed" and not is_partial(request) else ""
    if then:
        return sign_in_first(then)
    try:
        viewer = see(request, services)
    except Exception:  # the page about a broken database must not need the database
        viewer = Viewer(None, "", frozenset(), i18n.negotiate(request, services.settings.lang))
    template = "updates/problem.html" if is_partial(request) else "problem.html"
    return _with_headers(page(request, viewer, template, status=problem.status, problem=problem), problem)


def _wanted(request: AnyRequest) -> str:
    """The page to come back to: the one that was asked for, or that on which a button was pressed."""
    if request.method == "GET":
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")
    came_from = urlsplit(request.headers.get("referer", ""))
    if came_from.netloc != request.headers.get("host"):
        return ""
    return came_from.path + (f"?{came_from.query}" if came_from.query else "")


def _with_headers(answer: Template, problem: Problem) -> Template:
    for name, value in problem.headers.items():
        answer.headers[name] = value
    return answer


handlers = [
    switch_language,
    login,
    login_with_password,
    login_with_link,
    login_by_link,
    logout,
]
