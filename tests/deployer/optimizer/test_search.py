"""The whole search on a small real model: what it picks, what it refuses, and what it survives."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from deployer.errors import DeployerError
from deployer.optimizer import certificate, report
from deployer.optimizer.errors import CertificateRefused, ObjectiveRefused
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Report
from deployer.optimizer.search import Job, optimize
from deployer.runtimes import get_runtime
from tests.deployer.optimizer import models


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with labelled rows beside it, and rows without labels."""
    place = tmp_path_factory.mktemp("perceptron")
    models.perceptron(place / "model")
    models.data(place / "labelled.npz", 500)
    models.data(place / "unlabelled.npz", 500, labels=False)
    return place


def job(place: Path, work: Path, data: str = "labelled.npz", **more: object) -> Job:
    rows = place / data if data else None
    return Job(place / "model", work / "work", work / "out", data=rows, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def smallest(perceptron: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """What a search for the smallest variant came to, confirmed in real servers, and its folder."""
    place = tmp_path_factory.mktemp("smallest")
    runtime = get_runtime("process", place / "home")
    try:
        wanted = job(perceptron, place, objective=Objective("smallest"), runtime=runtime)
        return optimize(wanted), place
    finally:
        runtime.close()


def test_the_smallest_that_holds_is_picked(smallest: tuple[Report, Path]) -> None:
    found, place = smallest
    assert found.outcome == "picked", found.why
    assert found.pick and found.baseline and found.data
    picked = next(trial for trial in found.trials if trial.id == found.pick.trial)
    assert picked.size < 0.55 * found.baseline.size
    assert picked.speed and picked.speed.value >= 0.95
    assert picked.judged and picked.judged.difference
    assert picked.judged.difference.low >= -0.01
    assert found.data.choosing + found.data.judged == found.data.used == 500
    assert picked.judged.rows == found.data.judged
    onnx.checker.check_model(onnx.load(place / "out" / found.pick.graphs["model"]))


def test_every_refusal_tells_its_cause_in_both_languages(smallest: tuple[Report, Path]) -> None:
    refused = [trial for trial in smallest[0].trials if trial.state == "refused"]
    assert refused
    for trial in refused:
        assert trial.why is not None
        assert trial.why.code
        assert trial.why.why_en
        assert any("\u4e00" <= c <= "\u9fff" for c in trial.why.why_zh) or any(
            c.isdigit() for c in trial.why.why_zh
        )


def test_real_servers_confirm_the_pick(smallest: tuple[Report, Path]) -> None:
    confirmed = smallest[0].confirmation
    assert confirmed is not None
    assert confirmed.same_answers == 1.0
    assert confirmed.cpu is None or confirmed.cpu.low <= confirmed.cpu.value <= confirmed.cpu.high
    assert confirmed.memory > 10 << 20
    assert confirmed.latency_ms["p95"] >= confirmed.latency_ms["p50"] > 0


def test_the_control_stands_beside_every_speed(smallest: tuple[Report, Path]) -> None:
    control = smallest[0].control
    assert control is not None
    assert control.low <= 1.1
    assert control.high >= 0.9


def test_the_certificate_holds_and_names_what_was_measured(smallest: tuple[Report, Path]) -> None:
    found, place = smallest
    made = certificate.check(place / "out")
    assert found.data
    assert made["data"]["digest"] == found.data.digest
    assert made["quality"]["basis"] == "labels"
    assert made["versions"]["onnxruntime"]
    assert {each["id"] for each in made["trials"]} == {trial.id for trial in found.trials}
    text = json.dumps(made)
    assert str(float(models.points(500, 7)[0][0, 0]))[:8] not in text  # no row is in it


def test_a_file_that_was_exchanged_is_refused(smallest: tuple[Report, Path], tmp_path: Path) -> None:
    found, place = smallest
    assert found.pick
    for path in (place / "out").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    graph = tmp_path / found.pick.graphs["model"]
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(CertificateRefused, match="not the file"):
        certificate.check(tmp_path)


def test_the_report_is_kept_and_reads_back_the_same(smallest: tuple[Report, Path]) -> None:
    found, place = smallest
    kept = report.load(place / "work" / "report.json")
    assert kept is not None
    assert report.to_plain(kept) == report.to_plain(found)
    assert found.peak_memory < 3 * found.baseline.size + (500 << 20)  # type: ignore[union-attr]


def test_a_killed_job_goes_on_where_it_was(
    smallest: tuple[Report, Path], perceptron: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def until_measure(told: Report) -> None:
        if told.phase == "measure":
            raise Killed

    wanted = job(perceptron, tmp_path, objective=Objective("smallest"))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(Killed):
        optimize(wanted, until_measure)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work" / "results").glob("*.json")}
    assert any(path.name.startswith("build_") for path in kept)
    again = optimize(wanted)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.outcome == "picked"
    assert again.pick and smallest[0].pick
    assert again.pick.trial == smallest[0].pick.trial


def test_without_labels_agreement_decides(perceptron: Path, tmp_path: Path) -> None:
    found = optimize(job(perceptron, tmp_path, "unlabelled.npz", objective=Objective("smallest")))
    assert found.outcome == "picked", found.why
    made = certificate.check(tmp_path / "out")
    assert made["quality"]["basis"] == "agreement"
    assert made["quality"]["agreement"]["value"] >= 0.98
    assert made["quality"]["agreement"]["low"] >= 0.95


def test_without_data_nothing_that_changes_answers_is_offered(perceptron: Path, tmp_path: Path) -> None:
    found = optimize(job(perceptron, tmp_path, "", objective=Objective("smallest")))
    assert all(trial.notes["lossless"] for trial in found.trials)
    assert found.outcome in ("kept", "picked")
    if found.outcome == "kept":
        assert found.why and found.why.code == "no-data"


def test_what_loses_too_much_is_refused_with_the_figure(tmp_path: Path) -> None:
    models.perceptron(tmp_path / "model", spoil=400.0)
    models.data(tmp_path / "labelled.npz", 500)
    found = optimize(job(tmp_path, tmp_path, objective=Objective("smallest", max_drop=0.0)))
    if found.outcome == "picked":
        made = certificate.check(tmp_path / "out")
        assert made["quality"]["difference"]["low"] >= 0
    else:
        assert found.outcome in ("refused", "kept")
        assert found.why
    lost = [
        t for t in found.trials if t.state == "refused" and t.why and t.why.code in ("broken", "bound-missed")
    ]
    assert lost, [(t.id, t.state, t.why) for t in found.trials]


def test_weights_beside_a_graph_count_and_are_left_behind(perceptron: Path, tmp_path: Path) -> None:
    """A graph in a folder of its own whose weights lie in a file beside it."""
    graph = models.perceptron(tmp_path / "model")
    (tmp_path / "model" / "onnx").mkdir()
    onnx.save_model(
        onnx.load(graph),
        str(tmp_path / "model" / "onnx" / "net.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    size = graph.stat().st_size
    graph.unlink()
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    manifest["files"] = {"model": "onnx/net.onnx"}
    (tmp_path / "model" / "manifest.json").write_text(json.dumps(manifest))
    wanted = Job(
        tmp_path / "model",
        tmp_path / "work",
        tmp_path / "out",
        data=perceptron / "labelled.npz",
        objective=Objective("smallest"),
    )
    found = optimize(wanted)
    assert found.outcome == "picked", found.why
    assert found.pick and found.baseline
    assert abs(found.baseline.size - size) < 0.01 * size
    assert found.pick.dropped == ["onnx/weights.bin"]
    folder = next((tmp_path / "work" / "variants").iterdir())
    assert not list(folder.rglob("weights.bin"))


@pytest.mark.parametrize("rows", [0, 3, 40])
def test_too_few_rows_are_refused_before_anything_is_made(
    perceptron: Path, tmp_path: Path, rows: int
) -> None:
    np.savez(tmp_path / "few.npz", x=models.points(rows)[0], label=np.arange(rows) % 2)
    with pytest.raises(DeployerError) as refused:
        optimize(Job(perceptron / "model", tmp_path / "work", tmp_path / "out", data=tmp_path / "few.npz"))
    assert refused.value.code in ("data-too-few", "data-empty")
    assert not (tmp_path / "work" / "space" / "graphs").exists()


def test_contradictory_bounds_are_refused_before_anything_is_made(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(ObjectiveRefused):
        optimize(job(perceptron, tmp_path, objective=Objective(max_size=100)))
    with pytest.raises(ObjectiveRefused):
        optimize(job(perceptron, tmp_path, objective=Objective(max_drop=2)))


def test_a_device_that_cannot_be_timed_here_is_not_searched_for_speed(
    perceptron: Path, tmp_path: Path
) -> None:
    with pytest.raises(ObjectiveRefused, match="smallest"):
        optimize(job(perceptron, tmp_path, device="cuda"))
    with pytest.raises(DeployerError) as refused:
        optimize(job(perceptron, tmp_path, device="toaster"))
    assert refused.value.code == "unknown-device"


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no graph" * 100)


def _unknown_operator(path: Path) -> None:
    node = helper.make_node("Teleport", ["x"], ["y"], domain="com.example")
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 48]) for name in "xy"]
    graph = helper.make_graph([node], "g", sides[:1], sides[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(_garbage, "not-onnx"), (_half, "not-onnx"), (_unknown_operator, "model-refused")],
)
def test_a_graph_that_cannot_be_read_is_refused_by_name(
    perceptron: Path, tmp_path: Path, spoil: Callable[[Path], None], code: str
) -> None:
    models.perceptron(tmp_path / "model")
    spoil(tmp_path / "model" / "model.onnx")
    data = perceptron / "labelled.npz"
    with pytest.raises(DeployerError) as refused:
        optimize(Job(tmp_path / "model", tmp_path / "work", tmp_path / "out", data=data))
    assert refused.value.code == code, refused.value
    assert refused.value.facts.get("why")
    assert not (tmp_path / "work" / "space" / "graphs").exists()
