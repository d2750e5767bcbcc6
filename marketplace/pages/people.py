"""For operators: who has an account here, and the audit log."""

from collections.abc import Mapping
from typing import Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody
from litestar.response import Redirect, Template
from sqlmodel import Session

from catalog.review import FINDINGS
from marketplace import accounts, audit, people
from marketplace.api.people import LAST, moment, with_link
from marketplace.api.people_schemas import AccountOut, account_out, audit_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.errors import InvalidRequest, MarketError
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import words
from marketplace.pages.forms import index_of, see_other
from marketplace.pages.rendering import page, size
from marketplace.people_words import ACTIONS, PERMISSIONS
from marketplace.permissions import Permission
from marketplace.problems import Problem, problem_of
from marketplace.services import Services

PAGE = 50  # events on a page
FACTS = {
    "account": _("account"),
    "after": _("after"),
    "again": _("again"),
    "before": _("before"),
    "bytes": _("size"),
    "days": _("valid days"),
    "device": _("device"),
    "digest": _("digest"),
    "domain": _("domain"),
    "findings": _("findings"),
    "id": _("id"),
    "listing": _("listing"),
    "lived": _("was live"),
    "method": _("by"),
    "period": _("every"),
    "rating": _("rating"),
    "reason": _("reason"),
    "result": _("result"),
    "role": _("role"),
    "roles": _("roles"),
    "runtime": _("runtime"),
    "scopes": _("scopes"),
    "sessions_ended": _("signed out"),
    "source": _("source"),
    "stars": _("stars"),
    "terminal": _("place"),
    "version": _("version"),
    "wanted": _("wanted"),
    "way": _("by"),
    "why": _("reason"),
}
METHODS = {"link": _("a link"), "password": _("a password"), "dns": _("the DNS"), "file": _("a file")}
MEMBERS = {"owner": _("owner"), "publisher": _("publisher")}
WORDS: dict[str, Mapping[str, str]] = {
    "after": words.VERSION_STATES,
    "before": words.VERSION_STATES | words.ROLES,
    "method": METHODS,
    "result": words.CHECK_STATES,
    "role": MEMBERS,
    "roles": words.ROLES,
    "scopes": PERMISSIONS,
    "wanted": words.VERSION_STATES,
    "way": METHODS,
}
"""Of a fact whose values are ids, what they are called."""


@get("/accounts", permission=Permission.manage_accounts, include_in_schema=False, sync_to_thread=True)
def index(request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> Template:
    """Everybody who has an account."""
    return _accounts(request, db, viewer)


@post(
    "/accounts",
    permission=Permission.manage_accounts,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def create(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """A new account, with the link that lets its owner in."""
    name = str(data.get("name", ""))
    try:
        account = people.create_account(db, viewer, name, _chosen(data))
        made = with_link(services, db, viewer, account)
    except MarketError as error:
        db.rollback()
        problem = problem_of(error, viewer.lang)
        return _accounts(request, db, viewer, problem=problem, name=name, about="new")
    return _accounts(request, db, viewer, made=made)


def _chosen(data: dict[str, Any]) -> list[str]:
    """The roles that are ticked: one comes as a text, several as a list."""
    value = data.get("role", [])
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


@post(
    "/accounts/{name:str}/roles",
    permission=Permission.manage_accounts,
    include_in_schema=False,
    sync_to_thread=True,
)
def change_roles(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template | Redirect:
    """Give an account the ticked roles and no others."""
    try:
        people.change_roles(db, viewer, name, _chosen(data))
    except MarketError as error:
        return _refused(request, db, viewer, name, error)
    people.commit(services, db)
    return see_other("/accounts")


@post(
    "/accounts/{name:str}/disable",
    permission=Permission.manage_accounts,
    include_in_schema=False,
    sync_to_thread=True,
)
def disable(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template | Redirect:
    """Shut an account out."""
    try:
        people.disable(db, viewer, name)
    except MarketError as error:
        return _refused(request, db, viewer, name, error)
    people.commit(services, db)
    return see_other("/accounts")


@post(
    "/accounts/{name:str}/enable",
    permission=Permission.manage_accounts,
    include_in_schema=False,
    sync_to_thread=True,
)
def enable(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Redirect:
    """Let an account in again."""
    people.enable(db, viewer, name)
    people.commit(services, db)
    return see_other("/accounts")


@post(
    "/accounts/{name:str}/reset-password",
    permission=Permission.manage_accounts,
    include_in_schema=False,
    sync_to_thread=True,
)
def reset_password(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], name: FromPath[str]
) -> Redirect:
    """Take a forgotten password away."""
    people.reset_password(db, viewer, name)
    db.commit()
    return see_other("/accounts")


@post(
    "/accounts/{name:str}/login-link",
    permission=Permission.create_sign_in_links,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def login_link(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template:
    """A link that signs an account in once."""
    made = with_link(services, db, viewer, people.get_account(db, name))
    return _accounts(request, db, viewer, made=made)


def _refused(request: AnyRequest, db: Session, viewer: Viewer, name: str, error: MarketError) -> Template:
    db.rollback()
    return _accounts(request, db, viewer, problem=problem_of(error, viewer.lang), about=name)


def _accounts(
    request: AnyRequest,
    db: Session,
    viewer: Viewer,
    *,
    made: AccountOut | None = None,
    problem: Problem | None = None,
    name: str = "",
    about: str = "",
) -> Template:
    """The page; `about` is the account whose change was refused, or `new`."""
    items = [account_out(row) for row in people.list_accounts(db)]
    status = problem.status if problem else 200
    context = {"items": items, "made": made, "problem": problem, "name": name, "about": about}
    return page(request, viewer, "accounts.html", status=status, roles=accounts.ROLES, **context)


@get("/audit", permission=Permission.read_audit, include_in_schema=False, sync_to_thread=True)
def audit_log(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    account: FromQuery[str] = "",
    action: FromQuery[str] = "",
    subject: FromQuery[str] = "",
    since: FromQuery[str] = "",
    offset: FromQuery[str] = "",
) -> Template:
    """Who did what, when and from where, newest first."""
    start = index_of(offset, LAST) or 0
    problem = None
    try:
        begin = moment(since)
    except InvalidRequest as error:
        begin, problem = None, problem_of(error, viewer.lang)
    found, total = audit.events(
        db, account=account, action=action, subject=subject, since=begin, limit=PAGE, offset=start
    )
    asked = {"account": account, "action": action, "subject": subject, "since": since}
    return page(
        request,
        viewer,
        "audit.html",
        status=problem.status if problem else 200,
        items=[(audit_out(row), _facts(row.facts, viewer.lang)) for row in found],
        total=total,
        offset=start,
        page_size=PAGE,
        asked=asked,
        actions=ACTIONS,
        problem=problem,
    )


def _facts(facts: dict[str, Any], lang: str) -> list[tuple[str, str]]:
    """Facts as words; what says nothing is left out."""
    shown = []
    for key, value in facts.items():
        if value in ("", None, []) or value is False:
            continue
        each = value if isinstance(value, list) else [value]
        text = ", ".join(_value(key, one, lang) for one in each)
        shown.append((gettext(lang, FACTS.get(key, key)), text))
    return shown


def _value(key: str, value: Any, lang: str) -> str:
    """One value of a fact: ids in words, bytes as a size."""
    if value is True:
        return gettext(lang, _("yes"))
    if key == "bytes" and isinstance(value, int):
        return size(value)
    if key == "period" and isinstance(value, int):
        return f"{value // 3600} h"
    if key == "findings" and (kind := FINDINGS.get(str(value))):
        return kind.title_zh if lang == "zh" else kind.title_en
    known = WORDS.get(key, {}).get(str(value))
    return gettext(lang, known) if known else str(value)


handlers: list[Any] = [
    index,
    create,
    change_roles,
    disable,
    enable,
    reset_password,
    login_link,
    audit_log,
]
