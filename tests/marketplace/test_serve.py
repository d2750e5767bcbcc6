"""`market serve`: one port, two processes, clear refusals, nothing left behind."""

import errno
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from marketplace import settings
from marketplace.serve import CannotServe, Child, ask_shop, listening, only_one, prepare_home
from tests.marketplace.peers import DEADLINE, wait_for


def configured(home: Path, **more: str) -> settings.Settings:
    return settings.load({"MARKET_HOME": str(home), "MARKET_PORT": "0"} | more)


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MARKET_")}
    fixed = {"MARKET_HOME": str(home), "MARKET_PORT": "0", "MARKET_SHELF": "none", "LANG": "C", "LC_ALL": "C"}
    return kept | fixed | more


class Market:
    """A running `market serve`."""

    def __init__(self, home: Path, **more: str) -> None:
        self.home = home
        self.output = home.parent / f"{home.name}.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "marketplace.cli", "serve"],
                env=environment(home, **more),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def url(self) -> str:
        return next(line.split()[-1] for line in self.said.splitlines() if line.startswith("OPC Market"))

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def ready(self) -> "Market":
        wait_for(lambda: "Sign-in link" in self.said or self.process.poll() is not None, "the market", 60)
        assert self.process.poll() is None, self.said
        return self

    def children(self) -> dict[str, psutil.Process]:
        found = {}
        for child in psutil.Process(self.process.pid).children():
            try:
                line = " ".join(child.cmdline())
            except psutil.Error:  # it has just ended
                continue
            for module in ("marketplace.gateway", "marketplace.app"):
                if line.endswith(module):
                    found[module] = child
        return found

    def get(self, path: str) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)) as connection:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()


@contextmanager
def running(home: Path, **more: str) -> Iterator[Market]:
    market = Market(home, **more)
    try:
        yield market
    finally:
        if market.process.poll() is None:
            market.process.send_signal(signal.SIGTERM)
        market.process.wait(DEADLINE)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    with running(tmp_path_factory.mktemp("served") / "home") as market:
        yield market.ready()


def test_it_says_where_it_is_and_how_to_sign_in(market: Market) -> None:
    assert market.get("/readyz")[0] == 200
    told = json.loads((market.home / "server.json").read_text())
    assert told["url"] == market.url
    assert (market.home / "server.json").stat().st_mode & 0o777 == 0o600
    link = next(line.split()[-1] for line in market.said.splitlines() if line.startswith("Sign-in link"))
    assert link.startswith(market.url)
    wait_for(lambda: "in another terminal: " in market.said, "the hint")


def test_internal_routes_are_inside_only(market: Market) -> None:
    assert market.get("/internal/routes")[0] == 404
    config = configured(market.home)
    assert "routes" in ask_shop(config.shop_socket, "GET", "/internal/routes?after=0&wait=0")


def test_a_second_market_on_the_same_home_is_refused(market: Market) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "marketplace.cli", "serve"],
        env=environment(market.home),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (second.returncode, second.stdout) == (1, "")
    assert str(market.process.pid) in second.stderr and "MARKET_HOME" in second.stderr
    assert market.get("/readyz")[0] == 200


def test_a_taken_port_is_refused_before_anything_starts(market: Market, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "marketplace.cli", "serve"],
        env=environment(tmp_path / "other", MARKET_PORT=str(market.port)),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (second.returncode, second.stdout) == (1, "")
    assert f"Port {market.port} is taken" in second.stderr and "MARKET_PORT=" in second.stderr
    assert not (tmp_path / "other" / "market.db").exists()


@pytest.mark.parametrize("module", ["marketplace.gateway", "marketplace.app"])
def test_a_killed_process_comes_back_on_the_same_port(market: Market, module: str) -> None:
    victim = market.children()[module]
    victim.kill()
    wait_for(lambda: market.children().get(module) not in (None, victim), "a new process")

    def answers() -> bool:
        try:
            return market.get("/readyz")[0] == 200
        except OSError:
            return False

    wait_for(answers, "the shop behind the same port", 60)


def test_two_interrupts_force_it_and_leave_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "home") as market:
        market.ready()
        children = list(market.children().values())
        assert len(children) == 2
        children[1].suspend()  # one that cannot end in time
        market.process.send_signal(signal.SIGINT)
        wait_for(lambda: "Ctrl-C again" in market.said, "word of the stop")
        market.process.send_signal(signal.SIGINT)
        assert market.process.wait(DEADLINE) == 1
        psutil.wait_procs(children, DEADLINE)
        assert not any(child.is_running() for child in children)


def test_a_term_signal_ends_all_in_order(tmp_path: Path) -> None:
    with running(tmp_path / "home") as market:
        market.ready()
        port, children = market.port, list(market.children().values())
        market.process.send_signal(signal.SIGTERM)
        assert market.process.wait(DEADLINE) == 0
        assert not any(child.is_running() for child in children)
        assert not (market.home / "server.json").exists()
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_children_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / "home") as market:
        market.ready()
        children = list(market.children().values())
        assert len(children) == 2
        market.process.kill()
        market.process.wait()
        _, alive = psutil.wait_procs(children, DEADLINE)
        assert alive == []


def test_a_shop_that_never_comes_up_ends_the_market_with_its_log(tmp_path: Path) -> None:
    with running(tmp_path / "home", MARKET_DATABASE_URL="sqlite:////proc/nowhere/market.db") as market:
        assert market.process.wait(60) == 1
        assert "does not start" in market.said
        assert "Traceback" in market.said or "unable to open" in market.said


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotServe, match="MARKET_HOME"):
        prepare_home(configured(tmp_path / "file" / "home"))
    with pytest.raises(CannotServe, match="MARKET_HOME"):
        prepare_home(configured(Path("/proc/home")))


def test_a_run_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path / ("h" * 60))
    config.run_dir.symlink_to(tmp_path)
    try:
        with pytest.raises(CannotServe, match=str(config.run_dir)):
            prepare_home(config)
    finally:
        config.run_dir.unlink()


def test_a_full_disk_is_called_by_its_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".probe").symlink_to("/dev/full")
    with pytest.raises(CannotServe) as refused:
        prepare_home(configured(home))
    assert os.strerror(errno.ENOSPC) not in str(refused.value)
    assert "full" in str(refused.value) or "磁盘已满" in str(refused.value)


def test_a_port_that_may_not_be_taken(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotServe, match="MARKET_HOST"),
        listening(configured(tmp_path, MARKET_HOST="203.0.113.1", MARKET_PORT="1")),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    config = configured(tmp_path)
    with only_one(config), pytest.raises(CannotServe, match=str(os.getpid())), only_one(config):
        pass
    with only_one(config):
        pass


def test_a_child_that_keeps_ending_is_started_ever_more_slowly(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    child = Child("marketplace.no_such_module", configured(tmp_path), {})
    child.start()
    ends: list[float] = []

    def ended(times: int) -> bool:
        status: Any = child.watch(time.monotonic())
        if status is not None:
            assert status == 1
            ends.append(time.monotonic())
        return len(ends) >= times

    wait_for(lambda: ended(4), "four ends")
    assert child.failures == 4
    pauses = [later - earlier for earlier, later in itertools.pairwise(ends)]
    assert pauses[2] >= 0.8  # 0.2, 0.4, then 0.8 s
    assert "no_such_module" in child.last_lines()
    child.stop(1, threading.Event())
