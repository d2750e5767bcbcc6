"""Beside searching: what to type next, what is like a listing, and listings side by side."""

from dataclasses import dataclass

from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlmodel import Session

from catalog import listings
from catalog import search as finding
from marketplace import comparing
from marketplace.api.schemas import ListingOut, ListingPage, card_out
from marketplace.auth import Viewer
from marketplace.permissions import Permission


@dataclass(frozen=True)
class SuggestionsOut:
    """What the last word typed may become, and listings that have all of it in their titles."""

    words: list[str]
    items: list[ListingOut]


@get("/suggestions", permission=Permission.browse, sync_to_thread=True)
def suggest(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], q: FromQuery[str] = ""
) -> SuggestionsOut:
    """What somebody who has typed so much may want."""
    found = finding.suggest(db, q)
    return SuggestionsOut(found.words, [card_out(card, viewer.lang) for card in found.cards])


@get("/listings/{vendor:str}/{name:str}/related", permission=Permission.browse, sync_to_thread=True)
def related(
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    limit: FromQuery[int] = 4,
) -> ListingPage:
    """Listings of the same task that share words or verticals with this one."""
    row = listings.get_version(db, f"{vendor}/{name}")[0]
    found = finding.related(db, row, max(1, min(limit, 20)))
    return ListingPage([card_out(card, viewer.lang) for card in found], len(found))


@get("/compare", permission=Permission.browse, sync_to_thread=True)
def compare(db: NamedDependency[Session], name: FromQuery[list[str] | None] = None) -> comparing.Comparison:
    """Up to four listings side by side; what was not measured is null."""
    return comparing.compare(db, name or [])


router = Router("/api", route_handlers=[suggest, related, compare], tags=["catalogue"])
