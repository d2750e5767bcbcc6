"""A real database file with the newest schema."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from marketplace.db import migrate, open_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'market.db'}")
    migrate(engine)
    yield engine
    engine.dispose()
