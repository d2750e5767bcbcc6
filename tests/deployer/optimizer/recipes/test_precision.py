"""Half precision: inputs and outputs stay as they were, and what ONNX Runtime cannot hold is refused."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from deployer.optimizer.recipes.application import footprint
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


def test_fp16_halves_the_file(bench: Make):
    made = bench(nets.conv_net())
    facts = made.apply("fp16", nets.pictures(2))
    assert facts["nodes_quantised"] == 3
    assert footprint(made.out) < 0.6 * footprint(made.source)
    assert made.error(nets.pictures(2)) < 5e-3


def test_mixed_precision_leaves_quotients_in_fp32(bench: Make):
    net = nets.Net()
    value = net.add("MatMul", "x", net.weight(64, 64))
    value = net.add("Softmax", value)
    net.add("MatMul", value, net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    made.apply("fp16-mixed", [{"x": np.ones((2, 64), np.float32)}])
    model = onnx.shape_inference.infer_shapes(onnx.load(str(made.out)))
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    assert types[softmax.input[0]] == TensorProto.FLOAT


def test_named_nodes_are_kept_in_fp32(bench: Make):
    made = bench(nets.conv_net())
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "Conv"]
    assert made.apply("fp16", keep=names[:1])["nodes_quantised"] == 2


def test_weights_beyond_the_range_are_named(bench: Make):
    model = nets.conv_net()
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = 1e6
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    made = bench(model)
    facts = made.refusal("fp16")
    assert facts["reason"] == "fp16-range"
    assert repr(tensor.name) in facts["why"]


def test_a_recurrent_graph_is_converted_or_refused_but_ends_no_process(bench: Make):
    """ONNX Runtime died of a segmentation fault on graphs like this one."""
    net = nets.Net()
    value = net.add("Gather", net.weight(100, 32), "ids")
    net.add("GRU", value, net.weight(1, 96, 32), net.weight(1, 96, 32), outputs=["whole", "last"],
            hidden_size=32)  # fmt: skip
    net.add("MatMul", "last", net.weight(32, 40), outputs=["y"])
    made = bench(net.model({"ids": (TensorProto.INT64, ["t", "n"])}, {"y": [1, "n", 40]}))
    feeds = [{"ids": np.array([[1, 2], [3, 4], [5, 6]])}]
    made.apply("fp16", feeds)
    assert made.error(feeds) < 5e-3


def test_nothing_in_fp32_is_refused(bench: Make):
    net = nets.Net()
    net.add("Relu", "x", outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    assert made.refusal("fp16")["reason"] == "no-float-weights"
    assert made.refusal("weights-fp16")["reason"] == "no-float-weights"
