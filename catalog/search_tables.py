"""The tables of the search index; `search_index` keeps them, `search` reads them.

On SQLite the tokens stand in a table of FTS5 beside these, on PostgreSQL in a tsvector of `search_entry`;
both are made here, since no metadata can describe them.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Connection, Float, Integer, String, Table, Text, event, text
from sqlalchemy.dialects import postgresql
from sqlmodel import Field

from catalog.models import CatalogTable

FTS = "search_fts"
TOKENS_INDEX = "ix_search_entry_tokens"
UNMODELLED = (FTS, TOKENS_INDEX)
"""How the names begin of what is in the database and not in the metadata."""

_RANK = BigInteger().with_variant(Integer(), "sqlite")  # the rowid itself, which FTS5 knows too
_WORD = String(64).with_variant(String(64, collation="C"), "postgresql")  # ordered by code point

_FTS5 = (
    f"CREATE VIRTUAL TABLE {FTS} USING fts5(tokens, content='', detail=none, columnsize=0, "
    "tokenize=\"ascii tokenchars ':=._+()/-'\")"
)
_GIN = f"CREATE INDEX {TOKENS_INDEX} ON search_entry USING gin (tokens)"


class SearchEntry(CatalogTable, table=True):
    """One listing on the shelf as search sees it; small, for thousands are read to count facets.

    `id` is its place by popularity, the most popular first: `search_index.place` says how it is made.
    """

    __tablename__ = "search_entry"
    id: int = Field(sa_column=Column(_RANK, primary_key=True, autoincrement=False))
    facets: str = Field(sa_type=Text)  # codes divided by spaces
    size: int = Field(sa_type=BigInteger)  # bytes of the listed version
    latency: float | None = Field(default=None, sa_type=Float)  # milliseconds, measured here
    created: int = Field(sa_type=BigInteger)  # seconds since 1970
    tokens: Any = Field(
        default=None, sa_column=Column(Text().with_variant(postgresql.TSVECTOR(), "postgresql"))
    )


class SearchSource(CatalogTable, table=True):
    """What of a listing was indexed: to take it out again, and to find the listing of an entry."""

    __tablename__ = "search_source"
    __table_args__ = ({"sqlite_with_rowid": False},)
    listing_id: UUID = Field(primary_key=True)
    id: int = Field(sa_column=Column(_RANK, nullable=False, unique=True))  # of its entry
    version_id: UUID  # the newest on the shelf
    title: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    marks: str = Field(sa_type=Text)  # tokens that filters look for and that are no facets


class SearchWord(CatalogTable, table=True):
    """A word of Latin letters, and how many listings have it."""

    __tablename__ = "search_word"
    __table_args__ = ({"sqlite_with_rowid": False},)
    word: str = Field(sa_column=Column(_WORD, primary_key=True))
    n: int


class SearchDeletion(CatalogTable, table=True):
    """A word with one or two letters left out, as a number: two words that are close share one."""

    __tablename__ = "search_deletion"
    __table_args__ = ({"sqlite_with_rowid": False},)
    key: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    word: str = Field(sa_column=Column(_WORD, primary_key=True))


class SearchCount(CatalogTable, table=True):
    """How many listings on the shelf have a facet; `*` counts all."""

    __tablename__ = "search_count"
    __table_args__ = ({"sqlite_with_rowid": False},)
    facet: str = Field(primary_key=True, max_length=200)
    n: int


class SearchState(CatalogTable, table=True):
    """What the index knows of itself: its version, how far a rebuild has come, how often it changed."""

    __tablename__ = "search_state"
    name: str = Field(primary_key=True, max_length=32)
    value: str


def make_tokens(connection: Connection) -> None:
    """Make what holds the tokens; the tables are there."""
    connection.execute(text(_FTS5 if connection.dialect.name == "sqlite" else _GIN))


def drop_tokens(connection: Connection) -> None:
    """Take it away again; on PostgreSQL it goes with its table."""
    if connection.dialect.name == "sqlite":
        connection.execute(text(f"DROP TABLE IF EXISTS {FTS}"))


def _made(_table: Table, connection: Connection, **_: Any) -> None:
    make_tokens(connection)


def _dropped(_table: Table, connection: Connection, **_: Any) -> None:
    drop_tokens(connection)


event.listen(SearchEntry.__table__, "after_create", _made)  # type: ignore[attr-defined]
event.listen(SearchEntry.__table__, "before_drop", _dropped)  # type: ignore[attr-defined]
