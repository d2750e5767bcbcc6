"""The search for the best variant: cheap looks first, dear ones for what is left, the judged rows last.

1. inspect: which graphs there are, and which recipes are worth trying on each
2. baseline: the model's own answers to the rows, and real inputs of its graphs
3. build: a candidate for each recipe, looked at on a few rows; what cannot be built or loaded is refused
   with its cause, what is broken is given up
4. screen: what is right but coarse gets gentler siblings
5. measure: what is left side by side, against the baseline and its twin
6. judge: in the objective's order, first on the rows to choose by, then on the rows held back for this
7. confirm: the first that holds, on its target, in real servers
8. certify

The decisions between the steps depend on the steps' results alone, and those are kept: a job that was
killed comes to the same state again in no time.
"""

import hashlib
import itertools
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from deployer.optimizer import certificate, folders, objective, pick, report
from deployer.optimizer.report import Baseline, Interval, Pick, Quality, Reason, Report, Trial
from deployer.optimizer.stages import Stages
from deployer.optimizer.workbench import Job, Workbench, groups, own_speed, refuse, set_speed, sha256

__all__ = ["Job", "optimize"]

SMALL_SHARE = 0.02  # of time and of size: graphs below it are left as they are
MOST_JUDGED = 4
LEAST_SHARE = 10  # no recipe makes graphs smaller than a tenth: four bits of 32, and their scales
COARSE = 0.999  # rightness below which a static variant gets gentler siblings
PARALLEL = min(2, os.cpu_count() or 1)  # builds and looks at once; nothing is timed meanwhile
BUILT_BY, SCREENED_BY, CHOSEN_BY, SWEPT_BY = 0.45, 0.55, 0.85, 0.95  # shares of the time to search
_NO_EVIDENCE = frozenset(
    {"bound-missed", "not-enough-rows", "labels-needed", "disagrees", "no-time", "not-confirmed"}
)
_WEIGHTS = dict(zip(report.PHASES, (1, 12, 28, 17, 14, 16, 10, 2), strict=True))

NOTED_EVERY = 2.0  # seconds
FIRST_ONES = 6  # trials that are worked at however late it is: without any there would be no answer
MILD = 0.5  # of the bound: how far a candidate may probably miss it and still be judged in its turn

Watch = Callable[[Report], None]


def unwatched(_: Report) -> None:
    """Nobody watches."""


def optimize(job: Job, watch: Watch = unwatched) -> Report:
    """Search, and leave the picked variant in job.out; see Report.outcome.

    Raises ObjectiveRefused, NothingToOptimize, BaselineFailed and the data's refusals before variants are
    made, and whatever `watch` raises, which is how a job is cancelled.
    """
    try:
        return _Search(job, watch).go()
    except Unwanted as unwanted:
        raise unwanted.cause from None


class Unwanted(BaseException):
    """What a watcher raised, on its way out past everybody who refuses a trial for an error."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(cause)
        self.cause = cause


class _Search:
    def __init__(self, job: Job, watch: Watch) -> None:
        self.job, self.watch = job, watch
        self.report = report.new(job.device, job.objective, job.seed)
        self._told = self._noted = 0.0
        self._telling = threading.Lock()
        self._ended: BaseException | None = None
        self.attempts = 0
        self._searching = 0.0  # seconds until there is something to search among
        objective.check_for(job.device, job.objective, confirmed=job.runtime is not None)
        job.work.mkdir(parents=True, exist_ok=True)
        # A table names files that lie beside it.
        data = job.data.parent if job.data and job.data.is_file() else job.data
        read = (job.model_dir, data) if data else (job.model_dir,)
        self.stages = Stages(job.work, read, self._tick, sandbox=job.sandbox)
        # A job that was killed goes on with the time that it had left.
        self._clock = job.work / "elapsed"
        self.began = time.monotonic() - _read_seconds(self._clock)

    def go(self) -> Report:
        """All phases in order."""
        with self._phase("inspect"):
            plans = self._inspect()
        with self._phase("baseline"):
            self.report.data, self.report.baseline = self.bench.collect()
        self._searching = time.monotonic() - self.began
        with self._phase("build"):
            self._build(plans)
        with self._phase("screen"):
            self._screen()
        with self._phase("measure"):
            self._measure()
        self._decide()
        self._say()
        report.save(self.report, self.job.work / "report.json")
        return self.report

    @property
    def baseline(self) -> Baseline:
        """The model as it came, once it was looked at."""
        assert self.report.baseline is not None
        return self.report.baseline

    def _in_state(self, *states: str) -> list[Trial]:
        return [trial for trial in self.report.trials if trial.state in states]

    # Phases

    def _inspect(self) -> dict[str, Any]:
        self.bench = Workbench(self.job, self.stages)
        objective.check(self.job.objective, smallest_size=sum(self.bench.sizes.values()) // LEAST_SHARE)
        manifest = folders.read_manifest(self.job.model_dir)
        files = {str(manifest["files"][role]): sha256(path) for role, path in self.bench.graphs.items()}
        self.report.model = {**self.job.model, "task": str(manifest.get("task") or "tensors"), "files": files}
        self.report.versions = _versions() | self.bench.prepare_device()
        found = self.bench.plan()
        self.report.model["summary"] = found["summary"]
        plans: dict[str, Any] = found["graphs"]
        return plans

    def _build(self, plans: dict[str, Any]) -> None:
        """A trial for each recipe on each graph that matters, the likeliest first."""
        ranked: list[tuple[int, Trial]] = []
        for role, told in plans.items():
            share = max(self.baseline.shares.get(role, 0.0), told["size"] / max(1, self.baseline.size))
            if share < SMALL_SHARE or not self.bench.collected["feeds"].get(role):
                continue
            for rank, recipe in enumerate(told["recipes"]):
                if self.job.data or recipe["lossless"]:
                    notes = {key: recipe[key] for key in ("zh", "en", "precision", "lossless", "calibrates")}
                    id = recipe["id"]
                    ranked.append((rank, Trial(f"{role}:{id}", {role: id}, notes=notes)))
        # In turn for each graph, so that none goes without when the time runs out.
        self.report.trials = [trial for _, trial in sorted(ranked, key=lambda each: each[0])]
        self._each(self.report.trials, self._try, BUILT_BY)

    def _screen(self) -> None:
        """What looked right on a few rows is there; what is coarse gets gentler siblings."""
        siblings = []
        for role in self.bench.graphs:
            own = [t for t in self._in_state("screened") if role in t.graphs and t.notes.get("calibrates")]
            best = max(own, key=_rightness, default=None)
            if best is not None and _rightness(best) < COARSE and not self._late(SCREENED_BY):
                siblings += self.bench.gentler(best)
        self.report.trials += siblings
        self._each(siblings, self._try, SCREENED_BY, first=0)

    def _try(self, trial: Trial) -> None:
        """Build a trial and look at it on a few rows; one that is broken, not merely worse, is given up."""
        self.bench.build(trial)
        if trial.state == "built":
            self.bench.screen(trial)
        why = pick.broken(trial.screened) if trial.state == "screened" and trial.screened else None
        if why is not None:
            refuse(trial, why)

    def _measure(self) -> None:
        """Time what is left, each graph's variants side by side with the baseline and its twin."""
        if not self.bench.timed:
            for trial in self._in_state("screened"):
                trial.state = "measured"
            return
        for number, role in enumerate(self.bench.graphs):
            self._say(number, len(self.bench.graphs), role)
            trials = [t for t in self._in_state("screened") if role in t.graphs]
            for group in groups(trials, self.baseline.size):
                control = self.bench.time(role, group, self.baseline.shares.get(role, 0.0))
                self.report.control = _wider(self.report.control, control)
                self._say(number, len(self.bench.graphs), role)
        self.report.baseline = self.bench.as_on_target(self.baseline)
        for trial in self._in_state("screened"):
            set_speed(trial, own_speed(trial), self.baseline)

    def _decide(self) -> None:
        """Judge candidates until one holds and is confirmed; then certify it."""
        for trial in self._in_turn(self._candidates()):
            with self._phase("judge"):
                quality = self._judge(trial)
            if quality is None:
                continue
            with self._phase("confirm"):
                batches = {} if self._late(SWEPT_BY) else self.bench.batches(trial)
                options = _best_batch(batches)
                seen = self.bench.confirm(trial, options)
                why = trial.why or pick.decide(
                    quality,
                    self.job.objective,
                    size=trial.size,
                    speed=trial.speed,
                    milliseconds=trial.milliseconds,
                    seen=seen,
                )
            if why is None:
                self.report.confirmation = seen
                with self._phase("certify"):
                    self._certify(trial, quality, options, batches)
                return
            refuse(trial, why)
        self._conclude()

    # Candidates

    def _candidates(self) -> Iterator[Trial]:
        """What would be a gain, best first; combinations where several graphs have a gain."""
        measured = self._in_state("measured")
        if len({role for trial in measured for role in trial.graphs}) > 1:
            # Alone each may be too little, or leave the model too large: together they are looked at.
            winners = self._winners([trial for trial in measured if self._helps(trial)])
            measured = [self._combine(parts) for parts in _subsets(winners)]
        yield from self._ordered([trial for trial in measured if self._is_gain(trial)])

    def _ordered(self, trials: list[Trial]) -> list[Trial]:
        return pick.order(trials, self.baseline, self.job.objective, self.report.control)

    def _helps(self, trial: Trial) -> bool:
        """Whether the one graph that a trial changes is better than it was, by itself."""
        speed = next(iter(own_speed(trial).values())) if self.bench.timed else None
        alone = msgspec.structs.replace(trial, speed=speed)
        why = pick.gain(alone, self.baseline, self.job.objective, self.report.control)
        if why is not None:
            refuse(trial, why)
        return why is None

    def _is_gain(self, trial: Trial) -> bool:
        why = pick.gain(trial, self.baseline, self.job.objective, self.report.control)
        why = why or pick.over_bounds(trial.size, trial.milliseconds, None, self.job.objective)
        if why is not None:
            refuse(trial, why)
        return why is None

    def _winners(self, gains: list[Trial]) -> list[Trial]:
        """For each graph the first that looks right on the rows to choose by."""
        winners = []
        for role in self.bench.graphs:
            own = [trial for trial in gains if role in trial.graphs]
            ordered = self._ordered(own)
            winners += list(itertools.islice((t for t in ordered if self._looks_right(t)), 1))
        return winners

    def _combine(self, parts: Sequence[Trial]) -> Trial:
        """One trial of several graphs' variants."""
        if len(parts) == 1:
            return parts[0]
        trial = Trial(
            " + ".join(part.id for part in parts),
            {role: recipe for part in parts for role, recipe in part.graphs.items()},
            {role: nodes for part in parts for role, nodes in part.keep.items()},
            size=self.baseline.size - sum(self.baseline.size - part.size for part in parts),
            notes={
                "zh": "、".join(part.notes["zh"] for part in parts),
                "en": ", ".join(part.notes["en"] for part in parts),
                "lossless": all(part.notes.get("lossless") for part in parts),
            },
        )
        trial.state = "measured"
        if self.bench.timed:
            own = {role: speed for part in parts for role, speed in own_speed(part).items()}
            set_speed(trial, own, self.baseline)
        self.report.trials.append(trial)
        return trial

    # Judgement

    def _in_turn(self, candidates: Iterator[Trial]) -> Iterator[Trial]:
        """Candidates in their order, but last those that the judged rows will probably not bear out."""
        doubtful = []
        for trial in candidates:
            with self._phase("judge"):
                right = self._looks_right(trial)
            mild = -MILD * self.job.objective.max_drop
            if right and (trial.chosen is None or self._likelihood(trial) >= mild):
                yield trial
            elif right:
                doubtful.append(trial)
        yield from sorted(doubtful, key=self._likelihood, reverse=True)

    def _likelihood(self, trial: Trial) -> float:
        assert trial.chosen and self.report.data
        return pick.likelihood(trial.chosen, self.report.data.judged, self.job.objective)

    def _looks_right(self, trial: Trial) -> bool:
        """Whether it may hold, by the rows to choose by; nothing is claimed from those."""
        if trial.chosen is not None or not self.job.data:
            return True
        if self._late(CHOSEN_BY):
            refuse(trial, _NO_TIME)
            return False
        trial.chosen = self.bench.evaluate(trial, "choosing", "choose")
        why = pick.promising(trial.chosen, self.job.objective) if trial.chosen else None
        if why is not None:
            refuse(trial, why)
        self._say()
        return trial.state != "refused"

    def _judge(self, trial: Trial) -> Quality | None:
        """Hold a candidate against the rows that nothing was chosen by; None when it does not hold."""
        if not self.job.data:
            return trial.screened
        if self.attempts >= MOST_JUDGED:
            refuse(trial, Reason("not-judged", "better ones were judged before it", "在它之前已评判过更好的"))
            return None
        self.attempts += 1
        trial.judged = self.bench.evaluate(trial, "judged", "judge", level=pick.level(self.attempts))
        why = pick.holds(trial.judged, self.job.objective) if trial.judged else trial.why
        if why is not None:
            refuse(trial, why)
            return None
        trial.state = "passed"
        if self.report.first_safe is None:
            self.report.first_safe = round(time.monotonic() - self.began, 1)
        return trial.judged

    # The end

    def _certify(
        self, trial: Trial, quality: Quality, options: dict[str, Any], batches: dict[str, float]
    ) -> None:
        """Write the variant's files and its certificate into job.out."""
        files = self.bench.hand_over(trial)
        trial.state = "picked"
        made = certificate.make(self.report, trial, quality, files, options=options, batches=batches)
        text = certificate.encode(made)
        (self.job.out / certificate.FILE_NAME).write_bytes(text)
        self.report.certificate = made
        self.report.pick = Pick(
            trial=trial.id,
            folder=str(self.job.out),
            graphs={role: self.bench.graph(trial, role).name for role in trial.graphs},
            files={**files, certificate.FILE_NAME: hashlib.sha256(text).hexdigest()},
            options=options,
            dropped=self.bench.dropped(trial),
        )
        self.report.outcome = "picked"

    def _conclude(self) -> None:
        """Nothing was picked: say whether the model is best as it is, or the evidence was not enough."""
        missed = [t for t in self._in_state("refused") if t.why and t.why.code in _NO_EVIDENCE]
        goal, base = self.job.objective, self.baseline
        broken = pick.over_bounds(base.size, base.milliseconds, None, goal)
        if broken is not None:
            en = f"the model as it is breaks the bound, and no variant keeps all bounds: {broken.why_en}"
            zh = f"模型原样已超出限制，也没有变体能守住全部限制：{broken.why_zh}"
            self.report.outcome, self.report.why = "refused", Reason(broken.code, en, zh)
            return
        if not self.job.data:
            self.report.outcome, self.report.why = "kept", _NO_DATA
            return
        if not missed:
            self.report.outcome, self.report.why = "kept", _BEST
            return
        best = self._ordered(missed)[0]
        assert best.why
        gain = f"{best.speed.value:.2f} ×" if best.speed else "–"
        en = f"the best candidate ({best.id}, {gain}) does not hold: {best.why.why_en}"
        zh = f"最好的候选（{best.id}，{gain}）不成立：{best.why.why_zh}"
        self.report.outcome, self.report.why = "refused", Reason(best.why.code, en, zh)

    # Many at once, time, and telling

    def _each(
        self, trials: list[Trial], work: Callable[[Trial], None], until: float, first: int = FIRST_ONES
    ) -> None:
        """Do the same to all, a few at once; what the time does not reach is refused."""
        done = itertools.count(1)

        def one(number: int, trial: Trial) -> None:
            if self._ended is not None:
                raise Unwanted(self._ended)
            if number >= first and self._late(until):
                refuse(trial, _NO_TIME)
            else:
                work(trial)
            self._say(next(done), len(trials), trial.id)

        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(one, range(len(trials)), trials))

    def _late(self, share: float) -> bool:
        """Whether this share of the time for the search itself is over; a slow baseline leaves it some."""
        left = max(self.job.seconds - self._searching, self.job.seconds / 2)
        return time.monotonic() - self.began - self._searching > share * left

    def _phase(self, name: str) -> "_Phase":
        return _Phase(self, next(step for step in self.report.steps if step.name == name))

    def _tick(self, done: int, total: int, note: str = "") -> None:
        """A child still works; in parallel they speak for one another, so that a cancel ends all."""
        if self._ended is not None:
            raise Unwanted(self._ended)
        if time.monotonic() - self._told >= 0.25:
            self._say(self.report.done, self.report.total, self.report.note or note)

    def _say(self, done: int = 0, total: int = 0, note: str = "") -> None:
        with self._telling:
            self._told = time.monotonic()
            elapsed = self._told - self.began
            if self._told - self._noted > NOTED_EVERY:
                self._noted = self._told
                self._clock.write_text(f"{elapsed:.1f}")
            self.report.done, self.report.total, self.report.note = done, total, note
            self.report.seconds = round(elapsed, 1)
            self.report.seconds_left = self._seconds_left(elapsed)
            self.report.peak_memory = self.stages.peak
            try:
                self.watch(self.report)
            except BaseException as error:
                self._ended = error
                raise Unwanted(error) from error

    def _seconds_left(self, elapsed: float) -> float | None:
        """By the share of the phases that are over; before the baseline nothing is known."""
        over = sum(_WEIGHTS[step.name] for step in self.report.steps if step.state == "done")
        if self.report.outcome or over < _WEIGHTS["inspect"] + _WEIGHTS["baseline"]:
            return None
        return round(elapsed * (100 - over) / over, 0)


class _Phase:
    """Marks a step as running, then as done with its seconds; a phase may be entered again."""

    def __init__(self, search: _Search, step: report.Step) -> None:
        self.search, self.step = search, step

    def __enter__(self) -> None:
        self.step.state, self.began = "running", time.monotonic()
        self.search._say()

    def __exit__(self, kind: object, *_: object) -> None:
        self.step.state = "failed" if kind else "done"
        self.step.seconds = round((self.step.seconds or 0) + time.monotonic() - self.began, 2)


_NO_TIME = Reason("no-time", "the time for the job ran out", "任务的时间用完了")
_NO_DATA = Reason(
    "no-data",
    "no clean-up was a gain; without data nothing else may be offered",
    "各种无损整理都没有收益；没有数据就不能提供有损的变体",
)
_BEST = Reason(
    "best-as-it-is",
    "every candidate was slower, larger or wrong: the model is best as it is",
    "每个候选都更慢、更大或结果不对：模型原样最好",
)


def _read_seconds(path: Path) -> float:
    try:
        return max(0.0, float(path.read_text()))
    except (OSError, ValueError):
        return 0.0


def _rightness(trial: Trial) -> float:
    """How right a few rows say that it is, to compare variants of one graph by."""
    assert trial.screened
    agreed = trial.screened.agreement.value if trial.screened.agreement else 0.0
    lost = min(0.0, trial.screened.difference.value) if trial.screened.difference else 0.0
    return agreed + lost


def _wider(one: Interval | None, other: Interval | None) -> Interval | None:
    if one is None or other is None:
        return one or other
    return Interval((one.value + other.value) / 2, min(one.low, other.low), max(one.high, other.high))


def _subsets(parts: list[Trial]) -> Iterator[tuple[Trial, ...]]:
    for count in range(len(parts), 0, -1):
        yield from itertools.combinations(parts, count)


def _best_batch(milliseconds: dict[str, float]) -> dict[str, Any]:
    """Options for the server: the fewest rows within 3 % of the best; none joined when one row is best."""
    if not milliseconds:
        return {}
    best = min(milliseconds.values())
    rows = min(int(n) for n, spent in milliseconds.items() if spent <= 1.03 * best)
    return {"batching": False} if rows == 1 else {"max_batch": rows}


def _versions() -> dict[str, str]:
    found = {}
    for name in ("onnxruntime", "onnx", "numpy", "onnxslim", "opc-market"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "python": platform.python_version(), "machine": platform.machine(), "cpu": _processor()}


def _processor() -> str:
    """The processor's name, as Linux knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
