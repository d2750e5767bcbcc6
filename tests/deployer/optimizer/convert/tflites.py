"""Small TFLite files for tests, written by the FlatBuffers format apart from the converter's reader."""

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Fields = dict[int, Any]  # by number: ("form", number), text, array, table, or a list of tables

_TYPES = {"f4": 0, "f2": 1, "i4": 2, "u1": 3, "i8": 4, "b1": 6, "i1": 9}


def flatbuffer(root: Fields, identifier: bytes = b"TFL3") -> bytes:
    """A file with this table at its root."""
    out = bytearray(8)
    out[4:8] = identifier
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _align(out: bytearray, size: int, after: int = 0) -> None:
    while (len(out) + after) % size:
        out.append(0)


def _table(out: bytearray, fields: Fields) -> int:
    """Write a table and, behind it, all that it leads to; returns where it begins."""
    forms = {n: v[0] if isinstance(v, tuple) else "I" for n, v in fields.items()}
    offsets, size = {}, 4
    for number in sorted(forms, key=lambda n: -struct.calcsize(forms[n])):
        width = struct.calcsize(f"<{forms[number]}")
        size += -size % width
        offsets[number] = size
        size += width
    count = max(fields, default=-1) + 1
    _align(out, 8, 4 + 2 * count)
    vtable = len(out)
    out += struct.pack(f"<{2 + count}H", 4 + 2 * count, size, *(offsets.get(n, 0) for n in range(count)))
    begin = len(out)
    out += struct.pack("<i", begin - vtable) + bytes(size - 4)
    for number, value in fields.items():
        place = begin + offsets[number]
        if isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", out, place, value[1])
        else:
            target = _child(out, value)
            struct.pack_into("<I", out, place, target - place)
    return begin


def _child(out: bytearray, value: Any) -> int:
    if isinstance(value, dict):
        return _table(out, value)
    if isinstance(value, str):
        raw = value.encode()
        _align(out, 4)
        begin = len(out)
        out += struct.pack("<I", len(raw)) + raw + b"\0"
        return begin
    if isinstance(value, list):
        _align(out, 4)
        begin = len(out)
        out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for number, each in enumerate(value):
            place = begin + 4 + 4 * number
            target = _table(out, each)
            struct.pack_into("<I", out, place, target - place)
        return begin
    _align(out, 16, 4)
    begin = len(out)
    out += struct.pack("<I", value.size) + np.ascontiguousarray(value).tobytes()
    return begin


@dataclass
class Network:
    """A graph that grows by tensors and operators."""

    tensors: list[Fields] = field(default_factory=list)
    buffers: list[Fields] = field(default_factory=lambda: [{}])
    operators: list[Fields] = field(default_factory=list)
    codes: list[Fields] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, shape: Any, dtype: str = "f4", values: Array | None = None, **more: Any) -> int:
        """A value: constant with `values`; `scale`, `zero` and `axis` quantise it."""
        number = len(self.tensors)
        made: Fields = {0: np.array(shape, "<i4"), 1: ("b", _TYPES[dtype]), 3: more.get("name", f"t{number}")}
        if values is not None:
            made[2] = ("I", len(self.buffers))
            self.buffers.append({0: np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)})
        if "scale" in more:
            scale, zero = np.atleast_1d(more["scale"]), np.atleast_1d(more.get("zero", 0))
            zero = np.broadcast_to(zero, scale.shape)
            made[4] = {2: scale.astype("<f4"), 3: zero.astype("<i8"), 6: ("i", more.get("axis", 0))}
        self.tensors.append(made)
        return number

    def feed(self, *shape: int, dtype: str = "f4") -> int:
        """An input of the graph."""
        self.inputs.append(self.tensor(shape, dtype))
        return self.inputs[-1]

    def constant(self, values: Any, **more: Any) -> int:
        """A constant of the values' own type."""
        values = np.asarray(values)
        dtype = values.dtype.str.lstrip("<|")
        return self.tensor(values.shape, dtype, values, **more)

    def op(
        self, code: int | str, inputs: list[int], shape: Any, options: Fields | None = None,
        kind: int = 0, dtype: str = "f4", custom: bytes = b"",
    ) -> int:  # fmt: skip
        """An operator with one output of this shape; `kind` is the number of its options' type."""
        out = self.tensor(shape, dtype)
        made: Fields = {0: ("I", len(self.codes)), 1: np.array(inputs, "<i4"), 2: np.array([out], "<i4")}
        if options is not None:
            made |= {3: ("B", kind), 4: options}
        if isinstance(code, str):
            self.codes.append({0: ("b", 32), 1: code, 2: ("i", 1), 3: ("i", 32)})
            made[5] = np.frombuffer(custom, np.uint8)
        else:
            self.codes.append({0: ("b", min(code, 127)), 2: ("i", 1), 3: ("i", code)})
        self.operators.append(made)
        return out

    def file(self, *outputs: int, version: int = 3) -> bytes:
        """The whole file; without `outputs` the last tensor is the answer."""
        self.outputs = list(outputs) or [len(self.tensors) - 1]
        graph = {
            0: self.tensors,
            1: np.array(self.inputs, "<i4"),
            2: np.array(self.outputs, "<i4"),
            3: self.operators,
            4: "main",
        }
        return flatbuffer(
            {0: ("I", version), 1: self.codes, 2: [graph], 3: "made for a test", 4: self.buffers}
        )
