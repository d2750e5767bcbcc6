"""Deploy what was installed and hold its answers against the examples that came with it."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from deployer.examples import check
from marketplace.bundles.installing import Installed
from marketplace.client import Refused, Shop

RETURNING = ("replica-unreachable", "invalid-state")  # codes of a deployment whose server is on its way


@dataclass(frozen=True)
class Outcome:
    """How one version did: where it runs, how many examples it was asked, and what was wrong."""

    name: str
    version: str
    deployment: str
    endpoint: str
    runtime: str
    examples: int
    wrong: list[str] = field(default_factory=list)
    milliseconds: float = 0.0
    """Of the first answer."""
    key: str = ""
    """Of a deployment made here, shown this once."""

    @property
    def passed(self) -> bool:
        """Whether it runs and every example was answered as expected."""
        return not self.wrong

    def to_dict(self) -> dict[str, Any]:
        """As --json prints it."""
        return {**asdict(self), "passed": self.passed}


def accept(shop: Shop, installed: Installed, *, runtime: str | None, timeout: float) -> Outcome:
    """Deploy one version, or take the deployment that runs it, and ask it every example.

    A deployment that does not come up is an outcome with the cause, not an error.
    """
    reference = f"{installed.name}@{installed.version}"
    try:
        made = _running(shop, installed) or shop.call(
            "POST", "/api/deployments", json={"listing": reference, "runtime": runtime}
        )
        key, path = made.get("key", ""), f"/api/deployments/{made['deployment']}"
        for event in shop.events(f"{path}/events", timeout):
            if event.kind == "end":
                break
        made = shop.call("GET", path)
    except Refused as refused:
        return Outcome(installed.name, installed.version, "", "", "", 0, [str(refused)])
    where = (made["deployment"], made["endpoint"], made["runtime"])
    if made["state"] != "live":
        why = (made.get("error") or {}).get("detail") or made["state"]
        return Outcome(installed.name, installed.version, *where, 0, [why], key=key)
    examples = installed.manifest.get("examples") or []
    wrong: list[str] = []
    first = 0.0
    patience = time.monotonic() + timeout
    for number, example in enumerate(examples):
        began = time.perf_counter()
        wrong += _ask(shop, made["deployment"], example, patience)
        if number == 0:
            first = round((time.perf_counter() - began) * 1000, 1)
    return Outcome(installed.name, installed.version, *where, len(examples), wrong, first, key)


def _running(shop: Shop, installed: Installed) -> dict[str, Any] | None:
    """A deployment of this very version that is there from before, up or on its way."""
    for made in shop.call("GET", "/api/deployments")["items"]:
        same = (made["listing"], made["version"]) == (installed.name, installed.version)
        if same and made["desired"] == "live" and made["state"] != "failed" and not made["variant"]:
            return dict(made)
    return None


def _ask(shop: Shop, deployment: str, example: dict[str, Any], patience: float) -> list[str]:
    """What is wrong with the answer to an example.

    A shop that has just begun calls a deployment live until it sees that its server is gone.
    """
    path = f"/api/deployments/{deployment}/predict"
    while True:
        try:
            answer = shop.call("POST", path, json=example["request"], timeout=300)
        except Refused as refused:
            if refused.problem.get("code") not in RETURNING or time.monotonic() > patience:
                return [f"{example['title_en']}: {refused}"]
            time.sleep(0.3)
            continue
        return [f"{example['title_en']}: {each}" for each in check(answer, example["expect"])]
