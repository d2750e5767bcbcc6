"""Weights in few bytes that are fp32 again once the graph is loaded."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from deployer.optimizer.recipes import storage
from deployer.optimizer.recipes.application import footprint
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


@pytest.mark.parametrize(
    ("recipe", "share", "error"), [("weights-int8", 0.35, 0.02), ("weights-fp16", 0.55, 1e-3)]
)
def test_files_shrink_and_answers_stay(bench: Make, recipe: str, share: float, error: float):
    made = bench(nets.conv_net())
    made.apply(recipe, nets.pictures(2))
    assert footprint(made.out) < share * footprint(made.source)
    assert made.error(nets.pictures(2)) < error


def test_the_runtime_folds_them_back_when_it_loads(bench: Make):
    made = bench(nets.conv_net())
    made.apply("weights-int8")
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(made.folder / "loaded.onnx")
    ort.InferenceSession(str(made.out), settings, providers=["CPUExecutionProvider"])
    found = nets.kinds(made.folder / "loaded.onnx")
    assert "Cast" not in found and "Mul" not in found and "DequantizeLinear" not in found


@pytest.mark.parametrize("width", [2, 64])
def test_tables_stay_small_in_memory_too(bench: Make, width: int):
    net = nets.Net()
    net.add("Gather", net.weight(4000, width, scale=1), "ids", outputs=["y"])
    made = bench(net.model({"ids": (TensorProto.INT64, ["n", "t"])}, {"y": ["n", "t", width]}))
    feeds = nets.sentences(2)
    made.apply("weights-int8", feeds)
    assert footprint(made.out) < 0.35 * footprint(made.source)
    assert made.error(feeds) < 0.02


def test_a_table_in_half_precision_shrinks_as_well(bench: Make):
    net = nets.Net()
    table = net.constant(net.random.normal(0, 1, (2000, 64)).astype(np.float16))
    net.add("Cast", net.add("Gather", table, "ids"), to=TensorProto.FLOAT, outputs=["y"])
    made = bench(net.model({"ids": (TensorProto.INT64, ["n", "t"])}, {"y": ["n", "t", 64]}))
    made.apply("weights-int8", nets.sentences(1))
    assert footprint(made.out) < 0.6 * footprint(made.source)
    assert made.error(nets.sentences(1)) < 0.02


def test_recurrent_weights_are_stored_too(bench: Make):
    net = nets.Net()
    net.add("GRU", "x", net.weight(1, 96, 32), net.weight(1, 96, 32), outputs=["whole", "y"], hidden_size=32)
    made = bench(net.model({"x": (TensorProto.FLOAT, ["t", "n", 32])}, {"y": [1, "n", 32]}))
    feeds = [{"x": np.random.default_rng(0).normal(0, 1, (5, 2, 32)).astype(np.float32)}]
    facts = made.apply("weights-int8", feeds)
    assert facts["kept_float"] == []
    assert made.error(feeds) < 0.02


def test_weights_that_are_fp16_already_gain_nothing(bench: Make):
    made = bench(nets.conv_net())
    made.apply("weights-fp16")
    made.out.rename(made.source)
    assert made.refusal("weights-fp16")["reason"] == "no-effect"
    assert made.apply("weights-int8")["nodes_quantised"] > 0


def test_kept_nodes_keep_their_weights(bench: Make):
    made = bench(nets.conv_net())
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "Conv"]
    facts = made.apply("weights-fp16", keep=names[:1])
    assert names[0] in facts["kept_float"] and names[1] not in facts["kept_float"]


def test_zeros_have_a_scale():
    stored, scale = storage.quantized(np.zeros((3, 4), np.float32), (1,))
    assert not stored.any() and (scale == 1).all()
