"""The shape of every tensor of a graph at one size of request, without running it.

Node by node in their order: onnx infers what comes out, small tensors that are made of shapes are worked out
on the way, and operators that onnx does not know but ONNX Runtime has are taken for known ones of the same
shape. What cannot be told stays unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference

from deployer.optimizer.architecture.graphs import subgraphs
from deployer.optimizer.architecture.shapes import Filling, Type
from deployer.optimizer.architecture.values import MOST, Array, work_out
from deployer.optimizer.architecture.wiring import wire

MICROSOFT = "com.microsoft"
STANDARD = ("", "ai.onnx")
_DEEPEST = 20


def infer(model: onnx.ModelProto, filling: Filling, file: str) -> dict[str, Type]:
    """Types of all tensors, of subgraphs too, at the sizes of a filling; refuses a broken graph."""
    work = _Inference(model, file)
    for value in model.graph.input:
        if value.name in filling.shapes:
            kind = value.type.tensor_type.elem_type
            work.types[value.name] = helper.make_tensor_type_proto(kind, filling.shapes[value.name])
        elif value.type.HasField("tensor_type"):
            work.types[value.name] = value.type
    work.told = dict(filling.told)
    work.graph(model.graph, frozenset(), 0)
    return {name: _plain(kind) for name, kind in work.types.items()}


def _plain(kind: TypeProto) -> Type:
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return Type(tensor.elem_type, None)
    dims = tensor.shape.dim
    return Type(tensor.elem_type, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name, graphs left out."""
    return {
        attribute.name: helper.get_attribute_value(attribute)
        for attribute in node.attribute
        if not subgraphs(attribute)
    }


class _Inference:
    """What is known so far: types of tensors, values of small ones."""

    def __init__(self, model: onnx.ModelProto, file: str) -> None:
        self.file = file
        self.opsets = {entry.domain: entry.version for entry in model.opset_import}
        self.imports = list(model.opset_import)
        self.ir_version = model.ir_version
        self.types: dict[str, TypeProto] = {}
        self.values: dict[str, Array] = {}
        self.data: dict[str, TensorProto] = {}
        self.schemas: dict[tuple[str, str], defs.OpSchema | None] = {}
        self.told: dict[str, tuple[int, ...]] = {}
        self.limits: dict[str, int] = {}

    def graph(self, graph: onnx.GraphProto, around: frozenset[str], depth: int) -> None:
        for tensor in graph.initializer:
            self._tensor(tensor.name, tensor)
        for sparse in graph.sparse_initializer:
            kind = helper.make_tensor_type_proto(sparse.values.data_type, list(sparse.dims))
            self.types[sparse.values.name] = kind
        declared = {value.name: value.type for value in [*graph.value_info, *graph.output]}
        nodes = wire(graph, self.file, around).nodes
        self.limits |= {  # where a range is told, what it ends at is known to all who ask for it
            node.input[1]: self.told[node.output[0]][0]
            for node in nodes
            if node.op_type == "Range" and len(self.told.get(node.output[0], ())) == 1
        }
        for node in nodes:
            self._node(node, around, depth)
            for name in filter(None, node.output):
                if name not in self.types and name in declared:
                    self._declared(name, declared[name])
                self._tell(name)

    def _tell(self, name: str) -> None:
        """Take a tensor's shape from whoever asked, and the end of a range from the range's."""
        if name in self.limits and name not in self.values and name in self.types:
            dtype = helper.tensor_dtype_to_np_dtype(self.types[name].tensor_type.elem_type)
            if _plain(self.types[name]).count == 1:
                shape = tuple(length or 0 for length in _plain(self.types[name]).shape or ())
                self._value(name, np.full(shape, self.limits[name], dtype))
        if name in self.told:
            kind = self.types[name].tensor_type.elem_type if name in self.types else TensorProto.FLOAT
            self.types[name] = helper.make_tensor_type_proto(kind, self.told[name])

    def _declared(self, name: str, kind: TypeProto) -> None:
        """What the file says of an output that could not be inferred, fixed lengths only."""
        if not kind.HasField("tensor_type"):
            return
        known = TypeProto()
        known.CopyFrom(kind)
        for dim in known.tensor_type.shape.dim:
            if not dim.HasField("dim_value") or dim.dim_value < 0:
                dim.Clear()
        self.types[name] = known

    def _tensor(self, name: str, tensor: TensorProto) -> None:
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        if tensor.data_location == TensorProto.EXTERNAL or np.prod(tensor.dims, dtype=float) > MOST:
            return
        try:
            self._value(name, numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError, OverflowError):
            return  # its values lie elsewhere

    def _value(self, name: str, value: Array) -> None:
        self.values[name] = value
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.types[name] = helper.make_tensor_type_proto(kind, value.shape)

    def _node(self, node: onnx.NodeProto, around: frozenset[str], depth: int) -> None:
        if node.op_type in ("If", "Loop", "Scan") and node.domain in STANDARD:
            if depth < _DEEPEST:
                _Control(self, node, around, depth).infer()
            return
        for part in stand_ins(node, self.types):
            if part.op_type == "Constant":
                self._constant(part)
            elif not self._worked_out(part):
                self._schema(part)

    def _constant(self, node: onnx.NodeProto) -> None:
        for name, value in attributes(node).items():
            if isinstance(value, TensorProto):
                self._tensor(node.output[0], value)
            elif name in ("value_int", "value_ints"):
                self._value(node.output[0], np.asarray(value, np.int64))
            elif name in ("value_float", "value_floats"):
                self._value(node.output[0], np.asarray(value, np.float32))

    def _worked_out(self, node: onnx.NodeProto) -> bool:
        given = attributes(node)
        if node.domain not in STANDARD or len(node.output) != 1:
            return False
        if node.op_type in ("Shape", "Size"):
            found = self._shape(node, given)
        else:
            if not node.input or any(name and name not in self.values for name in node.input):
                return False
            found = work_out(node.op_type, [self.values.get(name) for name in node.input], given)
        if found is None:
            return False
        try:
            self._value(node.output[0], found)
        except (KeyError, ValueError):
            return False
        return True

    def _shape(self, node: onnx.NodeProto, given: Mapping[str, Any]) -> Array | None:
        kind = self.types.get(node.input[0])
        plain = _plain(kind or TypeProto())
        shape, count = plain.shape, plain.count
        if shape is None or count is None or count >= 1 << 63:
            return None
        if node.op_type == "Size":
            return np.asarray(count, np.int64)
        return np.asarray(shape[given.get("start", 0) : given.get("end")], np.int64)

    def _schema(self, node: onnx.NodeProto) -> None:
        schema = self._schema_of(node)
        known = {name: self.types[name] for name in node.input if name in self.types}
        if schema is None or any(name and name not in known for name in node.input):
            return
        try:
            found = shape_inference.infer_node_outputs(
                schema, node, known, self._data(node), None, self.imports, self.ir_version
            )
        except Exception:  # onnx raises of many kinds; what fails is not known, and stays so
            return
        for name, kind in found.items():
            if kind.HasField("tensor_type"):
                self.types[name] = kind

    def _data(self, node: onnx.NodeProto) -> dict[str, TensorProto]:
        for name in node.input:
            if name in self.values and name not in self.data:
                self.data[name] = numpy_helper.from_array(np.ascontiguousarray(self.values[name]), name)
        return {name: self.data[name] for name in node.input if name in self.data}

    def _schema_of(self, node: onnx.NodeProto) -> defs.OpSchema | None:
        key = (node.domain, node.op_type)
        if key not in self.schemas:
            domain = "" if node.domain in STANDARD else node.domain
            version = self.opsets.get(domain, self.opsets.get(node.domain, defs.onnx_opset_version()))
            try:
                self.schemas[key] = defs.get_schema(node.op_type, version, domain)
            except defs.SchemaError:
                self.schemas[key] = None
        return self.schemas[key]


class _Control:
    """An If, Loop or Scan: its subgraphs are inferred with what is known around, then its outputs."""

    def __init__(self, work: _Inference, node: onnx.NodeProto, around: frozenset[str], depth: int) -> None:
        self.work, self.node, self.depth = work, node, depth
        self.around = around | frozenset(work.types)
        self.graphs = {a.name: a.g for a in node.attribute if a.HasField("g")}

    def infer(self) -> None:
        if self.node.op_type == "If":
            self._branches()
        elif "body" in self.graphs:
            self._body(self.graphs["body"])

    def _inside(self, graph: onnx.GraphProto) -> list[TypeProto | None]:
        self.work.graph(graph, self.around | {value.name for value in graph.input}, self.depth + 1)
        return [self.work.types.get(value.name) for value in graph.output]

    def _branches(self) -> None:
        ends = [self._inside(graph) for graph in self.graphs.values()]
        for index, name in enumerate(self.node.output):
            found = [end[index] for end in ends if index < len(end)]
            if found and found[0] is not None and all(kind == found[0] for kind in found):
                self.work.types[name] = found[0]

    def _body(self, body: onnx.GraphProto) -> None:
        """Types of what a body is given; lengths that change from turn to turn are not known."""
        scan = self.node.op_type == "Scan"
        states = len(self.node.input) - (attributes(self.node).get("num_scan_inputs", 0) if scan else 2)
        sources = list(self.node.input) if scan else ["", *self.node.input[1:]]
        for place, value in enumerate(body.input):
            kind = self.work.types.get(sources[place]) if place < len(sources) else None
            if kind is None or not kind.HasField("tensor_type"):
                kind = value.type
            elif scan and place >= states:
                kind = self._cut(kind)
            self.work.types[value.name] = kind
        ends = self._inside(body)[0 if scan else 1 :]
        for place, name in enumerate(self.node.output):
            end = ends[place] if place < len(ends) else None
            if name and end is not None and place < states:
                self.work.types[name] = end
            elif name and end is not None:
                plain = _plain(end)
                shape = None if plain.shape is None else [None, *plain.shape]
                self.work.types[name] = helper.make_tensor_type_proto(plain.dtype, shape)

    def _cut(self, kind: TypeProto) -> TypeProto:
        plain = _plain(kind)
        shape = None if plain.shape is None else plain.shape[1:]
        return helper.make_tensor_type_proto(plain.dtype, shape)


# What ONNX Runtime's own operators are for the shapes of their outputs.

StandIn = Callable[[onnx.NodeProto, dict[str, TypeProto]], Sequence[onnx.NodeProto]]


def _like(op: str, *inputs: int, keep: bool = False) -> StandIn:
    def make(node: onnx.NodeProto, types: dict[str, TypeProto]) -> list[onnx.NodeProto]:
        if len(node.input) <= max(inputs):
            return [node]
        made = helper.make_node(op, [node.input[index] for index in inputs], [node.output[0]])
        if keep:
            made.attribute.extend(node.attribute)
        return [made]

    return make


def _floats(op: str, *inputs: int) -> StandIn:
    def make(node: onnx.NodeProto, types: dict[str, TypeProto]) -> list[onnx.NodeProto]:
        if len(node.input) <= max(inputs):
            return [node]
        between = f"{node.output[0]}::whole"
        return [
            helper.make_node(op, [node.input[index] for index in inputs], [between]),
            helper.make_node("Cast", [between], [node.output[0]], to=TensorProto.FLOAT),
        ]

    return make


def _blocks(node: onnx.NodeProto, types: dict[str, TypeProto]) -> list[onnx.NodeProto]:
    given = attributes(node)
    if "K" not in given or "N" not in given:
        return [node]
    name = f"{node.output[0]}::weight"
    types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, [given["K"], given["N"]])
    return [helper.make_node("MatMul", [node.input[0], name], [node.output[0]])]


def _fused_product(node: onnx.NodeProto, types: dict[str, TypeProto]) -> list[onnx.NodeProto]:
    made, sides = [], []
    given = attributes(node)
    for name, turned in zip(node.input[:2], (given.get("transA"), given.get("transB")), strict=True):
        shape = _plain(types[name]).shape if name in types else None
        if not turned or shape is None or len(shape) < 2:
            sides.append(name)
            continue
        sides.append(f"{node.output[0]}::side{len(sides)}")
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        made.append(helper.make_node("Transpose", [name], [sides[-1]], perm=order))
    return [*made, helper.make_node("MatMul", sides, [node.output[0]])]


def _lstm(node: onnx.NodeProto, types: dict[str, TypeProto]) -> list[onnx.NodeProto]:
    names = [f"{node.output[0] or node.output[-1]}::weight{index}" for index in range(2)]
    for name in names:  # onnx wants them of the input's type, and looks no further
        types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, [None, None, None])
    made = helper.make_node("LSTM", [node.input[0], *names], list(node.output))
    made.attribute.extend(node.attribute)
    return [made]


_UNMARKED = ("SimplifiedLayerNormalization",)  # ONNX Runtime has it in onnx's own domain
_SAME = _like("Identity", 0)
_STAND_INS: Mapping[str, StandIn] = {
    **dict.fromkeys(("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "RotaryEmbedding"), _SAME),
    **dict.fromkeys(("QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax"), _SAME),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), _SAME),
    **dict.fromkeys(("GroupQueryAttention", "SimplifiedLayerNormalization"), _SAME),
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _SAME),
    "QLinearAdd": _like("Add", 0, 3),
    "QLinearMul": _like("Mul", 0, 3),
    "QLinearGlobalAveragePool": _like("GlobalAveragePool", 0),
    "FusedMatMul": _fused_product,
    "FusedGemm": _like("Gemm", 0, 1, keep=True),
    "FusedConv": _like("Conv", 0, 1, keep=True),
    "DynamicQuantizeMatMul": _like("MatMul", 0, 1),
    "MatMulIntegerToFloat": _floats("MatMul", 0, 1),
    "DynamicQuantizeLSTM": _lstm,
    "EmbedLayerNormalization": _like("Gather", 2, 0),
    "MatMulNBits": _blocks,
}


def stand_ins(node: onnx.NodeProto, types: dict[str, TypeProto]) -> Sequence[onnx.NodeProto]:
    """A node as onnx knows it; one of ONNX Runtime's own as known ones whose outputs have its shapes."""
    ours = node.domain == MICROSOFT or node.op_type in _UNMARKED
    maker = _STAND_INS.get(node.op_type) if ours else None
    return maker(node, types) if maker and node.input and node.output else [node]
