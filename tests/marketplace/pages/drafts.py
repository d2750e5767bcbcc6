"""Reports of optimisations as they come to be, with figures as they were seen, for pages to show."""

from typing import Any

from deployer.models import OptimizationState
from deployer.optimizer import certificate
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import (
    Baseline,
    Confirmation,
    DataFacts,
    Interval,
    Pick,
    Quality,
    Reason,
    Report,
    Trial,
    new,
)

ROWS = DataFacts("评论.csv", f"sha256:{'ab' * 32}", 512, 498, True, 149, 349, "accuracy")
VERSIONS = {"onnxruntime": "1.32.0", "onnx": "1.23.2", "numpy": "2.4.1", "peak_memory": "412000000"}
SUMMARY = {
    "bytes": 91_000_000,
    "parameters": 22_713_216,
    "flops": 1_420_000_000,
    "activations": 9_400_000,
    "at_least": False,
    "quantised": [],
    "quantisable": {"dynamic": 0.962, "static": 0.981, "blocks": 0.962},
    "opset": 14,
}


def labelled(value: float, low: float, high: float, rows: int = 349) -> Quality:
    """Judged against labels; the original scores .912."""
    return Quality(
        rows,
        "labels",
        Interval(0.985, 0.97, 0.995),
        "accuracy",
        Interval(0.912 + value, 0.88, 0.94),
        0.912,
        Interval(value, low, high),
    )


def agreeing(value: float, low: float, rows: int = 349) -> Quality:
    """Held against the original's own answers."""
    return Quality(rows, "agreement", Interval(value, low, min(1.0, value + 0.008)))


def trial(recipe: str, state: str = "refused", **facts: Any) -> Trial:
    """One candidate for the only graph."""
    return Trial(f"model:{recipe}", {"model": recipe}, state=state, **facts)  # type: ignore[arg-type]


def begun(**objective: Any) -> Report:
    """A job that looked at the model and measured it as it came."""
    report = new("cpu", Objective(**objective), seed=7)
    report.model = {"name": "opc-market/zh-sentiment", "version": "1.0.0", "summary": SUMMARY}
    report.data, report.versions = ROWS, dict(VERSIONS)
    report.baseline = Baseline(90_900_000, 8.42, Interval(0.912, 0.88, 0.938), {"model": 1.0})
    report.control = Interval(1.0, 0.971, 1.032)
    return report


def at(report: Report, phase: str, seconds: float, left: float | None) -> Report:
    """The same with its steps as they stand in a phase; "" says that all are done."""
    reached = False
    for number, step in enumerate(report.steps):
        reached = reached or step.name == phase
        if not reached:
            step.state, step.seconds = "done", round(1.5 + 4.2 * number, 1)
        elif step.name == phase:
            step.state = "running"
    report.seconds, report.seconds_left = seconds, left
    return report


def trials() -> list[Trial]:
    """What a search of an encoder tried, before it was judged."""
    over = Reason("no-effect", "no node is left to quantise", "没有可量化的节点")
    broken = Reason("broken", "it agrees on 31% only", "与原模型一致的仅 31%")
    slower = Reason(
        "no-faster",
        "1.01 × the speed, within what the same file measures against itself (1.03)",
        "速度为原来的 1.01 倍，不超出同一文件自测的波动（1.03）",
    )
    missed = Reason("bound-missed", "accuracy -0.0201, at worst -0.0380 (95 %)", "accuracy 变化 -0.0201")
    return [
        trial("dynamic-int8-per-channel", "measured", size=23_400_000, speed=Interval(2.31, 2.24, 2.38),
              chosen=labelled(-0.001, -0.008, 0.006, 149), milliseconds=3.65),
        trial("dynamic-int8-reduced", "measured", size=23_400_000, speed=Interval(2.27, 2.2, 2.33),
              chosen=labelled(0.002, -0.005, 0.01, 149), milliseconds=3.71),
        trial("dynamic-int8", "measured", size=23_100_000, speed=Interval(2.35, 2.28, 2.44),
              chosen=labelled(-0.0201, -0.038, -0.004, 149), why=missed),
        trial("fuse-transformer", size=90_800_000, speed=Interval(1.01, 0.98, 1.04), why=slower,
              screened=Quality(16, "lossless", Interval(1.0, 1.0, 1.0))),
        trial("weights-fp16", "measured", size=45_600_000, speed=Interval(0.99, 0.96, 1.02),
              chosen=labelled(0.0, -0.002, 0.002, 149)),
        trial("static-int8-all", size=23_900_000, why=broken, screened=agreeing(0.31, 0.2, 48)),
        trial("static-int8-minmax", "measured", size=23_900_000, speed=Interval(2.02, 1.95, 2.1),
              chosen=labelled(-0.013, -0.029, 0.003, 149), keep={"model": ["a", "b", "c"]}),
        trial("int4-blocks-32", why=over),
    ]  # fmt: skip


def running() -> Report:
    """Half way: some variants are measured, one is being made."""
    report = at(begun(), "measure", 71.4, 96.0)
    report.trials = [
        *trials()[:5],
        trial("static-int8-percentile", "building"),
        trial("int8-blocks-32", "waiting"),
    ]
    report.done, report.total, report.note = 5, 8, "model:static-int8-percentile"
    return report


def picked() -> Report:
    """One variant held on the rows kept back, and on the target."""
    report = at(begun(), "", 164.0, None)
    report.trials = trials()
    best, second, bad, *_rest = report.trials
    bad.state, second.state, best.state = "refused", "passed", "picked"
    best.judged = labelled(-0.0009, -0.0057, 0.004)
    second.judged = labelled(0.0014, -0.0043, 0.0071)
    report.trials[4].state, report.trials[4].why = (
        "refused",
        Reason("no-faster", "0.99 × the speed", "速度为原来的 0.99 倍"),
    )
    report.trials[6].state, report.trials[6].why = (
        "refused",
        Reason("bound-missed", "it may lose more", "可能损失更多"),
    )
    report.confirmation = Confirmation(
        "process", {"p50": 5.1, "p95": 6.9}, {"p50": 11.6, "p95": 14.2}, Interval(2.2, 2.1, 2.3),
        168_000_000, 262_000_000, 0.61, 0.94, 214.0, 98.0, 1.0, 24,
    )  # fmt: skip
    report.pick = Pick(best.id, "", {"model": "model.int8.onnx"}, {"model.int8.onnx": "cd" * 32})
    report.certificate = certificate.make(report, best, best.judged, report.pick.files)
    report.outcome, report.first_safe = "picked", 52.0
    return report


def kept() -> Report:
    """Nothing gained anything."""
    report = at(begun(), "", 88.0, None)
    slow = Reason("slower", "0.31 × the speed", "速度为原来的 0.31 倍")
    report.trials = [
        trial(
            "dynamic-int8",
            size=3_000_000,
            speed=Interval(0.31, 0.3, 0.33),
            why=slow,
            screened=labelled(0, -0.02, 0.02, 48),
        ),
        *trials()[3:6],
    ]
    report.trials[2].state, report.trials[2].why = (
        "refused",
        Reason("no-faster", "0.99 × the speed", "速度为原来的 0.99 倍"),
    )
    report.outcome = "kept"
    report.why = Reason(
        "best-as-it-is",
        "every candidate was slower, larger or wrong: the model is best as it is",
        "每个候选都更慢、更大或结果不对：模型原样最好",
    )
    return report


def refused() -> Report:
    """The nearest variant missed the bound by a little: more rows would tell."""
    report = at(begun(max_drop=0.005), "", 131.0, None)
    report.trials = trials()
    for each in report.trials:
        each.state = "refused"
        each.why = each.why or Reason("bound-missed", "it may lose more", "可能损失更多")
    report.trials[4].why = Reason("no-faster", "0.99 × the speed", "速度为原来的 0.99 倍")
    report.trials[0].judged = labelled(-0.0009, -0.0082, 0.006)
    report.trials[1].judged = labelled(0.0014, -0.0062, 0.0091)
    report.outcome = "refused"
    report.why = Reason("bound-missed", "the best candidate does not hold", "最好的候选不成立")
    return report


def states() -> dict[str, tuple[Report | None, OptimizationState]]:
    """A report for each state that a page can be in, with the state of its row."""
    state = OptimizationState
    return {
        "pending": (None, state.pending),
        "running": (running(), state.running),
        "picked": (picked(), state.done),
        "kept": (kept(), state.done),
        "refused": (refused(), state.done),
        "unlabelled": (unlabelled(), state.done),
        "cancelled": (running(), state.cancelled),
        "failed": (None, state.failed),
    }


def unlabelled() -> Report:
    """Answers differ too much to be taken without labels."""
    report = at(begun(), "", 95.0, None)
    report.data = DataFacts("评论.csv", ROWS.digest, 512, 498, False, 149, 349, "")
    asked = Reason("labels-needed", "it agrees on 95.4% of the rows", "与原模型一致的占 95.4%")
    report.baseline = Baseline(90_900_000, 8.42, None, {"model": 1.0})
    report.trials = [
        trial(
            "dynamic-int8-per-channel",
            size=23_400_000,
            speed=Interval(2.31, 2.24, 2.38),
            chosen=agreeing(0.954, 0.93),
            why=asked,
        ),
        trial(
            "static-int8-minmax",
            size=23_900_000,
            speed=Interval(2.02, 1.95, 2.1),
            chosen=agreeing(0.91, 0.87),
            why=asked,
        ),
    ]
    report.outcome, report.why = "refused", asked
    return report
