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
from deployer.server.graph import MOST_PROOFS, PROOFS, TOKENS, Graph, Run, agree, bucket
from deployer.server.model import Model
from tests.deployer.server.conftest import graph, identity, write_model

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def load(folder: Path, model: ModelProto, **options: Any) -> Graph:
    return Model.open(write_model(folder, model, options=options)).graph()


def rows_of(found: Graph, array: np.ndarray[Any, Any], name: str = "x") -> Run:
    return Run(found, {name: array}, found.all_outputs)


def joins(found: Graph) -> bool | None:
    return found.proof(found.all_outputs).joins


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
    assert joins(found) is None
    assert found.key(run) is None
    prove(found)
    assert joins(found) is True
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
    assert joins(found) is None


@pytest.mark.parametrize("model", [centred, dynamically_quantised])
def test_rows_that_depend_on_each_other_are_never_joined(tmp_path: Path, model: Any) -> None:
    found = load(tmp_path / "m", model())
    first = rows_of(found, np.array([[1, 2]], np.float32))
    alone = found.run(first)["y"]
    found.run(rows_of(found, np.array([[7, -300]], np.float32)))
    assert joins(found) is False
    assert found.key(first) is None
    assert np.array_equal(found.run(first)["y"], alone)


def test_a_fixed_number_of_rows_is_never_joined(tmp_path: Path) -> None:
    assert joins(load(tmp_path / "m", identity(shape=(1, 2)))) is False


def test_the_manifest_may_say_it(tmp_path: Path) -> None:
    assert joins(load(tmp_path / "1", identity(), batching=True)) is True
    assert joins(load(tmp_path / "2", identity(), batching=False)) is False
    assert joins(load(tmp_path / "3", identity(), max_batch=1)) is False
    assert load(tmp_path / "4", identity(), max_batch=3).rows == 3
    for options in ({"batching": "yes"}, {"max_batch": 0}, {"max_batch": True}, {"max_batch": "8"}):
        with pytest.raises(BadModel, match=next(iter(options))):
            load(tmp_path / "5", identity(), **options)


def test_texts_of_other_lengths_are_joined_and_cut_back(tmp_path: Path) -> None:
    found = load(tmp_path / "m", masked_mean())
    texts = [[5], [1, 2, 3], [4] * 16, [9, 1], [7, 7, 7, 7]]
    alone = [found.run(text_run(found, ids)) for ids in texts]
    assert (joins(found), found.proof(found.all_outputs).fills) == (True, True)
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


def test_each_choice_of_outputs_is_proved_by_itself(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["x"], ["rows"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["others"]),
    ]
    outputs = [("rows", FLOAT, ["n", 2]), ("others", FLOAT, ["n", 2])]
    found = load(tmp_path / "m", graph(nodes, [("x", FLOAT, ["n", 2])], outputs))
    for number in range(PROOFS + 1):
        found.run(Run(found, {"x": np.full((1, 2), number, np.float32)}, ("rows",)))
    other = Run(found, {"x": np.full((1, 2), 9, np.float32)}, ("others",))
    assert found.proof(("rows",)).joins is True
    assert found.key(other) is None
    for number in range(2):
        found.run(Run(found, {"x": np.full((1, 2), 5 * number, np.float32)}, ("others",)))
    assert found.proof(("others",)).joins is False
    assert found.proof(("rows",)).joins is True


def test_only_few_choices_of_outputs_are_looked_at(tmp_path: Path) -> None:
    found = load(tmp_path / "m", identity())
    for number in range(10 * MOST_PROOFS):
        found.proof((f"y{number}",))
    assert len(found._proofs) == MOST_PROOFS
    assert found.key(rows_of(found, np.ones((1, 2), np.float32))) is None


def test_lengths_are_filled_up_only_where_that_changes_nothing(tmp_path: Path) -> None:
    # The mean over all ids, filling included: equal lengths may be joined, others may not.
    nodes = [
        helper.make_node("Cast", ["ids"], ["numbers"], to=FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Cast", ["mask"], ["weights"], to=FLOAT),
        helper.make_node("ReduceMax", ["weights"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "one"], ["y"]),
    ]
    inputs = [("ids", INT, ["b", "s"]), ("mask", INT, ["b", "s"])]
    found = load(tmp_path / "m", graph(nodes, inputs, [("y", FLOAT, ["b", 1])]))
    for number in range(PROOFS + 1):
        found.run(text_run(found, [number, 5, 6]))
    proof = found.proof(found.all_outputs)
    assert (proof.joins, proof.fills) == (True, None)
    short, long = text_run(found, [1, 2, 3]), text_run(found, [4] * 12)
    assert found.key(short) != found.key(long)
    found.run(short)
    found.run(long)
    assert (proof.joins, proof.fills) == (True, False)
    assert found.key(short) == found.key(text_run(found, [7, 8, 9])) != found.key(long)


@pytest.mark.parametrize("filler", [-np.inf, -1e5])
def test_small_numbers_are_not_excused_by_large_ones_beside_them(filler: float) -> None:
    one = np.array([[1.0, 2.0, filler], [3.0, 4.0, filler]], np.float32)
    other = one.copy()
    assert agree({"y": one}, {"y": other})
    other[0, 0] += 0.5
    assert not agree({"y": one}, {"y": other})
    other = one.copy()
    other[0, 2] = 0.0
    assert not agree({"y": one}, {"y": other})


def test_rounding_is_forgiven() -> None:
    one = np.random.default_rng(0).normal(size=(2, 384)).astype(np.float32)
    assert agree({"y": one}, {"y": one + np.float32(3e-7) * one.std()})
    assert not agree({"y": one}, {"y": one * np.float32(1.001)})


def test_scalars_and_graphs_without_inputs_go_alone(tmp_path: Path) -> None:
    scalar = load(tmp_path / "1", identity(shape=()))
    assert scalar.key(rows_of(scalar, np.array(3, np.float32))) is None
    value = helper.make_tensor("v", FLOAT, [1], [7.0])
    nodes = [helper.make_node("Constant", [], ["y"], value=value)]
    empty = load(tmp_path / "2", graph(nodes, [], [("y", FLOAT, [1])]))
    run = Run(empty, {}, empty.all_outputs)
    assert empty.key(run) is None
    assert empty.run(run)["y"].tolist() == [7.0]
