"""What is known of an optimisation: each trial with its figures or the cause of its refusal, and the pick.

The same report is watched while the job runs, kept beside its files, and shown on the page. Times are
seconds, sizes bytes; ratios of speed are CPU time of the baseline over that of the variant: above 1 is
faster.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from deployer.optimizer.objective import Objective

SCHEMA = 1
PHASES = ("inspect", "baseline", "build", "screen", "measure", "judge", "confirm", "certify")

Outcome = Literal["", "picked", "kept", "refused"]
"""Still open; a variant was picked; the model stays best as it is; nothing could be shown to hold."""

TrialState = Literal["waiting", "building", "built", "screened", "measured", "passed", "picked", "refused"]


class Interval(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Reason(msgspec.Struct, frozen=True):
    """Why something was refused: a stable code, and the cause in both languages."""

    code: str
    why_en: str
    why_zh: str


class Quality(msgspec.Struct, frozen=True):
    """How right a variant is on some rows; `metric` and `score` are empty without labels."""

    rows: int
    basis: Literal["labels", "agreement", "lossless"]
    agreement: Interval | None = None
    """With the answers of the model as it came, in 0..1."""
    metric: str = ""
    score: Interval | None = None
    baseline: float | None = None
    difference: Interval | None = None
    """Score less the baseline's; `low` is what the bound is held against."""
    harmed: float | None = None
    """At most this share of rows is answered worse (95 %, exact)."""
    level: float = 0.95
    """Of the bound; candidates after the first need more."""


class Trial(msgspec.Struct):
    """One candidate: which recipe for which graph, and what came of it."""

    id: str
    graphs: dict[str, str]
    keep: dict[str, list[str]] = {}
    """Nodes left in float, by graph."""
    state: TrialState = "waiting"
    why: Reason | None = None
    size: int = 0
    speed: Interval | None = None
    milliseconds: float | None = None
    """CPU time of the graphs' runs for one row, one thread."""
    screened: Quality | None = None
    chosen: Quality | None = None
    judged: Quality | None = None
    seconds: float = 0.0
    notes: dict[str, Any] = {}


class Step(msgspec.Struct):
    """One phase of the job."""

    name: str
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    seconds: float | None = None


class DataFacts(msgspec.Struct, frozen=True):
    """The rows that were used; the rows themselves are nowhere in a report."""

    name: str
    digest: str
    rows: int
    used: int
    labelled: bool
    choosing: int
    judged: int
    metric: str = ""
    source: Literal["own", "listing", "examples"] = "own"


class Baseline(msgspec.Struct, frozen=True):
    """The model as it came."""

    size: int
    milliseconds: float
    score: Interval | None = None
    shares: dict[str, float] = {}
    """Of the CPU time, by graph."""


class Confirmation(msgspec.Struct, frozen=True):
    """What was seen of the pick on the target itself, side by side with the baseline."""

    runtime: str
    latency_ms: dict[str, float]
    """p50 and p95 of a request."""
    baseline_latency_ms: dict[str, float]
    cpu: Interval | None
    """Processor time of the whole server, baseline over variant."""
    memory: int
    baseline_memory: int
    cold_start: float
    baseline_cold_start: float
    throughput: float
    baseline_throughput: float
    same_answers: float
    """Share of requests that the target answered as the search had seen it."""
    requests: int = 0
    control: Interval | None = None
    """The same for the baseline's twin."""


class Pick(msgspec.Struct, frozen=True):
    """The variant that was picked, and where it lies."""

    trial: str
    folder: str
    graphs: dict[str, str]
    """File in the folder by role, for the graphs that differ."""
    files: dict[str, str]
    """sha256 by path of every file that differs from the model as it came, the certificate among them."""
    options: dict[str, Any] = {}
    """Options that differ, such as max_batch."""
    dropped: list[str] = []
    """Files of the model as it came that held weights of graphs which were replaced."""


class Report(msgspec.Struct):
    """All that is known of a job."""

    device: str
    objective: Objective
    seed: int = 0
    schema: int = SCHEMA
    model: dict[str, Any] = {}
    """name, version, task and digest of the model; `graphs` holds the architecture by role."""
    steps: list[Step] = []
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    note: str = ""
    data: DataFacts | None = None
    baseline: Baseline | None = None
    control: Interval | None = None
    """The same file against itself: no difference inside this band is one."""
    trials: list[Trial] = []
    outcome: Outcome = ""
    why: Reason | None = None
    pick: Pick | None = None
    confirmation: Confirmation | None = None
    certificate: dict[str, Any] = {}
    peak_memory: int = 0
    """Bytes that any step held at most."""
    first_safe: float | None = None
    """Seconds until the first variant that holds the bound was known."""
    versions: dict[str, str] = {}

    @property
    def phase(self) -> str:
        """The step that runs, or the last one."""
        running = [step.name for step in self.steps if step.state == "running"]
        return running[0] if running else (self.steps[-1].name if self.steps else "")


def new(device: str, objective: Objective, seed: int) -> Report:
    """A report of a job that has not begun."""
    return Report(device, objective, seed, steps=[Step(name) for name in PHASES])


def to_plain(report: Report) -> dict[str, Any]:
    """As JSON types."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def from_plain(plain: dict[str, Any]) -> Report:
    """Read again what `to_plain` gave."""
    return msgspec.convert(plain, Report)


def save(report: Report, path: Path) -> None:
    """Write it whole or not at all."""
    half = path.with_suffix(".half")
    half.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    half.replace(path)


def load(path: Path) -> Report | None:
    """The report that lies there; None when there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError):
        return None
