"""Short folders for sockets, a model that doubles, and one that eats memory."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployer.runtimes.models import hungry_model, tiny_model


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private folder whose path leaves room for socket names, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="opc-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "double")


@pytest.fixture(scope="session")
def hungry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hungry_model(tmp_path_factory.mktemp("models") / "hungry")
