"""Where tokens are kept and matched: FTS5 on SQLite, a tsvector with GIN on PostgreSQL.

A document is a set of tokens and a question an expression over tokens; everything else is the same SQL on
both. No token holds a quote or a space, and every one is quoted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlmodel import Session

from catalog.search_tables import FTS


@dataclass(frozen=True)
class Every:
    """All of these."""

    parts: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Some:
    """At least one of these."""

    parts: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Without:
    """The one and not the other."""

    one: "Expression"
    other: "Expression"


Expression: TypeAlias = str | Every | Some | Without


def every(parts: Iterable[Expression]) -> Expression | None:
    """All of the parts; None when there is none, which asks for nothing in particular."""
    return _joined(Every, parts)


def some(parts: Iterable[Expression]) -> Expression | None:
    """Any of the parts; None when there is none."""
    return _joined(Some, parts)


def _joined(kind: type[Every] | type[Some], parts: Iterable[Expression]) -> Expression | None:
    found = tuple(dict.fromkeys(parts))
    if not found:
        return None
    return found[0] if len(found) == 1 else kind(found)


@dataclass(frozen=True)
class Engine:
    """The words of one database for the same thing."""

    matching: str  # FROM and WHERE of the entries `e` that match :expression
    tokens: str  # the same where only their places are asked for
    place: str  # the column to order them by
    joined: str  # an aggregate of texts, divided by a sign
    signs: tuple[str, str, str, str]  # and, or, and not, quote

    def join(self, column: str, sign: str = " ") -> str:
        """A column of many rows as one text: the driver hands over one row instead of a thousand.

        Between two rows of SQLite another thread may take the interpreter, for milliseconds each time.
        """
        return self.joined.format(column=column, sign=sign)

    def render(self, expression: Expression) -> str:
        """An expression as this database reads it."""
        both, either, without, quote = self.signs
        match expression:
            case str():
                return f"{quote}{expression}{quote}"
            case Every(parts):
                return "(" + both.join(map(self.render, parts)) + ")"
            case Some(parts):
                return "(" + either.join(map(self.render, parts)) + ")"
            case Without(one, other):
                return f"({self.render(one)}{without}{self.render(other)})"


_SQLITE = Engine(
    matching=f"{FTS} CROSS JOIN search_entry e ON e.id = {FTS}.rowid WHERE {FTS} MATCH :expression",
    tokens=f"{FTS} WHERE {FTS} MATCH :expression",
    place=f"{FTS}.rowid",
    joined="group_concat({column}, '{sign}')",
    signs=(" AND ", " OR ", " NOT ", '"'),
)
_POSTGRESQL = Engine(
    matching="search_entry e WHERE e.tokens @@ CAST(:expression AS tsquery)",
    tokens="search_entry e WHERE e.tokens @@ CAST(:expression AS tsquery)",
    place="e.id",
    joined="string_agg(CAST({column} AS text), '{sign}')",
    signs=(" & ", " | ", " & !", "'"),
)
ALL = "search_entry e WHERE 1 = 1"


def engine_of(db: Session) -> Engine:
    """The engine behind a session."""
    return _SQLITE if is_sqlite(db) else _POSTGRESQL


def is_sqlite(db: Session) -> bool:
    """Whether the database is SQLite."""
    return bool(db.get_bind().dialect.name == "sqlite")


def put(db: Session, rows: list[tuple[int, set[str]]]) -> None:
    """Make entries findable by their tokens."""
    if is_sqlite(db):
        sql = f"INSERT INTO {FTS}(rowid, tokens) VALUES (:id, :tokens)"  # noqa: S608 (a constant)
        values: list[dict[str, Any]] = [{"id": id, "tokens": " ".join(sorted(tokens))} for id, tokens in rows]
    else:
        sql = "UPDATE search_entry SET tokens = array_to_tsvector(CAST(:tokens AS text[])) WHERE id = :id"
        values = [{"id": id, "tokens": sorted(tokens)} for id, tokens in rows]
    if values:
        db.execute(text(sql), values)


def take(db: Session, id: int, tokens: set[str]) -> None:
    """Take an entry out; FTS5 keeps no text and has to be told which tokens it had."""
    if is_sqlite(db):
        sql = f"INSERT INTO {FTS}({FTS}, rowid, tokens) VALUES ('delete', :id, :tokens)"  # noqa: S608
        db.execute(text(sql), {"id": id, "tokens": " ".join(sorted(tokens))})


def empty(db: Session) -> None:
    """Take everything out."""
    if is_sqlite(db):
        db.execute(text(f"INSERT INTO {FTS}({FTS}) VALUES ('delete-all')"))  # noqa: S608


def lock(db: Session) -> None:
    """Let one transaction at a time change the index; SQLite has one writer in any case."""
    if not is_sqlite(db):
        db.execute(text("SELECT pg_advisory_xact_lock(7303014)"))
