"""Optimisations as pages: asking for one, watching it, the certificate of what it found, deploying that."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from litestar import get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, MultipartBody, URLEncodedBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import listings, signing
from catalog.errors import CatalogError
from catalog.models import Version
from deployer import deployments, optimizations
from deployer.errors import DeployerError
from deployer.models import Optimization
from deployer.optimizer.report import PHASES, Report
from marketplace import optimizing, provisioning, samples
from marketplace.api.optimization_schemas import (
    OptimizationOut,
    VariantOut,
    optimization_out,
    read_report,
    variant_out,
)
from marketplace.api.schemas import StepOut
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import MarketError
from marketplace.i18n import gettext, ngettext
from marketplace.i18n import mark as _
from marketplace.pages import optimizing_form as forms
from marketplace.pages import plots, reports
from marketplace.pages.forms import free_name, see_other
from marketplace.pages.keys import redirect_with_key
from marketplace.pages.rendering import fragment, page, size
from marketplace.pages.shown import Fact, architecture_facts, listing_shown, listing_title
from marketplace.permissions import Permission
from marketplace.problems import problem, problem_of
from marketplace.services import Services

PULSE = 15.0  # seconds between looks at a job where nothing moves
TICK = 1.0  # seconds between two pictures of a job that runs
ENDED = frozenset({"picked", "kept", "refused", "cancelled", "failed"})


def state_shown(job: OptimizationOut) -> str:
    """What a job came to, in one word: its outcome where it ended by itself, else its state."""
    return job.outcome or ("failed" if job.state == "done" else job.state)


# The list


@get(
    "/optimizations", permission=Permission.manage_optimizations, include_in_schema=False, sync_to_thread=True
)
def board(request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> Template:
    """All optimisations."""
    return page(request, viewer, "optimizations.html", **_board(db, viewer.lang))


def _board(db: Session, lang: str) -> dict[str, Any]:
    jobs = [optimization_out(db, row, lang, whole=False) for row in optimizations.list_optimizations(db)]
    found = listings.search_listings(db, task="text-classification", limit=1).items
    found = found or listings.search_listings(db, limit=1).items
    return {
        "items": [(job, listing_title(db, job.listing, lang), state_shown(job)) for job in jobs],
        "suggestion": found[0] if found else None,
    }


@get(
    "/optimizations/all/stream",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def board_stream(
    services: NamedDependency[Services], db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> ServerSentEvent:
    """The list whenever one of its rows changes."""

    def read() -> str:
        with read_session(services.engine) as own:
            return fragment(viewer.lang, "updates/optimizations.html", **_board(own, viewer.lang))

    async def rows() -> AsyncIterator[ServerSentEventMessage]:
        seen, sent = services.hub.version(optimizing.BOARD), ""
        while not services.hub.closed:
            html = await sync_to_thread(read)
            yield _changed(html if html != sent else "")
            sent = html
            await asyncio.sleep(TICK)
            seen = await services.hub.wait(optimizing.BOARD, seen, timeout=PULSE)

    return ServerSentEvent(rows())


def _changed(html: str) -> ServerSentEventMessage:
    """The news; none becomes a comment, which finds out a connection that is gone."""
    return ServerSentEventMessage(html) if html else ServerSentEventMessage(None, comment="still")


# One job


@get(
    "/optimizations/{identity:str}",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Template:
    """One job: its steps while it runs, then what it found, with every trial."""
    row = optimizations.get_optimization(db, identity)
    return page(request, viewer, "optimization.html", **_job(services, db, row, viewer.lang))


def _job(services: Services, db: Session, row: Optimization, lang: str) -> dict[str, Any]:
    """Everything that the page of a job needs."""
    job, report = optimization_out(db, row, lang, whole=False), read_report(row.report)
    shown = state_shown(job)
    variant = _variant(services, db, row.variant) if row.variant and shown == "picked" else None
    trial = reports.picked(report) if report else None
    return {
        "job": job,
        "report": report,
        "shown": shown,
        "objective": forms.objective_of(row.objective),
        "listing_title": listing_title(db, row.listing, lang),
        "steps": _steps(report, shown),
        "data_refused": forms.about_data(row.error_code),
        **_drawn(report, lang),
        "quality": trial and reports.quality_of(trial),
        "variant": variant,
        "said": variant and reports.statement(variant.certificate),
        "free_name": free_name(row.listing, _taken(db)) if variant else "",
    }


def _drawn(report: Report | None, lang: str) -> dict[str, Any]:
    """The report's findings, table and drawing; empty before there is one."""
    if report is None:
        return {
            "finding": "",
            "note": "",
            "rows": [],
            "plot": None,
            "changes": [],
            "confirmed": [],
            "miss": None,
        }
    return {
        "finding": reports.finding(report, lang),
        "note": reports.note(report, lang),
        "rows": reports.rows(report, lang),
        "plot": plots.front(report, lang),
        "changes": reports.changes(report),
        "confirmed": reports.confirmed(report.confirmation),
        "miss": reports.nearest_miss(report, lang) if report.outcome == "refused" else None,
    }


def _steps(report: Report | None, shown: str) -> list[StepOut]:
    """The phases as steps; a job that ended leaves none running."""
    if report is None:
        return [StepOut(name, "waiting", None, {}) for name in PHASES if shown not in ENDED]
    ended = {"cancelled": "waiting", "failed": "failed"}.get(shown, "")
    return [
        StepOut(step.name, ended if ended and step.state == "running" else step.state, step.seconds, {})
        for step in report.steps
    ]


def _variant(services: Services, db: Session, digest: str) -> VariantOut:
    row = optimizations.get_variant(db, digest)
    signature = signing.signature_of(services.settings.home, digest)
    return variant_out(row, signature=signature.fingerprint if signature else "")


def _taken(db: Session) -> set[str]:
    return {d.name for d in deployments.list_deployments(db) if d.state not in deployments.RESTING}


@get(
    "/optimizations/{identity:str}/stream",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def stream(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ServerSentEvent:
    """The job's state, steps and trials as they change; ends with the job."""
    optimizations.get_optimization(db, identity)
    return ServerSentEvent(_updates(services, identity, viewer.lang))


async def _updates(services: Services, identity: str, lang: str) -> AsyncIterator[ServerSentEventMessage]:
    topic, sent = optimizing.topic(identity), [""]
    seen = services.hub.version(topic)
    while not services.hub.closed:
        try:
            shown, parts = await sync_to_thread(_news, services, identity, lang)
        except optimizations.UnknownOptimization:
            yield ServerSentEventMessage("{}", event="end")
            return
        yield _changed("".join(part for part in parts if part not in sent))
        sent = parts
        if shown in ENDED:
            yield ServerSentEventMessage("{}", event="end")
            return
        await asyncio.sleep(TICK)
        seen = await services.hub.wait(topic, seen, timeout=PULSE)


def _news(services: Services, identity: str, lang: str) -> tuple[str, list[str]]:
    """What the job shows itself as, and the parts of its page, each with where it goes."""
    with read_session(services.engine) as db:
        context = _job(services, db, optimizations.get_optimization(db, identity), lang)
    return context["shown"], [
        f'<hx-partial hx-target="#{part}" hx-swap="innerMorph">'
        f"{fragment(lang, f'updates/optimization_{part}.html', **context)}</hx-partial>"
        for part in ("outcome", "status", "rest")
    ]


@post(
    "/optimizations/{identity:str}/cancel",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Stop a job that waits or runs."""
    optimizing.cancel(services, db, identity)
    return see_other(f"/optimizations/{identity}")


@post(
    "/optimizations/{identity:str}/retry",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Begin again what failed or was cancelled."""
    optimizing.retry(services, db, identity)
    return see_other(f"/optimizations/{identity}")


@post(
    "/optimizations/{identity:str}/remove",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Forget a job that ended."""
    optimizing.remove(services, db, identity)
    return see_other("/optimizations")


# Asking for one


@get(
    "/listings/{vendor:str}/{name:str}/optimize",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def form(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    before: FromQuery[str] = "",
    drop: FromQuery[str] = "",
) -> Template:
    """The form; `before` is a job whose wishes it begins with, `drop` another loss allowed, in points."""
    values, errors = forms.Values(), {}
    if before:
        row = optimizations.get_optimization(db, before)
        values = forms.values_of(row)
        if forms.about_data(row.error_code):
            errors["data"] = problem(row.error_code, viewer.lang, **row.error_facts)
    values.max_drop = drop if forms.number(drop) is not None else values.max_drop
    context = _form(services, db, viewer, f"{vendor}/{name}", values, **errors)
    return page(request, viewer, "optimize.html", **context)


def _form(
    services: Services, db: Session, viewer: Viewer, listing: str, values: forms.Values, **errors: Any
) -> dict[str, Any]:
    row = listings.get_listing(db, listing)
    version: Version = listings.current_version(db, row)
    own = samples.list_samples(services.settings.home, str(viewer.account(db).id))
    if values.sample and ("data" in errors or values.sample not in {sample.id for sample in own}):
        values.sample = forms.UPLOAD
    return {
        "item": listing_shown(db, row, viewer.lang),
        "values": values,
        "errors": errors,
        "samples": own,
        "brought": "samples" in version.manifest["files"],
        "most": services.settings.max_body,
        "expected": forms.expected(row.task, version.manifest, viewer.lang),
        "devices": forms.devices(viewer.lang),
        "forecast": _forecast(services, db, row.name, version, viewer.lang),
    }


def _forecast(services: Services, db: Session, listing: str, version: Version, lang: str) -> list[Fact]:
    """What is known before anything runs: the model, and what the job itself may take."""
    try:
        look = optimizing.look(services, db, listing)
    except (CatalogError, DeployerError):  # the job will say why; the form only tells less
        look = {}
    graphs = sum(a["size"] for a in version.manifest["artifacts"] if a["path"].endswith(".onnx"))
    told = [
        Fact(gettext(lang, _("Size of the graphs")), size(graphs)),
        *architecture_facts(look, lang),
        *_effort(look.get("job", {}), lang),
    ]
    waiting = len(optimizations.unfinished(db))
    if waiting:
        text = ngettext(lang, _("after {n} job that came first"), "after {n} jobs that came first", waiting)
        told.append(Fact(gettext(lang, _("Begins")), text))
    return told


def _effort(job: dict[str, Any], lang: str) -> list[Fact]:
    """How long the search may take and how much memory, told for 500 rows."""
    if not job:
        return []
    least, most = (max(1, round(job[name] / 60)) for name in ("seconds_low", "seconds_high"))
    span = str(most) if least == most else f"{least}–{most}"
    return [
        Fact(gettext(lang, _("The search takes")), gettext(lang, _("about {span} min"), span=span)),
        Fact(gettext(lang, _("and memory")), gettext(lang, _("up to {size}"), size=size(job["memory_high"]))),
    ]


@post(
    "/listings/{vendor:str}/{name:str}/optimize",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def begin(
    request: AnyRequest,
    data: MultipartBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Template | Redirect:
    """Take the file in, begin the job and go to its page; what is wrong is said beside its field."""
    account, listing = viewer.account(db), f"{vendor}/{name}"
    values = forms.read(data)
    try:
        objective = forms.objective(values, viewer.lang)
        values.sample = forms.sample(services.settings.home, str(account.id), values, data, viewer.lang)
        job = optimizing.ask(
            services,
            db,
            account,
            listing=listing,
            device=values.device or None,
            objective=objective,
            sample=values.sample,
            address=viewer.address,
        )
    except (MarketError, DeployerError, CatalogError) as error:
        said = problem_of(error, viewer.lang)
        context = _form(services, db, viewer, listing, values, **{forms.field_of(error): said})
        return page(request, viewer, "optimize.html", status=said.status, **context)
    return see_other(f"/optimizations/{job.id}")


@post(
    "/listings/{vendor:str}/{name:str}/optimize/forget/{sample:str}",
    permission=Permission.manage_optimizations,
    include_in_schema=False,
    sync_to_thread=True,
)
def forget(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    sample: FromPath[str],
) -> Redirect:
    """Delete a file of one's own rows, and come back to the form."""
    optimizing.remove_sample(services, db, viewer.account(db), sample)
    return see_other(f"/listings/{vendor}/{name}/optimize")


# Variants


@get("/variants/{digest:str}", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def certificate(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    digest: FromPath[str],
) -> Template:
    """A variant's certificate, to read and to print."""
    variant = _variant(services, db, digest)
    said = reports.statement(variant.certificate)
    lang = viewer.lang
    return page(
        request,
        viewer,
        "variant.html",
        variant=variant,
        said=said,
        recipes=reports.recipes_title(said.graphs, lang) if said else "",
        confirmed=reports.confirmed(said.target if said else None),
        listing_title=listing_title(db, variant.listing, lang),
        free_name=free_name(variant.listing, _taken(db)) if viewer.may(Permission.manage_deployments) else "",
    )


@post(
    "/variants/{digest:str}/deploy",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def deploy(
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    digest: FromPath[str],
) -> Redirect:
    """Begin a deployment of the variant and go to its page."""
    variant = optimizations.get_variant(db, digest)
    made = provisioning.deploy(
        services,
        db,
        viewer.account(db),
        listing=variant.listing,
        name=data.get("name", "").strip() or None,
        runtime=data.get("runtime") or None,
        variant=digest,
        address=viewer.address,
    )
    return redirect_with_key(made.deployment.name, made.key, services.settings.url)


handlers = [
    board,
    board_stream,
    show,
    stream,
    cancel,
    retry,
    remove,
    form,
    begin,
    forget,
    certificate,
    deploy,
]
