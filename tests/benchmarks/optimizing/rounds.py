"""All of it: the jobs, the contenders side by side, and what is kept of them between two runs."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deployer.errors import DeployerError
from deployer.optimizer.report import Interval
from tests.benchmarks.optimizing import beside, fixed, jobs, olive
from tests.benchmarks.optimizing.beside import Contender, Seen
from tests.benchmarks.optimizing.jobs import Finished, JobFailed
from tests.benchmarks.optimizing.subjects import Subject

KINDS = ("fastest", "smallest")
OURS = {kind: f"optimize, {kind}" for kind in KINDS}


@dataclass(frozen=True)
class Effort:
    """How much is done: `seeds` searches of each quick model, `peers` to compare with Olive."""

    work: Path
    seeds: int = 3
    peers: bool = True
    seconds: float = 240.0
    confirm: bool = True


@dataclass
class Result:
    """All that was found for one model."""

    subject: Subject
    jobs: dict[str, Finished] = field(default_factory=dict)
    again: list[Finished] = field(default_factory=list)
    """The fastest with other seeds."""
    seen: dict[str, Seen] = field(default_factory=dict)
    control: Interval | None = None
    why: str = ""

    def ours(self, kind: str) -> Seen:
        """What was measured of our pick; where the model stays as it came, nothing changes."""
        same = Interval(1.0, 1.0, 1.0)
        return self.seen.get(OURS[kind]) or Seen(OURS[kind], 1.0, same, None)

    def holds(self, kind: str) -> bool:
        """Whether our pick is within the bound; the model as it came always is."""
        return OURS[kind] not in self.seen or self.seen[OURS[kind]].holds


class _Kept(msgspec.Struct):
    """What `compare` found, as it lies in the folder."""

    seen: list[Seen]
    control: Interval | None


def run(
    subjects: Sequence[Subject], effort: Effort, say: Callable[[str], None] | None = None
) -> list[Result]:
    """Every model in turn; a job that fails is told in its result."""
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    found = []
    for subject in subjects:
        result = Result(subject)
        found.append(result)
        try:
            _one(result, effort, say)
        except (JobFailed, DeployerError) as error:
            result.why = str(error)[:160]
            say(f"{subject.name}: {error}")
    return found


def _one(result: Result, effort: Effort, say: Callable[[str], None]) -> None:
    name = result.subject.name
    for kind in KINDS:
        say(f"{name}: {kind}")
        result.jobs[kind] = _job(result.subject, kind, 0, effort)
    if result.subject.quick:
        for seed in range(1, effort.seeds):
            say(f"{name}: fastest again, seed {seed}")
            result.again.append(_job(result.subject, "fastest", seed, effort))
    say(f"{name}: side by side")
    kept = _beside(result, effort)
    result.seen = {one.name: one for one in kept.seen}
    result.control = kept.control


def _job(subject: Subject, kind: str, seed: int, effort: Effort) -> Finished:
    return jobs.run(subject, kind, effort.work, seed=seed, seconds=effort.seconds, confirm=effort.confirm)


def _beside(result: Result, effort: Effort) -> _Kept:
    """Measured, or read where an earlier run measured it."""
    job = result.jobs["fastest"]
    path = job.work / ("beside-peers.json" if effort.peers else "beside.json")
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    ours = [Contender(OURS[kind], one.graphs, seconds=one.seconds) for kind, one in result.jobs.items()]
    contenders = [one for one in ours if one.graphs]
    contenders += fixed.contenders(job)
    if effort.peers:
        contenders += olive.contenders(job)
    kept = _Kept(*beside.compare(job, contenders))
    path.write_bytes(msgspec.json.encode(kept))
    return kept
