"""The optimiser's benchmark: its arithmetic, and the whole of it once on a tiny model."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployer.optimizer import report as reports
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Baseline, DataFacts, Interval, Pick, Quality, Report, Trial
from tests.benchmarks.optimizing import beside, fixed, jobs, rounds, scoring, subjects
from tests.benchmarks.optimizing.aims import Aim, agreeing, aims, mean
from tests.benchmarks.optimizing.beside import Seen
from tests.benchmarks.optimizing.jobs import Finished, JobFailed
from tests.benchmarks.optimizing.rounds import OURS, Effort, Result
from tests.benchmarks.optimizing.subjects import Subject
from tests.benchmarks.optimizing.tables import Tables, markdown


def labelled(value: float, low: float) -> Quality:
    return Quality(
        rows=100,
        basis="labels",
        metric="accuracy",
        score=Interval(0.9 + value, 0.8, 1.0),
        baseline=0.9,
        difference=Interval(value, low, 0.01),
    )


def agreed(value: float, low: float) -> Quality:
    return Quality(rows=100, basis="agreement", agreement=Interval(value, low, 1.0))


def finished(pick: str, seconds: float = 10.0, peak: int = 0) -> Finished:
    report = Report(device="cpu", objective=Objective(), outcome="picked" if pick else "kept")
    report.baseline = Baseline(size=1_000_000, milliseconds=1.0)
    report.data = DataFacts("rows", "", 100, 100, True, 30, 70)
    if pick:
        report.trials = [Trial(pick, {"model": pick})]
        report.pick = Pick(trial=pick, folder="", graphs={}, files={})
    return Finished("one", "fastest", 0, Path(), report, seconds, peak, peak)


def result(speed: float, size: float = 0.3, quality: Quality | None = None) -> Result:
    found = Seen(OURS["fastest"], size, Interval(speed, speed, speed), quality or labelled(0.0, -0.005))
    return Result(
        Subject("one", Path, Path, quick=True, limit=60),
        jobs={"fastest": finished("a"), "smallest": finished("a", seconds=70)},
        again=[finished("a"), finished("b")],
        seen={found.name: found, OURS["smallest"]: replace(found, name=OURS["smallest"])},
    )


@pytest.mark.parametrize(
    ("quality", "holds"),
    [
        (labelled(-0.001, -0.009), True),
        (labelled(-0.001, -0.011), False),
        (agreed(0.99, 0.96), True),
        (agreed(0.99, 0.94), False),
        (agreed(0.97, 0.96), False),
        (None, False),
    ],
)
def test_a_variant_holds_by_the_bound_of_its_loss(quality: Quality | None, holds: bool) -> None:
    assert Seen("", 1.0, None, quality).holds is holds


def test_aims_are_over_all_models() -> None:
    told = {aim.en: aim for aim in aims([result(4.0), result(1.0)])}
    assert told["CPU time, geometric mean"].value == pytest.approx(2.0)
    assert told["the least of them"].value == 1.0
    assert told["share within the bound"].kept
    assert told["one: seconds of the job"].value == 70
    assert not told["one: seconds of the job"].kept
    assert told["repeated runs that agree"].value == pytest.approx(4 / 6)


def test_a_figure_that_is_missing_reaches_no_aim() -> None:
    assert not Aim("", "", None, 1.0).kept
    assert not Aim("", "", math.nan, 1.0).kept
    assert mean([]) is None
    assert agreeing([]) is None


def test_a_model_that_stays_as_it_came_counts_as_itself() -> None:
    kept = Result(Subject("one", Path, Path), {"fastest": finished(""), "smallest": finished("")})
    told = {aim.en: aim for aim in aims([kept])}
    assert told["CPU time, geometric mean"].value == 1.0
    assert told["share within the bound"].kept
    assert "kept as it is" in Tables([kept], None).in_language("en")


def test_tables_name_what_failed() -> None:
    broken = Result(Subject("one", Path, Path), why="data-too-few")
    text = Tables([result(2.0), broken], None).text()
    assert "失败: data-too-few" in text
    assert "**2.00 ×, 0.900**" in text
    assert not Tables([broken], None).kept


def test_cells_cannot_break_a_table() -> None:
    assert markdown("a|b", [["x|y", "z"]]).splitlines()[-1] == "| x/y | z |"


def test_all_of_it_on_a_tiny_model(tmp_path: Path) -> None:
    tiny = subjects.tiny(tmp_path / "made")
    effort = Effort(tmp_path / "work", seeds=1, peers=False, seconds=45, confirm=False)
    said: list[str] = []
    (found,) = rounds.run([tiny], effort, said.append)
    assert found.why == ""
    assert set(found.seen) >= set(fixed.RECIPES)
    assert found.jobs["smallest"].picked is not None
    assert found.ours("smallest").size < 0.9
    assert found.holds("smallest")
    assert found.jobs["smallest"].peak >= found.jobs["smallest"].largest > 1 << 20
    tables = Tables([found], None)
    assert json.loads(json.dumps(tables.plain()))["models"]["tiny"]["jobs"]
    assert "tiny (accuracy 0." in tables.text()

    again = rounds.run([tiny], effort, said.append)[0]
    assert again.jobs["fastest"].seconds == found.jobs["fastest"].seconds
    job = again.jobs["smallest"]
    assert job.report.baseline is not None
    assert job.report.baseline.score is not None
    asked = scoring.main(job.work, "model", job.graphs["model"], tmp_path / "scored")
    assert asked == pytest.approx(job.report.baseline.score.value, abs=0.15)


def test_a_job_that_is_refused_says_why(tmp_path: Path) -> None:
    tiny = subjects.tiny(tmp_path / "made")
    few = tmp_path / "few.npz"
    np.savez(few, x=np.zeros((3, 32), np.float32), label=np.zeros(3, np.int64))
    with pytest.raises(JobFailed, match="data-"):
        jobs.run(replace(tiny, data=lambda: few), "fastest", tmp_path / "work", seconds=30, confirm=False)


def test_a_graph_that_does_not_load_is_told_apart(tmp_path: Path) -> None:
    tiny = subjects.tiny(tmp_path / "made")
    assert beside.loads(tiny.folder() / "model.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    assert not beside.loads(broken)
    assert reports.load(broken) is None
