"""Answers by the serving pipeline, with the runs of graphs recorded, timed and compared."""

from pathlib import Path

import numpy as np
import pytest

from deployer.optimizer import collect, driving, evaluate, timing
from deployer.optimizer.errors import BaselineFailed
from deployer.optimizer.stages import Stages
from deployer.optimizer.worker import RefusedInChild
from deployer.spec import silent
from tests.deployer.optimizer import models


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's folder after its baseline: rows, answers and inputs of the perceptron."""
    place = tmp_path_factory.mktemp("collected")
    models.perceptron(place / "model")
    data = models.data(place / "rows.npz", 300)
    told = collect.run(
        folder=str(place / "model"),
        work=str(place),
        data=str(data),
        budget=60.0,
        seed=0,
        progress=silent,
    )
    assert told["used"] == 300
    assert told["choosing"] + told["judged"] == 300
    assert told["shares"] == {"model": 1.0}
    return place


def test_answers_are_those_of_the_served_model(collected: Path) -> None:
    rows = driving.read_lines(collected / "rows.jsonl")
    answers = driving.read_lines(collected / "answers.jsonl")
    inputs, _ = models.points(300, seed=7)
    assert len(rows) == len(answers) == 300
    predictor = driving.open_model(collected / "model")
    number = rows[0]["number"]
    again = driving.answer(
        predictor, {"inputs": {"x": inputs[number - 1 : number].tolist()}}, number, driving.alone
    )
    assert again == answers[0]


def test_inputs_of_judged_rows_are_not_kept(collected: Path) -> None:
    feeds = driving.load_feeds(collected / "feeds", "model")
    choosing = [row for row in driving.read_lines(collected / "rows.jsonl") if row["side"] == "choosing"]
    assert 0 < len(feeds) <= min(len(choosing), collect.CALIBRATION)
    assert all(feed["x"].shape == (1, models.INPUTS) for feed in feeds)
    assert len(driving.load_feeds(collected / "feeds", "model", 5)) == 5


def test_a_row_that_the_model_refuses_is_named(collected: Path) -> None:
    predictor = driving.open_model(collected / "model")
    with pytest.raises(BaselineFailed) as refused:
        driving.answer(predictor, {"inputs": {"y": [1]}}, 17, driving.alone)
    assert refused.value.facts["row"] == 17


def test_a_recorder_keeps_a_bounded_sample(collected: Path) -> None:
    predictor = driving.open_model(collected / "model")
    recorder = driving.Recorder(most=3, room=10 * models.INPUTS * 4, seed=0)
    inputs, _ = models.points(20)
    for number in range(20):
        body = {"inputs": {"x": inputs[number : number + 1].tolist()}}
        driving.answer(predictor, body, number, recorder)
        recorder.end_row()
    assert recorder.runs == {"model": 20}
    assert len(recorder.feeds["model"]) == 3
    assert recorder.cpu["model"] > 0


def test_the_model_against_itself_agrees_on_everything(collected: Path) -> None:
    told = evaluate.run(
        folder=str(collected / "model"),
        work=str(collected),
        side="judged",
        most=1000,
        task="tensors",
        labelled=True,
        limit=0.01,
        level=0.95,
        seed=0,
        progress=silent,
    )
    quality = told["quality"]
    assert told["same"] == 1.0
    assert quality["agreement"]["value"] == 1.0
    assert quality["difference"]["value"] == quality["difference"]["low"] == 0.0
    assert quality["score"]["value"] > 0.9


def test_equal_graphs_give_equal_outputs_and_others_do_not(collected: Path, tmp_path: Path) -> None:
    other = models.perceptron(tmp_path / "other", seed=1)
    base = str(collected / "model" / "model.onnx")
    common = {"feeds": str(collected / "feeds"), "role": "model", "count": 8, "progress": silent}
    assert evaluate.same_outputs(base=base, variant=base, **common) == {"agreed": 8, "inputs": 8}  # type: ignore[arg-type]
    assert evaluate.same_outputs(base=base, variant=str(other), **common)["agreed"] == 0  # type: ignore[arg-type]


def test_everything_is_timed_beside_the_baseline_and_its_twin(collected: Path) -> None:
    base = str(collected / "model" / "model.onnx")
    told = timing.run(
        base=base,
        variants={"copy": base},
        feeds=str(collected / "feeds"),
        role="model",
        budget=0.5,
        progress=silent,
    )
    assert told["rounds"] >= timing.ROUNDS
    assert set(told["ratios"]) == {"copy"}
    for value, low, high in (told["control"], told["ratios"]["copy"]):
        assert low <= value <= high
    assert set(told["milliseconds"]) == {"", timing.CONTROL, "copy"}


def test_rows_of_a_run_are_swept_where_they_can_be_joined(collected: Path) -> None:
    base = str(collected / "model" / "model.onnx")
    told = timing.batches(
        graph=base, feeds=str(collected / "feeds"), role="model", budget=0.5, progress=silent
    )
    assert list(told) == [str(n) for n in timing.BATCHES]
    assert all(np.isfinite(spent) and spent > 0 for spent in told.values())


def test_a_step_is_done_once_and_its_refusal_is_remembered(tmp_path: Path) -> None:
    models.perceptron(tmp_path / "model")
    (tmp_path / "model" / "model.onnx").write_bytes(b"no graph")
    stages = Stages(tmp_path / "work", (tmp_path / "model",), silent)
    for _ in range(2):
        with pytest.raises(RefusedInChild) as refused:
            stages.run("plan", "building:plan", folder=tmp_path / "model")
        assert refused.value.code == "not-onnx"
    (kept,) = (tmp_path / "work" / "results").iterdir()
    assert kept.name.startswith("plan-")
    made = [stages.keep("own", lambda: {"one": 1}), stages.keep("own", lambda: {"two": 2})]
    assert made == [{"one": 1}, {"one": 1}]


def test_another_question_never_gets_an_earlier_answer(tmp_path: Path) -> None:
    models.perceptron(tmp_path / "one")
    models.perceptron(tmp_path / "two", seed=1)
    (tmp_path / "two" / "model.onnx").write_bytes(b"no graph")
    stages = Stages(tmp_path / "work", (tmp_path,), silent)
    assert stages.run("plan", "building:plan", folder=tmp_path / "one")["graphs"]
    with pytest.raises(RefusedInChild):
        stages.run("plan", "building:plan", folder=tmp_path / "two")
