"""Operators in parts become whole, with the same answers; what only looks alike is left alone."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("order", ["div-last", "div-first", "gate"])
def test_hard_swish_and_normalisation(bench: Make, opset: int, order: str):
    made = bench(nets.written_out(opset, order=order))
    made.apply("fuse-operators", nets.pictures(1))
    found = nets.kinds(made.out)
    assert found.pop("Identity", 0) <= 1
    assert found == {"Conv": 3, "HardSwish": 2}
    assert made.error(nets.pictures(3)) < 1e-6


def test_another_shift_is_no_hard_swish(bench: Make):
    net = nets.Net()
    value = net.conv("x", 48, 3)
    cut = net.add("Clip", net.add("Add", value, net.constant(np.float32(2))),
                  net.constant(np.float32(0)), net.constant(np.float32(6)))  # fmt: skip
    net.add("Div", net.add("Mul", value, cut), net.constant(np.float32(6)), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]}))
    assert made.refusal("fuse-operators")["reason"] == "no-effect"


def test_a_part_that_others_read_stays(bench: Make):
    net = nets.Net()
    value = net.conv("x", 48, 3)
    cut = net.add("Clip", net.add("Add", value, net.constant(np.float32(3))),
                  net.constant(np.float32(0)), net.constant(np.float32(6)))  # fmt: skip
    swish = net.add("Div", net.add("Mul", value, cut), net.constant(np.float32(6)))
    net.add("Add", swish, cut, outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]}))
    assert made.refusal("fuse-operators")["reason"] == "no-effect"


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_weight_is_not_scaled(bench: Make, shared: bool):
    net = nets.Net()
    weight = net.weight(8, 8, 1, 1)
    one = net.add("Conv", "x", weight)
    scaled = net.add("Sub", one, net.weight(1, 8, 1, 1))
    other = net.add("Conv", scaled, weight if shared else net.weight(8, 8, 1, 1))
    net.add("Identity", other, outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 8, 4, 4])}, {"y": ["n", 8, 4, 4]}))
    if shared:
        assert made.refusal("fuse-operators")["reason"] == "no-effect"
    else:
        feeds = nets.pictures(2, 8, 4)
        made.apply("fuse-operators", feeds)
        assert made.error(feeds) < 1e-6


def one_hot_net(expand: list[int]) -> onnx.ModelProto:
    net = nets.Net()
    ids = net.add("Unsqueeze", "ids", net.constant(np.array([2])))
    wide = net.add("Expand", ids, net.constant(np.array(expand)))
    code = net.add("Equal", wide, net.constant(np.arange(20, dtype=np.int32).reshape(1, 1, 20)))
    net.add("MatMul", net.add("Cast", code, to=TensorProto.FLOAT), net.weight(20, 64), outputs=["y"])
    return net.model({"ids": (TensorProto.INT32, ["n", "t"])}, {"y": ["n", "t", 64]})


@pytest.mark.parametrize("expand", [[1, 1, 1], [1, 1, 20], [3, 1, 1]])
def test_a_one_hot_code_takes_rows(bench: Make, expand: list[int]):
    made = bench(one_hot_net(expand))
    ids = np.array([[0, 7, 19, 20, -1]], np.int32)  # the last two are in no row, and give zeros
    made.apply("fuse-operators", [{"ids": ids}])
    assert "MatMul" not in nets.kinds(made.out)
    assert made.error([{"ids": ids}]) == 0
