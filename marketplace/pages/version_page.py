"""A version as its vendor and reviewers see it: a live table of checks, what to do next, and its history."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litestar import get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import listings, review
from catalog.errors import CatalogError
from catalog.models import CheckState, Listing, Version, VersionState
from catalog.review import FINDINGS
from deployer.errors import DeployerError
from marketplace import checking, publishing
from marketplace.api.publications import begin_checks, require_wanted
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import MarketError, NotAllowed
from marketplace.i18n import gettext, ngettext
from marketplace.i18n import mark as _
from marketplace.models import Account
from marketplace.pages import checked
from marketplace.pages.forms import see_other
from marketplace.pages.rendering import fragment, page, query
from marketplace.permissions import Permission, role_for
from marketplace.problems import Problem, problem_of
from marketplace.services import Services

S, C = VersionState, CheckState
REFUSALS = (MarketError, DeployerError, CatalogError)
PULSE, TICK = 15.0, 0.3  # seconds between looks where nothing moves, and where much does
PATH = "/vendor/listings/{vendor:str}/{name:str}/{number:str}"


@dataclass(frozen=True)
class Said:
    """What is the case, in a sentence, and what to do about it."""

    title: str
    detail: str = ""
    command: str = ""


@dataclass(frozen=True)
class Act:
    """Something that its vendor may do with a version: a link, a button, or one that asks once more."""

    id: str
    title: str
    first: bool = False
    """The one thing to do now; the seal is on it."""
    href: str = ""
    hint: str = ""
    asks: str = ""
    why: bool = False
    """Whether a reason is asked for."""


@dataclass(frozen=True)
class EventShown:
    """One change of a version's state."""

    after: str
    at: datetime
    who: str
    why: str


@dataclass(frozen=True)
class FindingShown:
    """What an operator found."""

    title: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Seen:
    """A version with who looks at it."""

    listing: Listing
    version: Version
    member: bool
    reviewer: bool

    @property
    def live(self) -> bool:
        """Whether its checks are still to come or under way."""
        return self.version.check_state in checked.RUNNING

    @property
    def path(self) -> str:
        """Where its page is."""
        return f"/vendor/listings/{self.listing.name}/{self.version.number}"


def find(db: Session, viewer: Viewer, name: str, number: str) -> Seen:
    """The version, for those who act for its vendor, who made it, and reviewers; NotAllowed for others."""
    reviewer = viewer.may(Permission.decide_reviews)
    account_id = viewer.account(db).id
    listing, version = listings.get_version(db, f"{name}@{number}", account_id, all_states=reviewer)
    member = listings.is_member(db, listing.vendor_id, account_id)
    if not (member or reviewer or version.created_by == account_id):
        raise NotAllowed(role=role_for(Permission.publish), permission=str(Permission.publish))
    return Seen(listing, version, member, reviewer)


def context(db: Session, seen: Seen, lang: str, problem: Problem | None = None) -> dict[str, Any]:
    """Everything that the page and its updates show."""
    version = seen.version
    checks = checked.table(db, version, lang)
    ready = version.check_state == C.passed and version.state not in (S.rejected, S.yanked)
    return {
        "row": seen.listing,
        "version": version,
        "member": seen.member,
        "reviewer": seen.reviewer,
        "live": seen.live,
        "path": seen.path,
        "problem": problem,
        "checks": checks,
        "finding": finding(version, checks, lang),
        "found": findings_shown(db, version, lang),
        "history": history(db, seen.listing, version, lang),
        "figures": checked.figures(version, lang),
        "badges": checked.badges(db, version, lang),
        "licence": checked.licence_said(version, lang),
        "acts": acts(db, seen, lang),
        "deploy": f"market deploy {seen.listing.name}@{version.number} --wait" if ready else "",
    }


def finding(version: Version, checks: list[checked.CheckShown], lang: str) -> Said:
    """What is the case with a version, as one sentence, and the next step."""
    counts = checked.counts(checks)
    done = sum(n for verdict, n in counts.items() if verdict not in ("waiting", "running"))

    def say(text: str, **facts: object) -> str:
        return gettext(lang, text, **facts)

    if version.check_state in checked.RUNNING:
        detail = say(_("What is to be mended is shown here as soon as it is found."))
        return Said(say(_("Checking: {done} of {all} checks done"), done=done, all=len(checks)), detail)
    if version.check_state == C.none:
        return Said(
            say(_("Not checked yet")),
            say(_("Bring the files that are missing; the checks begin once all are here.")),
            "market publish ./my-model",
        )
    if version.check_state == C.failed:
        failed = counts.get("fail", 0)
        title = ngettext(lang, _("{n} check does not pass"), "{n} checks do not pass", failed)
        names = ("、" if lang == "zh" else ", ").join(c.title for c in checks if c.verdict == "fail")
        free = _("{names}: mend what is said there and publish again; the number {number} is still free.")
        taken = _("{names}: mend what is said there and publish it under a new number than {number}.")
        text = free if version.state == S.draft else taken
        detail = say(text, names=names, number=version.number)
        return Said(title, detail, "market publish ./my-model")
    return _passed(version, any(check.to_look_at for check in checks), say)


def _passed(version: Version, warned: bool, say: Callable[..., str]) -> Said:
    look = say(_("Some have something to look at; it does not stop you.")) if warned else ""
    told = {
        S.draft: (_("All checks passed"), look or say(_("Submit it, and an operator looks at it."))),
        S.submitted: (_("Waits for an operator"), look),
        S.listed: (_("On the shelf"), look),
        S.rejected: (
            _("Not accepted"),
            say(_("Mend what was found and publish it under a new number.")),
        ),
        S.deprecated: (
            _("Deprecated"),
            say(_("It can still be had, with a note that it is not kept up.")),
        ),
        S.yanked: (
            _("Taken off the shelf"),
            say(_("Whoever has it keeps it; nobody is offered it.")),
        ),
    }
    title, detail = told[S(version.state)]
    return Said(say(title), detail)


def findings_shown(db: Session, version: Version, lang: str) -> list[FindingShown]:
    """What operators found, in the reader's words."""
    return [
        FindingShown(kind.title_zh if lang == "zh" else kind.title_en, row.text, row.at)
        for row in review.findings_of(db, version)
        if (kind := FINDINGS.get(row.kind))
    ]


def history(db: Session, listing: Listing, version: Version, lang: str) -> list[EventShown]:
    """Its states, the oldest first; who acted is named for colleagues, operators by their office."""
    made = EventShown(str(S.draft), version.created, _who(db, listing, version.created_by, lang), "")
    return [
        made,
        *(
            EventShown(str(event.after), event.at, _who(db, listing, event.by, lang), event.why)
            for event in review.events_of(db, version)
        ),
    ]


def _who(db: Session, listing: Listing, account_id: Any, lang: str) -> str:
    if account_id is None:
        return gettext(lang, _("this shop"))
    if not listings.is_member(db, listing.vendor_id, account_id):
        return gettext(lang, _("an operator"))
    account = db.get(Account, account_id)
    return account.name if account else ""


def acts(db: Session, seen: Seen, lang: str) -> list[Act]:
    """What may be done now, the first thing first."""
    version = seen.version
    new = query("/vendor/publish", of=seen.listing.name)
    again = query("/vendor/publish", of=seen.listing.name, again=version.number)

    def say(text: str) -> str:
        return gettext(lang, text)

    discard = Act("discard", say(_("Discard")), asks=say(_("The draft goes, with its files.")))
    deprecate = Act(
        "deprecate",
        say(_("Deprecate")),
        asks=say(_("It can still be had, with your reason beside it.")),
        why=True,
    )
    yank = Act(
        "yank",
        say(_("Take off the shelf")),
        asks=say(_("Nobody is offered it any more; whoever has it keeps it.")),
        why=True,
    )
    relist = Act("relist", say(_("Put back")), asks=say(_("It is offered again.")), why=True)
    renew = Act("new", say(_("New version")), href=new)
    if version.state == S.draft:
        if seen.live:
            return []
        if version.check_state == C.passed:
            hint = say(_("An operator looks at it before it is on the shelf."))
            return [Act("submit", say(_("Submit for review")), first=True, hint=hint), renew, discard]
        return [Act("again", say(_("Publish again")), first=True, href=again), discard]
    if version.state == S.submitted:
        return [Act("withdraw", say(_("Take it back")), asks=say(_("It becomes a draft again.")))]
    if version.state == S.listed:
        return [Act("new", renew.title, first=True, href=new), deprecate, yank]
    if version.state == S.deprecated:
        return [Act("new", renew.title, first=True, href=new), relist, yank]
    if version.state == S.yanked:
        return [renew, relist]
    return [Act("new", renew.title, first=True, href=new)]


@get(PATH, permission=Permission.manage_self, include_in_schema=False, sync_to_thread=True)
def show(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> Template:
    """One version with its checks."""
    seen = find(db, viewer, f"{vendor}/{name}", number)
    return page(request, viewer, "vendor_version.html", **context(db, seen, viewer.lang))


@get(f"{PATH}/stream", permission=Permission.manage_self, include_in_schema=False, sync_to_thread=True)
def stream(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
) -> ServerSentEvent:
    """The page's parts whenever a check is done, until all are."""
    seen = find(db, viewer, f"{vendor}/{name}", number)
    return ServerSentEvent(_updates(services, viewer, seen))


async def _updates(services: Services, viewer: Viewer, seen: Seen) -> AsyncIterator[ServerSentEventMessage]:
    topic, sent = checking.topic(seen.version.id), dict[str, str]()
    while not services.hub.closed:
        version = services.hub.version(topic)
        try:
            live, parts = await sync_to_thread(_news, services, viewer, seen)
        except REFUSALS:  # discarded, or the account was disabled
            yield ServerSentEventMessage("{}", event="end")
            return
        news = "".join(html for part, html in parts.items() if sent.get(part) != html)
        yield ServerSentEventMessage(news) if news else ServerSentEventMessage(None, comment="still")
        sent = parts
        if not live:
            yield ServerSentEventMessage("{}", event="end")
            return
        await asyncio.sleep(TICK)
        await services.hub.wait(topic, version, timeout=PULSE)


PARTS = {"checks": "version_checks", "status": "version_status", "rest": "version_rest"}


def _news(services: Services, viewer: Viewer, seen: Seen) -> tuple[bool, dict[str, str]]:
    with read_session(services.engine) as db:
        now = find(db, viewer, seen.listing.name, seen.version.number)
        values = context(db, now, viewer.lang)
        return now.live, {
            part: f'<hx-partial hx-target="#{part}" hx-swap="innerMorph">'
            f"{fragment(viewer.lang, f'updates/{template}.html', **values)}</hx-partial>"
            for part, template in PARTS.items()
        }


@post(
    f"{PATH}/{{act:str}}",
    permission=Permission.change_versions,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def do(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    number: FromPath[str],
    act: FromPath[str],
) -> Template | Redirect:
    """Submit, take back, deprecate, take off, put back or discard a version; a refusal is said there."""
    seen = find(db, viewer, f"{vendor}/{name}", number)
    try:
        _do(services, db, viewer, seen, act, data.get("why", "").strip()[:300])
    except REFUSALS as error:
        db.rollback()
        said = problem_of(error, viewer.lang)
        again = find(db, viewer, f"{vendor}/{name}", number)
        values = context(db, again, viewer.lang, said)
        return page(request, viewer, "vendor_version.html", status=said.status, **values)
    return see_other(f"/vendor#{vendor}" if act == "discard" else seen.path)


RESHELVED = {"deprecate": S.deprecated, "yank": S.yanked, "relist": S.listed}


def _do(services: Services, db: Session, viewer: Viewer, seen: Seen, act: str, why: str) -> None:
    account, row, version = viewer.account(db), seen.listing, seen.version
    if act not in RESHELVED and not viewer.may(Permission.publish):
        raise NotAllowed(role=role_for(Permission.publish), permission=str(Permission.publish))
    if act == "submit":
        require_wanted(db, S.submitted, row.name.partition("/")[0], viewer)
        begin_checks(services, db, viewer, row, version, S.submitted)
    elif act == "withdraw":
        publishing.withdraw(services, db, account, row, version, why)
    elif act == "discard":
        publishing.discard(services, db, account, row, version)
    elif act in RESHELVED:
        publishing.reshelve(
            services, db, viewer, account, row, version, RESHELVED[act], why=why, operator=False
        )
    else:
        raise NotFoundException


handlers = [show, stream, do]
