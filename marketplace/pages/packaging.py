"""Taking a model along, as pages: the table of terminals of a version or variant, with what was packaged."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import listings
from catalog.errors import CatalogError
from deployer import packages
from deployer.errors import DeployerError
from deployer.models import PackageState
from deployer.packager.release import Release
from deployer.terminals import ACCELERATORS
from marketplace import packaging, releases
from marketplace.api.package_schemas import PackageOut, TerminalOut, package_out, terminal_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.container_commands import call_command, run_command
from marketplace.db import read_session
from marketplace.errors import MarketError
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages.forms import see_other
from marketplace.pages.rendering import fragment, page, query
from marketplace.pages.shown import listing_shown, offers_of
from marketplace.permissions import Permission
from marketplace.problems import problem_of
from marketplace.services import Services

PULSE = 15.0  # seconds between looks where nothing moves
TICK = 0.5  # seconds between two pictures of a row that moves


@dataclass(frozen=True)
class Command:
    """A command to copy, and what it does."""

    title: str
    text: str


@dataclass(frozen=True)
class Made:
    """A package with what to do with its file."""

    package: PackageOut
    commands: list[Command]


@dataclass(frozen=True)
class Row:
    """A terminal with its packages of this release, the newest of each wish."""

    id: str
    offer: TerminalOut
    made: list[Made]
    grades: dict[str, str]
    """Of an image's platforms, in the order in which they are offered."""

    @property
    def live(self) -> bool:
        """Whether something of it is still to happen."""
        return any(each.package.state in packages.OPEN for each in self.made)


def row_id(terminal: str, device: str) -> str:
    """Where a terminal's row is on the page."""
    return f"to-{device if device in ACCELERATORS else terminal}"


# What is shown


def rows_of(
    services: Services, db: Session, release: Release, variant: str, lang: str, *, seen: bool = True
) -> list[Row]:
    """All terminals for a release; `seen` shows what was packaged."""
    made = _newest(services, db, release, variant, lang) if seen else []
    rows = []
    for offer in packaging.offers(release, releases.base_of(services.settings)):
        told = terminal_out(offer, lang, asked=True)
        own = [each for each in made if (each.terminal, each.device) == (told.terminal, told.device)]
        packed = [Made(each, commands(each, lang)) for each in own]
        grades = {each: offer.terminal.grade(offer.device, [each]) for each in offer.platforms}
        rows.append(Row(row_id(told.terminal, told.device), told, packed, dict(grades)))
    return rows


def _newest(services: Services, db: Session, release: Release, variant: str, lang: str) -> list[PackageOut]:
    """The packages of a release, one for each wish: software that is newer makes its own."""
    found: dict[tuple[str, str, tuple[str, ...]], PackageOut] = {}
    for row in packages.list_packages(db, release.name):
        wish = (row.terminal, row.device, tuple(row.platforms))
        own = row.variant == variant and (variant or row.version_digest == release.digest)
        if own and wish not in found:
            found[wish] = package_out(services, row, lang)
    return list(found.values())


def commands(made: PackageOut, lang: str) -> list[Command]:
    """What to do with a ready package's file, in the order of doing it."""
    if made.state != PackageState.ready:
        return []
    file, folder = shlex.quote(made.file), shlex.quote(Path(made.file).stem)
    told = [(_("Check it, offline"), f"market verify {file}"), *_use(made, file, folder)]
    return [Command(gettext(lang, title), text) for title, text in told]


def _use(made: PackageOut, file: str, folder: str) -> list[tuple[str, str]]:
    image = str(made.facts.get("reference", ""))
    if made.terminal == "image":
        return [
            (_("Load it into an engine"), f"docker load -i {file}"),
            (_("Run it, with a key that it shows first"), run_command(image, made.device)),
            (_("See how to call it, with that key"), call_command()),
        ]
    if made.terminal == "modelpack":
        push = f"market package {made.name}@{made.version} --format modelpack --push"
        target = f"127.0.0.1:5000/{made.name}:{made.version}"
        return [(_("Push it to your registry"), f"{push} {target}")]
    unpack = (_("Unpack it"), f"unzip {file}")
    if made.terminal == "box":
        return [unpack, (_("Start it on the box"), f"cd {folder} && sudo ./install.sh")]
    if made.terminal == "browser":
        return [unpack, (_("Serve the page"), f"python3 -m http.server --directory {folder} 8080")]
    program = {"android": "Android Studio", "ios": "Xcode"}[made.terminal]
    return [unpack, (_("Open the project with"), f"{program}: {folder}")]


def _context(services: Services, db: Session, viewer: Viewer, listing: str, variant: str) -> dict[str, Any]:
    release = releases.describe(services.settings.home, db, listing, variant)
    row = listings.get_listing(db, release.name)
    version = listings.current_version(db, row)
    rows = rows_of(services, db, release, variant, viewer.lang, seen=viewer.may(Permission.manage_packages))
    return {
        "item": listing_shown(db, row, viewer.lang),
        "release": release,
        "variant": variant,
        "variants": offers_of(db, row.name, version.digest, viewer.lang),
        "places": [each for each in rows if each.offer.device not in ACCELERATORS],
        "accelerators": [each for each in rows if each.offer.device in ACCELERATORS],
        "live": any(each.live for each in rows),
        "path": f"/listings/{release.name}/package",
    }


@get(
    "/listings/{vendor:str}/{name:str}/package",
    permission=Permission.browse,
    include_in_schema=False,
    sync_to_thread=True,
)
def show(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    variant: FromQuery[str] = "",
) -> Template:
    """Where the newest version, or a variant of it, can be taken, and what was packaged already."""
    context = _context(services, db, viewer, f"{vendor}/{name}", variant)
    return page(request, viewer, "package.html", **context)


@post(
    "/listings/{vendor:str}/{name:str}/package",
    permission=Permission.manage_packages,
    include_in_schema=False,
    status_code=200,
    sync_to_thread=True,
)
def begin(
    request: AnyRequest,
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Template | Redirect:
    """Begin a package, and come back to its row; a refusal is said there."""
    listing, variant = f"{vendor}/{name}", data.get("variant", "")
    back = query(f"/listings/{listing}/package", variant=variant)
    terminal, device = data.get("terminal", ""), data.get("device", "")
    platforms = [each for each in data.get("platform", "").split(",") if each]
    try:
        packaging.ask(
            services,
            db,
            viewer.account(db),
            listing=listing,
            terminal=terminal,
            variant=variant,
            platforms=platforms,
            device=device,
            address=viewer.address,
        )
    except (MarketError, DeployerError, CatalogError) as error:
        said = problem_of(error, viewer.lang)
        context = _context(services, db, viewer, listing, variant)
        return page(request, viewer, "package.html", status=said.status, problem=said, **context)
    return see_other(f"{back}#{row_id(terminal, device)}")


@get(
    "/listings/{vendor:str}/{name:str}/package/stream",
    permission=Permission.manage_packages,
    include_in_schema=False,
    sync_to_thread=True,
)
def stream(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    variant: FromQuery[str] = "",
) -> ServerSentEvent:
    """The rows that change, until nothing is to be waited for any more."""
    release = releases.describe(services.settings.home, db, f"{vendor}/{name}", variant)
    return ServerSentEvent(_updates(services, release, variant, viewer.lang))


async def _updates(
    services: Services, release: Release, variant: str, lang: str
) -> AsyncIterator[ServerSentEventMessage]:
    sent: dict[str, str] = {}
    while not services.hub.closed:
        seen = services.hub.version(packaging.BOARD)
        live, parts = await sync_to_thread(_news, services, release, variant, lang)
        news = "".join(html for row, html in parts.items() if sent.get(row) != html)
        # A comment finds out a connection that is gone.
        yield ServerSentEventMessage(news) if news else ServerSentEventMessage(None, comment="still")
        sent = parts
        if not live:
            yield ServerSentEventMessage("{}", event="end")
            return
        await asyncio.sleep(TICK)
        if not news:
            await services.hub.wait(packaging.BOARD, seen, timeout=TICK)


def _news(services: Services, release: Release, variant: str, lang: str) -> tuple[bool, dict[str, str]]:
    """Whether anything is still to happen, and each row with what was asked of it."""
    with read_session(services.engine) as db:
        rows = rows_of(services, db, release, variant, lang)
    facts = {"path": f"/listings/{release.name}/package", "variant": variant, "signed_in": True}
    return any(row.live for row in rows), {
        row.id: f'<hx-partial hx-target="#{row.id}" hx-swap="innerMorph">'
        f"{fragment(lang, 'updates/package_row.html', row=row, **facts)}</hx-partial>"
        for row in rows
        if row.made
    }


# One package


@get(
    "/packages/{identity:str}",
    permission=Permission.manage_packages,
    include_in_schema=False,
    sync_to_thread=True,
)
def find(db: NamedDependency[Session], viewer: NamedDependency[Viewer], identity: FromPath[str]) -> Redirect:
    """To the row of a package."""
    return see_other(_place(db, identity))


def _place(db: Session, identity: str) -> str:
    row = packages.get_package(db, identity)
    path = query(f"/listings/{row.listing}/package", variant=row.variant)
    return f"{path}#{row_id(row.terminal, row.device)}"


@post(
    "/packages/{identity:str}/cancel",
    permission=Permission.manage_packages,
    include_in_schema=False,
    sync_to_thread=True,
)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Stop one that waits or is built."""
    packaging.cancel(services, db, identity)
    return see_other(_place(db, identity))


@post(
    "/packages/{identity:str}/retry",
    permission=Permission.manage_packages,
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
    packaging.retry(services, db, identity)
    return see_other(_place(db, identity))


@post(
    "/packages/{identity:str}/remove",
    permission=Permission.manage_packages,
    include_in_schema=False,
    sync_to_thread=True,
)
def remove(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> Redirect:
    """Forget one that ended, with its file."""
    place = _place(db, identity)
    packaging.remove(services, db, identity)
    return see_other(place)


handlers = [show, begin, stream, find, cancel, retry, remove]
