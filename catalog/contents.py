"""What model files say of themselves: tensors, types, numbers of weights, vocabularies, labels.

Read without running anything, in a child that is shut in, after the gate has found the files well formed.
"""

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from catalog.progress import Progress, silent

LONGEST_HEADER = 100 << 20  # bytes of a safetensors header
PIECE = 16 << 20  # values that are looked at together
DTYPES: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.UINT16: "uint16",
    TensorProto.INT32: "int32",
    TensorProto.UINT32: "uint32",
    TensorProto.INT64: "int64",
    TensorProto.UINT64: "uint64",
    TensorProto.BOOL: "bool",
    TensorProto.STRING: "string",
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "uint4",
}
_NAMES = {
    "float": "float32", "fp32": "float32", "f32": "float32", "double": "float64", "fp64": "float64",
    "f64": "float64", "half": "float16", "fp16": "float16", "f16": "float16", "bf16": "bfloat16",
    "bytes": "string", "str": "string", "i8": "int8", "u8": "uint8", "i16": "int16", "i32": "int32",
    "i64": "int64", "f8_e4m3": "float8", "f8_e5m2": "float8", "boolean": "bool",
}  # fmt: skip
FLOATS = {"float32": np.float32, "float64": np.float64, "float16": np.float16}


def dtype_name(name: str) -> str:
    """A type in one spelling: FP32, tensor(float), F32 and float32 are the same."""
    plain = name.strip().lower().removeprefix("tensor(").removesuffix(")")
    return _NAMES.get(plain, plain)


@dataclass(frozen=True)
class Tensor:
    """A named input or output; a free axis is None."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass
class Contents:
    """What is inside a model file."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    opset: int = 0
    weights: Counter[str] = field(default_factory=Counter)
    """Numbers of weights by type; small constants do not count."""
    embedding: int = 0
    """Rows of the table that token ids look up, 0 where none is seen."""
    metadata: dict[str, str] = field(default_factory=dict)
    broken: str = ""
    """The first tensor of weights that holds NaN."""

    @property
    def parameters(self) -> int:
        """Weights in all."""
        return sum(self.weights.values())


def read_graph(path: Path) -> Contents:
    """What an ONNX graph holds; data beside it is mapped, not loaded."""
    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = Contents(
        inputs=[_tensor(value) for value in graph.input if value.name not in constants],
        outputs=[_tensor(value) for value in graph.output],
        opset=max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )
    for tensor in _tensors(graph):
        _count(found, tensor, path)
    found.embedding = _embedding(graph, constants, {value.name for value in found.inputs})
    return found


def signature(path: str, progress: Progress = silent) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs of a graph as JSON; for a child."""
    progress(0, 1)
    found = read_graph(Path(path))
    return {
        "inputs": [asdict(tensor) for tensor in found.inputs],
        "outputs": [asdict(tensor) for tensor in found.outputs],
    }


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else None
        for axis in kind.shape.dim
    )
    return Tensor(value.name, DTYPES.get(kind.elem_type, str(kind.elem_type)), shape)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All constants of a graph and of the graphs inside it."""
    open_graphs = [graph]
    while open_graphs:
        here = open_graphs.pop()
        yield from here.initializer
        for node in here.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR and node.op_type == "Constant":
                    yield attribute.t
                elif attribute.type == onnx.AttributeProto.GRAPH:
                    open_graphs.append(attribute.g)


def _count(found: Contents, tensor: TensorProto, path: Path) -> None:
    size = int(np.prod([max(0, d) for d in tensor.dims], dtype=np.float64)) if tensor.dims else 1
    name = DTYPES.get(tensor.data_type, str(tensor.data_type))
    if size < 16 or name in ("int64", "bool", "string"):  # shapes, axes and flags
        return
    found.weights[name] += size
    if not found.broken and name in FLOATS and _has_nan(tensor, name, path):
        found.broken = tensor.name[:80]


def _has_nan(tensor: TensorProto, name: str, path: Path) -> bool:
    if tensor.data_location == TensorProto.EXTERNAL:
        told = {entry.key: entry.value for entry in tensor.external_data}
        place = path.parent / told.get("location", "")
        offset, length = int(told.get("offset") or 0), int(told.get("length") or 0)
        if not place.is_file():
            return False
        length = length or place.stat().st_size - offset
        count = length // np.dtype(FLOATS[name]).itemsize
        data: Any = np.memmap(place, FLOATS[name], "r", offset, (count,)) if count else np.empty(0)
    elif tensor.raw_data:
        data = np.frombuffer(tensor.raw_data, FLOATS[name])
    elif name == "float32":
        data = np.asarray(tensor.float_data, np.float32)
    else:
        return False
    return any(bool(np.isnan(data[start : start + PIECE]).any()) for start in range(0, len(data), PIECE))


def _embedding(graph: onnx.GraphProto, constants: dict[str, TensorProto], inputs: set[str]) -> int:
    """Rows of the first table that integer inputs look up, also after casts and copies."""
    ids = {name for name in inputs if "id" in name.lower()}
    tables = dict(constants)
    for node in graph.node:
        if (
            node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze")
            and node.input
            and node.input[0] in ids
        ):
            ids.update(node.output)
        elif (
            node.op_type in ("DequantizeLinear", "Cast", "Identity")
            and node.input
            and node.input[0] in tables
        ):
            tables[node.output[0]] = tables[node.input[0]]
        elif node.op_type == "Gather" and len(node.input) > 1 and node.input[1] in ids:
            table = tables.get(node.input[0])
            words = "token_type" not in node.input[1] and "position" not in node.input[1]
            if table is not None and len(table.dims) == 2 and words:
                return int(table.dims[0])
    return 0


def read_safetensors(path: Path) -> Contents:
    """Types and numbers of the tensors in a safetensors file."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LONGEST_HEADER:
            raise ValueError("the header is too long")
        header = json.loads(file.read(length))
    found = Contents()
    for name, tensor in header.items():
        if name != "__metadata__":
            found.weights[dtype_name(str(tensor["dtype"]))] += int(np.prod(tensor["shape"], dtype=np.float64))
    return found


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's words: how many ids it may give, and how many of its words are Chinese."""

    size: int
    han: int
    by_bytes: bool
    """Whether it spells what it does not know in bytes, so that it has words for every language."""


def read_tokenizer(path: Path) -> Vocabulary | None:
    """The vocabulary of a tokenizer.json; None for another form."""
    data = json.loads(path.read_text("utf-8"))
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict):
        return None
    words = model.get("vocab")
    if isinstance(words, dict):
        highest, texts = max((int(id) for id in words.values()), default=-1), list(words)
    elif isinstance(words, list):
        highest, texts = len(words) - 1, [str(pair[0]) for pair in words if isinstance(pair, list) and pair]
    else:
        return None
    added = [int(token["id"]) for token in data.get("added_tokens") or []]
    spelled = json.dumps([data.get("pre_tokenizer"), data.get("decoder")])
    by_bytes = "ByteLevel" in spelled or bool(model.get("byte_fallback"))
    han = sum(bool(re.search(r"[\u4e00-\u9fff]", text)) for text in texts)
    return Vocabulary(max([highest, *added]) + 1, han, by_bytes)
