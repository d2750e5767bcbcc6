"""How right a variant is: its answers to rows, held against labels and against the model's own answers."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from deployer.optimizer import driving, statistics
from deployer.optimizer.errors import BaselineFailed
from deployer.optimizer.metrics import judge_for
from deployer.optimizer.report import Interval, Quality
from deployer.optimizer.rows import recalled
from deployer.server import graph as graphs
from deployer.server.graph import Run
from deployer.spec import Progress


def run(
    *,
    folder: str,
    work: str,
    side: str,
    most: int,
    task: str,
    labelled: bool,
    limit: float,
    level: float,
    seed: int,
    device: str = "",
    home: str = "",
    keep: str = "",
    progress: Progress,
) -> dict[str, Any]:
    """Answer up to `most` rows of one side with the variant in `folder`; on `device`, or here when it is "".

    {"quality": Quality, "milliseconds": of CPU for a row's graphs, "same": share of equal answers}.
    """
    chosen = [
        (row, reference)
        for row, reference in zip(
            driving.read_lines(Path(work) / "rows.jsonl"),
            driving.read_lines(Path(work) / "answers.jsonl"),
            strict=True,
        )
        if row["side"] == side
    ][:most]
    answers: list[driving.Answer] = []
    labels: list[Any] = []
    began = time.process_time()
    with _execution(Path(folder), device, Path(home), progress) as (predictor, execute):
        for count, (row, _) in enumerate(chosen):
            request, label = recalled(row)
            labels.append(label)
            answers.append(driving.answer(predictor, request, row["number"], execute))
            if count % 8 == 0:
                progress(count, len(chosen), side)
    seconds = time.process_time() - began
    if keep:
        driving.write_lines(Path(keep), answers)
    judge = judge_for(task)
    references = [reference for _, reference in chosen]
    agreed = judge.agreement(answers, references)
    quality = Quality(
        rows=len(chosen), basis="agreement", agreement=_interval(statistics.agreement(agreed, level=level))
    )
    if labelled:
        quality = _labelled(quality, judge, answers, references, labels, limit, level, seed)
    return {
        "quality": msgspec.to_builtins(quality),
        "milliseconds": 1000 * seconds / max(1, len(chosen)),
        "same": float(np.mean(np.asarray(agreed) > 1 - 1e-9)) if len(chosen) else 0.0,
    }


def _labelled(
    quality: Quality,
    judge: Any,
    answers: list[Any],
    references: list[Any],
    labels: list[Any],
    limit: float,
    level: float,
    seed: int,
) -> Quality:
    ours, theirs = judge.tally(answers, labels), judge.tally(references, labels)
    compared = statistics.compare(ours, theirs, limit=limit, level=level, seed=seed)
    base = float(theirs.values(np.ones((1, theirs.n)))[0])
    return msgspec.structs.replace(
        quality,
        basis="labels",
        metric=judge.metric,
        score=_interval(statistics.interval(ours, seed=seed)),
        baseline=base,
        difference=Interval(compared.difference, compared.low, compared.high),
        harmed=compared.harmed,
        level=level,
    )


def _interval(found: Any) -> Interval:
    return Interval(float(found.value), float(found.low), float(found.high))


class _Elsewhere:
    """A predictor whose graphs run on a target."""

    def __init__(self, folder: Path, device: str, home: Path, progress: Progress) -> None:
        self.folder = folder
        from deployer.optimizer.targets import executor  # only other devices need it

        self.executor = executor(device, home, progress)
        self.loaded: set[str] = set()

    def __enter__(self) -> tuple[Any, driving.Execute]:
        self.predictor = driving.open_model(self.folder)
        self.paths = {
            role: self.folder / str(name)
            for role, name in self.predictor.model.manifest["files"].items()  # type: ignore[attr-defined]
        }
        return self.predictor, self.execute

    def execute(self, run: Run) -> graphs.Outputs:
        role = run.graph.role
        if role not in self.loaded:
            self.executor.open(role, self.paths[role])
            self.loaded.add(role)
        return self.executor.run(role, run.feeds, run.outputs)[0]

    def __exit__(self, *_: object) -> None:
        self.executor.close()
        self.predictor.close()


def _execution(folder: Path, device: str, home: Path, progress: Progress) -> Any:
    if device:
        return _Elsewhere(folder, device, home, progress)
    return nullcontext((driving.open_model(folder), driving.alone))


def same_outputs(
    *, base: str, variant: str, feeds: str, role: str, count: int, progress: Progress
) -> dict[str, Any]:
    """On how many real inputs a graph gives the same outputs, up to what the order of additions does."""
    ours, theirs = _session(variant), _session(base)
    names = [spec.name for spec in theirs.get_outputs()]
    items = driving.load_feeds(Path(feeds), role, count)
    agreed = 0
    for number, item in enumerate(items):
        here = dict(zip(names, ours.run(names, item), strict=True))
        there = dict(zip(names, theirs.run(names, item), strict=True))
        agreed += graphs.agree(here, there)
        progress(number, len(items), role)
    return {"agreed": agreed, "inputs": len(items)}


def _session(path: str) -> Any:
    import onnxruntime as ort

    from deployer.server.model import session_options

    try:
        return ort.InferenceSession(path, session_options(1), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BaselineFailed(row=0, why=str(error)[:300]) from error
