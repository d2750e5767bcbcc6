"""What a TFLite file holds, as dataclasses: tensors, constants and operators of its one graph.

The numbers are those of TensorFlow Lite's schema, version 3. Operators keep their options as a table, since
each reads its own.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.tflite.flatbuffer import MOST, Damaged, Table
from deployer.optimizer.convert.weights import refuse

IDENTIFIER = b"TFL3"
VERSION = 3
CUSTOM = 32
DTYPES = {
    **{0: "<f4", 1: "<f2", 2: "<i4", 3: "<u1", 4: "<i8", 6: "?", 7: "<i2", 9: "<i1", 10: "<f8"},
    **{12: "<u8", 15: "<u4", 16: "<u2"},
}
_RANK = 8

OPERATORS = {
    **{0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D"},
    **{5: "DEPTH_TO_SPACE", 6: "DEQUANTIZE", 8: "FLOOR", 9: "FULLY_CONNECTED", 14: "LOGISTIC"},
    **{17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE"},
    **{23: "RESIZE_BILINEAR", 25: "SOFTMAX", 26: "SPACE_TO_DEPTH", 28: "TANH", 34: "PAD", 36: "GATHER"},
    **{39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 45: "STRIDED_SLICE", 47: "EXP"},
    **{49: "SPLIT", 50: "LOG_SOFTMAX", 53: "CAST", 54: "PRELU", 55: "MAXIMUM", 56: "ARG_MAX"},
    **{57: "MINIMUM", 59: "NEG", 60: "PADV2", 65: "SLICE", 66: "SIN", 67: "TRANSPOSE_CONV"},
    **{70: "EXPAND_DIMS", 73: "LOG", 74: "SUM", 75: "SQRT", 76: "RSQRT", 78: "POW", 82: "REDUCE_MAX"},
    **{83: "PACK", 89: "REDUCE_MIN", 92: "SQUARE", 97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU"},
    **{99: "SQUARED_DIFFERENCE", 101: "ABS", 104: "CEIL", 108: "COS", 111: "ELU", 114: "QUANTIZE"},
    **{117: "HARD_SWISH", 124: "DENSIFY", 126: "BATCH_MATMUL", 150: "GELU"},
}


@dataclass(frozen=True)
class Tensor:
    """One value of the graph: its shape as the file gives it, and its numbers if they are constant."""

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    free: tuple[int, ...]  # axes of free length
    constant: npt.NDArray[Any] | None
    scale: npt.NDArray[np.float32]  # quantised values are scale × (value − zero), by one axis or for all
    zero: npt.NDArray[np.int64]
    axis: int

    @property
    def quantised(self) -> bool:
        """Whether its integers stand for other numbers."""
        return self.scale.size > 0 and np.dtype(self.dtype).kind in "iu"

    def floats(self) -> npt.NDArray[np.float32]:
        """A constant as float32, quantised ones by their scale."""
        assert self.constant is not None
        if not self.quantised:
            return self.constant.astype(np.float32)
        form = [1] * len(self.shape)
        if self.scale.size > 1:
            form[self.axis] = self.scale.size
        scale, zero = self.scale.reshape(form), self.zero.reshape(form)
        return ((self.constant.astype(np.int64) - zero) * scale).astype(np.float32)


@dataclass(frozen=True)
class Operator:
    """One step: the numbers of its inputs (-1 where left out) and outputs, and its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None
    custom: bytes

    def option(self, field: int, form: str, default: float = 0) -> Any:
        """A number of the options by its place in the schema."""
        return self.options.number(field, form, default) if self.options else default


@dataclass(frozen=True)
class Source:
    """A TFLite file with one graph."""

    path: Path
    description: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> "Source":
        """Map the file and check its structure; raises ConversionFailed."""
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        try:
            return _read(path, data)
        except Damaged as error:
            raise _damaged(path, str(error)) from None


def _damaged(path: Path, detail: str) -> ConversionFailed:
    en, zh = "not a sound TFLite file", "不是完好的 TFLite 文件"
    return refuse(path, f"{en}: {detail}", f"{zh}：{detail}", detail=detail)


def _read(path: Path, data: npt.NDArray[np.uint8]) -> Source:
    root = Table.root(data, IDENTIFIER)
    if (version := root.number(0, "I")) != VERSION:
        en, zh = f"version {version} of the format", f"格式版本 {version}"
        raise refuse(path, f"{en}; version {VERSION} is supported", f"{zh}；支持的是版本 {VERSION}")
    graphs = root.tables(2)
    if len(graphs) != 1:
        en, zh = f"holds {len(graphs)} graphs; one is supported", f"含有 {len(graphs)} 个图；只支持一个"
        raise refuse(path, en, zh, graphs=len(graphs))
    (graph,) = graphs
    buffers = root.tables(4)
    tensors = tuple(_tensor(number, t, buffers) for number, t in enumerate(graph.tables(0)))
    names = [_operator_name(code) for code in root.tables(1)]
    operators = tuple(_operator(o, names, len(tensors)) for o in graph.tables(3))
    if sum(len(o.inputs) + len(o.outputs) for o in operators) > MOST:
        raise Damaged("operators with too many inputs and outputs")
    inputs, outputs = (_numbers(graph, field, len(tensors)) for field in (1, 2))
    if not outputs:
        raise Damaged("a graph without outputs")
    return Source(path, root.text(3)[:200], tensors, operators, inputs, outputs)


def _numbers(table: Table, field: int, count: int, least: int = 0) -> tuple[int, ...]:
    found = tuple(int(n) for n in table.numbers(field, "<i4")[:MOST])
    if any(not least <= n < count for n in found):
        raise Damaged(f"a tensor's number outside {least} … {count - 1}")
    return found


def _tensor(number: int, table: Table, buffers: list[Table]) -> Tensor:
    shape = tuple(int(n) for n in table.numbers(0, "<i4")[: _RANK + 1])
    kind, place = table.number(1, "b"), table.number(2, "I")
    name = table.text(3)[:200] or f"tensor_{number}"
    if kind not in DTYPES or len(shape) > _RANK or min(shape, default=0) < 0:
        raise Damaged(f"tensor {name[:80]!r} of type {kind} and shape {list(shape)}")
    if place >= len(buffers):
        raise Damaged(f"tensor {name[:80]!r} lies in buffer {place} of {len(buffers)}")
    signature = [int(n) for n in table.numbers(7, "<i4")[: _RANK + 1]]
    quantisation = table.table(4)
    scale = quantisation.numbers(2, "<f4") if quantisation else np.zeros(0, np.float32)
    zero = quantisation.numbers(3, "<i8") if quantisation else np.zeros(0, np.int64)
    axis = int(quantisation.number(6, "i")) if quantisation else 0
    if scale.size and (
        zero.size not in (0, scale.size)
        or (scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size))
    ):
        raise Damaged(f"tensor {name[:80]!r} with scales that do not fit")
    return Tensor(
        number=number,
        name=name,
        shape=shape,
        dtype=DTYPES[kind],
        free=tuple(axis for axis, length in enumerate(signature) if length < 0),
        constant=_constant(buffers[place], name, DTYPES[kind], shape) if place else None,
        scale=scale,
        zero=zero if zero.size else np.zeros(scale.size, np.int64),
        axis=axis,
    )


def _constant(buffer: Table, name: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
    raw = buffer.numbers(0, "<u1")
    if not raw.size:
        if buffer.number(1, "Q"):
            raise Damaged(f"tensor {name[:80]!r} is kept behind the table, as in files above 2 GB")
        return None
    if math.prod(shape) * np.dtype(dtype).itemsize != raw.size:
        raise Damaged(f"tensor {name[:80]!r} of shape {list(shape)} has {raw.size} bytes")
    return raw.view(dtype).reshape(shape)


def _operator_name(code: Table) -> str:
    number = max(code.number(0, "b"), code.number(3, "i"))  # the first is what old files have
    if number == CUSTOM:
        return code.text(1)[:80] or "CUSTOM"
    return OPERATORS.get(number, f"operator {number}")


def _operator(table: Table, names: list[str], tensors: int) -> Operator:
    number = table.number(0, "I")
    if number >= len(names):
        raise Damaged(f"operator code {number} of {len(names)}")
    return Operator(
        name=names[number],
        inputs=_numbers(table, 1, tensors, -1),
        outputs=_numbers(table, 2, tensors),
        options=table.table(4),
        custom=table.numbers(5, "<u1")[:256].tobytes(),
    )
