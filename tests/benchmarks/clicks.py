"""From the click to the first good answer, through the whole shop, and what that is made of."""

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.benchmarks.harness import Timing, cpu_seconds
from tests.shop import Shop


@dataclass
class Clicker:
    """Deploys one listing again and again and asks it for an answer; keeps how long each step took."""

    shop: Shop
    listing: str
    body: dict[str, Any]
    steps: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def click(self, runtime: str) -> Timing:
        """One deployment of its own, from the request to the first good answer; removed afterwards."""
        name = f"bench-{runtime}"
        shop = psutil.Process(self.shop.process.pid)
        # The client is made beforehand: reading certificates is not part of the click.
        with self.shop.api as api, httpx.Client(timeout=60, verify=False) as user:
            before, began = cpu_seconds(shop), time.perf_counter()
            made = api.post(
                "/api/deployments", json={"listing": self.listing, "name": name, "runtime": runtime}
            )
            made.raise_for_status()
            self._wait(api, name)
            key = {"Authorization": f"Bearer {made.json()['key']}"}
            answer = user.post(f"{self.shop.url}/d/{name}/predict", json=self.body, headers=key)
            timing = Timing(time.perf_counter() - began, cpu_seconds(shop) - before)
            answer.raise_for_status()
            for step in api.get(f"/api/deployments/{name}").json()["steps"]:
                self.steps[runtime, step["name"]].append(step["seconds"])
            api.delete(f"/api/deployments/{name}").raise_for_status()
        return timing

    @staticmethod
    def _wait(api: httpx.Client, name: str) -> None:
        with api.stream("GET", f"/api/deployments/{name}/events", timeout=300) as events:
            for line in events.iter_lines():
                if line.startswith("event: end"):
                    break
        state = api.get(f"/api/deployments/{name}").json()["state"]
        if state != "live":
            raise RuntimeError(f"{name} is {state}")

    def parts(self) -> str:
        """The median seconds of each step, a line for each runtime."""
        runtimes = sorted({runtime for runtime, _ in self.steps})
        lines = []
        for runtime in runtimes:
            told = [
                f"{step} {statistics.median(times):.3f}"
                for (of, step), times in self.steps.items()
                if of == runtime
            ]
            lines.append(f"steps of {runtime}, median seconds: {', '.join(told)}")
        return "\n".join(lines)


def shop_starts(home: Path, rounds: int) -> tuple[float, float]:
    """Median seconds from `market serve` to /readyz on a home that is set up, and MB of all its processes."""
    seconds, megabytes = [], []
    for turn in range(-1, rounds):
        began = time.perf_counter()
        with Shop.start(home, MARKET_SHELF="none") as shop:
            if turn < 0:
                continue
            seconds.append(time.perf_counter() - began)
            root = psutil.Process(shop.process.pid)
            used = sum(p.memory_full_info().pss for p in [root, *root.children(recursive=True)])
            megabytes.append(used / 1e6)
    return statistics.median(seconds), statistics.median(megabytes)
