"""How SQLite answers what is asked most, in a shop that never gathered statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlmodel import Session

from catalog import listings, search_index
from marketplace import hub
from marketplace.db import migrate, open_engine, read_session, transaction
from tests.marketplace import shelves

PLAN = "EXPLAIN QUERY PLAN "


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'market.db'}")
    migrate(engine)
    with transaction(engine) as db:
        for number in range(3):
            shelves.listed(db, f"acme/reader-{number}")
    yield engine
    engine.dispose()


@contextmanager
def plans(db: Session) -> Iterator[list[str]]:
    """The lines of the plan of every question that is asked meanwhile."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    connection = db.connection()

    def note(_c: Connection, _cursor: object, statement: str, values: tuple[object, ...], *_: object) -> None:
        asked.append((statement, values))

    lines: list[str] = []
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield lines
    finally:
        event.remove(connection, "before_cursor_execute", note)
        for statement, values in asked:
            if statement.startswith("SELECT"):
                found = connection.exec_driver_sql(PLAN + statement, values)
                lines += [str(row[3]) for row in found]


def test_versions_are_looked_up_by_their_listing_and_not_by_their_state(lite: Engine) -> None:
    with read_session(lite) as db:
        rows = [listings.get_listing(db, f"acme/reader-{number}") for number in range(3)]
        with plans(db) as lines:
            hub.newest_versions(db, [row.id for row in rows])
            hub.list_models(db, hub.Wanted())
            hub.list_models(db, hub.Wanted(sort="lastModified", tags=["license:apache-2.0"]))
            listings.current_version(db, rows[0])
            list(search_index.documents_of(db, rows))
        told = [line for line in lines if "version" in line]
        assert told and not [line for line in told if "SCAN version" in line]
        by_state = [line for line in told if "ix_version_state" in line]
        assert len(by_state) == 1  # the newest of all, in the order in which they came


def test_the_newest_versions_are_read_in_order_and_not_sorted(lite: Engine) -> None:
    with read_session(lite) as db:
        with plans(db) as lines:
            page = hub.list_models(db, hub.Wanted(sort="lastModified", limit=2))
            assert len(page.items) == 2 and page.cursor
            rest = hub.list_models(db, hub.Wanted(sort="lastModified", limit=2, cursor=page.cursor))
            assert len(rest.items) == 1
        assert any("ix_version_state_created" in line for line in lines)
        assert "USE TEMP B-TREE FOR ORDER BY" not in lines


def test_the_newest_listings_are_read_in_order_and_not_sorted(lite: Engine) -> None:
    with read_session(lite) as db:
        with plans(db) as lines:
            page = hub.list_models(db, hub.Wanted(limit=2))
            assert len(page.items) == 2 and page.cursor
            assert len(hub.list_models(db, hub.Wanted(limit=2, cursor=page.cursor)).items) == 1
        assert any("ix_listing_created_name" in line for line in lines)
        assert "USE TEMP B-TREE FOR ORDER BY" not in lines
