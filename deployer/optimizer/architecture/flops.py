"""What the runs of a graph cost in arithmetic: two operations for each multiplication with an addition.

Only operators that multiply matrices are counted (convolutions, products, attention, recurrence); on every
model of some size the rest is below a few percent. An operator whose shapes are not known is not guessed.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import onnx

from deployer.optimizer.architecture.inference import attributes
from deployer.optimizer.architecture.shapes import Type, Types

Count = Callable[[onnx.NodeProto, "Reader"], int | None]


class Reader:
    """Shapes of a node's inputs and outputs; a shape that is not wholly known raises Unknown."""

    def __init__(self, node: onnx.NodeProto, types: Types) -> None:
        self.node, self.types = node, types
        self.attributes: dict[str, Any] = attributes(node)

    def input(self, index: int) -> tuple[int, ...]:
        """Lengths of an input."""
        return self._shape(self.node.input[index] if index < len(self.node.input) else "")

    def output(self, index: int = 0) -> tuple[int, ...]:
        """Lengths of an output."""
        return self._shape(self.node.output[index] if index < len(self.node.output) else "")

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.node.input) and bool(self.node.input[index])

    def _shape(self, name: str) -> tuple[int, ...]:
        found: Type | None = self.types.get(name)
        if found is None or found.shape is None:
            raise Unknown
        lengths = tuple(length for length in found.shape if length is not None)
        if len(lengths) != len(found.shape):
            raise Unknown
        return lengths


class Unknown(Exception):
    """A shape that is needed is not known."""


def flops(node: onnx.NodeProto, types: Types) -> int | None:
    """Operations of a node: 0 for those that are not counted, None where the shapes are not known."""
    count = COUNTED.get(node.op_type)
    if count is None:
        return 0
    try:
        return count(node, Reader(node, types))
    except (Unknown, IndexError, KeyError, TypeError, ValueError):
        return None


def is_counted(op: str) -> bool:
    """Whether an operator's arithmetic is counted."""
    return op in COUNTED


def _convolution(weight: int) -> Count:
    def count(node: onnx.NodeProto, read: Reader) -> int:
        return 2 * math.prod(read.output()) * math.prod(read.input(weight)[1:])

    return count


def _transposed(node: onnx.NodeProto, read: Reader) -> int:
    return 2 * math.prod(read.input(0)) * math.prod(read.input(1)[1:])


def _product(node: onnx.NodeProto, read: Reader) -> int:
    left = read.input(0)
    common = left[-2] if read.attributes.get("transA") and len(left) > 1 else left[-1]
    return 2 * math.prod(read.output()) * common


def _gemm(node: onnx.NodeProto, read: Reader) -> int:
    left = read.input(0)
    common = left[0] if read.attributes.get("transA") else left[1]
    return 2 * math.prod(read.output()) * common


def _recurrence(gates: int) -> Count:
    def count(node: onnx.NodeProto, read: Reader) -> int:
        steps, batch, width = read.input(0)
        hidden = int(read.attributes["hidden_size"])
        directions = 2 if read.attributes.get("direction") == b"bidirectional" else 1
        return 2 * steps * batch * directions * gates * hidden * (width + hidden)

    return count


def _attention(node: onnx.NodeProto, read: Reader) -> int:
    """Scores and their sum over the values; the fused operator with a weight projects too."""
    if node.domain == "com.microsoft" and node.op_type == "Attention":
        batch, steps, width = read.input(0)
        projected = read.input(1)[1]
        return 2 * batch * steps * width * projected + 4 * batch * steps * steps * (projected // 3)
    query = read.input(0)
    key = read.input(1) if read.has(1) else query
    batch, steps, width = query[0], query[-2], math.prod(query[1:]) // query[-2]
    past = read.input(4)[-2] if node.domain != "com.microsoft" and read.has(4) else 0
    past = read.input(3)[-2] if node.op_type == "GroupQueryAttention" and read.has(3) else past
    return 4 * batch * steps * (key[-2] + past) * width


def _einsum(node: onnx.NodeProto, read: Reader) -> int:
    terms = read.attributes["equation"].decode().replace(" ", "").split("->")[0].split(",")
    if len(terms) < 2:
        return 0
    lengths: dict[str, int] = {}
    for index, term in enumerate(terms):
        lengths.update(zip(term, read.input(index), strict=True))  # an ellipsis does not fit, and is unknown
    return 2 * math.prod(lengths.values())


COUNTED: Mapping[str, Count] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "DeformConv", "NhwcFusedConv"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("MatMul", "FusedMatMul", "MatMulInteger", "DynamicQuantizeMatMul"), _product),
    **dict.fromkeys(("MatMulIntegerToFloat", "QLinearMatMul", "MatMulNBits", "MatMulBnb4"), _product),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(("LSTM", "DynamicQuantizeLSTM"), _recurrence(4)),
    "GRU": _recurrence(3),
    "RNN": _recurrence(1),
    **dict.fromkeys(("Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention"), _attention),
    "Einsum": _einsum,
}
