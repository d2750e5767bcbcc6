"""Reads ONNX files for inspection: their structure without their weights, bounded whatever the file holds.

An ONNX file is a protobuf message of which nearly all is weights. The file is mapped, walked over, and only
what describes the graph is handed to protobuf; of each large tensor the place in the file is kept instead.
So a hundred megabytes are read in some milliseconds, and a file that was made to swell is refused early.
"""

import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from deployer.errors import DeployerError

LARGE = 1024  # bytes of a tensor's data from which on it stays in the file
MOST_BYTES = 64 << 30  # of a file; above 2 GB protobuf itself refuses what is not kept outside
MOST_STRUCTURE = 64 << 20  # bytes that describe the graph, the weights left out
MOST_FIELDS = 1_000_000
DEEPEST = 40  # messages within messages; protobuf's own limit is 100
_LOOKED_AT = 2 << 30  # bytes of weights that are searched for NaN

# What lies in which field of ONNX's messages, as far as weights may lie below: field number → kind.
_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DATA = {4, 5, 7, 9, 10, 11}  # fields of a tensor that hold its values
_VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_NOTE = 12  # a tensor's doc_string, where the place of its values is noted
_SPAN = "span:"
_MARKS: Sequence[tuple[int, bytes, str]] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"GGUF", "gguf"),
    (0, b"\x80\x02", "pickle"),
    (0, b"\x89HDF\r\n", "hdf5"),
    (0, b"version https://git-lfs", "git-lfs-pointer"),
    (4, b"TFL3", "tflite"),
    (4, b"ORTM", "ort"),
    (8, b'{"', "safetensors"),
)
_FLOATS: Mapping[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.DOUBLE: np.dtype("<f8"),
    TensorProto.FLOAT16: np.dtype("<f2"),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}


class InspectionRefused(DeployerError):
    """A graph cannot be looked at. Facts: file, and those of the kind of refusal."""

    code: ClassVar[str] = "inspection-refused"


class NotOnnx(InspectionRefused):
    """The file is no ONNX graph. Facts: file, kind (what it looks like, may be empty), why, why_zh."""

    code = "not-onnx"


class BrokenGraph(InspectionRefused):
    """The graph contradicts itself. Facts: file, where, why, why_zh."""

    code = "broken-graph"


class MissingData(InspectionRefused):
    """A file that holds the graph's weights is not there. Facts: file, data."""

    code = "missing-external-data"


class OutsideData(InspectionRefused):
    """The graph names weights outside of its folder. Facts: file, data."""

    code = "external-data-outside"


class GraphTooLarge(InspectionRefused):
    """More structure than is read. Facts: file, what (bytes | structure | fields | depth), limit."""

    code = "graph-too-large"


def broken(file: str, where: str, why: str, why_zh: str) -> BrokenGraph:
    """A refusal of a graph that contradicts itself, at a node or tensor."""
    return BrokenGraph(file=file, where=where[:200], why=why, why_zh=why_zh)


@dataclass(frozen=True)
class Weight:
    """A tensor that comes with the graph; `bytes` as its shape and type say, `external` when outside."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    bytes: int
    external: bool
    present: bool
    """Whether its values are there."""

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.dims)


@dataclass(frozen=True)
class GraphFile:
    """An ONNX file without its weights: the structure, and the weights by name and place."""

    path: Path
    model: onnx.ModelProto
    size: int
    """Bytes, files with external data included."""
    weights: tuple[Weight, ...]
    nans: tuple[str, ...]
    """Weights with NaN; infinity is no fault, masks are made of it."""
    searched: bool
    """Whether all weights were searched for it."""


def item_bytes(dtype: int) -> float:
    """Bytes of one value of an ONNX type; 0 for texts, whose length is not known; 0.5 for 4 bits."""
    if dtype in (TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1):
        return 0.5
    if dtype in (TensorProto.UINT2, TensorProto.INT2):
        return 0.25
    if dtype in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0.0
    try:
        return float(helper.tensor_dtype_to_np_dtype(dtype).itemsize)
    except (KeyError, ValueError):
        return 0.0


def read(path: Path, *, search: bool = True) -> GraphFile:
    """The structure of an ONNX file; refuses what is none, what is broken, and data outside its folder.

    With `search` weights are looked through for NaN.
    """
    try:
        size = path.stat().st_size
        handle = path.open("rb")
    except OSError as error:
        raise NotOnnx(file=path.name, kind="", why=str(error), why_zh="文件打不开") from error
    with handle:
        if not size:
            raise NotOnnx(file=path.name, kind="empty", why="the file is empty", why_zh="文件是空的")
        if size > MOST_BYTES:
            raise GraphTooLarge(file=path.name, what="bytes", limit=MOST_BYTES)
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            walk = _Walk(path.name, data)
            model = _parse(path, walk)
            found = _Weights(path, data, walk.spans, search)
            weights = tuple(found.look(tensor) for tensor in tensors(model))
            files = {place.resolve() for place in found.files}
            outside = sum(place.stat().st_size for place in files)
            return GraphFile(
                path, model, size + outside, weights, tuple(found.nans), search and not found.skipped
            )


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor that comes with a model: initialisers and attributes, of subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: "Sequence[onnx.NodeProto]") -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in subgraphs(attribute):
                yield from _graph_tensors(graph)


def subgraphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs within an attribute: the branches of If, the body of Loop and Scan."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


class _Walk:
    """Goes over the messages of a file; makes a copy without large values and notes where those lie."""

    def __init__(self, file: str, data: memoryview) -> None:
        self.file, self.data = file, data
        self.spans: list[tuple[int, int, int]] = []  # field, start, end
        self.fields = self.kept = 0

    def structure(self) -> bytes:
        return self._copy("model", 0, len(self.data), 0)

    def _copy(self, kind: str, start: int, end: int, depth: int) -> bytes:
        if depth > DEEPEST:
            raise GraphTooLarge(file=self.file, what="depth", limit=DEEPEST)
        inside = _INSIDE.get(kind, {})
        parts: list[bytes] = []
        place = since = start
        noted = False
        while place < end:
            field, first, place = self._field(place, end)
            length = place - first
            drop = kind == "tensor" and (
                (field in _DATA and length > LARGE) or (field == _NOTE and length >= len(_SPAN))
            )
            if not drop and (field not in inside or length <= LARGE):
                continue
            head = self._head
            parts.append(self._keep(since, head))
            since = place
            if not drop:
                content = self._copy(inside[field], first, place, depth + 1)
                parts.append(_varint(field << 3 | 2) + _varint(len(content)) + content)
            elif field in _DATA:
                noted = True
                self.spans.append((field, first, place))
        parts.append(self._keep(since, end))
        if noted:
            note = f"{_SPAN}{len(self.spans) - 1}".encode()
            parts.append(_varint(_NOTE << 3 | 2) + _varint(len(note)) + note)
        return b"".join(parts)

    def _keep(self, start: int, end: int) -> bytes:
        self.kept += end - start
        if self.kept > MOST_STRUCTURE:
            raise GraphTooLarge(file=self.file, what="structure", limit=MOST_STRUCTURE)
        return bytes(self.data[start:end])

    def _field(self, place: int, end: int) -> tuple[int, int, int]:
        """Of the field at a place: its number, where its content begins, and where it ends."""
        self.fields += 1
        if self.fields > MOST_FIELDS:
            raise GraphTooLarge(file=self.file, what="fields", limit=MOST_FIELDS)
        self._head = place
        tag, place = self._number(place, end)
        wire = tag & 7
        first = place
        if wire == 2:
            length, first = self._number(place, end)
            place = first + length
        elif wire == 0:
            _, place = self._number(place, end)
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise _Malformed
        if place > end or not tag >> 3:
            raise _Malformed
        return tag >> 3, first, place

    def _number(self, place: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while place < end and shift < 70:
            byte = self.data[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, place
            shift += 7
        raise _Malformed


class _Malformed(Exception):
    """Not the messages of an ONNX file."""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _parse(path: Path, walk: _Walk) -> onnx.ModelProto:
    kind = _kind(bytes(walk.data[:64]))
    why, why_zh = "its bytes are not those of an ONNX file", "内容不是 ONNX 格式"
    if kind:
        raise NotOnnx(file=path.name, kind=kind, why=f"it is a {kind} file", why_zh=f"这是 {kind} 文件")
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(walk.structure())
    except (_Malformed, DecodeError) as error:
        raise NotOnnx(file=path.name, kind="", why=why, why_zh=why_zh) from error
    if not model.ir_version or not (model.graph.node or model.graph.output):
        raise NotOnnx(file=path.name, kind="", why="it holds no graph", why_zh="里面没有计算图")
    # Protobuf gives bytes where a text is not UTF-8.
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise broken(path.name, "", "names in it are not UTF-8", "其中的名字不是 UTF-8")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from _graph_texts(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
        yield from _node_texts(function.node)
    for tensor in tensors(model):
        yield from (tensor.name, tensor.doc_string)
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))


def _graph_texts(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    yield from _node_texts(graph.node)


def _node_texts(nodes: "Sequence[onnx.NodeProto]") -> Iterator[str]:
    for node in nodes:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            for graph in subgraphs(attribute):
                yield from _graph_texts(graph)


def _kind(head: bytes) -> str:
    return next((kind for place, mark, kind in _MARKS if head[place:].startswith(mark)), "")


class _Weights:
    """Looks at tensors: how large they are, whether their values are there, and are numbers."""

    def __init__(
        self, path: Path, data: memoryview, spans: Sequence[tuple[int, int, int]], search: bool
    ) -> None:
        self.path, self.data, self.spans = path, data, spans
        self.budget = _LOOKED_AT if search else 0
        self.files: set[Path] = set()
        self.nans: list[str] = []
        self.skipped = False

    def look(self, tensor: TensorProto) -> Weight:
        dims = tuple(tensor.dims)
        if any(length < 0 for length in dims):
            raise broken(self.path.name, tensor.name, f"its shape is {list(dims)}", f"形状是 {list(dims)}")
        size = math.ceil(math.prod(dims) * item_bytes(tensor.data_type))
        external = tensor.data_location == TensorProto.EXTERNAL
        if external:
            present = True
            self._external(tensor, size)
        else:
            present = self._inline(tensor, size)
        return Weight(tensor.name, tensor.data_type, dims, size, external, present)

    def _inline(self, tensor: TensorProto, size: int) -> bool:
        span = self._span(tensor)
        if span is None:
            self._search_small(tensor)
            return not size or any(len(getattr(tensor, name)) for name in _VALUES)
        field, first, end = span
        if field == 9 and end - first != size:
            self._wrong_size(tensor, end - first, size)
        dtype = _FLOATS.get(tensor.data_type)
        if dtype is not None and (field == 9 or (field == 4 and dtype == "<f4") or field == 10):
            self._search(tensor.name, self.data[first:end], dtype)
        return True

    def _span(self, tensor: TensorProto) -> tuple[int, int, int] | None:
        number = tensor.doc_string.removeprefix(_SPAN)
        if number == tensor.doc_string or not number.isdecimal() or int(number) >= len(self.spans):
            return None
        return self.spans[int(number)]

    def _search_small(self, tensor: TensorProto) -> None:
        dtype = _FLOATS.get(tensor.data_type)
        if dtype is None:
            return
        with np.errstate(all="ignore"):
            values = tensor.raw_data or np.asarray(tensor.float_data or tensor.double_data, "<f8").tobytes()
        kept = dtype if tensor.raw_data else np.dtype("<f8")
        if len(values) % kept.itemsize:
            raise broken(self.path.name, tensor.name, "its values are cut off", "数值不完整")
        self._search(tensor.name, memoryview(values), kept)

    def _external(self, tensor: TensorProto, size: int) -> None:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = self._place(entries.get("location", ""))
        try:
            offset = int(entries.get("offset") or 0)
            length = int(entries.get("length") or size)
        except ValueError as error:
            why = "its place in the data file is no number"
            raise broken(self.path.name, tensor.name, why, "它在数据文件里的位置不是数字") from error
        if length != size:
            self._wrong_size(tensor, length, size)
        if offset < 0 or offset + length > place.stat().st_size:
            why, why_zh = f"it lies beyond the end of {place.name}", f"它超出了 {place.name} 的末尾"
            raise broken(self.path.name, tensor.name, why, why_zh)
        self.files.add(place)
        dtype = _FLOATS.get(tensor.data_type)
        if dtype is not None and length and self._affords(length):
            values: npt.NDArray[np.uint8] = np.memmap(place, np.uint8, "r", offset, (length,))
            self._search(tensor.name, values.data, dtype, paid=True)

    def _place(self, location: str) -> Path:
        folder = self.path.parent.resolve()
        pure = PurePosixPath(location.replace("\\", "/"))
        told = location[:200]
        strange = not location or "\0" in location or pure.is_absolute() or ".." in pure.parts
        if strange or ":" in pure.parts[0]:
            raise OutsideData(file=self.path.name, data=told)
        place = folder / pure
        # Links within the folder are fine; hard links are no sign, the shop's folders are made of them.
        if not place.resolve().is_relative_to(folder):
            raise OutsideData(file=self.path.name, data=told)
        if not place.is_file():
            raise MissingData(file=self.path.name, data=told)
        return place

    def _wrong_size(self, tensor: TensorProto, found: int, size: int) -> None:
        why = f"it has {found} bytes where its shape {list(tensor.dims)} needs {size}"
        why_zh = f"它有 {found} 字节，而形状 {list(tensor.dims)} 需要 {size} 字节"
        raise broken(self.path.name, tensor.name, why, why_zh)

    def _affords(self, size: int) -> bool:
        self.budget -= size
        self.skipped |= self.budget < 0
        return self.budget >= 0

    def _search(self, name: str, values: memoryview, dtype: npt.DTypeLike, *, paid: bool = False) -> None:
        if not paid and not self._affords(len(values)):
            return
        array = np.frombuffer(values, dtype)
        step = 1 << 20
        for start in range(0, array.size, step):
            if np.isnan(array[start : start + step]).any():
                self.nans.append(name)
                return
