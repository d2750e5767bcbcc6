"""Runs of a graph are joined only where a row's answer does not depend on its neighbours."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from deployer.server.errors import BadInput, BadModel, Terminated
from deployer.server.graph import PROOFS, TOKENS, Graph, Run, bucket
from deployer.server.model import Model
from tests.deployer.server.conftest import graph, identity, write_model

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def load(folder: Path, model: ModelProto, **options: Any) -> Graph:
    return Model.open(write_model(folder, model, options=options)).graph()


def rows_of(found: Graph, array: np.ndarray[Any, Any], name: str = "x") -> Run:
    return Run(found, {name: array}, found.all_outputs)


def prove(found: Graph, count: int = PROOFS + 1) -> None:
    for number in range(count):
        found.run(rows_of(found, np.full((1, 2), number, np.float32)))


def centred() -> ModelProto:
    """y = x less the mean of all rows: a row's answer depends on the others."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return graph(nodes, [("x", FLOAT, ["n", 2])], [("y", FLOAT, ["n", 2])])


def dynamically_quantised() -> ModelProto:
    """y = x through 8 bits, whose scale is that of the whole batch."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    return graph(nodes, [("x", FLOAT, ["n", 2])], [("y", FLOAT, ["n", 2])])


def masked_mean() -> ModelProto:
    """hidden [b, s, 1] = ids as numbers, mean [b, 1] over those that the mask has."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["numbers"], to=FLOAT),
        helper.make_node("Cast", ["mask"], ["weights"], to=FLOAT),
        helper.make_node("Mul", ["numbers", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceSum", ["weights", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Unsqueeze", ["kept", "last"], ["hidden"]),
    ]
    inputs = [("ids", INT, ["b", "s"]), ("mask", INT, ["b", "s"])]
    outputs = [("hidden", FLOAT, ["b", "s", 1]), ("mean", FLOAT, ["b", 1])]
    return graph(nodes, inputs, outputs, axis=np.array([1], np.int64), last=np.array([2], np.int64))


def text_run(found: Graph, ids: list[int]) -> Run:
    feeds = {"ids": np.array([ids], np.int64), "mask": np.ones((1, len(ids)), np.int64)}
    return Run(found, feeds, found.all_outputs, {"ids": 0, "mask": 0})


def test_runs_are_joined_after_they_proved_alike(tmp_path: Path) -> None:
    found = load(tmp_path / "m", identity())
    run = rows_of(found, np.ones((1, 2), np.float32))
    assert found.joins is None
    assert found.key(run) is None
    prove(found)
    assert found.joins is True
    assert found.key(run) == found.key(rows_of(found, np.zeros((3, 2), np.float32)))
    arrays = [np.full((count, 2), count, np.float32) for count in (1, 3, 2)]
    answers = found.run_all([rows_of(found, array) for array in arrays])
    for array, answer in zip(arrays, answers, strict=True):
        assert isinstance(answer, dict)
        assert np.array_equal(answer["y"], array)


def test_the_same_rows_again_and_again_prove_nothing(tmp_path: Path) -> None:
    found = load(tmp_path / "m", identity())
    for _ in range(2 * PROOFS):
        found.run(rows_of(found, np.ones((1, 2), np.float32)))
    assert found.joins is None


@pytest.mark.parametrize("model", [centred, dynamically_quantised])
def test_rows_that_depend_on_each_other_are_never_joined(tmp_path: Path, model: Any) -> None:
    found = load(tmp_path / "m", model())
    first = rows_of(found, np.array([[1, 2]], np.float32))
    alone = found.run(first)["y"]
    found.run(rows_of(found, np.array([[7, -300]], np.float32)))
    assert found.joins is False
    assert found.key(first) is None
    assert np.array_equal(found.run(first)["y"], alone)


def test_a_fixed_number_of_rows_is_never_joined(tmp_path: Path) -> None:
    assert load(tmp_path / "m", identity(shape=(1, 2))).joins is False


def test_the_manifest_may_say_it(tmp_path: Path) -> None:
    assert load(tmp_path / "1", identity(), batching=True).joins is True
    assert load(tmp_path / "2", identity(), batching=False).joins is False
    assert load(tmp_path / "3", identity(), max_batch=1).joins is False
    assert load(tmp_path / "4", identity(), max_batch=3).rows == 3
    for options in ({"batching": "yes"}, {"max_batch": 0}, {"max_batch": True}, {"max_batch": "8"}):
        with pytest.raises(BadModel, match=next(iter(options))):
            load(tmp_path / "5", identity(), **options)


def test_texts_of_other_lengths_are_joined_and_cut_back(tmp_path: Path) -> None:
    found = load(tmp_path / "m", masked_mean())
    texts = [[5], [1, 2, 3], [4] * 16, [9, 1], [7, 7, 7, 7]]
    alone = [found.run(text_run(found, ids)) for ids in texts]
    assert found.joins is True
    runs = [text_run(found, ids) for ids in texts]
    assert len({found.key(run) for run in runs}) == 1
    assert found.key(text_run(found, [1] * 17)) != found.key(runs[0])
    for one, together in zip(alone, found.run_all(runs), strict=True):
        assert isinstance(together, dict)
        assert together["hidden"].shape == one["hidden"].shape
        assert np.array_equal(together["hidden"], one["hidden"])
        assert np.array_equal(together["mean"], one["mean"])


def test_inputs_with_other_numbers_of_rows_go_alone(tmp_path: Path) -> None:
    found = load(tmp_path / "m", masked_mean(), batching=True)
    feeds = {"ids": np.ones((2, 3), np.int64), "mask": np.ones((1, 3), np.int64)}
    assert found.key(Run(found, feeds, found.all_outputs)) is None


def test_a_bad_run_fails_alone(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    model = graph(nodes, [("x", INT, ["n"])], [("y", FLOAT, ["n"])], table=np.arange(4, dtype=np.float32))
    found = load(tmp_path / "m", model, batching=True)
    runs = [rows_of(found, np.array([index], np.int64)) for index in (1, 99, 3)]
    good, bad, other = found.run_all(runs)
    assert isinstance(good, dict) and isinstance(other, dict)
    assert (good["y"].tolist(), other["y"].tolist()) == ([1.0], [3.0])
    assert isinstance(bad, BadInput)
    assert "the model refuses these tensors" in bad.why.en


def test_a_graph_that_drops_rows_answers_each_alone(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unique", ["x"], ["y"], axis=0, sorted=0)]
    model = graph(nodes, [("x", FLOAT, ["n", 2])], [("y", FLOAT, ["m", 2])])
    found = load(tmp_path / "m", model, batching=True)
    runs = [rows_of(found, np.ones((1, 2), np.float32)) for _ in range(2)]
    for answer in found.run_all(runs):
        assert isinstance(answer, dict)
        assert answer["y"].tolist() == [[1, 1]]


def test_room_is_bounded_by_rows_bytes_and_tokens(tmp_path: Path) -> None:
    found = load(tmp_path / "m", identity(shape=("n", "k")))
    assert found.room(rows_of(found, np.zeros((1, 2), np.float32))) == found.rows
    assert found.room(rows_of(found, np.zeros((1, 1 << 20), np.float32))) == 4
    assert found.room(rows_of(found, np.zeros((1, 1 << 24), np.float32))) == 1
    texts = load(tmp_path / "t", masked_mean(), max_batch=64)
    assert texts.room(text_run(texts, [1] * 512)) == TOKENS // 512


def test_a_run_can_be_ended(slow_dir: Path) -> None:
    found = Model.open(slow_dir).graph()
    options = found.options()
    threading.Timer(0.1, lambda: setattr(options, "terminate", True)).start()
    began = time.monotonic()
    with pytest.raises(Terminated):
        found.run(Run(found, {"times": np.array([100_000_000], np.int64)}, found.all_outputs), options)
    assert time.monotonic() - began < 20


@given(st.integers(1, 100_000))
def test_classes_of_length_are_few_and_tight(length: int) -> None:
    end = bucket(length)
    assert length <= end <= max(16, length * 3 // 2 + 1)
    assert bucket(end) == end
