"""Finding listings: words in Chinese and English, filters with their counts, and what is like a listing.

The first listings found are those with every word in their title or name, then those that hold the words
anywhere, each kind by popularity. What can be counted in a moment is counted, and the rest is said to be
"at least": facets and totals look at so many of the most popular matches as `SCAN` says.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from catalog import (
    search_facets,
    search_question,
    search_typos,
    search_words,
)
from catalog.models import Listing, Vendor, Version
from catalog.search_facets import FACETS
from catalog.search_index import refresh, remove
from catalog.search_keeping import kept
from catalog.search_matching import DEEPEST, SCAN, Matches, Sort, everywhere, match, matches
from catalog.search_question import Question
from catalog.search_tables import SearchEntry, SearchSource

__all__ = [
    "DEEPEST",
    "FACETS",
    "SCAN",
    "Card",
    "FacetValue",
    "Page",
    "Sort",
    "find",
    "refresh",
    "remove",
    "search_listings",
]


@dataclass(frozen=True)
class FacetValue:
    """One value to narrow by, and how many of the found listings have it."""

    value: str
    count: int
    at_least: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Found:
    """Places of the listings that were found, and what is known of all of them."""

    ids: list[int] = field(default_factory=list)
    total: int = 0
    at_least: bool = False
    more: bool = False
    facets: dict[str, list[FacetValue]] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)
    loose: bool = False


@dataclass(frozen=True)
class Page:
    """Some of the listings that were found, and how many there are in all."""

    items: list[Listing] = field(default_factory=list)
    total: int = 0
    at_least: bool = False  # there are more than `total`
    more: bool = False  # another page follows
    facets: dict[str, list[FacetValue]] = field(default_factory=dict)
    corrected: dict[str, str] = field(default_factory=dict)  # words that nobody uses: those taken instead
    loose: bool = False  # found only after long stretches were taken apart


@dataclass(frozen=True)
class Card:
    """What lists show of a listing with its version on the shelf."""

    id: int
    name: str
    kind: str
    task: str
    verticals: list[str]
    languages: list[str]
    title_zh: str
    title_en: str
    summary_zh: str
    summary_en: str
    price: dict[str, Any]
    created: datetime
    number: str
    size: int
    license_package: str
    license_weights: str
    latency: float | None  # milliseconds, measured here
    vendor: str
    vendor_zh: str
    vendor_en: str
    verified: bool
    domain: str  # that the vendor's name was proved by


def search_listings(
    db: Session,
    *,
    q: str = "",
    task: str | None = None,
    vertical: str | None = None,
    kind: str | None = None,
    vendor: str = "",
    filters: Mapping[str, Sequence[str]] | None = None,
    facets: bool = False,
    sort: Sort = Sort.fit,
    limit: int = 50,
    offset: int = 0,
) -> Page:
    """Listings on the shelf that match, best first; raises UnknownTask.

    `q` is words in Chinese or English; `task` may be an alias such as ocr; `filters` are values by facet.
    """
    single = {"task": task, "vertical": vertical, "kind": kind}
    given = {name: list(values) for name, values in (filters or {}).items()}
    given |= {name: [value] for name, value in single.items() if value}
    found = find(db, q=q, filters=given, vendor=vendor, facets=facets, sort=sort, limit=limit, offset=offset)
    return Page(
        listings_at(db, found.ids),
        found.total,
        found.at_least,
        found.more,
        found.facets,
        found.corrected,
        found.loose,
    )


def find(
    db: Session,
    *,
    q: str = "",
    filters: Mapping[str, Sequence[str]] | None = None,
    vendor: str = "",
    facets: bool = False,
    sort: Sort = Sort.fit,
    limit: int = 50,
    offset: int = 0,
) -> Found:
    """The same as places in the index, for `cards`."""
    db.flush()  # what this transaction changed is found; the questions below go to the connection itself
    given = {name: tuple(filter(None, values)) for name, values in sorted((filters or {}).items())}
    given = {name: values for name, values in given.items() if values}
    asked = (q, tuple(given.items()), vendor, facets, sort, limit, min(offset, DEEPEST))
    return kept(
        db,
        asked,
        lambda: _find(db, q, given, vendor, facets, sort, limit, min(offset, DEEPEST)),
    )


def _find(
    db: Session,
    q: str,
    given: Mapping[str, Sequence[str]],
    vendor: str,
    facets: bool,
    sort: Sort,
    limit: int,
    offset: int,
) -> Found:
    question, loose = search_question.read(db, q, given, vendor), False
    found = match(db, question)
    if not found.counted.total and question.words is not None:
        again = search_question.read(db, q, given, vendor, loose=True)
        if again.words != question.words:
            question, found = again, match(db, again)
            loose = found.counted.total > 0
    ids = found.places(sort, limit + 1, offset) if found.counted.total else []
    return Found(
        ids[:limit],
        found.counted.total,
        found.counted.at_least,
        len(ids) > limit,
        _facets(question, found) if facets and not question.pointless else {},
        dict(question.corrected),
        loose,
    )


def cards(db: Session, ids: list[int]) -> list[Card]:
    """What lists show of the entries at these places, in their order."""
    if not ids:
        return []
    db.flush()
    rows = [Card(*row) for row in db.connection().execute(_CARDS, {"ids": ids})]
    order = {id: at for at, id in enumerate(ids)}
    return sorted(rows, key=lambda card: order[card.id])


_CARDS: Any = (
    select(  # type: ignore[call-overload]
        SearchSource.id,
        Listing.name,
        Listing.kind,
        Listing.task,
        Listing.verticals,
        Listing.languages,
        Listing.title_zh,
        Listing.title_en,
        Listing.summary_zh,
        Listing.summary_en,
        Listing.price,
        Listing.created,
        Version.number,
        Version.size,
        Version.license_package,
        Version.license_weights,
        SearchEntry.latency,
        Vendor.name,
        Vendor.title_zh,
        Vendor.title_en,
        Vendor.verified,
        Vendor.domain,
    )
    .join(SearchEntry, col(SearchEntry.id) == SearchSource.id)
    .join(Listing, col(Listing.id) == SearchSource.listing_id)
    .join(Version, col(Version.id) == SearchSource.version_id)
    .join(Vendor, col(Vendor.id) == Listing.vendor_id)
    .where(col(SearchSource.id).in_(bindparam("ids", expanding=True)))
)


def listings_at(db: Session, ids: list[int]) -> list[Listing]:
    """The listings at these places, in their order."""
    if not ids:
        return []
    found = db.execute(
        select(SearchSource.id, Listing)
        .join(Listing, col(Listing.id) == SearchSource.listing_id)
        .where(col(SearchSource.id).in_(ids))
    )
    by_place: dict[int, Listing] = {row[0]: row[1] for row in found}
    return [by_place[id] for id in ids if id in by_place]


# What else is asked of the index


def shelf(db: Session, vertical: str, limit: int) -> list[Card]:
    """The most popular listings of a vertical."""
    return cards(db, find(db, filters={"vertical": [vertical]}, limit=limit).ids)


def verticals(db: Session) -> dict[str, int]:
    """How many listings each vertical has, the fullest first."""
    counts = everywhere(db)
    found = {code[2:]: n for code, n in counts.items() if code.startswith("v:")}
    return dict(sorted(found.items(), key=lambda shelf: (-shelf[1], shelf[0])))


def names_like(db: Session, name: str, limit: int = 200) -> list[str]:
    """Names of listings whose title or name has a word of this one, or one that is close."""
    expression = search_question.like(db, name)
    if expression is None:
        return []
    return [card.name for card in cards(db, matches(db, expression, limit, 0))]


def related(db: Session, listing: Listing, limit: int = 4) -> list[Card]:
    """Listings of the same task, those that share most words and verticals with this one first."""
    title = f"{listing.title_zh}\n{listing.title_en}"
    expression = search_question.about(title, listing.task)
    ids = matches(db, expression, 40, 0) if expression is not None else []
    if len(ids) <= limit:
        code = search_facets.token(search_facets.code("task", listing.task))
        ids = list(dict.fromkeys([*ids, *matches(db, code, limit + 1, 0)]))
    wanted = search_words.tokens(title)

    def near(card: Card) -> int:
        shared = wanted & search_words.tokens(f"{card.title_zh}\n{card.title_en}")
        return -len(shared) - 2 * len(set(card.verticals) & set(listing.verticals))

    return sorted((card for card in cards(db, ids) if card.name != listing.name), key=near)[:limit]


@dataclass(frozen=True)
class Suggestions:
    """What somebody who types may want."""

    words: list[str] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)


def suggest(db: Session, typed: str, limit: int = 6) -> Suggestions:
    """Words that the last one may become, and listings with all that was typed in their titles."""
    chunks = search_words.asked(typed, search_question.LIMIT_OF_WORDS)
    if not chunks:
        return Suggestions()
    last = chunks[-1].runs[-1]
    words = [] if last.unspaced else search_typos.completions(db, last.text, limit)
    titled = search_question.read(db, typed, {}).titled
    found = cards(db, matches(db, titled, limit, 0)) if titled is not None else []
    return Suggestions([word for word in words if word != last.text], found)


# Facets


def _facets(question: Question, found: Matches) -> dict[str, list[FacetValue]]:
    """Each facet's values; those of a facet that is filtered by are counted as if it were not."""
    shown = {}
    by_facet = _grouped(found.counted.codes)
    for name, facet in FACETS.items():
        chosen = question.chosen.get(name, ())
        own = found.without(name) if chosen else found.counted
        codes = dict((_grouped(own.codes) if chosen else by_facet)[facet.code])
        codes |= {code: 0 for code in chosen if code not in codes}
        values = [
            FacetValue(search_facets.value_of(code), n, own.partial, code in chosen)
            for code, n in codes.items()
        ]
        shown[name] = sorted(values, key=_order(facet))
    return shown


def _grouped(codes: Mapping[str, int]) -> Mapping[str, dict[str, int]]:
    """Codes with their counts by the code of their facet."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for code, n in codes.items():
        found[code.partition(":")[0]][code] = n
    return found


def _order(facet: search_facets.Facet) -> Callable[[FacetValue], tuple[int, str]]:
    if facet.values:
        places = {value: at for at, value in enumerate(facet.values)}
        return lambda each: (places.get(each.value, len(places)), each.value)
    return lambda each: (-each.count, each.value)
