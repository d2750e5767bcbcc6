"""Dynamic int8: products, recurrences and tables; convolutions are never touched."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployer.optimizer.recipes.application import footprint
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]
NAMES = ["", "-per-channel", "-reduced", "-matmul", "-embeddings"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("constant_nodes", [False, True])
def test_products_become_integers(bench: Make, name: str, opset: int, constant_nodes: bool):
    made = bench(nets.product_net(opset, constant_nodes=constant_nodes))
    feeds = nets.sentences()
    facts = made.apply(f"dynamic-int8{name}", feeds)
    assert nets.kinds(made.out)["MatMulInteger"] == 2
    assert facts["nodes_quantised"] == (3 if name == "-embeddings" else 2)
    assert facts["opset"] == 17
    assert made.error(feeds) < 0.05


def test_embeddings_are_most_of_the_file(bench: Make):
    made = bench(nets.product_net())
    made.apply("dynamic-int8-per-channel")
    plain = footprint(made.out)
    made.apply("dynamic-int8-embeddings")
    assert footprint(made.out) < 0.5 * plain


@pytest.mark.parametrize("name", NAMES)
def test_convolution_nets_are_refused(bench: Make, name: str):
    net = nets.Net()
    net.add("Identity", net.conv(net.conv("x", 32, 3), 32, 32), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 32, 16, 16]}))
    assert made.refusal(f"dynamic-int8{name}")["reason"] == "no-effect"


def test_convolutions_beside_products_stay_in_float(bench: Make):
    net = nets.Net()
    value = net.add("Flatten", net.add("GlobalAveragePool", net.conv("x", 64, 3)))
    net.add("MatMul", value, net.weight(64, 500), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 500]}))
    made.apply("dynamic-int8", nets.pictures(1))
    assert nets.kinds(made.out)["Conv"] == 1
    assert "ConvInteger" not in nets.kinds(made.out)


def test_a_last_layer_alone_is_no_effect(bench: Make):
    """One small product of a convolution net: the file stays as it was, and so does the speed."""
    net = nets.Net()
    value = net.conv(net.conv("x", 64, 3), 128, 64)
    value = net.add("Flatten", net.add("GlobalAveragePool", value))
    net.add("MatMul", value, net.weight(128, 4), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 4]}))
    facts = made.refusal("dynamic-int8")
    assert facts["reason"] == "no-effect"
    assert "bytes" in facts["why"]


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_kept_nodes_stay_in_float(bench: Make, operator: str):
    net = nets.Net()
    value = net.add(operator, "x", net.weight(64, 64))
    net.add(operator, value, net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    name = onnx.load(str(made.source)).graph.node[0].name
    assert made.apply("dynamic-int8-per-channel", keep=[name])["nodes_quantised"] == 1


def test_keeping_all_is_no_effect(bench: Make):
    made = bench(nets.product_net())
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "MatMul"]
    assert made.refusal("dynamic-int8", keep=names)["reason"] == "no-effect"


def test_lstm_is_quantized(bench: Make):
    net = nets.Net()
    net.add("LSTM", "x", net.weight(1, 256, 64), net.weight(1, 256, 64), outputs=["whole", "y"],
            hidden_size=64)  # fmt: skip
    made = bench(net.model({"x": (TensorProto.FLOAT, ["t", "n", 64])}, {"y": [1, "n", 64]}))
    feeds = [{"x": np.random.default_rng(0).normal(0, 1, (5, 2, 64)).astype(np.float32)}]
    made.apply("dynamic-int8", feeds)
    assert nets.kinds(made.out) == {"DynamicQuantizeLSTM": 1}
    assert made.error(feeds) < 0.05


def inside_if(outside: bool) -> onnx.ModelProto:
    branches = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", f"{name}_w"], [f"{name}_out"], name)],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["n", 64])],
            [onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32) * scale, f"{name}_w")],
        )
        for name, scale in (("then", 1), ("else", 2))
    ]
    net = nets.Net()
    value = net.add("MatMul", "x", net.weight(64, 64)) if outside else "x"
    chosen = net.add("If", "flag", then_branch=branches[0], else_branch=branches[1])
    net.add("Add", value, chosen, outputs=["y"])
    inputs = {"x": (TensorProto.FLOAT, ["n", 64]), "flag": (TensorProto.BOOL, [])}
    return net.model(inputs, {"y": ["n", 64]})


def test_what_lies_inside_if_is_counted(bench: Make):
    made = bench(inside_if(outside=True))
    feeds = [{"x": np.ones((2, 64), np.float32), "flag": np.array(True)}]
    facts = made.apply("dynamic-int8-per-channel", feeds)
    assert facts["nodes_quantised"] == 1
    assert facts["in_subgraphs"] == 2
    assert made.error(feeds) < 0.05


@pytest.mark.parametrize("recipe", ["dynamic-int8", "static-int8-minmax"])
def test_a_graph_that_lies_inside_if_altogether_is_refused(bench: Make, recipe: str):
    feeds = [{"x": np.ones((2, 64), np.float32), "flag": np.array(True)}]
    facts = bench(inside_if(outside=False)).refusal(recipe, feeds)
    assert facts["reason"] == "no-effect"
    assert "2" in facts["why"] and "If" in facts["why"] and "If" in facts["why_zh"]
