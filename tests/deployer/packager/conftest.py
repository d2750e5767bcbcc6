"""An engine, and one home for all image tests, so that packages are fetched and compiled once."""

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deployer.runtimes.engines import connect


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    found = connect()
    yield found
    found.close()


@pytest.fixture(scope="session")
def image_home() -> Path:
    """Where runtime images of the tests are made; kept between runs like any home's."""
    cache = Path(os.environ.get("MARKET_TEST_CACHE") or Path.home() / ".cache" / "opc-market-tests")
    home = cache / "runtime-home"
    home.mkdir(parents=True, exist_ok=True)
    return home
