"""Fixtures of the catalogue's tests: a real SQLite file and a real HTTP server on the loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, create_engine

from catalog.models import CatalogTable
from tests.catalog.sources import FileServer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'market.db'}", connect_args={"timeout": 10})
    CatalogTable.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as started:
        yield started
