"""Two people change one version in the same moment: the later one decides on what the first one left."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from catalog import listings, review
from catalog.errors import CatalogError, VersionStateRefused, VersionTaken
from catalog.models import Version, VersionState
from catalog.search import find
from marketplace import publishing
from marketplace.db import METADATA, migrate, open_engine, read_session, write_session
from marketplace.models import Account
from tests.marketplace.inside import Inside, shop_inside
from tests.marketplace.test_publishing import (
    GRAPH,
    LABELS,
    begin,
    offer,
    passed,
    prove,
    upload,
    vendor_of,
)
from tests.shop import wait_until

pytestmark = pytest.mark.postgres  # SQLite has one writer at a time


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    made = open_engine(postgres_url)
    migrate(made)
    yield made
    with made.begin() as connection:
        for metadata in METADATA:
            metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    made.dispose()


@pytest.fixture
def shop(tmp_path: Path, engine: Engine) -> Iterator[Inside]:
    with shop_inside(tmp_path / "home", engine) as opened:
        yield opened


@pytest.fixture
def maker(shop: Inside) -> Account:
    account = vendor_of(shop, "maker", "acme")
    prove(shop)
    return account


def draft(shop: Inside, maker: Account, state: VersionState = VersionState.draft) -> Version:
    version = begin(shop, maker, offer())
    for content in (GRAPH, LABELS):
        upload(shop, maker, content)
    passed(shop, version, state)
    return version


def while_held(shop: Inside, version: Version, maker: Account, do: Callable[[Session], object]) -> list[str]:
    """Have a draft listed in one transaction, and `do` something that waits for it; the codes of refusals."""
    refused: list[str] = []

    def later() -> None:
        with write_session(shop.engine) as db:
            try:
                do(db)
            except CatalogError as error:
                refused.append(error.code)

    beside = threading.Thread(target=later)
    with write_session(shop.engine) as db:
        row = db.get_one(Version, version.id)
        for after in (VersionState.submitted, VersionState.listed):
            review.change(db, row, after, by=maker.id)
        beside.start()
        wait_until(lambda: _somebody_waits(shop.engine), within=20, what="the other one waits")
        db.commit()
    beside.join()
    return refused


def _somebody_waits(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def test_what_was_approved_meanwhile_is_not_taken_back(shop: Inside, maker: Account) -> None:
    version = draft(shop, maker, VersionState.submitted)
    with write_session(shop.engine) as slow, write_session(shop.engine) as quick:
        listing, seen = listings.get_version(slow, "acme/reader@1.0.0", maker.id)
        review.approve(quick, quick.get_one(Version, version.id), by=maker.id)
        quick.commit()
        account = slow.get_one(Account, maker.id)
        with pytest.raises(VersionStateRefused):
            publishing.withdraw(shop.services, slow, account, listing, seen)
    with read_session(shop.engine) as db:
        row = db.get_one(Version, version.id)
        assert row.state == VersionState.listed and row.reviewed
        assert [event.after for event in review.events_of(db, row)] == ["submitted", "listed"]
        assert find(db, q="").total == 1


def test_a_draft_that_was_listed_meanwhile_is_not_replaced(shop: Inside, maker: Account) -> None:
    version = draft(shop, maker)
    other = offer(claims={"latency_ms": 1.0})

    def replace(db: Session) -> None:
        publishing.begin(shop.services, db, db.get_one(Account, maker.id), other)

    assert while_held(shop, version, maker, replace) == [VersionTaken.code]
    with read_session(shop.engine) as db:
        row = db.get_one(Version, version.id)
        assert (row.state, row.check_state, row.claims) == ("listed", "passed", version.claims)


def test_a_draft_that_was_listed_meanwhile_is_not_removed(shop: Inside, maker: Account) -> None:
    version = draft(shop, maker)

    def discard(db: Session) -> None:
        listing, row = listings.get_version(db, "acme/reader@1.0.0", maker.id)
        publishing.discard(shop.services, db, db.get_one(Account, maker.id), listing, row)

    assert while_held(shop, version, maker, discard) == [VersionTaken.code]
    with read_session(shop.engine) as db:
        assert db.get_one(Version, version.id).state == "listed"
