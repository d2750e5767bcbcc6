"""Small looks at an ONNX graph that several recipes share."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
WEIGHTED = {
    "Conv": 1, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1, "Gather": 0, "LSTM": 1, "GRU": 1, "RNN": 1,
    "Attention": 1, "FusedMatMul": 1, "FusedConv": 1, "FusedGemm": 1, "MatMulNBits": 1,
}  # fmt: skip
"""Operators that carry weights, and which of their inputs is the main weight."""
INTEGER = {
    "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "DynamicQuantizeLSTM",
    "QAttention", "QEmbedLayerNormalization", "MatMulNBits", "GatherBlockQuantized", "QGemm", "MatMulBnb4",
}  # fmt: skip
BIG = 1024
"""Elements from which on a constant counts as a weight."""


def opset(model: ModelProto) -> int:
    """The version of the standard operators; 0 when the graph imports none."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def nested(graph: GraphProto) -> Iterator[GraphProto]:
    """All graphs inside a graph, at every depth, without itself."""
    for node in graph.node:
        for inner in subgraphs(node):
            yield inner
            yield from nested(inner)


def kinds(model: ModelProto) -> Counter[str]:
    """How often each operator stands in the main graph."""
    return Counter(node.op_type for node in model.graph.node)


def initializers(graph: GraphProto) -> dict[str, TensorProto]:
    """The constants of a graph by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def elements(tensor: TensorProto) -> int:
    """How many numbers a tensor holds."""
    return int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1


def values(tensor: TensorProto) -> NDArray[np.generic]:
    """A constant as an array."""
    return np.asarray(numpy_helper.to_array(tensor))


def weight_of(node: NodeProto, constants: dict[str, TensorProto]) -> TensorProto | None:
    """The float constant that is the node's main weight; either side of a MatMul may be it."""
    at = WEIGHTED.get(node.op_type)
    if at is None:
        return None
    for index in (at, 1 - at) if node.op_type == "MatMul" else (at,):
        if index < len(node.input):
            tensor = constants.get(node.input[index])
            if tensor is not None and tensor.data_type in FLOATS:
                return tensor
    return None


def weighted(model: ModelProto, *operators: str) -> list[NodeProto]:
    """Nodes of these operators (all, if none is named) whose main weight is a float constant."""
    constants = initializers(model.graph)
    wanted = operators or tuple(WEIGHTED)
    return [n for n in model.graph.node if n.op_type in wanted and weight_of(n, constants) is not None]


def hidden(model: ModelProto) -> int:
    """Weighted nodes inside If, Loop and Scan, where the quantisers do not look."""
    return sum(node.op_type in WEIGHTED for graph in nested(model.graph) for node in graph.node)


def quantized(model: ModelProto) -> list[NodeProto]:
    """Nodes that compute on integers, or whose inputs are written down in few bits."""
    constants = initializers(model.graph)
    small = {t.name for t in constants.values() if t.data_type in (TensorProto.INT8, TensorProto.UINT8)}
    scaled = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    return [
        node
        for node in model.graph.node
        if node.op_type in INTEGER
        or node.op_type.startswith("QLinear")
        or (node.op_type in ("Gather", "Cast") and node.input[0] in small)
        or (node.op_type in WEIGHTED and any(name in scaled for name in node.input))
    ]


def name_nodes(graph: GraphProto) -> None:
    """Give each node a name of its own: what has none, or another's, is named after its first output."""
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            output = next((name for name in node.output if name), str(index))
            node.name = f"{node.op_type}:{output}"
        seen.add(node.name)


def size(model: ModelProto) -> int:
    """Bytes that the model takes in a file."""
    return int(model.ByteSize())


def types(model: ModelProto) -> dict[str, int]:
    """Element types of all values that are known by name."""
    graph = model.graph
    known = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input, *graph.output]}
    known.update({t.name: t.data_type for t in graph.initializer})
    return known


def shapes(model: ModelProto) -> dict[str, list[int | None]]:
    """Shapes of all values that have a known number of axes; None for a length that is not fixed."""
    graph = model.graph
    return {
        value.name: [
            d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim
        ]
        for value in [*graph.value_info, *graph.input, *graph.output]
        if value.type.tensor_type.HasField("shape")
    }


def consumers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """Who reads each value, in the main graph."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def make_tensor(array: NDArray[np.generic], name: str) -> TensorProto:
    """A constant from an array."""
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def rewrite(model: ModelProto, nodes: list[NodeProto], constants: list[TensorProto]) -> ModelProto:
    """The model with other nodes and constants; constants that nobody reads are left out."""
    out = onnx.ModelProto()
    out.ir_version = model.ir_version
    out.producer_name = model.producer_name
    out.opset_import.extend(model.opset_import)
    out.metadata_props.extend(model.metadata_props)
    out.functions.extend(model.functions)
    graph = out.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(nodes)
    read = reads(graph) | {value.name for value in model.graph.output}
    graph.initializer.extend(tensor for tensor in constants if tensor.name in read)
    held = {tensor.name for tensor in constants}
    # Before IR version 4 constants had to be inputs as well, and could be replaced by the caller's.
    graph.input.extend(value for value in model.graph.input if value.name not in held)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    out.ir_version = max(out.ir_version, 4)
    return out


def reads(graph: GraphProto) -> set[str]:
    """All names that nodes read, those of inner graphs from outside included."""
    names = {name for node in graph.node for name in node.input}
    for inner in nested(graph):
        names.update(name for node in inner.node for name in node.input)
        names.update(value.name for value in inner.output)
    return names


def outer_reads(graph: GraphProto) -> set[str]:
    """Values that are outputs of the graph, or read by graphs inside it."""
    names = {value.name for value in graph.output}
    for inner in nested(graph):
        names.update(name for node in inner.node for name in node.input)
        names.update(value.name for value in inner.output)
    return names


def add_opset(model: ModelProto, domain: str, version: int) -> None:
    """Import a domain of operators, unless that is done."""
    if all(entry.domain != domain for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))


def face(model: ModelProto) -> ModelProto:
    """What callers see of a model: inputs, outputs, and the texts beside the graph."""
    out = ModelProto()
    held = {tensor.name for tensor in model.graph.initializer}
    out.graph.input.extend(value for value in model.graph.input if value.name not in held)
    out.graph.output.extend(model.graph.output)
    out.metadata_props.extend(model.metadata_props)
    return out


def with_face(model: ModelProto, shown: ModelProto) -> ModelProto:
    """The model with the inputs, outputs and texts of another: passes forget shapes that pipelines read."""
    graph = model.graph
    for values, wanted in ((graph.input, shown.graph.input), (graph.output, shown.graph.output)):
        names = [value.name for value in wanted]
        if sorted(value.name for value in values) != sorted(names):
            raise ValueError(f"inputs or outputs changed: {[v.name for v in values]} instead of {names}")
        del values[:]
        values.extend(wanted)
    known = {entry.key for entry in model.metadata_props}
    model.metadata_props.extend(entry for entry in shown.metadata_props if entry.key not in known)
    return model
