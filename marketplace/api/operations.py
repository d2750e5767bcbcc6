"""Health, metrics, doctor and sign-in links; and /internal, which only the home's own processes reach."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from litestar import Response, Router, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody
from sqlmodel import Session, select

from catalog.models import utcnow
from deployer import deployments, doctor
from deployer.devices import DEVICES
from marketplace import accounts, audit, metering, people, routes
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.permissions import Permission
from marketplace.services import Services


@dataclass(frozen=True)
class Health:
    """Whether the shop answers."""

    status: str = "ok"


@dataclass(frozen=True)
class LoginLinkOut:
    """A sign-in link that works once."""

    url: str
    expires: datetime


@get("/healthz", permission=Permission.browse, sync_to_thread=False)
def healthz() -> Health:
    """The process answers."""
    return Health()


@get("/readyz", permission=Permission.browse, sync_to_thread=True)
def readyz(db: NamedDependency[Session]) -> Health:
    """The shop answers and reaches its database."""
    db.exec(select(1))
    return Health()


@get("/api/openapi.json", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def openapi(request: AnyRequest) -> dict[str, Any]:
    """The description of this API."""
    # Litestar's own route for it answers everything else below its path as a page of its own.
    return request.app.openapi_schema.to_schema()


@get("/metrics", permission=Permission.browse, media_type="text/plain; version=0.0.4", sync_to_thread=True)
def metrics(db: NamedDependency[Session]) -> str:
    """Deployments by state and usage by deployment, for Prometheus."""
    lines = ["# HELP market_deployments Deployments by state.", "# TYPE market_deployments gauge"]
    counts: dict[str, int] = {}
    for row in deployments.list_deployments(db):
        counts[row.state] = counts.get(row.state, 0) + 1
    lines += [f'market_deployments{{state="{state}"}} {count}' for state, count in sorted(counts.items())]
    used = metering.totals(db)
    for name in ("requests", "errors", "tokens"):
        lines += [
            f"# HELP market_{name}_total Counted at the gateway.",
            f"# TYPE market_{name}_total counter",
        ]
        lines += [
            f'market_{name}_total{{deployment="{deployment}"}} {getattr(usage, name)}'
            for deployment, usage in sorted(used.items())
        ]
    return "\n".join(lines) + "\n"


@get("/api/doctor", permission=Permission.browse, sync_to_thread=True)
def examine(services: NamedDependency[Services]) -> dict[str, Any]:
    """What this machine has for running models, and how to get what it lacks."""
    return doctor_report(services)


def doctor_report(services: Services) -> dict[str, Any]:
    """The checks, the devices and the runtimes with their state."""
    settings = services.settings
    return {
        "items": [asdict(check) for check in doctor.examine(settings.home, settings.run_dir)],
        "devices": [asdict(device) for device in DEVICES],
        "runtimes": [
            {"name": name, **asdict(runtime.available())} for name, runtime in services.runtimes.items()
        ],
    }


@post(
    "/api/login-links",
    permission=Permission.create_sign_in_links,
    sync_to_thread=True,
)
def login_link(
    services: NamedDependency[Services], db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> LoginLinkOut:
    """A sign-in link for the account of this machine's owner; not for tokens."""
    viewer.require_session()
    return _login_link(services, db, viewer)


def _login_link(services: Services, db: Session, by: audit.Actor | None) -> LoginLinkOut:
    token = people.link_for(db, by, accounts.first_account(db))
    db.commit()
    return LoginLinkOut(f"{services.settings.url}/login/{token}", utcnow() + accounts.LINK_LIFE)


@post("/login-link", permission=Permission.use_socket, sync_to_thread=True)
def internal_login_link(services: NamedDependency[Services], db: NamedDependency[Session]) -> LoginLinkOut:
    """A sign-in link for whoever may open the shop's socket, that is, this machine's owner."""
    return _login_link(services, db, None)


@get("/routes", permission=Permission.use_socket)
async def internal_routes(
    services: NamedDependency[Services], after: FromQuery[int] = 0, wait: FromQuery[float] = 25.0
) -> dict[str, Any]:
    """The routing table once its number differs from `after`, which is thereby confirmed to be in force."""
    if after:
        services.routes.confirm(after)
    version = await services.hub.wait(routes.TOPIC, after, timeout=max(0.0, min(wait, 60.0)))

    def read() -> dict[str, Any]:
        with read_session(services.engine) as db:
            return routes.snapshot(db, services.replica_key)

    table = await sync_to_thread(read)
    return {"version": version, "max_body": services.settings.max_body, **table}


@post("/usage", permission=Permission.use_socket, sync_to_thread=True)
def internal_usage(data: JSONBody[metering.UsageReport], db: NamedDependency[Session]) -> Response[None]:
    """Take a batch of usage; the same batch twice counts once."""
    metering.take(db, data)
    db.commit()
    return Response(None, status_code=204)


internal = Router(
    "/internal",
    route_handlers=[internal_login_link, internal_routes, internal_usage],
    include_in_schema=False,
)
handlers = [healthz, readyz, openapi, metrics, examine, login_link, internal]
