"""Sizes of a request: the free axes of a graph's inputs filled in as given, else as is usual."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx.inliner
from onnx import TensorProto

from deployer.optimizer.architecture.graphs import GraphTooLarge, item_bytes, subgraphs

MOST_NODES = 200_000  # of a model with the bodies of its functions put in
_TOKENS, _PAST, _PICTURE, _SAMPLES = 128, 128, 224, 16_000
_SOUND = re.compile(r"audio|wav|sound|speech|signal|samples|input_values")

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Size:
    """A free axis filled in: its symbol or `input[axis]`; the source is given, example or usual."""

    axis: str
    value: int
    source: str


@dataclass(frozen=True)
class Type:
    """Type and shape of a tensor; None for a length that is not known, no shape for an unknown rank."""

    dtype: int
    shape: Shape | None

    @property
    def count(self) -> int | None:
        """Number of values; None when it is not known."""
        if self.shape is None or any(length is None for length in self.shape):
            return None
        return math.prod(length for length in self.shape if length is not None)

    @property
    def bytes(self) -> int | None:
        """Bytes of all values; None when they are not known."""
        count = self.count
        return None if count is None else math.ceil(count * item_bytes(self.dtype))


Types = Mapping[str, Type]


def free_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller gives: those without an initialiser."""
    given = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in given]


def dims_of(value: onnx.ValueInfoProto) -> list[int | str] | None:
    """Lengths as numbers, free ones as their symbol or ''; None for an unknown rank or no tensor."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param
        for dim in kind.shape.dim
    ]


def axis_name(value: onnx.ValueInfoProto, axis: int, symbol: str) -> str:
    """The symbol of a free axis where it is one, else `input[axis]`; exporters write `?` for any."""
    return symbol if re.search(r"\w", symbol) else f"{value.name}[{axis}]"


class Filling:
    """The sizes of a request: free axes by name, and the inputs' shapes.

    Shapes may also be given of tensors within, where lengths depend on what is computed.
    """

    def __init__(
        self, graph: onnx.GraphProto, given: Mapping[str, Sequence[int]] | None, source: str = "given"
    ) -> None:
        self.inputs = free_inputs(graph)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sizes: dict[str, Size] = {}
        names = {value.name for value in self.inputs}
        self.told = {name: tuple(dims) for name, dims in (given or {}).items() if name not in names}
        self.sizes |= {name: Size(name, dims[0], source) for name, dims in self.told.items() if dims}
        self._past = any("past" in value.name for value in self.inputs)
        for value in sorted(self.inputs, key=lambda value: value.name not in (given or {})):
            dims = dims_of(value)
            told = tuple((given or {}).get(value.name, ()))
            if dims is None:
                if told:
                    self.shapes[value.name] = told
                continue
            if len(told) != len(dims):
                told = ()
            lengths = [
                dim if isinstance(dim, int) else self._length(value, axis, dim, told[axis : axis + 1], source)
                for axis, dim in enumerate(dims)
            ]
            self.shapes[value.name] = tuple(lengths)

    def _length(
        self, value: onnx.ValueInfoProto, axis: int, symbol: str, told: tuple[int, ...], source: str
    ) -> int:
        name = axis_name(value, axis, symbol)
        if told:
            self.sizes.setdefault(name, Size(name, told[0], source))
            return told[0]
        if name not in self.sizes:
            self.sizes[name] = Size(name, self._usual(value, axis, name.lower()), "usual")
        return self.sizes[name].value

    def _usual(self, value: onnx.ValueInfoProto, axis: int, symbol: str) -> int:
        dims = dims_of(value) or []
        if "+" in symbol or "total" in symbol:
            return _PAST + 1
        if "past" in symbol:
            return _PAST
        if axis == 0 or "batch" in symbol:
            return 1
        if self._past:
            return _PAST if "past" in value.name else 1  # one token after many
        if len(dims) == 4:
            return _PICTURE
        floats = value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        if len(dims) == 2 and floats and _SOUND.search(value.name.lower()):
            return _SAMPLES
        return _TOKENS


def inlined(model: onnx.ModelProto, file: str) -> onnx.ModelProto:
    """The model with the bodies of its own functions put in; refuses what would grow without end."""
    if not model.functions:
        return model
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if depth > 40 or total > MOST_NODES:
                raise GraphTooLarge(file=file, what="functions", limit=MOST_NODES)
            if key in bodies and key not in sizes:
                sizes[key] = size(bodies[key], depth + 1)
            total += sizes.get(key, 1)
            for attribute in node.attribute:
                total += sum(size(graph.node, depth + 1) for graph in subgraphs(attribute))
        return total

    if size(model.graph.node, 0) > MOST_NODES:
        raise GraphTooLarge(file=file, what="functions", limit=MOST_NODES)
    whole: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    return whole
