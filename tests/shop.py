"""A real shop in processes of its own, as `make run` starts it, on a home and a port of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CACHE = Path(os.environ.get("MARKET_TEST_CACHE", "~/.cache/opc-market-tests")).expanduser()


def wait_until(condition: Callable[[], Any], *, within: float, what: str) -> Any:
    """Poll `condition` until it gives something true; fails with `what` after `within` seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {within} s: {what}")


@dataclass
class Shop:
    """A running shop; `market` runs the CLI against it and `api` calls it with the home's key."""

    home: Path
    env: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)
    starts: int = 0

    @classmethod
    @contextmanager
    def start(cls, home: Path, **settings: str) -> Iterator["Shop"]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("MARKET_")}
        env |= {
            "MARKET_HOME": str(home),
            "MARKET_PORT": "0",
            "MARKET_DOWNLOAD_CACHE": str(CACHE),
            "MARKET_SHELF_CHECK": "no",
            "ORT_DISABLE_TELEMETRY": "1",
            "NO_COLOR": "1",
        }
        shop = cls(home, env | settings)
        shop.launch()
        try:
            yield shop
        finally:
            shop.stop()

    def launch(self, *, wait: bool = True) -> None:
        """Start `market serve` and wait until it answers."""
        self.starts += 1
        self.output = self.home.with_name(f"{self.home.name}-serve-{self.starts}.log")
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "marketplace.cli", "serve"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if wait:
            wait_until(self._answers, within=60, what=f"the shop answers; {self.tell()}")

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"market serve ended: {self.tell()}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except (OSError, ValueError, KeyError, httpx.TransportError):
            return False

    def tell(self) -> str:
        return self.output.read_text(errors="replace")[-3000:]

    @property
    def server(self) -> dict[str, Any]:
        return json.loads((self.home / "server.json").read_text())

    @property
    def url(self) -> str:
        return self.server["url"]

    @property
    def api(self) -> httpx.Client:
        server = self.server
        return httpx.Client(
            base_url=server["url"],
            headers={"Authorization": f"Bearer {server['key']}", "Accept-Language": "en"},
            timeout=60,
        )

    def wait_shelf(self, within: float = 600) -> None:
        """Wait until every entry of the shelf is ready; fails when one failed."""

        def filled() -> bool:
            state = httpx.get(f"{self.url}/api/shelf", timeout=10).json()
            failed = [i for i in state["items"] if i["state"] == "failed"]
            assert not failed, failed
            return state["total"] > 0 and state["ready"] == state["total"]

        wait_until(filled, within=within, what=f"the shelf is filled; {self.tell()}")

    def login_url(self) -> str:
        with self.api as api:
            return api.post("/api/login-links").raise_for_status().json()["url"]

    def market(self, *arguments: str, timeout: float = 180, **env: str) -> "subprocess.CompletedProcess[str]":
        """Run the CLI on this shop's home."""
        return subprocess.run(
            [sys.executable, "-m", "marketplace.cli", *arguments],
            env=self.env | {"LANG": "C.UTF-8"} | env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def deploy(self, listing: str, *options: str, timeout: float = 180) -> dict[str, Any]:
        """`market deploy … --wait --json`, which must succeed."""
        done = self.market("deploy", listing, *options, "--wait", "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pid_of(self, module: str) -> int:
        """Process id of one of the shop's two parts: marketplace.app or marketplace.gateway."""
        import psutil

        for child in psutil.Process(self.process.pid).children(recursive=True):
            if module in child.cmdline():
                return child.pid
        raise AssertionError(f"no {module} under {self.process.pid}")

    def kill(self) -> None:
        """kill -9 of everything that `market serve` started and could die with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
