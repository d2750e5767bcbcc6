"""Steps of a search as child processes whose results are kept, so that a killed job goes on where it was."""

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
        self.work, self.read, self.tick, self.sandbox = work, read, tick, sandbox
        self.results = work / "results"
        self.results.mkdir(parents=True, exist_ok=True)
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
        path = self.results / f"{_file_name(key)}.json"
        kept = _read(path)
        if kept is None:
            kept = self._do(function, seconds, sandbox and self.sandbox, arguments)
            half = path.with_suffix(".half")
            half.write_text(json.dumps(kept), encoding="utf-8")
            half.replace(path)
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
                write=(self.work,),
                seconds=seconds,
                sandbox=sandbox,
                tick=self.tick,
            )
        except DeployerError as error:
            # Kept as well: what crashed once crashes again, and would cost as long again.
            return {"error": {"code": error.code, "facts": _plain(error.facts)}}
        return {"result": done.result, "peak": done.peak, "seconds": round(done.seconds, 3)}

    def keep(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result made here and not in a child, kept in the same way; what it raises is not kept."""
        path = self.results / f"{_file_name(key)}.json"
        kept = _read(path)
        if kept is None:
            kept = {"result": make()}
            half = path.with_suffix(".half")
            half.write_text(json.dumps(kept), encoding="utf-8")
            half.replace(path)
        result: dict[str, Any] = kept["result"]
        return result


def _file_name(key: str) -> str:
    """The key, where it can be a file's name; keys may name nodes and grow long."""
    plain = re.sub(r"[^A-Za-z0-9._=+-]+", "_", key)
    return plain if len(plain) < 100 else f"{plain[:80]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, str | int | float | bool | list) else str(v) for k, v in facts.items()}
