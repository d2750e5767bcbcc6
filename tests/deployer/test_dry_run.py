"""The dry run with real servers in the sandbox: good models, and such as hang, gorge, or answer nonsense."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from deployer import dry_run
from deployer.dry_run import Bounds, DryRunFailed, Outcome
from deployer.runtimes.process import ProcessRuntime
from deployer.spec import silent
from tests.deployer.server.conftest import graph, identity, write_model
from tests.shelf_files import model_dir

QUICK = Bounds(memory=1 << 30, start=20, answer=2, measuring=0.2, in_all=60)
Feeds = dict[str, Any]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[ProcessRuntime]:
    opened = ProcessRuntime(tmp_path / "home", tmp_path / "run")
    if opened.available().detail["sandbox"] != "full":
        pytest.skip("this machine has no full sandbox")
    yield opened
    assert opened.list() == []
    opened.close()


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """y = x + x."""
    three = ("n", 3)
    model = graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, three)],
        [("y", TensorProto.FLOAT, three)],
    )
    return write_model(tmp_path / "sums", model)


def body(**tensors: Any) -> dict[str, Any]:
    """A body of /predict for a model that is served as tensors."""
    return {"inputs": tensors}


def try_out(runtime: ProcessRuntime, folder: Path, *requests: Feeds, bounds: Bounds = QUICK) -> Outcome:
    return dry_run.try_out(runtime, folder, requests, id="dry", bounds=bounds)


def refuse(runtime: ProcessRuntime, folder: Path, *requests: Feeds, bounds: Bounds = QUICK) -> DryRunFailed:
    with pytest.raises(DryRunFailed) as refused:
        try_out(runtime, folder, *requests, bounds=bounds)
    return refused.value


def test_a_listing_of_the_shelf_answers_and_is_measured(runtime: ProcessRuntime) -> None:
    folder = model_dir("doc-orientation")
    examples = json.loads((folder / "manifest.json").read_text("utf-8"))["examples"]
    seen = try_out(runtime, folder, *[each["request"] for each in examples], bounds=Bounds(measuring=0.5))
    found = dry_run.compare(seen.answers, [each["expect"] for each in examples])
    assert found == [[] for _ in examples]
    assert seen.memory > 10 << 20
    assert seen.cold_start_ms > 0
    latency = seen.latency()
    assert latency["n"] >= len(examples)
    assert 0 < latency["p50"] <= latency["p95"]


def test_without_examples_it_is_started_all_the_same(runtime: ProcessRuntime, sums: Path) -> None:
    seen = try_out(runtime, sums)
    assert seen.answers == []
    assert seen.latency() == {}
    assert seen.cold_start_ms > 0


def test_a_model_without_a_full_sandbox_is_not_started(tmp_path: Path, sums: Path) -> None:
    bare = ProcessRuntime(tmp_path / "home", tmp_path / "run", sandbox=False)
    assert refuse(bare, sums).code == "dry-run-no-sandbox"
    assert bare.list() == []


def test_files_that_do_not_fit_the_task_are_refused_with_the_cause(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    error = refuse(runtime, write_model(tmp_path / "model", identity(), task="feature-extraction"))
    assert error.code == "dry-run-refused"
    assert "text encoder" in str(error.facts["why"])


def test_a_request_that_the_server_refuses_is_named(runtime: ProcessRuntime, sums: Path) -> None:
    error = refuse(runtime, sums, {"nothing": 1})
    assert error.code == "example-refused"
    assert error.facts["example"] == 1
    assert error.facts["status"] in (400, 422)


def endless(folder: Path) -> Path:
    """A graph that loops 2^62 times when it is asked."""
    state = ("state", TensorProto.FLOAT, [64, 64])
    inner = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state"], ["next"]),
            helper.make_node("Identity", ["going"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info(*state),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [64, 64]),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["count", "yes", "seed"], ["last"], body=inner),
        helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
        helper.make_node("Add", ["x", "most"], ["y"]),
    ]
    model = graph(
        nodes,
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [1])],
        count=np.int64(1 << 62),
        yes=np.array(True),
        seed=np.zeros((64, 64), np.float32),
    )
    return write_model(folder, model)


def test_an_endless_loop_at_run_time_is_a_hang(runtime: ProcessRuntime, tmp_path: Path) -> None:
    error = refuse(runtime, endless(tmp_path / "model"), body(x=[1.0]))
    assert error.code == "dry-run-hang"
    assert error.facts["example"] in (0, 1)


def hungry(folder: Path) -> Path:
    """A graph that fills as many numbers as it is asked for."""
    nodes = [
        helper.make_node("Cast", ["x"], ["count"], to=TensorProto.INT64),
        helper.make_node(
            "ConstantOfShape", ["count"], ["much"], value=helper.make_tensor("v", 1, [1], [1.0])
        ),
        helper.make_node("ReduceSum", ["much"], ["y"], keepdims=1),
    ]
    return write_model(folder, graph(nodes, [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])]))


def test_a_memory_hog_is_ended_at_its_limit(runtime: ProcessRuntime, tmp_path: Path) -> None:
    bounds = Bounds(memory=400 << 20, start=20, answer=10, measuring=0.2)
    error = refuse(runtime, hungry(tmp_path / "model"), body(x=[1e9]), bounds=bounds)
    assert error.code == "dry-run-memory"
    assert error.facts["limit"] == 400 << 20


def test_an_answer_that_is_no_number_is_found(runtime: ProcessRuntime, tmp_path: Path) -> None:
    model = graph(
        [helper.make_node("Log", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n"])],
        [("y", TensorProto.FLOAT, ["n"])],
    )
    seen = try_out(runtime, write_model(tmp_path / "model", model), body(x=[-1.0]))
    assert dry_run.compare(seen.answers, [None])[0][0].startswith("NaN: ")


def test_an_answer_without_end_is_not_read(runtime: ProcessRuntime, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["count"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["count"], ["y"], value=helper.make_tensor("v", 1, [1], [1.5])),
    ]
    model = graph(nodes, [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, ["n"])])
    bounds = Bounds(memory=2 << 30, start=20, answer=20, measuring=0.2)
    error = refuse(runtime, write_model(tmp_path / "model", model), body(x=[4e6]), bounds=bounds)
    assert error.code == "example-answer-too-long"


def test_whoever_watches_can_end_it(runtime: ProcessRuntime, sums: Path) -> None:
    class Enough(Exception):
        pass

    def tick(done: int, total: int, note: str = "") -> None:
        if note == "examples":
            raise Enough

    request = body(x=[[1.0, 2.0, 3.0]])
    with pytest.raises(Enough):
        dry_run.try_out(runtime, sums, [request], id="dry", bounds=QUICK, tick=tick)


@pytest.mark.parametrize(
    ("exit", "log", "code"),
    [
        ("memory 1.20 GB of 1.00 GB", "", "dry-run-memory"),
        ("exit 3", '{"event": "model cannot be served", "cause": "no labels"}', "dry-run-refused"),
        ("exit 3", '{"traceback": "…\\nMemoryError"}', "dry-run-memory"),
        ("signal 11 (SIGSEGV)", "", "dry-run-crashed"),
        (
            "signal 6 (SIGABRT)",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "dry-run-memory",
        ),
        ("exit 1", "", "dry-run-crashed"),
    ],
)
def test_why_a_server_ended(exit: str, log: str, code: str) -> None:
    assert dry_run.cause(exit, log, 1 << 30).code == code


def test_comparing_says_where() -> None:
    answers = [
        {"results": [{"label": "a", "score": None}]},
        {"y": [1.0, None]},
        {"name_fits": None},
        {"n": 2},
    ]
    found = dry_run.compare(answers, [None, None, None, {"n": 3}])
    assert found == [["NaN: results[0].score"], ["NaN: y[1]"], [], ["n: 2 ≠ 3"]]


def test_a_labelled_sample_is_read_within_bounds(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "label": "good"} for n in range(500)]
    lines = ["not json", "[1]", '{"text": "no label"}', "[" * 50_000, *map(json.dumps, rows)]
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    found = dry_run.read_sample(str(path), silent)
    assert len(found) == dry_run.ROWS
    assert found[0] == rows[0]


def test_hits_count_the_likeliest_label() -> None:
    answers = [{"results": [{"label": "a"}]}, {"results": [[{"label": "b"}]]}, {"results": []}, None]
    assert dry_run.hits(answers, ["a", "b", "a", "a"]) == 2
