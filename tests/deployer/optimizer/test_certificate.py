"""A certificate holds for the files that were measured, by the figures that it states, and for no others."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployer.optimizer import certificate, folders, report
from deployer.optimizer.errors import CertificateRefused, NothingToOptimize
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Baseline, DataFacts, Interval, Pick, Quality, Report, Trial

QUALITY = Quality(
    400,
    "labels",
    agreement=Interval(0.99, 0.98, 1.0),
    metric="accuracy",
    score=Interval(0.91, 0.89, 0.93),
    baseline=0.912,
    difference=Interval(-0.002, -0.008, 0.004),
    harmed=0.02,
)


def finished(out: Path, quality: Quality = QUALITY) -> Report:
    """A report whose pick lies in `out`, certificate included."""
    told = report.new("cpu", Objective(max_drop=0.01), 7)
    told.model = {"name": "a/b", "version": "1.0.0", "digest": "sha256:00", "task": "tensors", "files": {}}
    told.data = DataFacts("rows.csv", "sha256:11", 600, 600, True, 180, 420, "accuracy")
    told.baseline = Baseline(1000, 5.0)
    told.control = Interval(1.0, 0.98, 1.02)
    trial = Trial("model:int8", {"model": "int8"}, size=300, speed=Interval(2.0, 1.9, 2.1), milliseconds=2.5)
    told.trials = [trial]
    out.mkdir(parents=True)
    (out / "model.int8.onnx").write_bytes(b"graph")
    (out / "model.int8.onnx.data").write_bytes(b"weights")
    files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir()}
    made = certificate.make(told, trial, quality, files, options={"max_batch": 8})
    (out / certificate.FILE_NAME).write_bytes(text := certificate.encode(made))
    told.pick = Pick(
        trial.id,
        str(out),
        {"model": "model.int8.onnx"},
        {**files, certificate.FILE_NAME: hashlib.sha256(text).hexdigest()},
        {"max_batch": 8},
        ["model.onnx.data"],
    )
    return told


def test_it_holds_as_it_was_made(tmp_path: Path) -> None:
    finished(tmp_path / "out")
    found = certificate.check(tmp_path / "out")
    assert found["quality"]["difference"]["low"] == -0.008
    assert found["data"]["digest"] == "sha256:11"
    assert found["trials"][0]["id"] == "model:int8"


def _file_changed(out: Path) -> None:
    (out / "model.int8.onnx").write_bytes(b"another")


def _weights_gone(out: Path) -> None:
    (out / "model.int8.onnx.data").unlink()


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(out: Path) -> None:
        found = json.loads((out / certificate.FILE_NAME).read_text())
        change(found)
        (out / certificate.FILE_NAME).write_text(json.dumps(found))

    return edit


def _serves_another(out: Path) -> None:
    (out / "manifest.json").write_text(json.dumps({"files": {"model": "model.onnx"}}))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_file_changed, "not the file"),
        (_weights_gone, "missing"),
        (_serves_another, "does not serve"),
        (_edited(lambda c: c["objective"].update(max_drop=0.005)), "beyond the bound"),
        (_edited(lambda c: c["quality"]["difference"].update(low=-0.5)), "beyond the bound"),
        (_edited(lambda c: c["quality"].update(rows=12)), "not enough"),
        (_edited(lambda c: c["speed"]["ratio"].update(value=0.4)), "0.40"),
        (_edited(lambda c: c["variant"].update(files={})), "no file"),
        (_edited(lambda c: c["variant"]["files"].update({"../x": "0"})), "missing"),
        (_edited(lambda c: c.pop("quality")), "incomplete"),
        (_edited(lambda c: c.update(quality=[])), "incomplete"),
        (_edited(lambda c: c.update(schema="other")), "known form"),
        (lambda out: (out / certificate.FILE_NAME).write_text("{"), "cannot be read"),
        (lambda out: (out / certificate.FILE_NAME).write_text("[" * 100_000), "cannot be read"),
        (lambda out: (out / certificate.FILE_NAME).unlink(), "no certificate"),
    ],
)
def test_it_is_refused_once_anything_is_not_as_measured(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    finished(tmp_path / "out")
    spoil(tmp_path / "out")
    with pytest.raises(CertificateRefused) as refused:
        certificate.check(tmp_path / "out")
    assert why in str(refused.value.facts["why"])
    assert refused.value.facts["why_zh"]


def test_a_certificate_that_missed_its_bound_is_refused_from_the_start(tmp_path: Path) -> None:
    finished(tmp_path / "out", Quality(400, "agreement", agreement=Interval(0.9, 0.87, 0.93)))
    with pytest.raises(CertificateRefused, match="labels"):
        certificate.check(tmp_path / "out")


def test_the_variants_manifest_differs_in_its_graphs_options_and_certificate(tmp_path: Path) -> None:
    told = finished(tmp_path / "out")
    base = {
        "schema": 1,
        "name": "a/b",
        "version": "1.0.0",
        "task": "tensors",
        "files": {"model": "model.onnx", "labels": "labels.json"},
        "options": {"top_k": 2},
        "examples": [],
        "artifacts": [
            {"path": name, "sha256": "0" * 64, "size": 1}
            for name in ("labels.json", "model.onnx", "model.onnx.data")
        ],
    }
    manifest = certificate.variant_manifest(base, told)
    assert manifest["files"] == {
        "model": "model.int8.onnx",
        "labels": "labels.json",
        "certificate": "certificate.json",
    }
    assert manifest["options"] == {"top_k": 2, "max_batch": 8}
    assert sorted(a["path"] for a in manifest["artifacts"]) == [
        "certificate.json",
        "labels.json",
        "model.int8.onnx",
        "model.int8.onnx.data",
    ]
    assert base["files"] == {"model": "model.onnx", "labels": "labels.json"}


def test_a_folder_with_another_graph_shares_all_other_files(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name in ("model.onnx", "model.onnx.data", "labels.json"):
        (base / name).write_text(name)
    manifest = {"task": "tensors", "files": {"model": "model.onnx", "labels": "labels.json"}}
    (base / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "new.onnx").write_text("new")
    graphs = {"model": tmp_path / "new.onnx"}
    out = folders.lay_out(base, tmp_path / "out", graphs, {"batching": False}, ["model.onnx.data"])
    assert {path.name for path in out.iterdir()} == {"manifest.json", "labels.json", "new.onnx"}
    assert folders.read_manifest(out)["files"]["model"] == "new.onnx"
    assert folders.read_manifest(out)["options"] == {"batching": False}
    assert (out / "labels.json").samefile(base / "labels.json")
    assert folders.read_manifest(base) == manifest
    assert folders.size_of(base / "model.onnx") == len("model.onnx") + len("model.onnx.data")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": {"model": "gone.onnx"}}', '{"files": {"a": "b.txt"}}']
)
def test_a_folder_without_graphs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(NothingToOptimize):
        folders.graphs_of(tmp_path)
