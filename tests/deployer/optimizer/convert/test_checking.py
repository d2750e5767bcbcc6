"""The checks of a conversion: they let right ones through and say how wrong ones are wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.checking import agreement, check_labels, compare, inputs_of, runner
from tests.deployer.server.conftest import graph

WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
FEEDS = [{"x": np.random.default_rng(n).normal(size=(2, 3)).astype(np.float32)} for n in range(5)]


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    made = graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 3])],
        [("y", TensorProto.FLOAT, ["n", 4])],
        w=WEIGHT,
    )
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def source(feeds: Any, **changes: Any) -> dict[str, np.ndarray]:
    return {"y": feeds["x"] @ (WEIGHT * changes.get("scale", 1)) + changes.get("shift", 0)}


def test_a_graph_that_agrees(linear: Path) -> None:
    found = compare(source, linear, FEEDS)
    assert found.max_abs < 1e-5 and found.argmax == 1.0 and found.cosine == pytest.approx(1)
    assert (found.examples, found.output) == (5, "y")
    assert set(found.facts()) == {"examples", "max_abs", "max_rel", "cosine", "argmax", "example", "output"}
    assert inputs_of(linear) == {"x": (TensorProto.FLOAT, ["n", 3])}


def test_a_graph_that_differs_is_refused(linear: Path) -> None:
    with pytest.raises(ConversionFailed, match=r"differs from its source by 0\.5 in y") as refused:
        compare(lambda f: source(f, shift=0.5), linear, FEEDS)
    assert "相差 0.5" in str(refused.value.facts["why_zh"])
    with pytest.raises(ConversionFailed, match="chooses as its source does in"):
        compare(lambda f: source(f, scale=-1), linear, FEEDS, bound=100)
    far = [*FEEDS[:3], {"x": FEEDS[3]["x"] * 1000}]
    shifted = agreement(lambda f: source(f, scale=1.001), runner(linear), far, linear)
    assert shifted.example == 3 and shifted.max_rel == pytest.approx(0.001, rel=0.02)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"z": np.zeros((2, 4))}, "no output is called z"),
        ({"y": np.zeros((2, 3))}, "has shape"),
        ({"y": np.full((2, 4), np.nan)}, "NaN"),
    ],
)
def test_answers_that_cannot_be_compared(linear: Path, answer: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(ConversionFailed, match=said):
        compare(lambda _f: answer, linear, FEEDS)


def test_no_examples_are_no_proof(linear: Path) -> None:
    with pytest.raises(ConversionFailed, match="no examples to compare on"):
        compare(source, linear, [])
    with pytest.raises(ConversionFailed, match="no examples with known labels"):
        check_labels(linear, [])


def test_labels_are_held_against_the_highest_score(linear: Path) -> None:
    rows = [{"x": feed["x"][:1]} for feed in FEEDS]
    right = [int((row["x"] @ WEIGHT).argmax()) for row in rows]
    assert check_labels(linear, list(zip(rows, right, strict=True)), output="y") == 1.0
    wrong = [(right[0] + 1) % 4, *right[1:]]
    with pytest.raises(ConversionFailed, match=r"1 of 5 examples with known labels come out wrong \(0: "):
        check_labels(linear, list(zip(rows, wrong, strict=True)))
    assert check_labels(linear, list(zip(rows, wrong, strict=True)), least=0.8) == 0.8
    either = [(right[0], wrong[0]), *right[1:]]
    assert check_labels(linear, list(zip(rows, either, strict=True))) == 1.0


def test_what_does_not_load_or_run_says_so(linear: Path, tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(ConversionFailed, match="ONNX Runtime cannot use it"):
        runner(tmp_path / "no.onnx")
    with pytest.raises(ConversionFailed, match="ONNX Runtime cannot use it"):
        runner(linear)({"x": np.zeros((2, 9), np.float32)})
