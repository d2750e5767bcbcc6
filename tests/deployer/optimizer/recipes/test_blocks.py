"""MatMulNBits: packed without onnx_ir, near the original, and refused where nothing can be packed."""

from collections.abc import Callable

import onnx
import pytest

from deployer.optimizer.recipes.application import footprint
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


@pytest.mark.parametrize(
    ("bits", "block", "most"), [(4, 32, 0.2), (4, 128, 0.3), (8, 32, 0.02), (8, 128, 0.02)]
)
@pytest.mark.parametrize("width", [64, 72])
def test_blocks(bench: Make, bits: int, block: int, most: float, width: int):
    made = bench(nets.product_net(width=width))
    facts = made.apply(f"int{bits}-blocks-{block}", nets.sentences())
    assert facts["nodes_quantised"] == 2
    assert nets.kinds(made.out)["MatMulNBits"] == 2
    assert made.error(nets.sentences()) < most


def test_four_bits_are_smaller_than_eight(bench: Make):
    made = bench(nets.product_net())
    made.apply("int8-blocks-32")
    eight = footprint(made.out)
    made.apply("int4-blocks-32")
    assert footprint(made.out) < eight < footprint(made.source)


def test_convolution_nets_are_refused(bench: Make):
    made = bench(nets.conv_net())
    assert made.refusal("int4-blocks-32")["reason"] == "no-effect"


def test_kept_nodes_stay_in_float(bench: Make):
    made = bench(nets.product_net())
    names = [node.name for node in onnx.load(str(made.source)).graph.node if node.op_type == "MatMul"]
    assert made.apply("int8-blocks-32", keep=names[1:])["nodes_quantised"] == 1
    made.out.unlink()
    assert made.refusal("int4-blocks-128", keep=names)["reason"] == "no-effect"
