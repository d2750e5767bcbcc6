"""The prior goes by what a graph is made of, and names nothing that it would refuse."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from deployer.optimizer.recipes import RECIPES, apply, plan
from tests.deployer.optimizer.recipes import nets


def test_convolutions_are_quantized_statically():
    ids = plan(nets.conv_net())
    assert ids[0] == "fuse-operators"
    assert ids[1].startswith("static-int8")
    assert not any("blocks" in one for one in ids)


def test_weights_in_constant_nodes_are_seen():
    assert plan(nets.conv_net(constant_nodes=True)) == plan(nets.conv_net())


def test_products_are_quantized_dynamically():
    assert plan(nets.product_net())[0].startswith("dynamic-int8")


def test_a_table_is_only_stored_smaller():
    net = nets.Net()
    net.add("Gather", net.weight(5000, 4), "ids", outputs=["y"])
    ids = plan(net.model({"ids": (TensorProto.INT64, ["n"])}, {"y": ["n", 4]}))
    assert ids[:2] == ["weights-int8", "weights-fp16"]
    assert not any(one.startswith("dynamic") for one in ids)


def test_what_is_quantized_is_only_cleaned(tmp_path: Path):
    source = nets.write(nets.product_net(), tmp_path / "a.onnx")
    apply("dynamic-int8", source, tmp_path / "b.onnx", folder=tmp_path / "scratch")
    ids = plan(onnx.load(str(tmp_path / "b.onnx")))
    assert ids and all(RECIPES[one].lossless for one in ids)


def test_weights_need_not_be_there(tmp_path: Path):
    path = tmp_path / "a.onnx"
    onnx.save_model(
        nets.conv_net(), str(path), save_as_external_data=True, location="a.bin", size_threshold=0
    )
    assert plan(onnx.load(str(path), load_external_data=False)) == plan(nets.conv_net())


def test_nothing_is_named_that_is_refused_at_a_look():
    for model in (nets.conv_net(), nets.product_net(), nets.written_out()):
        ids = plan(model)
        assert len(set(ids)) == len(ids)
        assert all(RECIPES[one].refusal(model) is None for one in ids)


def test_a_graph_without_weights_is_only_cleaned():
    net = nets.Net()
    net.add("Relu", net.add("Add", "x", net.constant(np.float32(1))), outputs=["y"])
    model = net.model({"x": (TensorProto.FLOAT, ["n"])}, {"y": ["n"]})
    assert all(RECIPES[one].precision == "fp32" for one in plan(model))
