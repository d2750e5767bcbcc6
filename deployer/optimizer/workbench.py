"""What is done to single trials: built, screened, timed, held against rows, confirmed. Decides nothing.

Each step is a child process whose result is kept (`stages`); a step that is refused or crashes refuses the
trial, with the cause, and nothing else.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from deployer import devices
from deployer.errors import DeployerError
from deployer.optimizer import confirm, folders
from deployer.optimizer.errors import BaselineFailed, WorkerFailed
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Baseline, Confirmation, DataFacts, Interval, Quality, Reason, Trial
from deployer.optimizer.stages import Stages
from deployer.runtimes import Runtime

SCREEN_ROWS, SCREEN_SECONDS = 48, 6.0
ALL = 100_000  # rows: as many as there are
SAME_INPUTS = 16
CONFIRM_REQUESTS = 24
KEEPS = (0.06, 0.15, 0.3)  # shares of the nodes that go back to float where all in int8 is too coarse
TIMING, BATCHING, CONFIRMING = 12.0, 5.0, 12.0  # seconds at most


@dataclass(frozen=True)
class Job:
    """What to optimise, for what, and where to work; `seconds` is what it may take, roughly."""

    model_dir: Path
    work: Path
    out: Path
    data: Path | None = None
    device: str = "cpu"
    objective: Objective = field(default_factory=Objective)
    seed: int = 0
    seconds: float = 240.0
    model: dict[str, Any] = field(default_factory=dict)
    """name, version and digest of the model, for the certificate."""
    source: str = "own"
    """Whose data it is: own, or listing."""
    runtime: Runtime | None = None
    """Where the pick is confirmed; None skips that."""
    home: Path | None = None
    """Below it lie the environments of devices."""
    sandbox: bool = True


class Workbench:
    """The job's model, laid out to be worked on."""

    def __init__(self, job: Job, stages: Stages) -> None:
        self.job, self.stages = job, stages
        self.base, self.space = job.work / "base", stages.space
        self.feeds = self.space / "feeds"
        self.graphs = folders.graphs_of(job.model_dir)
        self.sizes = {role: path.stat().st_size for role, path in self.graphs.items()}  # until planned
        self.beside: dict[str, list[str]] = {}
        self.collected: dict[str, Any] = {}
        self.on_target: dict[str, float] = {}  # milliseconds of each graph for a row of the baseline
        # Found out, not guessed, is whether rows may be joined; here that would only cost time.
        folders.lay_out(job.model_dir, self.base, {}, {"batching": False})

    @property
    def elsewhere(self) -> str:
        """The device whose own runtime answers the rows, or "" for a process like this one."""
        grade = devices.profile(self.job.device).runs_here
        return "" if self.job.device == "cpu" or grade == "checked" else self.job.device

    @property
    def timed(self) -> bool:
        """Whether a time that is taken here is one of the device."""
        return devices.profile(self.job.device).runs_here == "measured"

    def prepare_device(self) -> dict[str, str]:
        """Have the device's own runtime here, fetched at need; its versions. Raises TargetUnavailable."""
        if not self.elsewhere:
            return {}
        found: dict[str, str] = self.stages.run(
            "device",
            "building:prepare_device",
            sandbox=False,
            device=self.elsewhere,
            home=str(self.job.home or ""),
        )
        return found

    @property
    def row_milliseconds(self) -> float:
        """CPU time of a whole row, with what surrounds the graphs."""
        return float(self.collected["row_milliseconds"])

    def source(self, role: str) -> Path:
        """The graph of a role as it came."""
        return self.base / self.graphs[role].relative_to(self.job.model_dir)

    def graph(self, trial: Trial, role: str) -> Path:
        """Where the variant of a graph lies; the name tells it apart in a folder with others."""
        recipe, kept = trial.graphs[role], trial.keep.get(role, [])
        suffix = f"-keep{len(kept)}" if kept else ""
        return self.space / "graphs" / role / f"{recipe}{suffix}" / f"{role}.{recipe}{suffix}.onnx"

    def folder(self, trial: Trial) -> Path:
        """The model folder of a trial, laid out for evaluation."""
        out = self.job.work / "variants" / _short(trial.id)
        graphs = {role: self.graph(trial, role) for role in trial.graphs}
        return folders.lay_out(self.base, out, graphs, {}, self.dropped(trial))

    def served(self, trial: Trial, options: dict[str, Any]) -> Path:
        """The model folder of a trial as it would be deployed."""
        out = self.job.work / "served" / _short(trial.id)
        graphs = {role: self.graph(trial, role) for role in trial.graphs}
        return folders.lay_out(self.job.model_dir, out, graphs, options, self.dropped(trial))

    def dropped(self, trial: Trial) -> list[str]:
        """Files of weights that no graph of the variant needs any more."""
        gone = {name for role in trial.graphs for name in self.beside.get(role, [])}
        kept = {
            name for role in self.graphs if role not in trial.graphs for name in self.beside.get(role, [])
        }
        return sorted(gone - kept)

    # Before there are trials

    def plan(self) -> dict[str, Any]:
        """What the model is made of, and for each graph its size and the recipes worth trying."""
        found = self.stages.run("plan", "building:plan", folder=self.base)
        for role, told in found["graphs"].items():
            self.sizes[role], self.beside[role] = int(told["size"]), list(told["beside"])
        return found

    def collect(self) -> tuple[DataFacts, Baseline]:
        """The model's own answers to the rows, and real inputs of its graphs; raises the data's refusals."""
        job = self.job
        found = self.collected = self.stages.run(
            "baseline",
            "collect:run",
            folder=self.base,
            work=self.space,
            data=str(job.data.absolute()) if job.data else "",
            budget=job.seconds / 5,
            seed=job.seed,
        )
        facts = DataFacts(
            name=found["name"],
            digest=found["digest"],
            rows=found["total"],
            used=found["used"],
            labelled=found["labelled"],
            choosing=found["choosing"],
            judged=found["judged"],
            metric=found["metric"],
            source="examples" if not job.data else "listing" if job.source == "listing" else "own",
        )
        score = Interval(*found["score"]) if found["score"] else None
        return facts, Baseline(sum(self.sizes.values()), found["milliseconds"], score, found["shares"])

    # One trial

    def build(self, trial: Trial) -> None:
        """Make the one graph of a trial."""
        ((role, recipe),) = trial.graphs.items()
        trial.state, began = "building", time.monotonic()
        built = self._attempt(
            trial,
            f"build {trial.id}",
            "building:build",
            seconds=max(60.0, self.job.seconds / 2),
            recipe=recipe,
            source=self.source(role),
            out=self.graph(trial, role),
            feeds=self.feeds,
            role=role,
            keep=trial.keep.get(role, []),
        )
        trial.seconds = round(time.monotonic() - began, 3)
        if built is not None:
            trial.size = built["size"] + sum(size for name, size in self.sizes.items() if name != role)
            trial.notes["facts"], trial.state = built["facts"], "built"

    def screen(self, trial: Trial) -> None:
        """See on a few rows, or inputs, whether it is any good at all, and whether its device takes it."""
        if self.job.device != "cpu" and not self._is_taken(trial):
            return
        if trial.notes.get("lossless"):
            self._compare_outputs(trial)
            if trial.state == "refused" or not self.job.data:
                return
        rows = max(8, min(SCREEN_ROWS, int(1000 * SCREEN_SECONDS / max(1e-3, self.row_milliseconds))))
        quality = self.evaluate(trial, "choosing", "screen", most=rows)
        if quality is not None:
            trial.screened, trial.state = quality, "screened"

    def _is_taken(self, trial: Trial) -> bool:
        """Look at the file for what the device's runtime does not take."""
        ((role, _),) = trial.graphs.items()
        found = self._attempt(
            trial,
            f"check {trial.id}",
            "building:check_device",
            device=self.job.device,
            graph=self.graph(trial, role),
        )
        if found is None:
            return False
        trial.notes["findings"] = found["findings"]
        failed = next((each for each in found["findings"] if each["level"] == "fail"), None)
        if failed is not None:
            refuse(trial, Reason(failed["code"], failed["why_en"], failed["why_zh"]))
        return failed is None

    def _compare_outputs(self, trial: Trial) -> None:
        """A clean-up must give the same outputs on real inputs."""
        ((role, _),) = trial.graphs.items()
        found = self._attempt(
            trial,
            f"same {trial.id}",
            "evaluate:same_outputs",
            base=self.source(role),
            variant=self.graph(trial, role),
            feeds=self.feeds,
            role=role,
            count=SAME_INPUTS,
        )
        if found is None:
            return
        agreed, count = found["agreed"], found["inputs"]
        if agreed < count or not count:
            en = f"other outputs on {count - agreed} of {count} inputs, though it should change nothing"
            zh = f"本应不改变结果，却在 {count} 份输入中有 {count - agreed} 份输出不同"
            refuse(trial, Reason("outputs-differ", en, zh))
            return
        trial.screened = Quality(rows=count, basis="lossless", agreement=Interval(1.0, 1.0, 1.0))
        trial.state = "screened"

    def evaluate(
        self, trial: Trial, side: str, name: str, *, most: int = ALL, level: float = 0.95
    ) -> Quality | None:
        """How right it is on rows of a side; None, refused, when it does not answer."""
        key = f"{name} {trial.id}"
        found = self._attempt(
            trial,
            key,
            "evaluate:run",
            sandbox=not self.elsewhere,
            folder=self.folder(trial),
            work=self.space,
            side=side,
            most=most,
            task=self.collected["task"],
            labelled=self.collected["labelled"],
            limit=self.job.objective.max_drop,
            level=level,
            seed=self.job.seed,
            device=self.elsewhere,
            home=str(self.job.home or ""),
            keep=self._seen(key),
        )
        return None if found is None else msgspec.convert(found["quality"], Quality)

    def _seen(self, key: str) -> Path:
        """Where the answers of an evaluation are kept."""
        return self.space / "seen" / f"{_short(key)}.jsonl"

    def gentler(self, best: Trial) -> list[Trial]:
        """Trials like this static one, with the nodes whose quantisation hurts most left in float."""
        ((role, recipe),) = best.graphs.items()
        try:
            found = self.stages.run(
                f"sensitivity {best.id}",
                "building:sensitivity",
                seconds=max(30.0, self.job.seconds / 4),
                recipe=recipe,
                source=self.source(role),
                feeds=self.feeds,
                role=role,
                folder=self.space / "graphs" / role / "sensitivity",
            )
        except DeployerError:
            return []
        nodes = [str(name) for name, _ in found["nodes"]]
        counts = sorted({max(1, round(share * len(nodes))) for share in KEEPS}) if len(nodes) > 1 else []
        notes = {k: v for k, v in best.notes.items() if k != "facts"}
        return [
            Trial(f"{best.id}+keep{n}", dict(best.graphs), {role: nodes[:n]}, notes=dict(notes))
            for n in counts
        ]

    # Several trials side by side

    def time(self, role: str, trials: Sequence[Trial], share: float) -> Interval | None:
        """Time variants of one graph against the baseline; gives what its twin measured, the control."""
        found = self._attempt_all(
            trials,
            f"time {role} {' '.join(t.id for t in trials)}",
            "timing:run",
            sandbox=not self.elsewhere,
            base=self.source(role),
            variants={t.id: str(self.graph(t, role)) for t in trials},
            feeds=self.feeds,
            role=role,
            budget=min(TIMING, self.job.seconds / 12) * max(0.4, share),
            device=self.elsewhere,
            home=str(self.job.home or ""),
        )
        if found is None:
            return None
        for trial in trials:
            trial.notes["own_speed"] = dict(
                zip(("value", "low", "high"), found["ratios"][trial.id], strict=True)
            )
            trial.notes["wall_ms"] = found["wall"][trial.id]
        self.on_target[role] = found["milliseconds"][""] * self.collected["runs"][role]
        return Interval(*found["control"])

    def as_on_target(self, baseline: Baseline) -> Baseline:
        """The baseline with its time as the device took it, where that is not this processor."""
        if not self.elsewhere or not self.on_target:
            return baseline
        native = {role: share * baseline.milliseconds for role, share in baseline.shares.items()}
        spent = native | self.on_target
        whole = sum(spent.values())
        shares = {role: each / whole for role, each in spent.items()}
        return msgspec.structs.replace(baseline, milliseconds=whole, shares=shares)

    # A pick

    def confirm(self, trial: Trial, options: dict[str, Any]) -> Confirmation | None:
        """The candidate in real servers beside the model as it came; None where there is no such target.

        Refuses the trial, and nothing else, when its server does not come up or does not answer.
        """
        runtime = self.job.runtime
        if runtime is None or self.job.device != "cpu":
            return None
        try:
            return self._confirm(runtime, trial, options)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:300] if isinstance(error, DeployerError) else ""
            en, zh = "it could not be seen at work in a real server", "未能在真实服务中验证"
            told = why or type(error).__name__
            refuse(trial, Reason("not-confirmed", f"{en}: {told}", f"{zh}：{told}"))
            return None

    def _confirm(self, runtime: Runtime, trial: Trial, options: dict[str, Any]) -> Confirmation | None:
        asked = self._requests(trial)
        if not asked:
            return None
        found = self.stages.keep(
            f"confirm {runtime.name} {trial.id} {options}",
            lambda: msgspec.to_builtins(
                confirm.confirm(
                    runtime,
                    self.job.model_dir,
                    self.served(trial, options),
                    self.job.work,
                    asked,
                    key=secrets.token_hex(16),
                    seconds=min(CONFIRMING, self.job.seconds / 10),
                    progress=self.stages.tick,
                )
            ),
        )
        return msgspec.convert(found, Confirmation)

    def _requests(self, trial: Trial) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Judged rows with the answers that were judged; the examples where there are no rows."""
        found = self.stages.run(
            f"requests {trial.id}",
            "collect:requests",
            work=self.space,
            side="judged" if self.job.data else "examples",
            answers=self._seen(f"judge {trial.id}") if self.job.data else self.space / "answers.jsonl",
            most=max(2, min(CONFIRM_REQUESTS, int(2000 / max(1.0, self.row_milliseconds)))),
        )
        return [(request, answer) for request, answer in found["asked"]]

    def batches(self, trial: Trial) -> dict[str, float]:
        """Milliseconds for a row by rows of a run; empty where that is set already or cannot be."""
        options = folders.read_manifest(self.job.model_dir).get("options") or {}
        if len(self.graphs) != 1 or {"max_batch", "batching"} & set(options) or self.job.device != "cpu":
            return {}
        ((role, _),) = trial.graphs.items()
        try:
            return self.stages.run(
                f"batches {trial.id}",
                "timing:batches",
                graph=self.graph(trial, role),
                feeds=self.feeds,
                role=role,
                budget=min(BATCHING, self.job.seconds / 30),
            )
        except DeployerError:
            return {}

    def hand_over(self, trial: Trial) -> dict[str, str]:
        """Put the variant's files into job.out; their sha256 by name."""
        out, files = self.job.out, {}
        out.mkdir(parents=True, exist_ok=True)
        for role in trial.graphs:
            for part in folders.parts_of(self.graph(trial, role)):
                (out / part.name).unlink(missing_ok=True)
                folders.link(part, out / part.name)
                files[part.name] = sha256(part)
        return files

    def _attempt(self, trial: Trial, key: str, function: str, **arguments: Any) -> dict[str, Any] | None:
        return self._attempt_all([trial], key, function, **arguments)

    def _attempt_all(
        self, trials: Sequence[Trial], key: str, function: str, **arguments: Any
    ) -> dict[str, Any] | None:
        """A step's result; None when it was refused, which refuses its trials."""
        try:
            return self.stages.run(key, function, **arguments)
        except DeployerError as error:
            for trial in trials:
                refuse(trial, _reason(error))
            return None


def set_speed(trial: Trial, own: dict[str, Interval], baseline: Baseline) -> None:
    """The speed of the whole model from those of its graphs, by their shares of the time."""
    trial.speed = _combined(own, baseline.shares)
    trial.milliseconds = baseline.milliseconds / trial.speed.value
    trial.state = "measured"


def own_speed(trial: Trial) -> dict[str, Interval]:
    """What was measured of the one graph that a trial changes."""
    return {next(iter(trial.graphs)): msgspec.convert(trial.notes["own_speed"], Interval)}


def refuse(trial: Trial, why: Reason) -> None:
    """The trial goes no further."""
    trial.state, trial.why = "refused", why


def groups(trials: Sequence[Trial], size: int) -> Iterator[list[Trial]]:
    """Trials that are timed together: with baseline and twin they must not hold too much memory."""
    room, held = 1.2 * size + 250e6, 0.0
    group: list[Trial] = []
    for trial in trials:
        if group and held + trial.size > room:
            yield group
            group, held = [], 0.0
        group.append(trial)
        held += trial.size
    if group:
        yield group


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(text: str) -> str:
    """A name for a file or folder, whatever the text holds."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _combined(own: dict[str, Interval], shares: dict[str, float]) -> Interval:
    def whole(end: str) -> float:
        spent = sum(
            share / getattr(own[role], end) if role in own else share for role, share in shares.items()
        )
        return 1 / spent if spent else 1.0

    return Interval(whole("value"), whole("low"), whole("high"))


def _reason(error: DeployerError) -> Reason:
    """A refusal of a child, or its crash, as the cause that stands beside a trial."""
    facts = error.facts
    if error.code == WorkerFailed.code:
        how = facts["how"]
        return Reason(error.code, f"the step ended early: {how}", f"这一步提前结束：{how}")
    if error.code == BaselineFailed.code:
        row, why = facts.get("row"), facts.get("why", "")
        return Reason("does-not-answer", f"row {row}: {why}", f"第 {row} 行：{why}")
    code = str(facts.get("reason", error.code))
    why = str(facts.get("why", facts.get("why_en", error)))
    return Reason(code, why, str(facts.get("why_zh", why)))
