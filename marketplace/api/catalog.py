"""GET /api/listings and /api/shelf: what can be had, open to everybody."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Router, get
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery
from litestar.response import ServerSentEvent, ServerSentEventMessage
from msgspec.json import encode
from sqlmodel import Session

from catalog import listings, shelf, signing
from catalog import search as finding
from catalog.models import Vendor
from marketplace import problems
from marketplace.api.schemas import ListingDetail, ListingPage, card_out, found_out, listing_detail
from marketplace.auth import Viewer
from marketplace.db import read_session
from marketplace.permissions import Permission
from marketplace.services import Services

Filters: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True)
class ShelfItemOut:
    """One entry of the starter shelf and how far it has come, in bytes."""

    id: str
    name: str
    state: str
    done: int
    total: int
    error: dict[str, Any] | None


@dataclass(frozen=True)
class ShelfOut:
    """How full the starter shelf is."""

    ready: int
    total: int
    failed: int
    items: list[ShelfItemOut]


def provide_filters(
    kind: FromQuery[list[str] | None] = None,
    task: FromQuery[list[str] | None] = None,
    vertical: FromQuery[list[str] | None] = None,
    terms: FromQuery[list[str] | None] = None,
    licence: FromQuery[list[str] | None] = None,
    language: FromQuery[list[str] | None] = None,
    device: FromQuery[list[str] | None] = None,
    memory: FromQuery[list[str] | None] = None,
    price: FromQuery[list[str] | None] = None,
    size: FromQuery[list[str] | None] = None,
    latency: FromQuery[list[str] | None] = None,
    rating: FromQuery[list[str] | None] = None,
) -> Filters:
    """Dependency `filters`: the values of each facet; several of one facet are alternatives."""
    given = (kind, task, vertical, terms, licence, language, device, memory, price, size, latency, rating)
    named = zip(finding.FACETS, given, strict=True)
    return {name: [value for value in values if value][:20] for name, values in named if values}


@get(
    "/listings",
    permission=Permission.browse,
    sync_to_thread=True,
    dependencies={"filters": Provide(provide_filters, sync_to_thread=False)},
)
def search(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    filters: NamedDependency[Filters],
    q: FromQuery[str] = "",
    vendor: FromQuery[str] = "",
    sort: FromQuery[finding.Sort] = finding.Sort.fit,
    facets: FromQuery[bool] = False,
    limit: FromQuery[int] = 50,
    offset: FromQuery[int] = 0,
) -> ListingPage:
    """Search the shelf; every word of `q` must occur in a title, summary, name or task."""
    found = finding.find(
        db,
        q=q,
        filters=filters,
        vendor=vendor,
        facets=facets,
        sort=sort,
        limit=max(1, min(limit, 200)),
        offset=max(0, offset),
    )
    items = [card_out(card, viewer.lang) for card in finding.cards(db, found.ids)]
    return found_out(found, items)


@get("/listings/{vendor:str}/{name:str}", permission=Permission.browse, sync_to_thread=True)
def show(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> ListingDetail:
    """One listing with its cards, manifest and versions."""
    row = listings.get_listing(db, f"{vendor}/{name}")
    version = listings.current_version(db, row)
    signature = signing.signature_of(services.settings.home, version.digest)
    return listing_detail(
        row,
        version,
        _vendor(db, row.vendor_id),
        listings.visible_versions(db, row, viewer.account_id),
        viewer.lang,
        signature=signature.fingerprint if signature else "",
    )


def _vendor(db: Session, vendor_id: object) -> Vendor:
    vendor = db.get(Vendor, vendor_id)
    if vendor is None:
        raise LookupError(f"listing without its vendor {vendor_id}")
    return vendor


@get("/shelf", permission=Permission.browse, sync_to_thread=True)
def shelf_state(db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> ShelfOut:
    """How far the starter shelf is filled."""
    return shelf_out(db, viewer.lang)


def shelf_out(db: Session, lang: str) -> ShelfOut:
    """The shelf's state with its failures in words."""
    status = shelf.shelf_status(db)
    items = [
        ShelfItemOut(
            item.id,
            f"opc-market/{item.id}",
            item.state,
            item.done,
            item.total,
            problems.problem(item.error_code, lang, **item.error_facts).to_dict()
            if item.error_code
            else None,
        )
        for item in status.items
    ]
    return ShelfOut(status.ready, status.total, status.failed, items)


@get("/shelf/events", permission=Permission.browse)
async def shelf_events(
    services: NamedDependency[Services], viewer: NamedDependency[Viewer]
) -> ServerSentEvent:
    """The shelf's state whenever it changes, until every entry is ready or failed."""
    return ServerSentEvent(_shelf_stream(services, viewer.lang))


async def _shelf_stream(services: Services, lang: str) -> AsyncIterator[ServerSentEventMessage]:
    def read() -> ShelfOut:
        with read_session(services.engine) as db:
            return shelf_out(db, lang)

    seen = services.hub.version("shelf")
    while not services.hub.closed:
        state = await sync_to_thread(read)
        yield ServerSentEventMessage(event="shelf", data=encode(state).decode())
        if state.ready + state.failed == state.total:
            yield ServerSentEventMessage(event="end", data="{}")
            return
        seen = await services.hub.wait("shelf", seen, timeout=15)


router = Router("/api", route_handlers=[search, show, shelf_state, shelf_events], tags=["catalogue"])
