"""What a graph's weights are: how many of which type, what uses them, what of them can be quantised."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import onnx
from onnx import TensorProto

from deployer.optimizer.architecture.findings import every_node
from deployer.optimizer.architecture.flops import flops, is_counted
from deployer.optimizer.architecture.graphs import Weight, subgraphs
from deployer.optimizer.architecture.inference import attributes
from deployer.optimizer.architecture.shapes import Types
from deployer.optimizer.architecture.wiring import Wiring

_PRODUCTS = frozenset(("MatMul", "Gemm", "FusedMatMul", "FusedGemm"))
_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose", "FusedConv"))
_RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
# What of its inputs an operator keeps in a form of its own: operator → places.
_PACKED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "Attention"), (1,)),
    **dict.fromkeys(("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"), (1,)),
    **dict.fromkeys(("LSTM", "GRU", "DynamicQuantizeLSTM"), (1, 2)),
    **dict.fromkeys(("QLinearMatMul", "QLinearConv"), (3,)),
    "ConvInteger": (1,),
}
_TABLES: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Gather", "GatherBlockQuantized"), (0,)),
    "EmbedLayerNormalization": (2, 3, 4),
}
_FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16))


@dataclass(frozen=True)
class Amount:
    """Number of values and bytes."""

    count: int = 0
    bytes: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.count + other.count, self.bytes + other.bytes)


@dataclass(frozen=True)
class Parameters:
    """A graph's weights as the file has them; `external` is what lies in files of its own."""

    total: Amount
    by_type: dict[str, Amount]
    external: Amount


@dataclass(frozen=True)
class Kept:
    """Bytes of weights as a session holds them, what is computed of weights alone included.

    `packed` are kept in a form for the product; of `tables` only rows are read; `packed_source` is what the
    packed ones were before.
    """

    packed: int
    tables: int
    convolutions: int
    other: int
    tables_read: int
    """How many rows a request reads of tables, at the size of the report."""
    row_bytes: int
    """Bytes of the widest row."""


@dataclass(frozen=True)
class Share:
    """Parts from 0 to 1 of the counted arithmetic and of the parameters; None where it is not known."""

    flops: float | None
    parameters: float | None


def type_name(dtype: int) -> str:
    """An ONNX type in lower case, as in `float16`."""
    try:
        return str(TensorProto.DataType.Name(dtype)).lower()
    except ValueError:
        return f"type-{dtype}"


def parameters(weights: Iterable[Weight]) -> Parameters:
    """Sums over weights."""
    by_type: dict[str, Amount] = {}
    total = external = Amount()
    for weight in weights:
        amount = Amount(weight.count, weight.bytes)
        name = type_name(weight.dtype)
        by_type[name] = by_type.get(name, Amount()) + amount
        total += amount
        if weight.external:
            external += amount
    return Parameters(total, dict(sorted(by_type.items(), key=lambda item: -item[1].bytes)), external)


def kept(wiring: Wiring, types: Types) -> Kept:
    """How a session on this graph holds its weights, by who uses them."""
    packed: dict[str, int] = {}
    tables: dict[str, int] = {}
    convolved: dict[str, int] = {}
    other: dict[str, int] = {}
    rows = widest = 0
    inner = (
        node
        for outer in wiring.live
        for attribute in outer.attribute
        for graph in subgraphs(attribute)
        for node in every_node(graph)
    )
    for node in chain(wiring.live, inner):
        for place, name in enumerate(node.input):
            size = types[name].bytes if name in wiring.constants and name in types else None
            if not size:
                continue
            if place in _TABLES.get(node.op_type, ()) and size > 1024:
                tables[name] = size
                shape = types[name].shape or (1,)
                width = size // (shape[0] or 1)
                read = types.get(node.output[0])
                rows += min(shape[0] or 1, ((read.bytes if read else None) or 0) // max(width, 1))
                widest = max(widest, width)
            elif place in _PACKED.get(node.op_type, ()):
                packed[name] = size
            elif place == 1 and node.op_type in _CONVOLUTIONS:
                convolved[name] = size
            else:
                other[name] = size
    return Kept(
        sum(packed.values()), sum(tables.values()), sum(convolved.values()), sum(other.values()), rows, widest
    )


def quantisable(
    wiring: Wiring, types: Types, total: int, weights: Sequence[Weight]
) -> tuple[dict[str, Share], dict[str, int], int]:
    """Shares by way of quantising, arithmetic by operator, and how many operators it is not known of.

    dynamic: products, attention and recurrence with weights; static: those and convolutions; blocks: products
    with weights of two dimensions, and tables.
    """
    ways: dict[str, list[int]] = {"dynamic": [0, 0], "static": [0, 0], "blocks": [0, 0]}
    by_operator: dict[str, int] = {}
    unknown = counted = 0
    seen: set[tuple[str, str]] = set()
    for node in wiring.live:
        work = flops(node, types)
        if work is None:
            unknown += 1
        elif is_counted(node.op_type):
            by_operator[node.op_type] = by_operator.get(node.op_type, 0) + work
            counted += work
        for way in _ways(node, wiring, types):
            ways[way][0] += work or 0
            for name in node.input:
                if name in wiring.constants and (way, name) not in seen and _is_large(name, types):
                    seen.add((way, name))
                    ways[way][1] += types[name].count or 0
    whole = sum(weight.count for weight in weights)
    shares = {
        way: Share(
            round(work / counted, 4) if counted and not unknown else None,
            round(min(count / whole, 1.0), 4) if whole else None,
        )
        for way, (work, count) in ways.items()
    }
    return shares, dict(sorted(by_operator.items(), key=lambda item: -item[1])), unknown


def _is_large(name: str, types: Types) -> bool:
    kind = types.get(name)
    return kind is not None and kind.dtype in _FLOATS and kind.shape is not None and len(kind.shape) > 1


def _ways(node: onnx.NodeProto, wiring: Wiring, types: Types) -> list[str]:
    weighted = [name for name in node.input if name in wiring.constants and _is_large(name, types)]
    if not weighted:
        return []
    if node.op_type in _PRODUCTS:
        flat = any(len(types[name].shape or ()) == 2 for name in weighted)
        return ["dynamic", "static", *(["blocks"] if flat and node.op_type == "MatMul" else [])]
    if node.op_type == "Attention" or node.op_type in _RECURRENT:
        return ["dynamic"] if node.op_type != "GRU" and node.op_type != "RNN" else []
    if node.op_type in _CONVOLUTIONS:
        return ["static"] if node.op_type != "FusedConv" else []
    if node.op_type == "Gather":
        return ["dynamic", "static", "blocks"]
    return []


def quantised(model: onnx.ModelProto, weights: Iterable[Weight]) -> tuple[str, ...]:
    """How a graph is quantised already: qdq, qdq-weights, qoperator, dynamic-int8, blocks-int4, fp16 …"""
    nodes = [*every_node(model.graph), *(node for function in model.functions for node in function.node)]
    ops = {node.op_type for node in nodes}
    found = set()
    if "DequantizeLinear" in ops:
        found.add("qdq" if "QuantizeLinear" in ops else "qdq-weights")
    if any(op.startswith("QLinear") for op in ops):
        found.add("qoperator")
    if ops & {"MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}:
        found.add("dynamic-int8")
    for node in nodes:
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            found.add(f"blocks-int{attributes(node).get('bits', 4)}")
    sizes = parameters(weights)
    whole = max(sizes.total.bytes, 1)
    for name, word in (("float16", "fp16"), ("bfloat16", "bf16")):
        if name in sizes.by_type and sizes.by_type[name].bytes * 2 > whole:
            found.add(word)
    stored = sum(amount.bytes for name, amount in sizes.by_type.items() if name in ("int8", "uint8"))
    if not found and stored * 2 > whole:
        found.add("int8-weights")  # scaled by arithmetic of its own
    return tuple(sorted(found))
