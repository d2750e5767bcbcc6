"""What the figures are held against."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.optimizing.jobs import Finished
from tests.benchmarks.optimizing.rounds import KINDS, Result

SLOWEST = 0.98
SMALL, HARDLY_SLOWER = 0.55, 0.95
FIRST_SAFE = 60.0


@dataclass(frozen=True)
class Aim:
    """A figure and its aim; `least` says that it is to be no less, else no more."""

    zh: str
    en: str
    value: float | None
    aim: float
    least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the aim is reached; a figure that could not be taken misses it."""
        if self.value is None or math.isnan(self.value):
            return False
        return self.value >= self.aim if self.least else self.value <= self.aim


def aims(results: Sequence[Result]) -> list[Aim]:
    """Every aim over all results."""
    done = [result for result in results if not result.why]
    speeds = [speed(result, "fastest") for result in done]
    small = [_is_small(result) for result in done]
    held = [result.holds(kind) for result in done for kind in KINDS]
    found = [
        Aim("最快变体的 CPU 提速（几何平均）", "CPU time, geometric mean", mean(speeds), 1.6, least=True),
        Aim("其中最慢的一个", "the least of them", min(speeds, default=None), SLOWEST, least=True),
        Aim("不超出误差上限的占比", "share within the bound", _share(held), 1.0, least=True),
        Aim(
            f"最小变体 ≤ {SMALL} 倍体积且 ≥ {HARDLY_SLOWER} 倍速度的占比",
            f"smallest: share at ≤ {SMALL} × size and ≥ {HARDLY_SLOWER} × speed",
            _share(small),
            0.9,
            least=True,
        ),
    ]
    if any(result.again for result in done):
        same = agreeing(done)
        found.append(Aim("重复运行结果一致的占比", "repeated runs that agree", same, 0.95, least=True))
    for result in done:
        found += _of_job(result)
    return found


def _of_job(result: Result) -> list[Aim]:
    """Time and memory of one model's jobs: the worse of the two."""
    name = result.subject.name
    seconds = max(job.seconds for job in result.jobs.values())
    peak = max(job.peak for job in result.jobs.values())
    base = result.jobs["fastest"].report.baseline
    found = []
    if result.subject.limit:
        found.append(Aim(f"{name}：任务秒数", f"{name}: seconds of the job", seconds, result.subject.limit))
    if base is not None:
        allowed = (3 * base.size + 500e6) / 1e6
        found.append(Aim(f"{name}：任务内存 MB", f"{name}: memory of the job, MB", peak / 1e6, allowed))
    first = result.jobs["fastest"].report.first_safe
    if first is not None:
        found.append(
            Aim(f"{name}：首个安全结果秒数", f"{name}: seconds to the first safe answer", first, FIRST_SAFE)
        )
    return found


def speed(result: Result, kind: str) -> float:
    """CPU time of the model as it came over that of our pick, measured side by side."""
    cpu = result.ours(kind).cpu
    return cpu.value if cpu else math.nan


def mean(ratios: Sequence[float]) -> float | None:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def agreeing(results: Sequence[Result]) -> float | None:
    """The share of repeated searches that came to what most of their model's searches came to."""
    same = whole = 0
    for result in results:
        if not result.again:
            continue
        counted = Counter(pick_of(job) for job in (result.jobs["fastest"], *result.again))
        same += max(counted.values())
        whole += sum(counted.values())
    return same / whole if whole else None


def pick_of(job: Finished) -> str:
    """What a search came to, by name."""
    return job.picked.id if job.picked else job.report.outcome


def _is_small(result: Result) -> bool:
    found, ratio = result.ours("smallest"), speed(result, "smallest")
    return found.size <= SMALL and ratio >= HARDLY_SLOWER and result.holds("smallest")


def _share(marks: Sequence[bool]) -> float | None:
    return sum(marks) / len(marks) if marks else None
