"""What runs: the board, and the page of a deployment with its steps, key, try-it box and log."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import get, post
from litestar.concurrency import sync_to_thread
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, MultipartBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import listings
from catalog.errors import UnknownListing, UnknownVersion
from catalog.models import Listing, Version
from deployer import deployments
from deployer.errors import DeployerError, UnknownDeployment
from deployer.examples import check
from deployer.models import Deployment, DeploymentState
from marketplace import metering, provisioning
from marketplace.api.deployments import TOO_DEEP, ask
from marketplace.api.schemas import DeploymentOut, deployment_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import InvalidRequest, MarketError
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import answers, words
from marketplace.pages.forms import index_of, see_other
from marketplace.pages.keys import forget_key, fresh_key, redirect_with_key
from marketplace.pages.rendering import fragment, is_partial, page
from marketplace.pages.reports import Statement
from marketplace.pages.shown import said_of
from marketplace.permissions import Permission
from marketplace.problems import problem_of
from marketplace.provisioning import SERVING
from marketplace.services import Services
from marketplace.workflows import BOARD, topic

NOTHING = _("Nothing was filled in; fill in the field, or choose an example.")
NO_OBJECT = _("A JSON object is expected, such as an example has it.")
LONGEST_BODY = 800  # characters of a request that stands within the code to copy
TICK = 1.0  # seconds between looks at a running step, whose clock moves
PULSE = 15.0  # seconds between looks at a deployment where nothing moves
BUSY = frozenset(
    {
        DeploymentState.pending,
        DeploymentState.building,
        DeploymentState.starting,
        DeploymentState.updating,
        DeploymentState.stopping,
    }
)


@dataclass(frozen=True)
class Offer:
    """The listing that a deployment came from; the shelf may have it no more."""

    row: Listing | None
    version: Version | None
    said: Statement | None = None
    """By the certificate of the variant that it runs."""

    @property
    def examples(self) -> list[dict[str, Any]]:
        """The version's examples."""
        return list(self.version.manifest.get("examples", [])) if self.version else []

    def label_titles(self, lang: str) -> dict[str, str]:
        """The titles that the version gives its labels, where it does."""
        options = self.version.manifest.get("options", {}) if self.version else {}
        titles = options.get("label_titles", {})
        return {label: title[lang] for label, title in titles.items() if lang in title}


def _offer(db: Session, deployment: Deployment) -> Offer:
    try:
        found = listings.get_version(db, f"{deployment.listing}@{deployment.version}", all_states=True)
    except (UnknownListing, UnknownVersion):
        return Offer(None, None)
    return Offer(*found, said_of(db, deployment.variant))


def _see(services: Services, db: Session, name: str, lang: str) -> tuple[DeploymentOut, Offer]:
    row = deployments.get_deployment(db, name)
    usage = metering.usage_of(db, name)
    return deployment_out(services, db, row, lang, usage=usage), _offer(db, row)


def phase(state: str) -> str:
    """What the page below the steps shows: serving, or not."""
    return "serving" if state in SERVING else "resting"


def _context(item: DeploymentOut, offer: Offer, key: str = "") -> dict[str, Any]:
    """Everything that the page of a deployment needs."""
    field = words.field_of(item.task)
    request = offer.examples[0]["request"] if offer.examples else {}
    return {
        "item": item,
        "listing": offer.row,
        "key": key,
        "phase": phase(item.state),
        "busy": item.state in BUSY,
        "field": field,
        "sample": answers.text_of(request) if field == "text" else "",
        "body": request if field == "body" and len(json.dumps(request)) <= LONGEST_BODY else {},
        "voice": request.get("voice", ""),
        "base_url": item.endpoint.rpartition("/d/")[0],
        "said": offer.said,
        **_try_context(item, offer),
    }


def _try_context(item: DeploymentOut, offer: Offer) -> dict[str, Any]:
    field = words.field_of(item.task)
    body = answers.shorten(offer.examples[0]["request"]) if offer.examples else {}
    return {
        "examples": [
            {
                "number": n,
                "title_zh": e["title_zh"],
                "title_en": e["title_en"],
                "picture": f"/listings/{item.listing}/examples/{n}.webp" if field == "image" else "",
            }
            for n, e in enumerate(offer.examples)
        ],
        "filled": answers.to_text(body) if field == "body" else "",
        "shown": None,
        "tried": None,
        "differences": None,
        "milliseconds": None,
        "problem": None,
        "titles": {},
    }


# The board


@get("/deployments", permission=Permission.manage_deployments, include_in_schema=False, sync_to_thread=True)
def board(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """All deployments."""
    return page(request, viewer, "board.html", **_board(services, db, viewer.lang))


def _board(services: Services, db: Session, lang: str) -> dict[str, Any]:
    used = metering.totals(db)
    items = [
        deployment_out(services, db, row, lang, usage=used.get(row.name, metering.Usage()))
        for row in deployments.list_deployments(db)
    ]
    first = listings.search_listings(db, limit=1).items
    return {"items": items, "suggestion": first[0] if first else None}


@get(
    "/deployments/all/stream",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def board_stream(
    services: NamedDependency[Services], db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> ServerSentEvent:
    """The board's rows whenever one changes."""

    def read() -> str:
        with read_session(services.engine) as own:
            return fragment(viewer.lang, "updates/board.html", **_board(services, own, viewer.lang))

    async def rows() -> AsyncIterator[ServerSentEventMessage]:
        seen, sent = services.hub.version(BOARD), ""
        while not services.hub.closed:
            html = await sync_to_thread(read)
            yield _changed(html, sent)
            sent = html
            seen = await services.hub.wait(BOARD, seen, timeout=PULSE)

    return ServerSentEvent(rows())


def _changed(html: str, sent: str) -> ServerSentEventMessage:
    """The news; the same again becomes a comment, which finds out a connection that is gone."""
    return ServerSentEventMessage(None, comment="still") if html == sent else ServerSentEventMessage(html)


# One deployment


@get(
    "/deployments/{name:str}",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template:
    """A deployment: its steps while it comes up, then how to call it, a box to try it, and its log."""
    context = _context(*_see(services, db, name, viewer.lang), key=fresh_key(request))
    return page(request, viewer, "deployment.html", **context)


@get(
    "/deployments/{name:str}/stream",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def stream(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
    shown: FromQuery[str] = "",
) -> ServerSentEvent:
    """The deployment's steps and state as they change; `shown` is the phase that the page shows."""
    deployments.get_deployment(db, name)
    return ServerSentEvent(_updates(services, name, viewer.lang, shown, fresh_key(request)))


async def _updates(
    services: Services, name: str, lang: str, shown: str, key: str
) -> AsyncIterator[ServerSentEventMessage]:
    seen, sent = services.hub.version(topic(name)), ""
    while not services.hub.closed:
        try:
            context = await sync_to_thread(_news, services, name, lang, key)
        except UnknownDeployment:
            yield ServerSentEventMessage("{}", event="end")
            return
        fresh = context["phase"] != shown
        yield _changed(html := fragment(lang, "updates/deployment.html", whole=fresh, **context), sent)
        shown, sent = context["phase"], "" if fresh else html
        wait = TICK if context["busy"] else PULSE
        seen = await services.hub.wait(topic(name), seen, timeout=wait)


def _news(services: Services, name: str, lang: str, key: str) -> dict[str, Any]:
    with read_session(services.engine) as db:
        return _context(*_see(services, db, name, lang), key=key)


@get(
    "/deployments/{name:str}/logs",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def logs(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template:
    """The last lines of the server's log."""
    text = provisioning.logs(services, db, name, 200)
    template = "updates/log.html" if is_partial(request) else "log.html"
    return page(request, viewer, template, name=name, log=text)


@post(
    "/deployments/{name:str}/stop",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def stop(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Redirect:
    """Stop, or cancel what is on its way."""
    provisioning.stop(services, db, name, by=viewer)
    return see_other(f"/deployments/{name}")


@post(
    "/deployments/{name:str}/retry",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Redirect:
    """Begin again what failed or was stopped."""
    provisioning.retry(services, db, name, by=viewer)
    return see_other(f"/deployments/{name}")


@post(
    "/deployments/{name:str}/remove",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Redirect:
    """Stop and forget."""
    provisioning.remove(services, db, name, by=viewer)
    return see_other("/deployments")


@post(
    "/deployments/{name:str}/keys",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def new_key(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Redirect:
    """One more key, shown once."""
    key = provisioning.new_key(services, db, viewer.account(db), name, address=viewer.address)
    return redirect_with_key(name, key, services.settings.url)


@post(
    "/deployments/{name:str}/keys/kept",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def key_kept(db: NamedDependency[Session], viewer: NamedDependency[Viewer], name: FromPath[str]) -> Redirect:
    """The person has kept the key: show it no more."""
    deployments.get_deployment(db, name)
    return forget_key(name)


@post(
    "/deployments/{name:str}/try",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def try_out(
    request: AnyRequest,
    data: MultipartBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Template:
    """Send what was filled in, or one of the examples, to the model and show its answer."""
    item, offer = _see(services, db, name, viewer.lang)
    partial = is_partial(request)
    context = _context(item, offer, key=fresh_key(request))
    context["titles"] = offer.label_titles(viewer.lang)
    try:
        context |= _tried(services, db, item, offer, viewer.lang, data)
    except (MarketError, DeployerError) as error:
        context |= {"problem": problem_of(error, viewer.lang).to_dict(), "filled": _text(data, item.task)}
    status = 200 if partial or not context["problem"] else context["problem"]["status"]
    template = "updates/try.html" if partial else "deployment.html"
    return page(request, viewer, template, status=status, **context)


def _tried(
    services: Services, db: Session, item: DeploymentOut, offer: Offer, lang: str, data: dict[str, Any]
) -> dict[str, Any]:
    example = _chosen(data, offer)
    try:
        body = example["request"] if example else _body(item.task, data, lang)
        answer = _answer(services, db, item, lang, body, example)
    except RecursionError:
        raise InvalidRequest(why=gettext(lang, TOO_DEEP)) from None
    provisioning.notify(services, item.deployment)  # the page shows the request among the others at once
    return answer


def _text(data: dict[str, Any], task: str) -> str:
    """What was typed, to keep it in the box."""
    value = data.get(words.field_of(task), "")
    return value if isinstance(value, str) else ""


def _chosen(data: dict[str, Any], offer: Offer) -> dict[str, Any] | None:
    value = data.get("example", "")
    number = index_of(value, len(offer.examples)) if isinstance(value, str) else None
    return None if number is None else offer.examples[number]


def _body(task: str, data: dict[str, Any], lang: str) -> dict[str, Any]:
    """The request that the form's field stands for; raises InvalidRequest when it is empty."""
    field = words.field_of(task)
    value = data.get(field)
    if isinstance(value, UploadFile):
        content = value.file.read()
        if not content:
            raise InvalidRequest(why=gettext(lang, NOTHING))
        sent: dict[str, Any] = {field: answers.encode_media(content)}
        return sent | ({"name": value.filename} if field == "file" and value.filename else {})
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(why=gettext(lang, NOTHING))
    if field != "body":
        return {field: answers.lines_of(value) if task in words.MANY_TEXTS else value.strip()}
    try:
        body = json.loads(value)
    except ValueError as error:
        raise InvalidRequest(why=str(error)) from None
    if not isinstance(body, dict):
        raise InvalidRequest(why=gettext(lang, NO_OBJECT))
    return body


def _answer(
    services: Services,
    db: Session,
    item: DeploymentOut,
    lang: str,
    body: dict[str, Any],
    example: dict[str, Any] | None,
) -> dict[str, Any]:
    """What the box shows after a try: the answer in a readable form, or what was wrong with it."""
    field = words.field_of(item.task)
    answer = ask(services, db, item.deployment, body, lang)
    context: dict[str, Any] = {
        "tried": example,
        "milliseconds": answer.elapsed.total_seconds() * 1000,
    }
    if field in ("text", "body"):
        context["filled"] = answers.text_of(body) if field == "text" else answers.to_text(body)
    try:
        content = answer.json()
    except ValueError:
        content = {"detail": answer.text[:500]}
    if answer.status_code >= 400 or not isinstance(content, dict):
        problem = content if isinstance(content, dict) else {}
        return context | {"problem": {"status": answer.status_code, **problem}}
    context["shown"] = answers.present(item.task, body, content)
    if example:
        context["differences"] = check(content, example["expect"])
    return context


handlers = [
    board,
    board_stream,
    show,
    stream,
    logs,
    stop,
    retry,
    remove,
    new_key,
    key_kept,
    try_out,
]
