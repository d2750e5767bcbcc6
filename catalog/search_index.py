"""Keeps the index in step with the shelf, in the transaction that changes a listing.

An entry's number is its place by popularity: the level of its score, the highest first, and inside a level
the order in which entries came. The first matches in the order of numbers are therefore the most popular
ones, and no sorting is needed. When a score passes into another level its entry alone is moved.
"""

import itertools
import math
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, text
from sqlmodel import Session, col, select

from catalog import search_engine, search_facets, search_typos, search_words
from catalog.models import Listing, Rating, Version
from catalog.offered import offered
from catalog.search_tables import SearchEntry, SearchSource, SearchState

VERSION = "2"
"""Of what is indexed and how; another one in the database makes the shop build the index anew."""

LEVELS, PER_DOUBLING, WIDTH = 1023, 16, 32
BATCH = 500
ALL = "*"
SEEN = "search-revision"
"""Of a session's `info`: a transaction, and the state that it saw the index in."""


@dataclass(frozen=True)
class Document:
    """A listing on the shelf as it is indexed."""

    listing_id: UUID
    version_id: UUID
    title: str  # title and name
    body: str  # summaries
    codes: tuple[str, ...]  # of its facets
    marks: tuple[str, ...]  # further tokens that filters look for
    size: int
    latency: float | None
    created: int

    @property
    def facets(self) -> str:
        """Its codes as they stand in its entry."""
        return " ".join(self.codes)

    @property
    def marked(self) -> str:
        """Its further tokens as they are kept."""
        return " ".join(self.marks)


def refresh(db: Session, listing: Listing) -> None:
    """Bring the index in step with a listing's words, ratings and versions; the caller commits.

    A listing without a listed version is taken out.
    """
    db.flush()
    refresh_all(db, [listing])


def refresh_all(db: Session, listings: Sequence[Listing]) -> None:
    """The same for several at once."""
    search_engine.lock(db)
    documents = {document.listing_id: document for document in documents_of(db, listings)}
    ids = [listing.id for listing in listings]
    olds = {row.listing_id: row for row in db.exec(select(SearchSource).where(_among(ids)))}
    taken, put = [], []
    for id in ids:
        old, new = olds.get(id), documents.get(id)
        if old is not None and new is not None and _same(db, old, new):
            continue
        if old is not None:
            taken.append(old)
        if new is not None:
            put.append((new, level_of_place(old.id) if old else 0))
    for row in taken:
        _take(db, row)
    put_all(db, put)


def remove(db: Session, listing: Listing) -> None:
    """Take a listing out of the index."""
    search_engine.lock(db)
    old = db.get(SearchSource, listing.id)
    if old is not None:
        _take(db, old)


def rescore(db: Session, scores: dict[UUID, float]) -> int:
    """Move the entries whose popularity passed into another level; how many were moved."""
    search_engine.lock(db)
    moved = 0
    for old in list(db.exec(select(SearchSource).where(_among(list(scores))))):
        level = level_of(scores[old.listing_id])
        entry = db.get(SearchEntry, old.id)
        if level == level_of_place(old.id) or entry is None:
            continue
        codes = tuple(entry.facets.split())
        rest = (entry.size, entry.latency, entry.created)
        document = Document(
            old.listing_id, old.version_id, old.title, old.body, codes, tuple(old.marks.split()), *rest
        )
        _take(db, old)
        put_all(db, [(document, level)])
        moved += 1
    return moved


def catch_up(db: Session, batch: int = BATCH) -> bool:
    """Index some of the listings that an index of another version lacks; True when none is left.

    The caller commits, and calls again; a rebuild that was cut off goes on where it was.
    """
    state = {row.name: row for row in db.exec(select(SearchState))}
    mark = state.get("version")
    if mark is None or mark.value != VERSION:
        _empty(db)
        db.merge(SearchState(name="version", value=VERSION))
        cursor = db.merge(SearchState(name="cursor", value=str(UUID(int=0))))
    elif "cursor" in state:
        cursor = state["cursor"]
    else:
        return True
    found = list(
        db.exec(
            select(Listing).where(col(Listing.id) > UUID(cursor.value)).order_by(col(Listing.id)).limit(batch)
        )
    )
    refresh_all(db, found)
    if len(found) < batch:
        db.delete(cursor)
        db.flush()
        return True
    cursor.value = str(found[-1].id)
    db.add(cursor)
    db.flush()
    return False


def rebuild(db: Session) -> None:
    """Ask for a new index: `catch_up` makes it."""
    search_engine.lock(db)
    db.merge(SearchState(name="version", value=""))
    db.flush()


# What a listing is to the index


def documents_of(db: Session, listings: Sequence[Listing]) -> Iterable[Document]:
    """The documents of those that are on the shelf."""
    ids = [listing.id for listing in listings]
    listed = select(Version).where(col(Version.listing_id).in_(ids), offered())
    newest: dict[UUID, Version] = {}
    for version in db.exec(listed):
        held = newest.get(version.listing_id)
        if held is None or _number(version) > _number(held):
            newest[version.listing_id] = version
    stars = _stars(db, ids)
    for listing in listings:
        current = newest.get(listing.id)
        if current is not None:
            yield document_of(listing, current, stars.get(listing.id, (0.0, 0)))


def document_of(listing: Listing, version: Version, stars: tuple[float, int] = (0.0, 0)) -> Document:
    """A listing with its version on the shelf, and the mean and number of its ratings."""
    vendor, _, name = listing.name.partition("/")
    created = listing.created if listing.created.tzinfo else listing.created.replace(tzinfo=UTC)
    return Document(
        listing.id,
        version.id,
        f"{listing.title_zh}\n{listing.title_en}\n{vendor} {name}",
        f"{listing.summary_zh}\n{listing.summary_en}",
        tuple(search_facets.codes_of(listing, version, stars)),
        (vendor_mark(vendor),),
        version.size,
        search_facets.latency_of(version),
        int(created.timestamp()),
    )


def vendor_mark(vendor: str) -> str:
    """The token of a vendor's listings."""
    return f"n:{search_facets.plain(vendor).casefold()}"


def title_token(token: str) -> str:
    """A token as it stands in a title."""
    return f"={token}"


def tokens_of(title: str, body: str, facets: str, marks: str) -> tuple[set[str], set[str]]:
    """The tokens of an entry, and those that people typed as words."""
    titled = search_words.tokens(title)
    plain = titled | search_words.tokens(body)
    filtered = {*search_facets.token(facets).split(), *marks.split()}
    return plain | filtered | {title_token(token) for token in titled}, plain


def _number(version: Version) -> tuple[int, ...]:
    return tuple(int(part) for part in version.number.split("."))


def _stars(db: Session, ids: list[UUID]) -> dict[UUID, tuple[float, int]]:
    found = (
        select(Rating.listing_id, func.avg(Rating.stars), func.count())
        .where(col(Rating.listing_id).in_(ids), col(Rating.hidden).is_(False))
        .group_by(col(Rating.listing_id))
    )
    return {id: (float(mean), count) for id, mean, count in db.exec(found)}


# Places


def level_of(score: float) -> int:
    """The level of a score: so many for each doubling of it."""
    return min(LEVELS, int(PER_DOUBLING * math.log2(1 + max(0.0, score))))


def first_place(level: int) -> int:
    """The lowest number of a level; higher levels have lower numbers."""
    return (LEVELS - level) << WIDTH


def level_of_place(id: int) -> int:
    """The level that an entry is in."""
    return LEVELS - (id >> WIDTH)


def _next_places(db: Session, level: int) -> Iterable[int]:
    first = first_place(level)
    last = db.execute(
        text("SELECT max(id) FROM search_entry WHERE id >= :first AND id < :end"),
        {"first": first, "end": first_place(level - 1)},
    ).scalar()
    return itertools.count(first if last is None else last + 1)


# Writing


def put_all(db: Session, documents: Sequence[tuple[Document, int]]) -> None:
    """Add documents, each with its level, that are not in the index."""
    if not documents:
        return
    entries, sources, tokens = [], [], []
    words: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    documents = sorted(documents, key=lambda pair: -pair[1])
    for level, group in itertools.groupby(documents, key=lambda pair: pair[1]):
        for (document, _), id in zip(group, _next_places(db, level), strict=False):
            found, typed = tokens_of(document.title, document.body, document.facets, document.marked)
            entries.append(_entry_values(document, id))
            sources.append(_source_values(document, id))
            tokens.append((id, found))
            words.update(search_words.known_words(typed))
            counts.update([ALL, *document.codes])
    db.execute(_ADD_ENTRY, entries)
    db.execute(_ADD_SOURCE, sources)
    search_engine.put(db, tokens)
    _count_words(db, words)
    _count(db, counts)
    _changed(db)


def _entry_values(document: Document, id: int) -> dict[str, Any]:
    return {
        "id": id,
        "facets": document.facets,
        "size": document.size,
        "latency": document.latency,
        "created": document.created,
    }


def _source_values(document: Document, id: int) -> dict[str, Any]:
    return {
        "listing_id": document.listing_id,
        "id": id,
        "version_id": document.version_id,
        "title": document.title,
        "body": document.body,
        "marks": document.marked,
    }


_ADD_ENTRY = SearchEntry.__table__.insert()  # type: ignore[attr-defined]
_ADD_SOURCE = SearchSource.__table__.insert()  # type: ignore[attr-defined]


def _take(db: Session, old: SearchSource) -> None:
    entry = db.execute(text("SELECT facets FROM search_entry WHERE id = :id"), {"id": old.id}).scalar()
    found, typed = tokens_of(old.title, old.body, str(entry or ""), old.marks)
    search_engine.take(db, old.id, found)
    db.execute(text("DELETE FROM search_entry WHERE id = :id"), {"id": old.id})
    db.delete(old)
    db.flush()
    _count_words(db, Counter(dict.fromkeys(search_words.known_words(typed), -1)))
    _count(db, Counter(dict.fromkeys([ALL, *str(entry or "").split()], -1)))
    _changed(db)


def _same(db: Session, old: SearchSource, new: Document) -> bool:
    if (old.title, old.body, old.marks) != (new.title, new.body, new.marked):
        return False
    entry = db.execute(
        text("SELECT facets, size, latency, created FROM search_entry WHERE id = :id"), {"id": old.id}
    ).first()
    same = entry is not None and tuple(entry) == (new.facets, new.size, new.latency, new.created)
    return same and old.version_id == new.version_id


def _among(ids: list[UUID]) -> Any:
    return col(SearchSource.listing_id).in_(ids)


_COUNT_WORD = text(
    "INSERT INTO search_word (word, n) VALUES (:word, :n) "
    "ON CONFLICT (word) DO UPDATE SET n = search_word.n + excluded.n"
)
_COUNT = text(
    "INSERT INTO search_count (facet, n) VALUES (:facet, :n) "
    "ON CONFLICT (facet) DO UPDATE SET n = search_count.n + excluded.n"
)
_KNOWN = text("SELECT word FROM search_word WHERE word IN :words").bindparams(
    bindparam("words", expanding=True)
)
_GONE = text("SELECT word FROM search_word WHERE n <= 0 AND word IN :words").bindparams(
    bindparam("words", expanding=True)
)
_FORGET = text("DELETE FROM search_word WHERE word = :word")
_ADD_DELETION = text("INSERT INTO search_deletion (key, word) VALUES (:key, :word) ON CONFLICT DO NOTHING")
_FORGET_DELETION = text("DELETE FROM search_deletion WHERE key = :key AND word = :word")


def _count_words(db: Session, words: Counter[str]) -> None:
    """Add to the numbers of words; those that are new or gone get or lose their deletions."""
    if not words:
        return
    ordered = sorted(words)
    new = set(ordered) - set(_asked(db, _KNOWN, ordered))
    db.execute(_COUNT_WORD, [{"word": word, "n": words[word]} for word in ordered])
    _write_keys(db, _ADD_DELETION, new)
    gone = set(_asked(db, _GONE, [word for word in ordered if words[word] < 0]))
    _write_keys(db, _FORGET_DELETION, gone)
    if gone:
        db.execute(_FORGET, [{"word": word} for word in sorted(gone)])


def _asked(db: Session, statement: Any, words: list[str]) -> Iterable[str]:
    for at in range(0, len(words), BATCH):
        yield from db.execute(statement, {"words": words[at : at + BATCH]}).scalars()


def _write_keys(db: Session, statement: Any, words: set[str]) -> None:
    rows = [{"key": key, "word": word} for word in sorted(words) for key in search_typos.keys(word)]
    if rows:
        db.execute(statement, rows)


def _count(db: Session, counts: Counter[str]) -> None:
    db.execute(_COUNT, [{"facet": facet, "n": counts[facet]} for facet in sorted(counts)])


def _changed(db: Session) -> None:
    """Name the state of the index anew, so that what was counted from an older one is known to be old.

    The name is drawn, not counted up: no other state of this or another database ever has it.
    """
    db.info.pop(SEEN, None)
    db.execute(
        text(
            "INSERT INTO search_state (name, value) VALUES ('revision', :value) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        ),
        {"value": secrets.token_hex(8)},
    )


def revision(db: Session) -> str:
    """The name of the state that the index is in; empty before the first change."""
    return str(db.connection().execute(_REVISION).scalar() or "")


_REVISION = text("SELECT value FROM search_state WHERE name = 'revision'")


def _empty(db: Session) -> None:
    search_engine.lock(db)
    search_engine.empty(db)
    for table in ("search_entry", "search_source", "search_word", "search_deletion", "search_count"):
        db.execute(text(f"DELETE FROM {table}"))  # noqa: S608 (constants)
    db.expire_all()
    _changed(db)
