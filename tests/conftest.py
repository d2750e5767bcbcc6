"""Fixtures for all tests: what a test needs from the machine, and a real shop to talk to."""

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests import postgres
from tests.shop import Shop

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _engine_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _network_answers() -> bool:
    from catalog.importers.packages import index_answers

    return index_answers()


NEEDS = {
    "engine": _engine_answers,
    "browser": lambda: CHROMIUM is not None,
    "network": _network_answers,
    "postgres": lambda: postgres.binaries() is not None,
}
_found: dict[str, bool] = {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for need, look in NEEDS.items():
        if item.get_closest_marker(need) is None:
            continue
        if need not in _found:
            _found[need] = look()
        if not _found[need]:
            refuse = pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip
            refuse(f"this machine has no {need}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Where all is required, what skips itself has failed, for whatever reason it gives."""
    report = yield
    if report.skipped and os.environ.get("REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"skipped: {report.longrepr}"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Playwright keeps an event loop and a process of its own from its first test to the end of the run.
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    if os.environ.get("SLOW") == "1":
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with its whole starter shelf, shared by all tests that do not break it."""
    with Shop.start(tmp_path_factory.mktemp("home")) as started:
        started.wait_shelf()
        yield started


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop for one test that breaks it, with one small listing on its shelf."""
    with Shop.start(tmp_path / "home", MARKET_SHELF_ONLY="doc-orientation") as started:
        started.wait_shelf()
        yield started
