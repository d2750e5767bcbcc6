"""Graphs prepared for this machine: made in the sandbox, once, and never in the way of serving."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from deployer.runtimes import prepared
from deployer.runtimes.docker import _let_read
from deployer.runtimes.process import ProcessRuntime
from deployer.spec import Limits, ReplicaSpec, silent
from tests.deployer.runtimes.models import ask, eventually
from tests.deployer.server.conftest import graph, write_model

WIDTH = 600  # of a matrix of more than a megabyte


@pytest.fixture(scope="module")
def large_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    rows = ["n", WIDTH]
    model = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, rows)],
        [("y", TensorProto.FLOAT, rows)],
        w=weights,
    )
    return write_model(tmp_path_factory.mktemp("large"), model)


def spec_of(model: Path, folder: Path) -> ReplicaSpec:
    return ReplicaSpec("large-1-0", "large", model, Limits(), prepared=folder)


def report_of(folder: Path) -> dict[str, object]:
    (path,) = folder.glob("*/prepared.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_it_is_made_once_however_many_ask(short_dir: Path, large_dir: Path) -> None:
    spec, made = spec_of(large_dir, short_dir / "prepared" / "m"), []

    def make(folder: Path) -> str:
        made.append(folder)
        return prepared.in_process(spec, folder, sandbox=True)

    together = [threading.Thread(target=prepared.ensure, args=(spec, silent, make)) for _ in range(3)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(made) == 1
    assert spec.prepared
    assert "seconds" in str(report_of(spec.prepared)["graphs"])
    assert {path.suffix for path in spec.prepared.glob("*/model.*")} == {".onnx", ".bin"}
    assert not list(spec.prepared.glob(".*"))


def test_a_server_that_uses_it_gives_the_same_answers(short_dir: Path, large_dir: Path) -> None:
    runtime = ProcessRuntime(short_dir)
    x = np.random.default_rng(2).normal(size=(1, WIDTH)).round(3).tolist()
    answers = []
    try:
        for folder in (None, short_dir / "prepared" / "m"):
            spec = ReplicaSpec("large-1-0", "large", large_dir, prepared=folder)
            runtime.prepare(spec, silent)
            replica = runtime.start(spec)
            eventually(lambda at=replica.address: ask(at, "GET", "/v2/health/ready")[0] == 200)
            answers.append(ask(replica.address, "POST", "/predict", {"rows": x})[1]["outputs"]["y"])
            assert "cannot be used" not in runtime.logs(replica.id)
            runtime.stop(replica.id)
    finally:
        runtime.close()
    assert answers[0] == answers[1]


def test_a_damaged_one_is_passed_over(short_dir: Path, large_dir: Path) -> None:
    runtime = ProcessRuntime(short_dir)
    spec = spec_of(large_dir, short_dir / "prepared" / "m")
    try:
        runtime.prepare(spec, silent)
        assert spec.prepared
        (ready,) = spec.prepared.glob("*/model.onnx")
        ready.write_bytes(b"not a graph")
        replica = runtime.start(spec)
        eventually(lambda: ask(replica.address, "GET", "/v2/health/ready")[0] == 200)
        assert "prepared graph cannot be used" in runtime.logs(replica.id)
    finally:
        runtime.close()


def test_what_cannot_be_prepared_is_noted_and_not_tried_again(short_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": {"model": "gone.onnx"}}')
    spec = spec_of(tmp_path, short_dir / "prepared" / "m")
    assert spec.prepared
    tries = []

    def make(folder: Path) -> str:
        tries.append(folder)
        return prepared.in_process(spec, folder, sandbox=True)

    prepared.ensure(spec, silent, make)
    prepared.ensure(spec, silent, make)
    assert len(tries) == 1
    assert "gone.onnx" in str(report_of(spec.prepared)["failed"])


def test_small_graphs_stay_as_they_are(short_dir: Path, doubling: Path) -> None:
    spec = spec_of(doubling, short_dir / "prepared" / "m")
    prepared.ensure(spec, silent, lambda folder: prepared.in_process(spec, folder, sandbox=True))
    assert spec.prepared
    assert report_of(spec.prepared)["graphs"] == {"model": {"as_it_is": "small"}}
    assert not list(spec.prepared.glob("*/*.onnx"))


def test_leftovers_of_a_killed_one_are_cleared(short_dir: Path, large_dir: Path) -> None:
    spec = spec_of(large_dir, short_dir / "prepared" / "m")
    assert spec.prepared
    (spec.prepared / ".work").mkdir(parents=True)
    (spec.prepared / ".work" / "model.bin").write_bytes(b"half")
    prepared.ensure(spec, silent, lambda folder: prepared.in_process(spec, folder, sandbox=True))
    assert not list(spec.prepared.glob(".*"))


@pytest.mark.parametrize("report", ["fifo", "link", "deep", "folder", "name", "none"])
def test_a_hostile_child_leads_nowhere(short_dir: Path, doubling: Path, report: str) -> None:
    spec, secret, made = spec_of(doubling, short_dir / "prepared" / "m"), short_dir / "secret", []
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("hush")

    def make(work: Path) -> str:
        made.append(work)
        path = work / "prepared.json"
        (work / "model.onnx").symlink_to(secret / "key")
        (work / "inner").symlink_to(secret)
        if report == "fifo":
            os.mkfifo(path)
        elif report == "link":
            path.symlink_to("/dev/zero")
        elif report == "deep":
            path.write_text("[" * 60_000)
        elif report == "folder":
            path.mkdir()
        elif report == "name":
            path.write_text('{"machine": "../../escaped", "graphs": {}}')
        return ""

    for _ in range(2):
        prepared.ensure(spec, silent, make)
    assert len(made) == 1
    assert spec.prepared
    kept = [path.name for path in spec.prepared.rglob("*") if path.is_file() or path.is_symlink()]
    assert kept == ["prepared.json"]
    assert ("failed" in report_of(spec.prepared)) == (report != "name")
    assert not list(short_dir.rglob("escaped"))
    _let_read(spec.prepared)
    assert secret.stat().st_mode & 0o777 == 0o700


def test_folders_are_opened_to_readers_but_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "model" / "inner"
    outside.mkdir(mode=0o700)
    inside.mkdir(mode=0o700, parents=True)
    (tmp_path / "model" / "link").symlink_to(outside)
    _let_read(tmp_path / "model")
    assert inside.stat().st_mode & 0o055 == 0o055
    assert outside.stat().st_mode & 0o777 == 0o700


def test_a_child_that_says_too_much_is_ended(short_dir: Path, tmp_path: Path) -> None:
    program = "import os\nwhile True: os.write(2, b'x' * 65536)"
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen([sys.executable, "-c", program], stderr=log)
        assert prepared._watch(child, log, 1 << 30) == "it said too much"
    assert child.returncode == -signal.SIGKILL


def test_a_child_that_takes_too_much_is_ended() -> None:
    program = "x = bytearray(200 << 20)\nimport time\ntime.sleep(60)"
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen([sys.executable, "-c", program], stderr=log)
        assert "0.10 GB" in prepared._watch(child, log, 100_000_000)
