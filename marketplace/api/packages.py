"""/api/packages and /api/terminals: one version, packaged for wherever it is to run."""

from dataclasses import dataclass, field

from litestar import Response, Router, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import ServerSentEvent
from msgspec.json import encode
from sqlmodel import Session

from deployer import packages
from marketplace import packaging, releases, sending
from marketplace.api.package_schemas import (
    PackageOut,
    PackagePage,
    TerminalPage,
    package_out,
    terminal_out,
)
from marketplace.api.streams import changes
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.permissions import Permission
from marketplace.services import Services


@dataclass(frozen=True)
class PackageRequest:
    """What to package: vendor/name[@version], as it came or as a variant of it, and for what."""

    listing: str
    terminal: str = "image"  # see /api/terminals
    variant: str = ""  # sha256:…
    platforms: list[str] = field(default_factory=list)  # linux/amd64, linux/arm64; of images only
    device: str = ""  # of the terminal's devices; "" takes the first


@get("/terminals", permission=Permission.manage_packages, sync_to_thread=True)
def terminals(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    listing: FromQuery[str] = "",
    variant: FromQuery[str] = "",
) -> TerminalPage:
    """The table of terminals; with a listing, whether it can go there, and why not."""
    release = (
        releases.describe(services.settings.home, db, listing, variant, asker=viewer.account_id)
        if listing
        else None
    )
    db.commit()
    found = packaging.offers(release, releases.base_of(services.settings))
    rows = [terminal_out(each, viewer.lang, asked=bool(release)) for each in found]
    return TerminalPage(rows, len(rows))


@post("/packages", permission=Permission.manage_packages, status_code=202, sync_to_thread=True)
def create(
    data: JSONBody[PackageRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> PackageOut:
    """Begin a package, or find the one that was made for the same wish; the answer comes at once."""
    row = packaging.ask(
        services,
        db,
        viewer.account(db),
        listing=data.listing,
        terminal=data.terminal,
        variant=data.variant,
        platforms=data.platforms,
        device=data.device,
        address=viewer.address,
    )
    return package_out(services, row, viewer.lang)


@get("/packages", permission=Permission.manage_packages, sync_to_thread=True)
def index(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    listing: FromQuery[str] = "",
) -> PackagePage:
    """All packages, or those of one listing, the newest first."""
    rows = packages.list_packages(db, listing)
    return PackagePage([package_out(services, row, viewer.lang) for row in rows], len(rows))


@get("/packages/{identity:str}", permission=Permission.manage_packages, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> PackageOut:
    """One package."""
    return package_out(services, packages.get_package(db, identity), viewer.lang)


@route(
    "/packages/{identity:str}/file",
    http_method=["GET", "HEAD"],
    permission=Permission.manage_packages,
    sync_to_thread=True,
)
def file(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    identity: FromPath[str],
) -> Response[bytes]:
    """The file of a ready package, or a range of it; its ETag is its digest."""
    found = packaging.file_of(services, packages.get_package(db, identity))
    return sending.send(
        request,
        found.path,
        etag=found.digest,
        media_type=found.media_type,
        filename=found.file_name,
        headers={"X-Content-Type-Options": "nosniff"},
    )


@post(
    "/packages/{identity:str}/cancel",
    permission=Permission.manage_packages,
    status_code=200,
    sync_to_thread=True,
)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> PackageOut:
    """Stop a package that waits or is built."""
    return package_out(services, packaging.cancel(services, db, identity), viewer.lang)


@delete("/packages/{identity:str}", permission=Permission.manage_packages, sync_to_thread=True)
def remove(
    services: NamedDependency[Services], db: NamedDependency[Session], identity: FromPath[str]
) -> None:
    """Forget a package that ended, with its file."""
    packaging.remove(services, db, identity)


@get("/packages/{identity:str}/events", permission=Permission.manage_packages, sync_to_thread=True)
def events(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ServerSentEvent:
    """The package whenever it changes, until it ends."""
    found = str(packages.get_package(db, identity).id)

    def read() -> tuple[str, bool]:
        with read_session(services.engine) as later:
            row = packages.get_package(later, found)
            return encode(package_out(services, row, viewer.lang)).decode(), row.state not in packages.OPEN

    news = changes(services, packaging.topic(found), "package", read, packages.UnknownPackage)
    return ServerSentEvent(news)


router = Router(
    "/api",
    route_handlers=[terminals, create, index, show, file, cancel, remove, events],
    tags=["packages"],
)
