"""Ranges end where an activation is flat, and pooling is kept off the slow path."""

import numpy as np
import pytest
from onnx import TensorProto

from deployer.optimizer.recipes import activations, static
from tests.deployer.optimizer.recipes import nets


def followed_by(*operators: str) -> tuple[object, dict[str, tuple[float, float]]]:
    net = nets.Net()
    value = net.conv("x", 48, 3)
    made = [net.add(operator, value) for operator in operators]
    net.add("Sum", *made, outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]})
    return model, activations.narrowed(model, {value: (-50.0, 20.0), "y": (-50.0, 20.0)})


@pytest.mark.parametrize(
    ("operators", "low", "high"),
    [
        (["Relu"], 0, 20),
        (["Sigmoid"], -8, 8),
        (["HardSigmoid"], -2.5, 2.5),
        (["Relu", "Sigmoid"], -8, 20),
        (["Relu", "Neg"], -50, 20),
    ],
)
def test_flat_ends_are_cut_off(operators: list[str], low: float, high: float):
    _, ranges = followed_by(*operators)
    value = next(name for name in ranges if name != "y")
    assert ranges[value] == pytest.approx((low, high))
    assert ranges["y"] == (-50.0, 20.0)


@pytest.mark.parametrize("high", [0.05, 1.0, 3.0, 20.0, 400.0])
def test_hard_swish_begins_on_a_step(high: float):
    low, end = activations.aligned((-50.0, high))
    scale = (end - low) / 255
    assert low == -3
    assert end >= min(high, 252 * 3)
    assert 3 / scale == pytest.approx(np.rint(3 / scale), abs=1e-6)
    assert 1 <= np.rint(3 / scale) <= 254


def test_pooling_has_a_range_of_its_own():
    net = nets.Net()
    pooled = net.add("MaxPool", "x", kernel_shape=[2, 2])
    net.add("Relu", pooled, outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, {"y": [1, 3, 7, 7]})
    ranges = static.pooled_in_floats(model, {"x": (-1.0, 2.0), pooled: (-1.0, 2.0), "y": (0.0, 2.0)})
    assert ranges["x"] == (-1.0, 2.0)
    assert ranges[pooled] == pytest.approx((-1.01, 2.02))
