"""Static int8: ranges from real inputs, integers throughout, sensitive nodes left out."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from deployer.optimizer.recipes import RECIPES, calibration
from deployer.optimizer.recipes.application import footprint
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]
NAMES = [name for name in RECIPES if name.startswith("static-int8")]


@pytest.mark.parametrize("recipe", NAMES)
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_every_opset_gives_a_file_that_loads(bench: Make, recipe: str, opset: int):
    """Scales per channel in opset 11 and 12 gave files that ONNX Runtime refuses."""
    made = bench(nets.conv_net(opset))
    facts = made.apply(recipe, nets.pictures())
    assert facts["nodes_quantised"] >= 2
    assert facts["opset"] >= 17
    assert footprint(made.out) < 0.5 * footprint(made.source)
    assert made.error(nets.pictures()) < 0.1


@pytest.mark.parametrize("recipe", ["static-int8-minmax", "static-int8-flow"])
def test_weights_as_constant_nodes(bench: Make, recipe: str):
    made = bench(nets.conv_net(11, constant_nodes=True))
    assert made.apply(recipe, nets.pictures())["nodes_quantised"] >= 2


def test_a_bias_with_two_axes(bench: Make):
    """The quantiser takes the first axis of a bias for its channels."""
    net = nets.Net()
    value = net.add("Relu", net.add("Gemm", "x", net.weight(64, 64), net.weight(1, 64)))
    net.add("Add", net.add("MatMul", value, net.weight(64, 30)), net.weight(1, 30), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 30]}))
    feeds = [{"x": np.random.default_rng(i).normal(0, 1, (4, 64)).astype(np.float32)} for i in range(4)]
    made.apply("static-int8-minmax", feeds)
    assert made.error(feeds) < 0.05


def test_kept_nodes_stay_in_float(bench: Make):
    made = bench(nets.conv_net())
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "Conv"]
    facts = made.apply("static-int8-minmax", nets.pictures(), keep=names[:1])
    assert len(facts["kept_float"]) == 1
    made.out.unlink()
    everything = [node.name for node in onnx.load(str(made.source)).graph.node]
    assert made.refusal("static-int8-minmax", nets.pictures(), keep=everything)["reason"] == "no-effect"


def test_thin_convolutions_stay_in_float(bench: Make):
    net = nets.Net()
    value = net.conv("x", 16, 3)
    value = net.conv(value, 16, 16, group=16)
    value = net.conv(value, 64, 16, kernel=5)
    net.add("Identity", net.conv(value, 64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 64, 16, 16]}))
    facts = made.apply("static-int8-flow", nets.pictures())
    assert facts["nodes_quantised"] == 2
    assert len(facts["kept_float"]) == 2


def test_a_transposed_convolution_has_no_integer_kernel(bench: Make):
    net = nets.Net()
    value = net.conv("x", 64, 3)
    net.add("ConvTranspose", value, net.weight(64, 8, 2, 2), strides=[2, 2], outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 8, 32, 32]}))
    made.apply("static-int8-minmax", nets.pictures())
    model = onnx.load(str(made.out))
    weights = {tensor.name for tensor in model.graph.initializer}
    assert next(n for n in model.graph.node if n.op_type == "ConvTranspose").input[1] in weights


@pytest.mark.parametrize("scale", [0.3, 1.0, 8.0])
def test_hard_swish_on_integers(bench: Make, scale: float):
    """The Clip at 6 is there only when values reach it."""
    net = nets.Net()
    value = net.add("HardSwish", net.conv("x", 64, 3, kernel=5))
    net.add("Identity", net.conv(value, 48, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]}))
    feeds = [{"x": feed["x"] * np.float32(scale)} for feed in nets.pictures()]
    made.apply("static-int8-flow-minmax", feeds)
    found = nets.kinds(made.out)
    assert "HardSwish" not in found and found["Mul"] == 1
    assert ("Clip" in found) == (scale > 0.5)
    assert made.error(feeds) < 0.06


def test_gelu_stays_one_operator(bench: Make):
    net = nets.Net()
    value = net.conv("x", 64, 3, kernel=5)
    half = net.add("Mul", value, net.constant(np.float32(0.5)))
    inner = net.add("Erf", net.add("Div", value, net.constant(np.float32(2**0.5))))
    value = net.add("Mul", half, net.add("Add", inner, net.constant(np.float32(1))))
    net.add("Identity", net.conv(value, 48, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]}))
    made.apply("static-int8-minmax", nets.pictures())
    assert nets.kinds(made.out)["Gelu"] == 1
    assert made.error(nets.pictures()) < 0.05


def test_a_value_that_is_no_number_leaves_its_node_in_float(bench: Make):
    net = nets.Net()
    value = net.add("MatMul", "x", net.weight(64, 64))
    other = net.add("MatMul", net.add("Log", net.constant(np.zeros((1, 64), np.float32))), net.weight(64, 64))
    net.add("Where", net.constant(np.array(True)), value, other, outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]})
    made = bench(model)
    feeds = [{"x": np.random.default_rng(i).normal(0, 1, (4, 64)).astype(np.float32)} for i in range(3)]
    made.apply("static-int8-minmax", feeds)
    assert made.error(feeds) < 0.05


def test_custom_operators_are_passed_by(bench: Make):
    net = nets.Net(13)
    net.domains["com.microsoft"] = 1
    value = net.add("Gelu", net.add("MatMul", "x", net.weight(64, 64)), domain="com.microsoft")
    net.add("MatMul", value, net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    feeds = [{"x": np.random.default_rng(i).normal(0, 1, (4, 64)).astype(np.float32)} for i in range(3)]
    for recipe in ("static-int8-all", "static-int8-flow", "dynamic-int8-per-channel"):
        assert made.apply(recipe, feeds)["nodes_quantised"] == 2
        assert made.error(feeds) < 0.1


def values(*numbers: float, count: int = 20_000) -> calibration.Values:
    sample = np.random.default_rng(0).normal(0, 1, count).astype(np.float32)
    sample = np.concatenate([sample, np.array(numbers, np.float32)])
    return float(sample.min()), float(sample.max()), sample


@pytest.mark.parametrize("method", calibration.METHODS)
def test_methods_of_calibration(method: str):
    low, high = calibration.METHODS[method](values(-100, 100))
    assert -100 <= low < -2 and 2 < high <= 100
    if method != "minmax":
        assert high < 100  # two values in twenty thousand are cut off, or come less far


@pytest.mark.parametrize("method", calibration.METHODS)
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_a_value_that_never_changes(method: str, constant: float):
    sample = np.full(100, constant, np.float32)
    low, high = calibration.METHODS[method]((constant, constant, sample))
    assert low <= constant <= high


def test_calibration_is_bounded(tmp_path):
    """A few values of each are kept, however large they are and however many inputs there are."""
    net = nets.Net()
    net.add("Relu", net.conv("x", 32, 3), outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 3, "h", "w"])}, {"y": ["n", 32, "h", "w"]})
    seen = calibration.observe(model, ["x", "y"], nets.pictures(100, size=64), tmp_path)
    assert set(seen) == {"x", "y"}
    for low, high, sample in seen.values():
        assert low <= sample.min() <= sample.max() <= high
        assert len(sample) <= 2 * calibration.MOST
    assert list(tmp_path.iterdir()) == []
