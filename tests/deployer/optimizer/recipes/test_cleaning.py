"""Clean-ups keep every answer; those that are for one machine say so."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from deployer.optimizer.recipes import RECIPES
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


def attention(hidden: int = 64, heads: int = 4) -> onnx.ModelProto:
    """One layer of BERT, as PyTorch's exporter writes it: [n, t, hidden] → the same."""
    net = nets.Net(17)
    last, axis = net.constant(np.array([-1])), net.constant(np.array([0, 0, heads, hidden // heads]))
    joined = net.constant(np.array([0, 0, hidden]))

    def projected(value: str, perm: list[int]) -> str:
        product = net.add("MatMul", value, net.weight(hidden, hidden))
        split = net.add("Reshape", net.add("Add", product, net.weight(hidden)), axis)
        return net.add("Transpose", split, perm=perm)

    def normalized(value: str, name: str = "") -> str:
        outputs = [name] if name else []
        return net.add(
            "LayerNormalization", value, net.weight(hidden), net.weight(hidden), outputs=outputs, axis=-1
        )

    start = normalized(net.add("Add", "x", net.weight(hidden)))
    query, value = projected(start, [0, 2, 1, 3]), projected(start, [0, 2, 1, 3])
    key = projected(start, [0, 2, 3, 1])
    scores = net.add("Div", net.add("MatMul", query, key), net.constant(np.float32((hidden // heads) ** 0.5)))
    shares = net.add("Softmax", scores, axis=-1)
    mixed = net.add("Transpose", net.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    product = net.add("MatMul", net.add("Reshape", mixed, joined), net.weight(hidden, hidden))
    normalized(net.add("Add", net.add("Add", product, net.weight(hidden)), start), "y")
    assert last
    shape = ["n", "t", hidden]
    return net.model({"x": (TensorProto.FLOAT, shape)}, {"y": shape})


def states() -> list[nets.Feeds]:
    return [{"x": np.random.default_rng(2).normal(0, 1, (2, 5, 64)).astype(np.float32)}]


def test_onnxslim_takes_dead_nodes_out(bench: Make):
    model = nets.conv_net()
    model.graph.node.append(onnx.helper.make_node("Relu", ["x"], ["nobody"], "dead"))
    made = bench(model)
    made.apply("slim", nets.pictures(1))
    assert "dead" not in {node.name for node in onnx.load(str(made.out)).graph.node}
    assert made.error(nets.pictures(1)) < 1e-6


def test_a_clean_graph_is_left_alone(bench: Make):
    net = nets.Net()
    net.add("MatMul", "x", net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    for recipe in ("slim", "ort-basic", "ort-extended", "fuse-operators"):
        assert made.refusal(recipe)["reason"] == "no-effect"


def test_basic_optimisations_keep_to_standard_operators(bench: Make):
    made = bench(nets.written_out())
    made.apply("ort-basic")
    assert {node.domain for node in onnx.load(str(made.out)).graph.node} <= {"", "ai.onnx"}


def test_the_blocked_layout_of_one_machine_is_not_portable(bench: Make):
    made = bench(nets.conv_net())
    made.apply("ort-all", nets.pictures(1))
    assert made.error(nets.pictures(1)) < 1e-5
    assert not RECIPES["ort-all"].portable
    assert not RECIPES["host-prepacked"].portable
    assert all(r.portable for r in RECIPES.values() if r.id not in ("ort-all", "host-prepacked"))


def test_prepacked_weights_lie_beside_the_graph(bench: Make):
    made = bench(nets.conv_net())
    made.apply("host-prepacked", nets.pictures(1))
    assert made.out.with_suffix(".bin").stat().st_size > 70_000
    assert made.error(nets.pictures(1)) < 1e-5
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "out.bin", "out.onnx", "scratch", "source.onnx",
    ]  # fmt: skip


def test_attention_is_fused_without_torch(bench: Make):
    made = bench(attention())
    made.apply("fuse-transformer", states())
    assert made.error(states()) < 1e-5
    assert {"Attention", "SkipLayerNormalization"} & nets.kinds(made.out).keys()


def test_a_fused_graph_can_be_quantized(bench: Make):
    """Type inference does not know what comes out of fused operators."""
    made = bench(attention())
    made.apply("fuse-transformer", states())
    made.out.rename(made.source)
    facts = made.apply("dynamic-int8-per-channel", states())
    assert facts["nodes_quantised"] >= 2
    assert made.error(states()) < 0.1


def test_convolutions_have_no_attention(bench: Make):
    assert bench(nets.conv_net()).refusal("fuse-transformer")["reason"] == "no-attention"
