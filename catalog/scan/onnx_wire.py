"""The messages of an ONNX file as they lie in it, read strictly: known fields of the right wire type only.

Libraries pass over fields that they do not know, so something could hide there; here they are refused.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from catalog.scan.findings import Refused, shown
from catalog.scan.protobuf import BYTES, EIGHT, FOUR, VARINT, Budget, Malformed, fields, signed, varints
from catalog.scan.source import Source

MOST_FIELDS = 2_500_000
LONGEST_NAME = 16 << 10
LONGEST_TEXT = 8 << 20
DEEPEST = 64
MOST_DIMS = 64
MOST_NODES = 100_000
MOST_TENSORS = 100_000
_MESSAGES = {
    "Model": "1v ir_version,8OperatorSet opset_import,2s producer_name,3s producer_version,4s domain,"
    "5v model_version,6s doc_string,7Graph graph,14Entry metadata_props,25Function functions,"
    "26Device configuration",
    "Graph": "1Node node,2s name,5Tensor initializer,15Sparse sparse_initializer,10s doc_string,"
    "11ValueInfo input,12ValueInfo output,13ValueInfo value_info,"
    "14Annotation quantization_annotation,16Entry metadata_props",
    "Node": "1s input,2s output,3s name,4s op_type,7s domain,8s overload,5Attribute attribute,6s doc_string,"
    "9Entry metadata_props,10NodeDevice device_configurations",
    "Attribute": "1s name,21s ref_attr_name,13s doc_string,20v type,2f f,3v i,4s s,5Tensor t,6Graph g,"
    "22Sparse sparse_tensor,14Type tp,7f* floats,8v* ints,9s strings,10Tensor tensors,11Graph graphs,"
    "23Sparse sparse_tensors,15Type type_protos",
    "Tensor": "1v* dims,2v data_type,3Segment segment,4f* float_data,5v* int32_data,6s string_data,"
    "7v* int64_data,8s name,12s doc_string,9s raw_data,13Entry external_data,14v data_location,"
    "10d* double_data,"
    "11v* uint64_data,16Entry metadata_props",
    "Sparse": "1Tensor values,2Tensor indices,3v* dims",
    "Function": "1s name,4s input,5s output,6s attribute,11Attribute attribute_proto,7Node node,"
    "8s doc_string,9OperatorSet opset_import,10s domain,13s overload,12ValueInfo value_info,"
    "14Entry metadata_props",
    "ValueInfo": "1s name,2Type type,3s doc_string,4Entry metadata_props",
    "Type": "1TensorType tensor_type,4Element sequence_type,5Map map_type,9Element optional_type,"
    "8TensorType sparse_tensor_type,6s denotation",
    "TensorType": "1v elem_type,2Shape shape",
    "Element": "1Type elem_type",
    "Map": "1v key_type,2Type value_type",
    "Shape": "1Dim dim",
    "Dim": "1v dim_value,2s dim_param,3s denotation",
    "OperatorSet": "1s domain,2v version",
    "Entry": "1s key,2s value",
    "Segment": "1v begin,2v end",
    "Annotation": "1s tensor_name,2Entry quant_parameter_tensor_names",
    "Device": "1s name,2v num_devices,3s device",
    "NodeDevice": "1s configuration_id,2Sharding sharding_spec,3v pipeline_stage",
    "Sharding": "1s tensor_name,2v* device,3IntInts index_to_device_group_map,4Sharded sharded_dim",
    "IntInts": "1v key,2v* value",
    "Sharded": "1v axis,2Simple simple_sharding",
    "Simple": "1v dim_value,2s dim_param,3v num_shards",
}
"""Number, kind and name of each field: v varint, s bytes, f and d fixed, * repeated, else a message."""
_WIRES = {"v": VARINT, "f": FOUR, "d": EIGHT, "s": BYTES}


@dataclass(frozen=True)
class _Field:
    name: str
    kind: str
    wires: tuple[int, ...]


def _tables() -> dict[str, dict[int, _Field]]:
    tables: dict[str, dict[int, _Field]] = {}
    for message, text in _MESSAGES.items():
        table = tables.setdefault(message, {})
        for each in text.split(","):
            head, name = each.split(" ")
            number = head.rstrip("*abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
            kind = head[len(number) :]
            wire = _WIRES.get(kind[0] if kind.rstrip("*") in _WIRES else "", BYTES)
            table[int(number)] = _Field(name, kind, (wire, BYTES) if kind.endswith("*") else (wire,))
    return tables


_TABLES = _tables()
Extent = tuple[int, int]


@dataclass(slots=True)
class Tensor:
    """A tensor and where its numbers lie; counts of what is written one by one."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    kind: int = 0
    raw: Extent | None = None
    packed: list[tuple[str, int, int]] = field(default_factory=list)
    single: dict[str, int] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    special: str = ""
    """The worst of the numbers that are written one by one: nan, infinite or ""."""
    strings: int = 0
    external: dict[str, str] = field(default_factory=dict)
    elsewhere: bool = False


@dataclass(slots=True)
class Attribute:
    """An attribute's name and what of it is looked at further."""

    name: str = ""
    kind: int = 0
    refers: str = ""
    number: int | None = None
    numbers: list[int] = field(default_factory=list)
    text: str = ""
    tensors: list[Tensor] = field(default_factory=list)
    graphs: list[Extent] = field(default_factory=list)


@dataclass(slots=True)
class Node:
    """One operator with the names of its values."""

    kind: str = ""
    domain: str = ""
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """A graph, or the body of a function."""

    name: str = ""
    domain: str = ""
    overload: str = ""
    nodes: list[Node] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    sparse: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    shapes: dict[str, list[int]] = field(default_factory=dict)
    defaults: list[Attribute] = field(default_factory=list)
    """Attributes of a function that it has when its caller gives none."""


@dataclass(slots=True)
class Model:
    """The file."""

    ir: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    graph: Extent | None = None
    functions: list[Extent] = field(default_factory=list)
    metadata: dict[str, int] = field(default_factory=dict)


class Wire:
    """Reads messages of one file."""

    def __init__(self, source: Source) -> None:
        self.source, self.data, self.path = source, source.mapped, source.name
        self.budget = Budget(MOST_FIELDS, "onnx", source.name)
        self.texts = self.nodes = self.tensors = 0

    def model(self) -> Model:
        """The outermost message, which takes the whole file."""
        model = Model()
        for name, start, end in self.read("Model", 0, self.source.size):
            if name == "ir_version":
                model.ir = signed(start)
            elif name == "producer_name":
                model.producer = self.name(start, end)
            elif name == "opset_import":
                domain, version = self._opset(start, end)
                if domain in model.opsets:
                    raise self.malformed(start)
                model.opsets[domain] = version
            elif name == "graph":
                if model.graph is not None:
                    raise self.malformed(start)
                model.graph = start, end
            elif name == "functions":
                model.functions.append((start, end))
            elif name == "metadata_props":
                key, size = self._entry_size(start, end)
                model.metadata[key] = model.metadata.get(key, 0) + size
            elif name == "configuration":
                self.verify("Device", start, end)
        return model

    def graph(self, start: int, end: int, message: str = "Graph") -> Graph:
        """A graph, or a function's body with `message` "Function"."""
        graph = Graph()
        for name, a, b in self.read(message, start, end):
            if name == "node":
                graph.nodes.append(self.node(a, b))
                self.nodes += 1
                if self.nodes > MOST_NODES:
                    raise Refused("onnx-too-many-parts")
            elif name == "initializer":
                graph.tensors.append(self.tensor(a, b))
            elif name == "sparse_initializer":
                graph.sparse.append(self._sparse(a, b))
            elif name in ("input", "output"):
                names = graph.inputs if name == "input" else graph.outputs
                names.append(self._value(a, b, graph) if message == "Graph" else self.name(a, b))
            elif name == "value_info":
                self._value(a, b, graph)
            elif name in ("name", "domain", "overload"):
                setattr(graph, name, self.name(a, b))
            elif name == "attribute_proto":
                graph.defaults.append(self.attribute(a, b))
            elif name in _DEEPER:
                self.verify(_DEEPER[name], a, b)
        return graph

    def node(self, start: int, end: int) -> Node:
        """One node."""
        node = Node()
        for name, a, b in self.read("Node", start, end):
            if name == "input":
                node.inputs.append(self.name(a, b))
            elif name == "output":
                node.outputs.append(self.name(a, b))
            elif name == "attribute":
                attribute = self.attribute(a, b)
                if attribute.name in node.attributes:
                    raise self.malformed(a)
                node.attributes[attribute.name] = attribute
            elif name == "op_type":
                node.kind = self.name(a, b)
            elif name in ("domain", "overload"):
                setattr(node, name, self.name(a, b))
            elif name in _DEEPER:
                self.verify(_DEEPER[name], a, b)
        return node

    def attribute(self, start: int, end: int) -> Attribute:
        """One attribute; graphs in it are left as extents, so that nesting does not recurse."""
        made = Attribute()
        for name, a, b in self.read("Attribute", start, end):
            if name == "name":
                made.name = self.name(a, b)
            elif name == "ref_attr_name":
                made.refers = self.name(a, b)
            elif name == "type":
                made.kind = a
            elif name == "i":
                made.number = signed(a)
            elif name == "ints":
                self._ints(made.numbers, a, b)
            elif name == "s":
                made.text = shown(bytes(self.data[a : min(b, a + 400)]))
            elif name in ("t", "tensors"):
                self._once(name == "t" and made.tensors, a)
                made.tensors.append(self.tensor(a, b))
            elif name in ("g", "graphs"):
                self._once(name == "g" and made.graphs, a)
                made.graphs.append((a, b))
            elif name in ("sparse_tensor", "sparse_tensors"):
                self._sparse(a, b)
            elif name in _DEEPER:
                self.verify(_DEEPER[name], a, b)
        return made

    def _once(self, again: object, place: int) -> None:
        """Refuse a second message where one belongs: libraries would melt the two into one."""
        if again:
            raise self.malformed(place)

    def _ints(self, kept: list[int], a: int, b: int) -> None:
        """Keep a few numbers: shapes and counts are short."""
        if not b:
            kept += [signed(a)] if len(kept) < 64 else []
        elif b - a <= 640:
            kept += [signed(v) for v in varints(self.data, a, b)]

    def tensor(self, start: int, end: int) -> Tensor:
        """A tensor; its numbers stay where they are."""
        made = Tensor()
        self.tensors += 1
        if self.tensors > MOST_TENSORS:
            raise Refused("onnx-too-many-parts")
        for name, a, b in self.read("Tensor", start, end):
            if name == "dims":
                if b - a > 640 or len(made.dims) > MOST_DIMS:
                    raise Refused("onnx-shape", name=shown(made.name))
                made.dims += [signed(v) for v in (varints(self.data, a, b) if b else (a,))]
            elif name == "data_type":
                made.kind = a
            elif name == "name":
                made.name = self.name(a, b)
            elif name == "raw_data":
                if made.raw is not None:
                    raise self.malformed(a)
                made.raw = a, b
            elif name.endswith("_data") and name not in ("string_data", "external_data"):
                if (b and b - a > 8) or _is_packed(name, a, b):
                    made.packed.append((name, a, b))
                else:
                    self._single(made, name, a, b)
            elif name == "string_data":
                made.strings += 1
            elif name == "external_data":
                key, value = self._entry(a, b)
                self._once(key in made.external, a)
                made.external[key] = value
            elif name == "data_location":
                made.elsewhere = a == 1
            elif name == "segment":
                raise self.malformed(a)
            elif name in _DEEPER:
                self.verify(_DEEPER[name], a, b)
        return made

    def _single(self, made: Tensor, name: str, a: int, b: int) -> None:
        made.single[name] = made.single.get(name, 0) + 1
        if name == "float_data" or name == "double_data":
            value = self.fixed(a, "<f" if name == "float_data" else "<d")
            if not math.isfinite(value) and made.special != "nan":
                made.special = "nan" if math.isnan(value) else "infinite"
        elif len(made.first) < MOST_DIMS:
            made.first.append(signed(a))

    def _sparse(self, start: int, end: int) -> str:
        named = ""
        for name, a, b in self.read("Sparse", start, end):
            if name in ("values", "indices"):
                tensor = self.tensor(a, b)
                named = tensor.name if name == "values" else named
        raise Refused("onnx-sparse", name=shown(named))

    def _value(self, start: int, end: int, graph: Graph) -> str:
        named, dims = "", []
        for name, a, b in self.read("ValueInfo", start, end):
            if name == "name":
                named = self.name(a, b)
            elif name == "type":
                dims = self.verify("Type", a, b)
            elif name in _DEEPER:
                self.verify(_DEEPER[name], a, b)
        graph.shapes[named] = dims
        return named

    def _opset(self, start: int, end: int) -> tuple[str, int]:
        domain, version = "", 0
        for name, a, b in self.read("OperatorSet", start, end):
            if name == "domain":
                domain = self.name(a, b)
            else:
                version = signed(a)
        return domain, version

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        found = {name: self.name(a, b) for name, a, b in self.read("Entry", start, end)}
        return found.get("key", ""), found.get("value", "")

    def _entry_size(self, start: int, end: int) -> tuple[str, int]:
        key = ""
        for name, a, b in self.read("Entry", start, end):
            key = self.name(a, b) if name == "key" else key
        return key, end - start

    def verify(self, message: str, start: int, end: int) -> list[int]:
        """Walk a message of which only its soundness matters; gives the dimensions that stand in it."""
        left, dims = [(message, start, end, 0)], []
        while left:
            kind, start, end, depth = left.pop()
            if depth > DEEPEST:
                raise Refused("onnx-too-deep", limit=DEEPEST)
            for name, a, b in self.read(kind, start, end):
                inner = _DEEPER.get(name) or _INNER.get((kind, name))
                if inner:
                    left.append((inner, a, b, depth + 1))
                elif name == "dim_value" and kind == "Dim":
                    dims.append(signed(a))
        return dims

    def read(self, message: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
        """Name and extent of each field of a message; refuses what the message does not have."""
        table = _TABLES[message]
        try:
            for number, wire, a, b in fields(self.data, start, end, self.budget):
                known = table.get(number)
                if known is None:
                    raise Refused("onnx-unknown-field", message=message, field=number)
                if wire not in known.wires:
                    raise self.malformed(a if b else start)
                if known.kind == "s" and known.name != "raw_data":
                    self._text(known.name, b - a)
                yield known.name, a, b
        except Malformed as error:
            raise self.malformed(error.place) from None

    def _text(self, name: str, size: int) -> None:
        self.texts += size
        if size > LONGEST_TEXT or self.texts > 8 * LONGEST_TEXT:
            raise Refused("onnx-text-large", field=name)

    def name(self, start: int, end: int) -> str:
        """A name out of the file, as text."""
        if end - start > LONGEST_NAME:
            raise Refused("onnx-text-large", field="name")
        try:
            return bytes(self.data[start:end]).decode()
        except UnicodeDecodeError:
            raise self.malformed(start) from None

    def malformed(self, place: int) -> Refused:
        """The refusal of bytes that are no ONNX file."""
        return Refused("onnx-malformed", place=place)

    def fixed(self, at: int, form: str) -> float:
        """One float or double in the file."""
        size = struct.calcsize(form)
        return float(struct.unpack(form, self.data[at : at + size])[0])


def _is_packed(name: str, a: int, b: int) -> bool:
    """Whether a short field of numbers is a packed one; single fixed numbers have their own length."""
    single = {"float_data": 4, "double_data": 8}.get(name)
    return bool(b) and (single is None or b - a != single)


_INNER = {
    (message, known.name): known.kind
    for message, table in _TABLES.items()
    for known in table.values()
    if known.kind in _TABLES
}
_DEEPER = {
    "metadata_props": "Entry",
    "quantization_annotation": "Annotation",
    "device_configurations": "NodeDevice",
    "tp": "Type",
    "type_protos": "Type",
}
