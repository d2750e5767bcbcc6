"""What a question matches: how many listings, which facets they have, and their places in an order.

Where many match, the database looks at so many of the most popular as `SCAN` says, once for the question and
once for each filter, without it. Where the words, or the words with the rarest filter, leave few candidates,
those are read once and everything is counted from them: a database that intersects long lists of tokens
several times, to find little, would take many times as long. Counting codes takes more than finding them:
both numbers are a balance of what people see and what they wait for.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import bindparam, text
from sqlmodel import Session

from catalog import search_engine, search_facets, search_index
from catalog.search_engine import Expression, Without
from catalog.search_keeping import kept
from catalog.search_question import Question

SCAN = 500
CANDIDATES = 1500
DEEPEST = 10_000
"""Listings that can be paged through; whoever wants others narrows the search."""


class Sort(StrEnum):
    """Orders of what was found; all but the first order the `SCAN` most popular matches."""

    fit = "fit"
    newest = "newest"
    size = "size"
    latency = "latency"


_ORDERS = {
    Sort.newest: "created DESC, id",
    Sort.size: "size, id",
    Sort.latency: "CASE WHEN latency IS NULL THEN 1 ELSE 0 END, latency, id",
}


@dataclass(frozen=True)
class Counted:
    """How many match, and how many of those have each code."""

    total: int = 0
    at_least: bool = False
    codes: Mapping[str, int] = field(default_factory=dict)
    partial: bool = False  # the codes are those of the first matches alone


class Matches(Protocol):
    """What a question matches."""

    @property
    def counted(self) -> Counted:
        """All of it."""

    def without(self, name: str) -> Counted:
        """What matches without one facet's filter."""

    def places(self, sort: Sort, limit: int, offset: int) -> list[int]:
        """Places in the index, in an order."""


def match(db: Session, question: Question) -> Matches:
    """What a question matches."""
    if question.pointless:
        return _Few(db, question, frozenset(), [])
    if question.filters:
        for taken in _narrowings(db, question):
            base = question.expression(only=taken)
            if base is not None and _how_many(db, base, CANDIDATES + 1) <= CANDIDATES:
                return _Few(db, question, taken, _read(db, base))
    return _Many(db, question)


def _narrowings(db: Session, question: Question) -> Iterable[frozenset[str]]:
    """Filters to ask the database for, when the others are looked at afterwards."""
    if question.words is not None:
        yield frozenset()
    counts = everywhere(db)
    folded = {search_facets.token(code): n for code, n in counts.items()}

    def frequency(name: str) -> int:
        return sum(folded.get(search_facets.token(code), 0) for code in question.chosen.get(name, ()))

    yield frozenset({min(question.filters, key=frequency)})


def _how_many(db: Session, expression: Expression, most: int) -> int:
    engine = search_engine.engine_of(db)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {engine.tokens} LIMIT :most) AS found"  # noqa: S608 (constants)
    values = {"expression": engine.render(expression), "most": most}
    return int(db.connection().execute(text(sql), values).scalar_one())


def _read(db: Session, expression: Expression) -> list[tuple[int, str]]:
    """Entries with their codes, in the order of their places."""
    engine = search_engine.engine_of(db)
    each = engine.join("e.id || ' ' || e.facets", "\n")
    sql = f"SELECT {each} FROM {engine.matching}"  # noqa: S608 (constants)
    found = db.connection().execute(text(sql), {"expression": engine.render(expression)}).scalar_one()
    rows = (line.partition(" ") for line in (found or "").splitlines())
    return sorted((int(id), facets) for id, _, facets in rows)


class _Few:
    """Candidates that were read, and are few enough to be counted here."""

    def __init__(
        self, db: Session, question: Question, taken: frozenset[str], candidates: list[tuple[int, str]]
    ) -> None:
        self._db, self._question, self._taken = db, question, taken
        self._candidates = candidates
        folded = search_facets.token(" \n ".join(facets for _, facets in candidates))
        self._folded = f" {folded} ".split("\n") if candidates else []
        self._found = self._those(but="")
        self.counted = self._count(self._found)

    def without(self, name: str) -> Counted:
        if name in self._taken:
            return scan(self._db, self._question, but=name)
        own = re.compile(rf"(?<!\S){search_facets.FACETS[name].code}:\S+")
        those = self._those(but=name)
        return Counted(len(those), False, Counter(own.findall(self._codes(those))))

    def places(self, sort: Sort, limit: int, offset: int) -> list[int]:
        ids = [self._candidates[at][0] for at in self._found]
        if sort != Sort.fit:
            return _in_order(self._db, ids[:SCAN], sort)[offset : offset + limit]
        if self._question.titled is not None:
            titled = self._question.in_titles(only=self._taken)
            first = set(matches(self._db, titled, CANDIDATES, 0))
            ids.sort(key=lambda id: id not in first)  # stable: each kind stays in the order of popularity
        return ids[offset : offset + limit]

    def _those(self, *, but: str) -> list[int]:
        those = list(range(len(self._folded)))
        for name, codes in self._question.chosen.items():
            if name not in self._taken and name != but:
                wanted = [f" {search_facets.token(code)} " for code in codes]
                those = [at for at in those if any(code in self._folded[at] for code in wanted)]
        return those

    def _count(self, those: Sequence[int]) -> Counted:
        return Counted(len(those), False, count_codes(self._codes(those)))

    def _codes(self, those: Sequence[int]) -> str:
        return " ".join([self._candidates[at][1] for at in those])


class _Many:
    """Matches that are looked at in the database."""

    def __init__(self, db: Session, question: Question) -> None:
        self._db, self._question = db, question
        self.counted = scan(db, question)

    def without(self, name: str) -> Counted:
        return scan(self._db, self._question, but=name)

    def places(self, sort: Sort, limit: int, offset: int) -> list[int]:
        anywhere, titled = self._question.expression(), self._question.in_titles()
        if sort != Sort.fit:
            return _in_order(self._db, matches(self._db, anywhere, SCAN, 0), sort)[offset : offset + limit]
        if self._question.titled is None or anywhere is None or titled is None:
            return matches(self._db, anywhere, limit, offset)
        ids = matches(self._db, titled, limit, offset)
        if len(ids) == limit:
            return ids
        before = offset + len(ids) if ids or not offset else len(matches(self._db, titled, DEEPEST, 0))
        rest = Without(anywhere, titled)
        return ids + matches(self._db, rest, limit - len(ids), max(0, offset - before))


# In the database


def matches(db: Session, expression: Expression | None, limit: int, offset: int) -> list[int]:
    """Places of what matches, the most popular first."""
    engine = search_engine.engine_of(db)
    values: dict[str, Any] = {"limit": limit, "offset": offset}
    place, tokens = "e.id", search_engine.ALL
    if expression is not None:
        place, tokens = engine.place, engine.tokens
        values["expression"] = engine.render(expression)
    page = f"SELECT {place} AS place FROM {tokens} ORDER BY {place} LIMIT :limit OFFSET :offset"  # noqa: S608
    sql = f"SELECT {engine.join('place')} FROM ({page}) AS page"  # noqa: S608 (constants)
    found = db.connection().execute(text(sql), values).scalar_one()
    return sorted(map(int, (found or "").split()))


def _in_order(db: Session, ids: list[int], sort: Sort) -> list[int]:
    sql = text(f"SELECT id FROM search_entry WHERE id IN :ids ORDER BY {_ORDERS[sort]}")  # noqa: S608
    return list(db.execute(sql.bindparams(bindparam("ids", expanding=True)), {"ids": ids}).scalars().all())


def scan(db: Session, question: Question, *, but: str = "") -> Counted:
    """Count what matches, or what would without one facet's filter."""
    expression = question.expression(but=but)
    counts = everywhere(db)
    if expression is None:
        return Counted(counts.get(search_index.ALL, 0), False, counts)
    found = kept(db, ("scan", expression), lambda: _scan(db, expression))
    if found.at_least and isinstance(expression, str) and expression[1:2] == ":":
        exact = sum(n for code, n in counts.items() if search_facets.token(code) == expression)
        if exact > found.total:
            return Counted(exact, False, found.codes, True)
    return found


def _scan(db: Session, expression: Expression) -> Counted:
    engine = search_engine.engine_of(db)
    sql = (
        f"SELECT count(*), {engine.join('facets')} FROM (SELECT e.facets FROM {engine.matching} "  # noqa: S608
        f"ORDER BY {engine.place} LIMIT {SCAN + 1}) AS popular"
    )
    total, joined = db.connection().execute(text(sql), {"expression": engine.render(expression)}).one()
    return Counted(min(total, SCAN), total > SCAN, count_codes(joined or ""), total > SCAN)


def count_codes(facets: str) -> Counter[str]:
    """How often each code occurs."""
    return Counter(facets.split())


def everywhere(db: Session) -> dict[str, int]:
    """How many listings on the shelf have each code."""

    def read() -> dict[str, int]:
        rows = db.execute(text("SELECT facet, n FROM search_count WHERE n > 0"))
        return {row[0]: row[1] for row in rows}

    return kept(db, ("everywhere",), read)
