"""A real database with the newest schema, on each kind that the shop runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from marketplace.db import METADATA, migrate, open_engine
from tests import postgres
from tests.marketplace.inside import Inside, shop_inside


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path / 'market.db'}")
    else:
        engine = open_engine(request.getfixturevalue("postgres_url"))
    migrate(engine)
    yield engine
    if request.param == "postgresql":  # the cluster is shared by all tests
        with engine.begin() as connection:
            for metadata in METADATA:
                metadata.drop_all(connection)
            connection.execute(text("DROP TABLE alembic_version"))
    engine.dispose()


@pytest.fixture
def inside(tmp_path: Path, engine: Engine) -> Iterator[Inside]:
    """The shop's application in this process, on each kind of database."""
    with shop_inside(tmp_path / "home", engine) as shop:
        yield shop
