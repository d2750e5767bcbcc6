"""Who one is here: sign-in, language, settings; and the page for whatever went wrong."""

import os
from typing import Any

from litestar import get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session

from marketplace import accounts, i18n
from marketplace.auth import COOKIE, AnyRequest, Viewer, see
from marketplace.db import write_session
from marketplace.pages.forms import inside, see_other, sign_in_first
from marketplace.pages.rendering import is_partial, page
from marketplace.problems import Problem
from marketplace.services import Services
from marketplace.settings import SETTINGS, Settings, variable

YEAR = 365 * 24 * 3600


@get("/lang/{code:str}", include_in_schema=False, sync_to_thread=False)
def switch_language(code: FromPath[str], next: FromQuery[str] = "/") -> Redirect:
    """Read on in another language."""
    response = see_other(inside(next))
    if code in i18n.LANGUAGES:
        response.set_cookie(Cookie(i18n.COOKIE, path="/", value=code, max_age=YEAR, samesite="lax"))
    return response


@get("/login", include_in_schema=False, sync_to_thread=False)
def login(
    request: AnyRequest,
    viewer: NamedDependency[Viewer],
    next: FromQuery[str] = "/",
) -> Template | Redirect:
    """How to get a sign-in link."""
    if viewer.signed_in:
        return see_other(inside(next))
    return page(request, viewer, "login.html", next=inside(next))


@post("/login", include_in_schema=False, sync_to_thread=True)
def login_with_link(
    data: URLEncodedBody[dict[str, str]], services: NamedDependency[Services], db: NamedDependency[Session]
) -> Redirect:
    """Sign in with a pasted link or its last part."""
    token = data.get("link", "").strip().rstrip("/").rpartition("/")[2]
    return _enter(services, db, token, data.get("next", "/"))


@get("/login/{token:str}", include_in_schema=False, sync_to_thread=True)
def login_by_link(services: NamedDependency[Services], token: FromPath[str]) -> Redirect:
    """Use up a sign-in link; raises InvalidLoginLink."""
    # A GET has a session for reading as its `db`; the link is used up in one of our own.
    with write_session(services.engine) as db:
        return _enter(services, db, token, "/")


def _enter(services: Services, db: Session, token: str, then: str) -> Redirect:
    cookie = accounts.redeem_link(db, token)
    db.commit()
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


@post("/logout", include_in_schema=False, sync_to_thread=True)
def logout(request: AnyRequest, db: NamedDependency[Session]) -> Redirect:
    """Sign out here."""
    accounts.end_session(db, request.cookies.get(COOKIE, ""))
    db.commit()
    response = see_other("/")
    response.delete_cookie(COOKIE, path="/")
    return response


@get("/settings", include_in_schema=False, sync_to_thread=True)
def settings(
    request: AnyRequest, services: NamedDependency[Services], viewer: NamedDependency[Viewer]
) -> Template | Redirect:
    """The account, the language, and what is set where."""
    if not viewer.signed_in:
        return sign_in_first("/settings")
    return page(request, viewer, "settings.html", link="", **_settings(services, viewer))


@post("/settings/login-link", include_in_schema=False, status_code=200, sync_to_thread=True)
def login_link(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """A link that signs another browser in once."""
    token = accounts.create_login_link(db, viewer.account(db))
    db.commit()
    link = f"{services.settings.url}/login/{token}"
    return page(request, viewer, "settings.html", link=link, **_settings(services, viewer))


def _settings(services: Services, viewer: Viewer) -> dict[str, Any]:
    runtimes = [(r.name, r.available()) for r in services.runtimes.values()]
    rows = effective(services.settings, viewer.lang) if "operator" in viewer.roles else []
    return {"runtimes": runtimes, "rows": rows}


def effective(settings: Settings, lang: str) -> list[dict[str, str]]:
    """Every setting with its value, its help and where the value comes from; passwords in URLs are hidden."""
    rows = []
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        text = ", ".join(value) if isinstance(value, tuple) else str(value)
        rows.append(
            {
                "variable": variable(setting.name),
                "value": _without_password(text),
                "help": setting.help_zh if lang == "zh" else setting.help_en,
                "source": "environment" if os.environ.get(variable(setting.name), "").strip() else "default",
            }
        )
    return rows


def _without_password(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not mark or not at:
        return text
    return f"{scheme}://{credentials.partition(':')[0]}:…@{host}"


def problem_page(request: AnyRequest, problem: Problem) -> Template:
    """A refusal as a page: what happened, why, and the one next step."""
    services: Services = request.app.state.services
    try:
        viewer = see(request, services)
    except Exception:  # the page about a broken database must not need the database
        viewer = Viewer(None, "", frozenset(), i18n.negotiate(request, services.settings.lang))
    template = "updates/problem.html" if is_partial(request) else "problem.html"
    return page(request, viewer, template, status=problem.status, problem=problem)


handlers = [
    switch_language,
    login,
    login_with_link,
    login_by_link,
    logout,
    settings,
    login_link,
]
