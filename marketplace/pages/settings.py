"""The settings page: account, password, browsers, tokens, language, and what is set where."""

import os
import re
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session

from marketplace import accounts, audit, passwords, people, sign_in, tokens
from marketplace.api.people import maker_of
from marketplace.api.people_schemas import session_out, token_out
from marketplace.audit import AuditAction
from marketplace.auth import COOKIE, AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import MarketError
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages.forms import see_other
from marketplace.pages.rendering import page
from marketplace.people_words import PERMISSIONS
from marketplace.permissions import GRANTABLE, PRESETS, Permission
from marketplace.problems import Problem, problem_of
from marketplace.services import Services
from marketplace.settings import SETTINGS, Settings, variable

BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl")  # the first that is named is meant
BROWSER_NAMES = {"Edg": "Edge", "OPR": "Opera"}
SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")
SYSTEM_NAMES = {"Mac OS X": "macOS", "CrOS": "ChromeOS"}
UNKNOWN = _("unknown browser")


@get("/settings", permission=Permission.manage_self, include_in_schema=False, sync_to_thread=True)
def settings(
    request: AnyRequest, services: NamedDependency[Services], viewer: NamedDependency[Viewer]
) -> Template:
    """The account, the language, and what is set where."""
    return _page(request, services, viewer)


@post(
    "/settings/login-link",
    permission=Permission.manage_self,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def login_link(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """A link that signs another browser in once."""
    viewer.require_session()
    token = people.link_for(db, viewer, viewer.account(db))
    db.commit()
    return _page(request, services, viewer, link=f"{services.settings.url}/login/{token}")


@post(
    "/settings/password",
    permission=Permission.manage_self,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def change_password(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    viewer: NamedDependency[Viewer],
) -> Template:
    """Set or change the password; all other browsers are signed out."""
    viewer.require_session()
    new, present = data.get("new", ""), data.get("present", "")
    try:
        sign_in.change_password(services.engine, viewer, new, present, request.cookies.get(COOKIE, ""))
    except MarketError as error:
        return _page(request, services, viewer, about="password", said=problem_of(error, viewer.lang))
    return _page(request, services, viewer, about="password")


@post(
    "/settings/sessions/{identity:str}/end",
    permission=Permission.manage_self,
    include_in_schema=False,
    sync_to_thread=True,
)
def end_session(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], identity: FromPath[str]
) -> Redirect:
    """Sign one browser out."""
    accounts.end_session_by_id(db, viewer.account(db).id, identity)
    audit.record(db, viewer, AuditAction.end_sessions, viewer.name, sessions_ended=1)
    db.commit()
    return see_other("/settings#browsers")


@post(
    "/settings/sessions/end-others",
    permission=Permission.manage_self,
    include_in_schema=False,
    sync_to_thread=True,
)
def end_other_sessions(
    request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> Redirect:
    """Sign all other browsers out."""
    ended = accounts.end_other_sessions(db, viewer.account(db).id, request.cookies.get(COOKIE, ""))
    audit.record(db, viewer, AuditAction.end_sessions, viewer.name, sessions_ended=ended)
    db.commit()
    return see_other("/settings#browsers")


@post(
    "/settings/tokens",
    permission=Permission.manage_self,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def create_token(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """A new token, shown once on the page that answers."""
    days = str(data.get("days", ""))
    try:
        made = tokens.create_token(
            db,
            maker_of(viewer, db),
            str(data.get("name", "")),
            _scopes(data),
            int(days) if days.isdecimal() and len(days) < 9 else 0,
        )
        people.commit(services, db)
    except MarketError as error:
        db.rollback()
        return _page(request, services, viewer, about="tokens", said=problem_of(error, viewer.lang))
    return _page(request, services, viewer, about="tokens", token=made.text)


def _scopes(data: dict[str, Any]) -> list[str]:
    """The scopes that the form's choice stands for; nothing chosen where some must be is `read`."""
    kind = str(data.get("kind", ""))
    if kind in PRESETS:
        return [kind]
    if kind != "chosen":
        return []
    chosen = data.get("scope", [])
    return [str(each) for each in chosen] if isinstance(chosen, list) else [str(chosen)]


@post(
    "/settings/tokens/{identity:str}/revoke",
    permission=Permission.manage_self,
    include_in_schema=False,
    sync_to_thread=True,
)
def revoke_token(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """End a token."""
    tokens.revoke_token(db, viewer, viewer.account(db).id, identity)
    people.commit(services, db)
    return see_other("/settings#tokens")


def _page(
    request: AnyRequest,
    services: Services,
    viewer: Viewer,
    *,
    about: str = "",
    said: Problem | None = None,
    link: str = "",
    token: str = "",
) -> Template:
    """The page; `about` is the part that was just acted on, `said` what was wrong there."""
    with read_session(services.engine) as db:
        account = viewer.account(db)
        here = accounts.digest(request.cookies.get(COOKIE, ""))
        context = {
            "has_password": bool(account.password),
            "browsers": [
                (session_out(row, here), browser_of(row.agent, viewer.lang))
                for row in accounts.sessions_of(db, account.id)
            ],
            "tokens": [token_out(row) for row in tokens.list_tokens(db, account.id)],
        }
    context |= {
        "scopes": [
            (each, PERMISSIONS.get(each, str(each))) for each in sorted(GRANTABLE & viewer.permissions)
        ],
        "presets": sorted(name for name, has in PRESETS.items() if has <= viewer.permissions),
        "permission_words": PERMISSIONS,
        "least": passwords.LEAST,
        "most_days": tokens.MOST_DAYS,
        "days": tokens.DAYS,
        "runtimes": [(r.name, r.available()) for r in services.runtimes.values()],
        "rows": effective(services.settings, viewer.lang) if viewer.may(Permission.read_settings) else [],
    }
    status = said.status if said else 200
    told = {"about": about, "said": said, "link": link, "token": token}
    return page(request, viewer, "settings.html", status=status, **told, **context)


def browser_of(agent: str, lang: str) -> str:
    """A browser as people call it: Firefox · Linux."""
    browser = next((each for each in BROWSERS if f"{each}/" in agent), "")
    system = next((each for each in SYSTEMS if re.search(rf"\b{each}\b", agent)), "")
    names = (BROWSER_NAMES.get(browser, browser), SYSTEM_NAMES.get(system, system))
    return " · ".join(filter(None, names)) or gettext(lang, UNKNOWN)


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


handlers = [
    settings,
    login_link,
    change_password,
    end_session,
    end_other_sessions,
    create_token,
    revoke_token,
]
