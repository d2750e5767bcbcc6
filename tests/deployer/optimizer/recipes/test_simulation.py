"""Sensitivity finds the node that was made to be sensitive, in bounded time."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from deployer.optimizer.recipes import RECIPES, RecipeRefused, sensitivity
from deployer.optimizer.recipes.simulation import measure
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


def chain(length: int, bad: int) -> onnx.ModelProto:
    """Products in a row; the weight of one has a single huge column, which its scale must cover."""
    net = nets.Net()
    value = "x"
    for index in range(length):
        weight = net.weight(64, 64)
        if index == bad:
            array = np.array(onnx.numpy_helper.to_array(net.constants[-1]))
            array[0] *= 300  # one input that dwarfs the rest of every column
            net.constants[-1].CopyFrom(onnx.numpy_helper.from_array(array, weight))
        last = index == length - 1
        value = net.add("MatMul", value, weight, outputs=["y"] if last else [])
        if not last:
            value = net.add("Tanh", value)
    return net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]})


def feeds() -> list[nets.Feeds]:
    made = [{"x": np.random.default_rng(i).normal(0, 1, (4, 64)).astype(np.float32)} for i in range(4)]
    for feed in made:
        feed["x"][:, 0] = 0
    return made


@pytest.mark.parametrize("recipe", ["static-int8-minmax", "dynamic-int8-per-channel", "weights-int8"])
def test_the_worst_node_comes_first(bench: Make, recipe: str):
    made = bench(chain(14, 0))
    found = sensitivity(made.source, recipe, feeds(), made.scratch)
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "MatMul"]
    assert sorted(name for name, _ in found) == sorted(names)
    assert found[0][0] == names[0]
    assert found[0][1] > 5 * found[1][1]
    assert list(made.scratch.iterdir()) == []


def test_its_names_are_those_that_can_be_kept(bench: Make):
    made = bench(nets.written_out())
    found = sensitivity(made.source, "static-int8-flow", nets.pictures(), made.scratch)
    facts = made.apply("static-int8-flow", nets.pictures(), keep=[found[0][0]])
    assert found[0][0] in facts["kept_float"]


def test_no_time_gives_groups(bench: Make):
    made = bench(chain(30, 3))
    found = measure(RECIPES["weights-int8"], made.source, feeds(), made.scratch, seconds=0)
    assert len(found) == 30
    assert len({error for _, error in found}) < 30


def test_without_inputs_it_is_refused(bench: Make):
    made = bench(chain(2, 0))
    with pytest.raises(RecipeRefused) as caught:
        sensitivity(made.source, "weights-int8", [], made.scratch)
    assert caught.value.facts["reason"] == "no-calibration-data"


def test_nothing_to_quantize_is_refused(bench: Make):
    made = bench(nets.conv_net())
    with pytest.raises(RecipeRefused) as caught:
        sensitivity(made.source, "int4-blocks-32", nets.pictures(), made.scratch)
    assert caught.value.facts["reason"] == "no-effect"
