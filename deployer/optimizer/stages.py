"""Steps of a search as child processes whose results are kept, so that a killed job goes on where it was.

Kept are results and named refusals, also a step that fails in itself: it would fail again, and cost as much.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployer.errors import DeployerError
from deployer.optimizer import worker
from deployer.optimizer.worker import RefusedInChild
from deployer.spec import Progress


class Stages:
    """Runs the functions of one job; each result is written down under its key before it is used."""

    def __init__(self, work: Path, read: tuple[Path, ...], tick: Progress, *, sandbox: bool = True) -> None:
        self.read, self.tick, self.sandbox = (*read, work), tick, sandbox
        # Children write into their own folder; what was found is written by us, beside it.
        self.results, self.space = work / "results", work / "space"
        self.results.mkdir(parents=True, exist_ok=True)
        self.space.mkdir(exist_ok=True)
        self.peak = 0

    def run(
        self,
        key: str,
        function: str,
        *,
        seconds: float = worker.SECONDS,
        sandbox: bool = True,
        **arguments: Any,
    ) -> dict[str, Any]:
        """The result of a step, from a child or from an earlier run; raises its refusal, also again."""
        path = self._path(key, [function, {k: str(v) for k, v in arguments.items()}])
        kept = _read(path)
        if kept is None:
            kept = self._do(function, seconds, sandbox and self.sandbox, arguments)
            if not _by_chance(kept):
                _write(path, kept)
        self.peak = max(self.peak, int(kept.get("peak", 0)))
        if "error" in kept:
            raise RefusedInChild(kept["error"]["code"], kept["error"]["facts"])
        result: dict[str, Any] = kept["result"]
        return result

    def _do(self, function: str, seconds: float, sandbox: bool, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            done = worker.run(
                f"deployer.optimizer.{function}",
                arguments,
                read=self.read,
                write=(self.space,),
                seconds=seconds,
                sandbox=sandbox,
                tick=self.tick,
            )
        except DeployerError as error:
            return {"error": {"code": error.code, "facts": _plain(error.facts)}}
        return {"result": done.result, "peak": done.peak, "seconds": round(done.seconds, 3)}

    def keep(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result made here and not in a child, kept in the same way; what it raises is not kept."""
        path = self._path(key, [])
        kept = _read(path)
        if kept is None:
            kept = {"result": make()}
            _write(path, kept)
        result: dict[str, Any] = kept["result"]
        return result

    def _path(self, key: str, what: list[Any]) -> Path:
        """Named by what was asked, so that another question never gets this answer; the key is for people."""
        digest = hashlib.sha256(json.dumps([key, what], sort_keys=True).encode()).hexdigest()[:16]
        return self.results / f"{re.sub(r'[^A-Za-z0-9._=+-]+', '_', key)[:60]}-{digest}.json"


def _by_chance(kept: dict[str, Any]) -> bool:
    """Whether a step was ended from outside, by a signal: another time it may well end otherwise."""
    return str(kept.get("error", {}).get("facts", {}).get("how", "")).startswith("signal")


def _write(path: Path, kept: dict[str, Any]) -> None:
    half = path.with_suffix(".half")
    half.write_text(json.dumps(kept), encoding="utf-8")
    half.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, str | int | float | bool | list) else str(v) for k, v in facts.items()}
