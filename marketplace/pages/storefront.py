"""What can be had: the home page with its shelves, search, and the page of a listing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, URLEncodedBody
from litestar.response import Redirect, ServerSentEvent, ServerSentEventMessage, Template
from sqlmodel import Session

from catalog import listings, signing, taxonomy
from catalog import search as finding
from catalog.models import Listing, Vendor, Version
from deployer import deployments
from deployer.terminals import TERMINALS
from marketplace import example_pictures, provisioning
from marketplace.api.catalog import Filters, ShelfOut, provide_filters, shelf_out
from marketplace.api.schemas import ListingOut, card_out, listing_out
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.pages import answers, narrowing, offered, words
from marketplace.pages.forms import free_name, index_of
from marketplace.pages.keys import redirect_with_key
from marketplace.pages.rendering import fragment, page
from marketplace.pages.shown import architecture_facts, certified, looked_at, offers_of
from marketplace.permissions import Permission
from marketplace.services import Services

PAGE_SIZE = 24
SHELF_SIZE = 12


@dataclass(frozen=True)
class Shelf:
    """The listings of one vertical: those not shown on a shelf above, and those shown there."""

    vertical: str
    count: int
    first: list[ListingOut]
    again: list[ListingOut]


@get("/", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def home(request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]) -> Template:
    """The shelves, by vertical."""
    return page(request, viewer, "home.html", **_shelves(db, viewer.lang))


def _shelves(db: Session, lang: str) -> dict[str, Any]:
    """The shelves of the home page, those that only repeat what stands above at the end."""
    seen: set[str] = set()
    shelves = []
    for vertical, count in finding.verticals(db).items():
        items = [card_out(card, lang) for card in finding.shelf(db, vertical, SHELF_SIZE)]
        first = [item for item in items if item.name not in seen]
        again = [item for item in items if item.name in seen]
        seen.update(item.name for item in first)
        shelves.append(Shelf(vertical, count, first, again))
    return {
        "shelves": [shelf for shelf in shelves if shelf.first],
        "others": [shelf for shelf in shelves if not shelf.first],
        "shelf": shelf_out(db, lang),
        "certified": certified(db),
    }


@get("/shelf/stream", permission=Permission.browse, include_in_schema=False)
async def shelf_stream(
    services: NamedDependency[Services],
    viewer: NamedDependency[Viewer],
    ready: FromQuery[int] = 0,
) -> ServerSentEvent:
    """The progress strip as it moves, and the shelves again whenever a listing was put there."""
    return ServerSentEvent(_shelf_updates(services, viewer.lang, ready))


async def _shelf_updates(services: Services, lang: str, ready: int) -> AsyncIterator[ServerSentEventMessage]:
    seen, sent = services.hub.version("shelf"), ""
    while not services.hub.closed:
        html, shelf = await sync_to_thread(_shelf_news, services, lang, ready)
        over = shelf.ready + shelf.failed == shelf.total
        # The same again, as a comment, tells a connection that is gone from one that is quiet.
        yield ServerSentEventMessage(html) if html != sent else ServerSentEventMessage(None, comment="still")
        sent, ready = html, shelf.ready
        if over:
            yield ServerSentEventMessage("{}", event="end")
            return
        seen = await services.hub.wait("shelf", seen, timeout=15)


def _shelf_news(services: Services, lang: str, ready: int) -> tuple[str, ShelfOut]:
    with read_session(services.engine) as db:
        shelf = shelf_out(db, lang)
        if shelf.ready == ready:
            return fragment(lang, "updates/shelf.html", shelf=shelf, shelves=None), shelf
        return fragment(lang, "updates/shelf.html", **_shelves(db, lang)), shelf


@get(
    "/search",
    permission=Permission.browse,
    include_in_schema=False,
    sync_to_thread=True,
    dependencies={"filters": Provide(provide_filters, sync_to_thread=False)},
)
def search(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    filters: NamedDependency[Filters],
    q: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    offset: FromQuery[int] = 0,
) -> Template:
    """Listings that match, with what to narrow them by."""
    order = finding.Sort(sort) if sort in list(finding.Sort) else finding.Sort.fit
    start = max(0, min(offset, finding.DEEPEST))
    if "task" in filters:
        filters["task"] = [taxonomy.task(name).id for name in filters["task"]]
    found = finding.find(db, q=q, filters=filters, facets=True, sort=order, limit=PAGE_SIZE, offset=start)
    asked = narrowing.Asked(q[:1000], filters, order)
    return page(
        request,
        viewer,
        "search.html",
        q=q,
        found=found,
        offset=start,
        page_size=PAGE_SIZE,
        deepest=finding.DEEPEST,
        scan=finding.SCAN,
        asked=asked,
        items=[card_out(card, viewer.lang) for card in finding.cards(db, found.ids)],
        certified=certified(db),
        groups=narrowing.groups(asked, found.facets, viewer.lang),
        active=narrowing.active(asked, found.facets, viewer.lang),
        sorts=narrowing.SORTS,
        order=order,
    )


@get(
    "/listings/{vendor:str}/{name:str}",
    permission=Permission.browse,
    include_in_schema=False,
    sync_to_thread=True,
)
def listing(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Template:
    """One listing: its facts, card, examples, files and versions, and the button to deploy it."""
    row = listings.get_listing(db, f"{vendor}/{name}")
    version = listings.current_version(db, row)
    may_run = viewer.may(Permission.manage_deployments)
    running = deployments.list_deployments(db) if may_run else []
    own = [d for d in running if d.listing == row.name]
    return page(
        request,
        viewer,
        "listing.html",
        item=listing_out(row, version, db.get_one(Vendor, row.vendor_id), viewer.lang),
        row=row,
        **offered.about(services, db, request, viewer, row, version),
        card=row.card_zh if viewer.lang == "zh" else row.card_en,
        version=version,
        signature=signing.signature_of(services.settings.home, version.digest),
        examples=_examples(row, version),
        runtimes=[(r.name, r.available()) for r in services.runtimes.values()],
        default_runtime=services.settings.runtime,
        running=own,
        related=[card_out(card, viewer.lang) for card in finding.related(db, row)],
        certified=certified(db),
        variants=offers_of(db, row.name, version.digest, viewer.lang),
        places=TERMINALS,
        architecture=architecture_facts(looked_at(services.settings.home, version.digest), viewer.lang),
        free_name=free_name(name, {d.name for d in running if d.state not in deployments.RESTING}),
    )


def _examples(row: Listing, version: Version) -> list[dict[str, Any]]:
    """The examples with their binary fields replaced by where their picture is."""
    field = words.field_of(row.task)
    shown = []
    for number, example in enumerate(version.manifest.get("examples", [])):
        request = example["request"]
        media = answers.media_of(request, field) if field in words.ACCEPTS else None
        shown.append(
            {
                "number": number,
                "title_zh": example["title_zh"],
                "title_en": example["title_en"],
                "text": answers.text_of(request) if field == "text" else "",
                "bytes": len(media) if media else 0,
                "picture": f"/listings/{row.name}/examples/{number}.webp" if field == "image" else "",
                "request": answers.shorten(request) if field == "body" else None,
                "expect": answers.shorten(example["expect"]),
            }
        )
    return shown


@get(
    "/listings/{vendor:str}/{name:str}/examples/{file:str}",
    permission=Permission.browse,
    include_in_schema=False,
    sync_to_thread=True,
)
def example_picture(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    file: FromPath[str],
) -> Response[bytes]:
    """An example's picture, made small."""
    text, _, kind = file.partition(".")
    version = listings.current_version(db, listings.get_listing(db, f"{vendor}/{name}"))
    examples = version.manifest.get("examples", [])
    number = index_of(text, len(examples))
    if kind != "webp" or number is None:
        raise NotFoundException
    content = answers.media_of(examples[number]["request"], "image")
    db.commit()  # it may have to be drawn first
    small = example_pictures.small(services.settings.home, content) if content else None
    if small is None:
        raise NotFoundException
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(small, media_type="image/webp", headers=headers)


@post(
    "/listings/{vendor:str}/{name:str}/deploy",
    permission=Permission.manage_deployments,
    include_in_schema=False,
    sync_to_thread=True,
)
def deploy(
    data: URLEncodedBody[dict[str, str]],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> Redirect:
    """Begin a deployment and go to its page."""
    made = provisioning.deploy(
        services,
        db,
        viewer.account(db),
        listing=f"{vendor}/{name}" + (f"@{number}" if (number := data.get("version", "")) else ""),
        name=data.get("name", "").strip() or None,
        runtime=data.get("runtime") or None,
        address=viewer.address,
    )
    return redirect_with_key(made.deployment.name, made.key, services.settings.url)


handlers = [home, shelf_stream, search, listing, example_picture, deploy]
