"""Variants of one model side by side, whoever made them: the same rows, the same metric, timed in turns."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deployer.errors import DeployerError
from deployer.optimizer import folders, worker
from deployer.optimizer.report import Interval, Quality
from tests.benchmarks.optimizing.jobs import MAX_DROP, Finished

BUDGET = 20.0  # seconds of timing for each graph


@dataclass(frozen=True)
class Contender:
    """A variant: its graphs by role, or why there is none; `seconds` is what making it took."""

    name: str
    graphs: Mapping[str, Path]
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Seen:
    """What was measured of a contender; ratios are to the model as it came, `cpu` above 1 is faster."""

    name: str
    size: float
    cpu: Interval | None
    quality: Quality | None
    why: str = ""
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the loss stays within the bound on the judged rows, as the optimiser decides it."""
        quality = self.quality
        if quality is None:
            return False
        if quality.difference is not None:
            return quality.difference.low >= -MAX_DROP
        agreed = quality.agreement
        return agreed is not None and agreed.value >= 0.98 and agreed.low >= 0.95

    @property
    def right(self) -> float | None:
        """The score, or without labels the agreement with the model as it came."""
        if self.quality is None:
            return None
        found = self.quality.score or self.quality.agreement
        return found.value if found else None


def compare(job: Finished, contenders: Sequence[Contender]) -> tuple[list[Seen], Interval | None]:
    """All contenders for the model of a job, by its judged rows and its recorded inputs; and the control."""
    base = job.base
    graphs = folders.graphs_of(base)
    whole = sum(folders.size_of(path) for path in graphs.values())
    cpu, control = _timed(job, graphs, [one for one in contenders if one.graphs])
    seen = []
    for one in contenders:
        if one.why or not one.graphs:
            seen.append(Seen(one.name, 1.0, None, None, one.why, one.seconds))
            continue
        changed = sum(folders.size_of(path) for path in one.graphs.values())
        kept = sum(folders.size_of(path) for role, path in graphs.items() if role not in one.graphs)
        quality, why = _judged(job, base, one)
        seen.append(Seen(one.name, (changed + kept) / whole, cpu.get(one.name), quality, why, one.seconds))
    return seen, control


def judge(job: Finished, graphs: Mapping[str, Path], side: str, place: Path) -> Quality:
    """How right the model is with other graphs, on one side of the job's rows; raises DeployerError."""
    base = job.base
    folder = folders.lay_out(base, place, graphs, {})
    baseline = job.report.data
    assert baseline is not None
    arguments: dict[str, Any] = {
        "folder": folder,
        "work": job.space,
        "side": side,
        "most": 100_000,
        "task": str(job.report.model["task"]),
        "labelled": baseline.labelled,
        "limit": MAX_DROP,
        "level": 0.95,
        "seed": 1,
    }
    done = _child("deployer.optimizer.evaluate:run", arguments, job)
    return msgspec.convert(done["quality"], Quality)


def _judged(job: Finished, base: Path, one: Contender) -> tuple[Quality | None, str]:
    place = job.work / "beside" / one.name.replace(" ", "-")
    try:
        return judge(job, one.graphs, "judged", place), ""
    except DeployerError as error:
        return None, _short(error)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _timed(
    job: Finished, graphs: Mapping[str, Path], contenders: Sequence[Contender]
) -> tuple[dict[str, Interval], Interval | None]:
    """Speed of each contender, its graphs weighed by their share of the time; and the widest control."""
    assert job.report.baseline is not None
    shares = job.report.baseline.shares
    found: dict[str, dict[str, Interval]] = {one.name: {} for one in contenders}
    controls: list[Interval] = []
    for role, path in graphs.items():
        variants = {one.name: str(one.graphs[role]) for one in contenders if role in one.graphs}
        if not variants or not shares.get(role):
            continue
        ratios, control = _role(job, role, path, variants)
        controls.append(control)
        for name, interval in ratios.items():
            found[name][role] = interval
    whole = {
        one.name: _weighed(found[one.name], shares)
        for one in contenders
        if set(found[one.name]) >= {role for role in one.graphs if shares.get(role)}
    }
    return whole, max(controls, key=lambda one: one.high - one.low, default=None)


def _role(
    job: Finished, role: str, base: Path, variants: Mapping[str, str]
) -> tuple[dict[str, Interval], Interval]:
    """Ratios of one graph's variants; those that ONNX Runtime refuses are left out."""
    arguments: dict[str, Any] = {
        "base": base,
        "variants": {name: path for name, path in variants.items() if loads(Path(path))},
        "feeds": job.space / "feeds",
        "role": role,
        "budget": BUDGET,
    }
    done = _child("deployer.optimizer.timing:run", arguments, job)
    return {name: Interval(*ratio) for name, ratio in done["ratios"].items()}, Interval(*done["control"])


def loads(graph: Path) -> bool:
    """Whether ONNX Runtime opens a graph."""
    import onnxruntime

    from deployer.server.model import session_options

    try:
        onnxruntime.InferenceSession(str(graph), session_options(1), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def _weighed(own: Mapping[str, Interval], shares: Mapping[str, float]) -> Interval:
    def whole(pick: str) -> float:
        spent = sum(s / getattr(own[role], pick) if role in own else s for role, s in shares.items())
        return 1 / spent

    return Interval(whole("value"), whole("low"), whole("high"))


def _child(function: str, arguments: dict[str, Any], job: Finished) -> dict[str, Any]:
    result: dict[str, Any] = worker.run(function, arguments, write=(job.work,), sandbox=False).result
    return result


def _short(error: DeployerError) -> str:
    why = str(error.facts.get("why") or error.facts.get("how") or "")
    return f"{error.code}: {why}"[:120].strip()
