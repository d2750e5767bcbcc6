"""/api/deployments: deploy, watch, call, stop, remove."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litestar import Response, Router, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import ServerSentEvent, ServerSentEventMessage
from msgspec.json import encode
from sqlmodel import Session

from deployer import deployments
from deployer.models import DeploymentState
from marketplace import metering, problems, provisioning
from marketplace.api.optimization_schemas import VerificationOut, verification_out
from marketplace.api.schemas import DeploymentOut, DeploymentPage, deployment_out, steps_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import InvalidRequest
from marketplace.i18n import gettext, negotiate
from marketplace.i18n import mark as _
from marketplace.permissions import Permission
from marketplace.services import Services
from marketplace.workflows import topic

if TYPE_CHECKING:
    import httpx

# A stream ends here: nothing more happens by itself, or the goal is reached.
SETTLED = frozenset({DeploymentState.live, DeploymentState.failed, DeploymentState.stopped})

LAST_ID = 2**63 - 1  # the largest number that a database takes
TOO_DEEP = _("It is nested too deep.")


@dataclass(frozen=True)
class DeployRequest:
    """What to deploy: vendor/name[@version]; the rest has defaults."""

    listing: str
    name: str | None = None
    runtime: str | None = None
    device: str | None = None
    variant: str | None = None  # digest of a variant of this listing


@dataclass(frozen=True)
class KeyOut:
    """A new key in plain text, shown once."""

    key: str


@dataclass(frozen=True)
class LogsOut:
    """The last lines of a server's log."""

    logs: str


@post("/", permission=Permission.manage_deployments, status_code=202, sync_to_thread=True)
def create(
    data: JSONBody[DeployRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> DeploymentOut:
    """Begin a deployment; the answer comes at once, with its key."""
    made = provisioning.deploy(
        services,
        db,
        viewer.account(db),
        listing=data.listing,
        name=data.name,
        runtime=data.runtime,
        device=data.device,
        variant=data.variant,
        address=viewer.address,
    )
    return _out(services, db, made.deployment.name, viewer.lang, key=made.key)


@get("/", permission=Permission.manage_deployments, sync_to_thread=True)
def board(
    services: NamedDependency[Services], db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> DeploymentPage:
    """All deployments, the newest first."""
    used = metering.totals(db)
    rows = deployments.list_deployments(db)
    items = [
        deployment_out(services, db, row, viewer.lang, usage=used.get(row.name, metering.Usage()))
        for row in rows
    ]
    return DeploymentPage(items, len(items))


@get("/{name:str}", permission=Permission.manage_deployments, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> DeploymentOut:
    """One deployment."""
    return _out(services, db, name, viewer.lang)


@post("/{name:str}/stop", permission=Permission.manage_deployments, status_code=200, sync_to_thread=True)
def stop(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> DeploymentOut:
    """Stop a deployment, or cancel one on its way."""
    provisioning.stop(services, db, name, by=viewer)
    return _out(services, db, name, viewer.lang)


@post("/{name:str}/retry", permission=Permission.manage_deployments, status_code=202, sync_to_thread=True)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> DeploymentOut:
    """Begin a failed or stopped deployment again."""
    provisioning.retry(services, db, name, by=viewer)
    return _out(services, db, name, viewer.lang)


@delete("/{name:str}", permission=Permission.manage_deployments, sync_to_thread=True)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> None:
    """Stop a deployment and forget it."""
    provisioning.remove(services, db, name, by=viewer)


@post("/{name:str}/keys", permission=Permission.manage_deployments, sync_to_thread=True)
def new_key(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> KeyOut:
    """One more key for a deployment."""
    return KeyOut(provisioning.new_key(services, db, viewer.account(db), name, address=viewer.address))


@get("/{name:str}/verification", permission=Permission.manage_deployments, sync_to_thread=True)
def verification(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> VerificationOut:
    """Whether the signature of the files, and a variant's certificate, hold; found out now."""
    row = deployments.get_deployment(db, name)
    digest, certified = row.variant or row.version_digest, bool(row.variant)
    db.commit()
    return verification_out(services, digest, viewer.lang, certified=certified)


@get("/{name:str}/logs", permission=Permission.manage_deployments, sync_to_thread=True)
def logs(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    name: FromPath[str],
    tail: FromQuery[int] = 200,
) -> LogsOut:
    """The last lines of the server's log."""
    return LogsOut(provisioning.logs(services, db, name, max(1, min(tail, 10_000))))


@post("/{name:str}/predict", permission=Permission.manage_deployments, status_code=200, sync_to_thread=True)
def predict(
    data: JSONBody[dict[str, Any]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    name: FromPath[str],
) -> Response[bytes]:
    """Try a deployment without its key; the answer is the server's own."""
    answer = ask(services, db, name, data, viewer.lang)
    media_type = answer.headers.get("content-type", "application/json")
    return Response(answer.content, status_code=answer.status_code, media_type=media_type)


def ask(services: Services, db: Session, name: str, body: dict[str, Any], lang: str) -> "httpx.Response":
    """The server's answer to a body; raises InvalidRequest for one that JSON cannot carry."""
    try:
        return provisioning.predict(services, db, name, body, lang=lang)
    except ValueError as error:
        raise InvalidRequest(why=str(error)) from None


def on_nesting(request: AnyRequest, _error: RecursionError) -> Response[dict[str, Any]]:
    """A body nested so deep that reading it fails, before any handler sees it."""
    lang = negotiate(request, request.app.state.services.settings.lang)
    problem = problems.problem_of(InvalidRequest(why=gettext(lang, TOO_DEEP)), lang)
    return Response(problem.to_dict(), status_code=problem.status, media_type=problems.MEDIA_TYPE)


@get("/{name:str}/events", permission=Permission.manage_deployments, sync_to_thread=True)
def events(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    name: FromPath[str],
    after: FromQuery[int] = 0,
) -> ServerSentEvent:
    """A deployment's history as it is written, with the progress of the running step between the lines.

    Takes up behind `after` or the Last-Event-ID header; ends when the deployment is live, failed or stopped.
    """
    deployments.get_deployment(db, name)
    last = request.headers.get("last-event-id", "")
    if last.isdecimal() and len(last) <= len(str(LAST_ID)):
        after = int(last)
    return ServerSentEvent(_stream(services, name, max(0, min(after, LAST_ID))))


async def _stream(services: Services, name: str, after: int) -> AsyncIterator[ServerSentEventMessage]:
    seen = services.hub.version(topic(name))
    while not services.hub.closed:
        messages, after, over = await sync_to_thread(_news, services, name, after)
        for message in messages:
            yield message
        if over:
            return
        seen = await services.hub.wait(topic(name), seen, timeout=15)


def _news(services: Services, name: str, after: int) -> tuple[list[ServerSentEventMessage], int, bool]:
    """What happened behind `after`: the messages, the last id, and whether the stream is over."""
    with read_session(services.engine) as db:
        row = deployments.get_deployment(db, name)
        messages = []
        for event in deployments.events_after(db, row.id, after):
            after = event.id or after
            data = {
                "name": event.name,
                "state": event.state,
                "detail": event.detail,
                "at": event.at,
                "revision": event.revision,
            }
            messages.append(
                ServerSentEventMessage(event=event.kind, id=str(after), data=encode(data).decode())
            )
        messages += [
            ServerSentEventMessage(event="progress", data=encode(step).decode())
            for step in steps_out(services, db, row)
            if step.progress
        ]
        over = row.state in SETTLED
        if over:
            messages.append(ServerSentEventMessage(event="end", data=encode({"state": row.state}).decode()))
        return messages, after, over


def _out(services: Services, db: Session, name: str, lang: str, key: str | None = None) -> DeploymentOut:
    row = deployments.get_deployment(db, name)
    return deployment_out(services, db, row, lang, usage=metering.usage_of(db, name), key=key)


router = Router(
    "/api/deployments",
    route_handlers=[create, board, show, stop, retry, remove, new_key, logs, verification, predict, events],
    tags=["deployments"],
    exception_handlers={RecursionError: on_nesting},
)
