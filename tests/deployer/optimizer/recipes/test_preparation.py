"""Graphs are brought into a form in which the quantisers do not stumble."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployer.optimizer.recipes import graphs, preparation
from deployer.optimizer.recipes.guards import session
from deployer.optimizer.recipes.protocol import Refused
from tests.deployer.optimizer.recipes import nets


def test_constant_nodes_become_initializers():
    model = preparation.constants_to_initializers(nets.conv_net(constant_nodes=True))
    assert "Constant" not in graphs.kinds(model)
    assert len(graphs.weighted(model)) == 3


def test_every_form_of_a_constant_is_known():
    forms = {"value_float": 0.5, "value_int": 3, "value_floats": [1.0, 2.0], "value_ints": [4, 5]}
    net = nets.Net()
    for name, value in forms.items():
        net.add("Constant", outputs=[name], **{name: value})
    net.add("Identity", "x", outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, [1])}, {"y": [1]})
    for name in forms:
        model.graph.node.append(helper.make_node("Identity", [name], [f"{name}_out"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None))
    done = graphs.initializers(preparation.constants_to_initializers(model).graph)
    assert {name: graphs.values(done[name]).tolist() for name in forms} == forms


def test_identity_of_a_weight_is_seen_through():
    net = nets.Net()
    weight = net.add("Identity", net.add("Identity", net.weight(64, 64)))
    net.add("MatMul", "x", weight, outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]})
    assert len(graphs.weighted(preparation.constants_to_initializers(model))) == 1


def test_opset_11_is_converted_with_the_weights_in_place(tmp_path: Path):
    model = nets.conv_net(11)
    converted = preparation.to_opset(model, 17)
    assert graphs.opset(converted) == 17
    feeds = nets.pictures(2)
    source, out = nets.write(model, tmp_path / "a.onnx"), nets.write(converted, tmp_path / "b.onnx")
    assert nets.error(source, out, feeds) < 1e-6


def test_what_cannot_be_converted_stays_or_is_refused():
    """Loop's old form has no converter when it says how often in a way that later opsets do not take."""
    net = nets.Net(8)
    net.add("Upsample", "x", mode="nearest", outputs=["up"], scales=[1.0, 1.0, 2.0, 2.0])
    net.add("Scan", "up", outputs=["y"], directions=[0])
    model = net.model({"x": (TensorProto.FLOAT, [1, 1, 2, 2])}, {"y": [1, 1, 4, 4]})
    assert preparation.to_opset(model, 17, least=7) is model
    with pytest.raises(Refused) as caught:
        preparation.to_opset(model, 17, least=13)
    assert caught.value.reason == "opset"
    assert "8" in caught.value.why and "8" in caught.value.why_zh


def test_other_domains_survive_the_conversion():
    net = nets.Net(13)
    net.domains["com.microsoft"] = 1
    value = net.add("Gelu", "x", domain="com.microsoft")
    net.add("MatMul", value, net.weight(64, 64), outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]})
    converted = preparation.to_opset(model, 17)
    assert {entry.domain for entry in converted.opset_import} >= {"com.microsoft"}
    assert "Gelu" in graphs.kinds(converted)


def test_shape_inference_never_fails():
    net = nets.Net()
    net.add("Add", "x", net.constant(np.zeros(7, np.float32)), outputs=["y"])  # 5 + 7 does not go together
    model = net.model({"x": (TensorProto.FLOAT, [5])}, {"y": [5]})
    assert preparation.infer_shapes(model).graph.node[0].op_type == "Add"


def test_batch_normalization_goes_into_the_convolution(tmp_path: Path):
    net = nets.Net()
    value = net.conv("x", 8, 3)
    parts = [net.constant(np.full(8, v, np.float32)) for v in (2, 0.1, 0.3, 1.5)]
    net.add("BatchNormalization", value, *parts, outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 8, 16, 16]})
    source = nets.write(model, tmp_path / "a.onnx")
    folded = preparation.fold(model, tmp_path)
    assert nets.kinds(folded) == {"Conv": 1}
    assert nets.error(source, folded, nets.pictures(1)) < 1e-6


def test_biases_of_gemm_lose_their_second_axis():
    net = nets.Net()
    net.add(
        "Gemm", "x", net.weight(64, 10), net.constant(np.ones((1, 10), np.float32), "bias"), outputs=["y"]
    )
    model = net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 10]})
    flat = preparation.flatten_biases(model)
    assert list(graphs.initializers(flat.graph)["bias"].dims) == [10]


def test_a_crash_of_the_runtime_is_contained(tmp_path: Path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(Refused) as caught:
        preparation.loads(path, apart=True)
    assert caught.value.reason == "does-not-load"


def test_nodes_get_names_that_are_the_same_every_time():
    model = nets.conv_net()
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    graphs.name_nodes(model.graph)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    graphs.name_nodes(model.graph)
    assert [node.name for node in model.graph.node] == names


def test_old_files_name_their_weights_among_the_inputs(tmp_path: Path):
    model = nets.conv_net(11)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    path = nets.write(model, tmp_path / "old.onnx")
    folded = preparation.fold(preparation.to_opset(preparation.load(path), 17), tmp_path)
    assert [value.name for value in session(folded).get_inputs()] == ["x"]
    assert onnx.load(str(folded)).ir_version >= 4
