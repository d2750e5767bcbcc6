"""The shop: API and pages on a unix socket behind the gateway. Run as `python -m marketplace.app`."""

import hashlib
import json
import logging
import os
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, Response, Router
from litestar.concurrency import sync_to_thread
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from sqlmodel import Session

from catalog import shelf
from catalog.errors import CatalogError
from deployer.errors import DeployerError
from deployer.runtimes import Runtime
from deployer.runtimes.docker import DockerRuntime
from deployer.runtimes.folders import private_folder
from deployer.runtimes.process import ProcessRuntime
from marketplace import (
    accounts,
    checking,
    importing,
    logs,
    mirroring,
    optimizing,
    packaging,
    pages,
    problems,
    supervision,
    workflows,
)
from marketplace.api import catalog as catalog_api
from marketplace.api import deployments as deployments_api
from marketplace.api import finding, hub, imports, mcp_registry, operations, passports, publications, reviews
from marketplace.api import optimizations as optimizations_api
from marketplace.api import packages as packages_api
from marketplace.api import people as people_api
from marketplace.auth import (
    SAFE,
    AnyRequest,
    authorize,
    note_use,
    provide_viewer,
    refuse_unsound,
    require_permissions,
)
from marketplace.db import migrate, open_engine, read_session, transaction, write_session
from marketplace.errors import MarketError
from marketplace.events import Hub
from marketplace.i18n import negotiate
from marketplace.indexing import Indexer
from marketplace.permissions import Permission
from marketplace.routes import RouteTable
from marketplace.services import Services, home_secret
from marketplace.settings import Settings, load

log = logging.getLogger(__name__)

VERSION = "0.1.0"


def open_services(settings: Settings) -> Services:
    """Open the home: database, secret, runtimes; nothing runs yet."""
    for folder in (settings.home, settings.home / "logs"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private_folder(settings.run_dir)
    engine = open_engine(settings.database_url)
    migrate(engine)
    hub = Hub()
    runtimes: dict[str, Runtime] = {
        "process": ProcessRuntime(settings.home, settings.run_dir),
        "docker": DockerRuntime(settings.home, settings.run_dir, base=settings.runtime_base),
    }
    return Services(
        settings,
        engine,
        runtimes,
        hub,
        RouteTable(hub, gateway=_supervised()),
        home_secret(settings.home),
        trial_runtimes=_trial_runtimes(settings),
    )


def _trial_runtimes(settings: Settings) -> dict[str, Runtime]:
    """Runtimes for candidates of an optimisation, out of the reconciler's sight."""
    folder = private_folder(settings.run_dir / "trials")
    owner = hashlib.sha256(f"{settings.home.resolve()} trials".encode()).hexdigest()[:12]
    return {
        "process": ProcessRuntime(settings.home, folder),
        "docker": DockerRuntime(settings.home, folder, base=settings.runtime_base, home_id=owner),
    }


async def provide_db(request: AnyRequest, services: NamedDependency[Services]) -> AsyncIterator[Session]:
    """Dependency `db`: a session that may write only where the request may change something.

    Handlers commit themselves, so that work is enqueued after the commit. It is closed on the event loop: a
    synchronous generator would need a thread for that, and when all of them wait for a connection, the
    connections wait for a thread.
    """
    opened = read_session if request.method in SAFE else write_session
    with opened(services.engine) as db:
        yield db


def _language(request: AnyRequest) -> str:
    return negotiate(request, request.app.state.services.settings.lang)


def on_refusal(request: AnyRequest, error: CatalogError | DeployerError | MarketError) -> Response[Any]:
    """A named error in the asker's words, as a page for browsers and problem+json for programs."""
    return _answer(request, problems.problem_of(error, _language(request)))


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What litestar refuses by itself, in our words."""
    lang = _language(request)
    if error.status_code == 404:
        problem = problems.problem("not-found", lang, path=request.url.path)
    elif error.status_code == 405:
        problem = problems.problem("method-not-allowed", lang, path=request.url.path, method=request.method)
    elif error.status_code == 413:
        problem = problems.problem("too-large", lang, limit=request.app.state.services.settings.max_body)
    elif error.status_code < 500:
        extra = error.extra if isinstance(error.extra, list) else []
        why = "; ".join(f"{e.get('key', '')}: {e.get('message', '')}" for e in extra if isinstance(e, dict))
        problem = problems.problem("invalid-request", lang, why=why or error.detail)
    else:
        return on_fault(request, error)
    return _answer(request, problem)


def on_fault(request: AnyRequest, error: Exception) -> Response[Any]:
    """Anything unforeseen: a number for the person, the traceback for the log."""
    incident = secrets.token_hex(4)
    log.error("unforeseen error", extra={"incident": incident, "path": request.url.path}, exc_info=error)
    return _answer(request, problems.problem("internal-error", _language(request), incident=incident))


def _answer(request: AnyRequest, problem: problems.Problem) -> Response[Any]:
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        return pages.problem_page(request, problem)
    body = json.dumps(problem.to_dict(), ensure_ascii=False, default=str)
    return Response(body, status_code=problem.status, media_type=problems.MEDIA_TYPE, headers=problem.headers)


def create_app(services: Services) -> Litestar:
    """The shop over opened services."""

    async def provide_services() -> Services:
        return services

    apis = [catalog_api.router, deployments_api.router, optimizations_api.router, packages_api.router]
    apis += [
        module.router
        for module in (finding, people_api, publications, reviews, imports, passports, hub, mcp_registry)
    ]
    handlers: list[Any] = [*operations.handlers, *apis, *pages.routers()]
    app = Litestar(
        route_handlers=handlers,
        dependencies={
            "services": Provide(provide_services),
            "db": Provide(provide_db),
            "viewer": Provide(provide_viewer),
        },
        guards=[authorize],
        before_request=refuse_unsound,
        after_response=note_use,
        lifespan=[_lifespan],
        state=State({"services": services}),
        exception_handlers={
            CatalogError: on_refusal,
            DeployerError: on_refusal,
            MarketError: on_refusal,
            HTTPException: on_http_error,
            Exception: on_fault,
        },
        openapi_config=_openapi(),
        request_max_body_size=services.settings.max_body,
        template_config=pages.template_config(),
        on_app_init=[_no_default_logging],
        debug=False,
    )
    require_permissions(app)
    return app


def _openapi() -> OpenAPIConfig:
    # One plug-in of ours: with none litestar brings its own, whose pages load scripts from other hosts.
    router = Router("/api/schema", route_handlers=[], opt={"permission": Permission.browse})
    plugins = [JsonRenderPlugin()]
    return OpenAPIConfig("OPC Market", VERSION, render_plugins=plugins, openapi_router=router)


def _no_default_logging(config: AppConfig) -> AppConfig:
    config.logging_config = None  # marketplace.logs configures it
    return config


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    services: Services = app.state.services
    supervision.clear_leftovers(services)
    checking.clear_leftovers(services)
    workflows.launch(services)
    await sync_to_thread(optimizing.launch, services)  # DBOS opens no queue on an event loop
    await sync_to_thread(packaging.launch, services)
    await sync_to_thread(checking.launch, services)
    await sync_to_thread(importing.launch, services)
    with transaction(services.engine) as db:
        account = accounts.first_account(db)
        key = accounts.replace_home_key(db, account)
        shelf.ensure_items(db, services.settings.shelf, services.settings.shelf_only)
        waiting = shelf.waiting(db)
    _write_server_json(services.settings, key)
    indexer = Indexer(services.engine)
    await sync_to_thread(indexer.start)
    services.routes.publish()
    workflows.start_shelf(secrets.token_hex(4), waiting)
    watcher = supervision.Watcher(services)
    watcher.start()
    services.views.start(services.engine)
    mirrors = mirroring.Watch(services)
    mirrors.start()
    try:
        yield
    finally:
        mirrors.stop()
        watcher.stop()
        services.views.stop(services.engine)
        indexer.stop()
        (services.settings.home / "server.json").unlink(missing_ok=True)
        workflows.close()
        supervision.stop_all(services)


def _write_server_json(settings: Settings, key: str) -> None:
    """Tell the CLI of this machine where the shop is and how to enter; readable by its owner alone."""
    path = settings.home / "server.json"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    content = json.dumps({"url": settings.url, "key": key, "pid": os.getpid()})
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    fresh.replace(path)


def _supervised() -> bool:
    """Whether `market serve` started this process, with a gateway beside it."""
    return os.environ.get("MARKET_LIFELINE") == "stdin"


class _Server(uvicorn.Server):
    """Wakes long polls and event streams before it waits for answers under way."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


def _end_with_parent(server: uvicorn.Server) -> None:
    """Shut down when standard input ends: the supervisor holds its other end."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        server.should_exit = True

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def main() -> None:
    """Serve the shop on its socket until told to stop."""
    settings = load()
    logs.configure(settings.log_level)
    services = open_services(settings)
    app = create_app(services)
    socket = settings.shop_socket
    Path(socket).unlink(missing_ok=True)
    server = _Server(
        uvicorn.Config(
            app,
            uds=str(socket),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            lifespan="on",
        ),
        services.hub,
    )
    if _supervised():
        _end_with_parent(server)
    server.run()


if __name__ == "__main__":
    main()
