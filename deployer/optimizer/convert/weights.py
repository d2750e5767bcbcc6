"""Reads tensors from a safetensors file that nobody vouches for, by memory mapping and without torch.

The format: eight bytes with the header's length, a JSON header {name: {dtype, shape, data_offsets}},
then the tensors end to end. A header that is too long, lies about lengths, or leaves holes or overlaps
is refused before any tensor is touched.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from deployer.errors import ConversionFailed

Float = npt.NDArray[np.float32]

_HEADER_LIMIT = 100_000_000  # the format's own
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}


def refuse(source: Path | str, en: str, zh: str, **facts: object) -> ConversionFailed:
    """A ConversionFailed that tells its cause in both languages (facts `why` and `why_zh`)."""
    return ConversionFailed(source=Path(source).name, why=en, why_zh=zh, **facts)


class Shaped(Protocol):
    """What is known of a tensor before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its axes."""


class Tensors(Protocol):
    """Weights by name, whatever file they come from."""

    path: Path

    @property
    def entries(self) -> Mapping[str, Shaped]:
        """What there is."""

    def __contains__(self, name: object) -> bool:
        """Whether there is one of the name."""

    def float32(self, name: str) -> Float:
        """Its numbers; refuses integers, and values that are not finite."""


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Weights:
    """A safetensors file opened for reading; `float32` gives a tensor as float32 whatever float it is."""

    def __init__(self, path: Path, entries: dict[str, Entry], start: int) -> None:
        self.path = path
        self.entries = entries
        self._data = np.memmap(path, np.uint8, "r", offset=start) if entries else np.zeros(0, np.uint8)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Check the whole header, then map the file; raises ConversionFailed."""
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(_HEADER_LIMIT, size - 8):
                raise _damaged(path, f"header length {length} in a file of {size} bytes")
            header = _parse(path, file.read(length))
        entries = {name: _entry(path, name, value) for name, value in header.items()}
        _check_layout(path, entries, size - 8 - length)
        return cls(path, entries, 8 + length)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def float32(self, name: str) -> Float:
        """The tensor as float32; refuses integers, and values that are not finite."""
        entry = self.entries[name]
        if entry.dtype not in _FLOATS:
            en, zh = f"{name} is {entry.dtype}, not a float", f"{name} 的类型是 {entry.dtype}，不是浮点数"
            raise refuse(self.path, en, zh, tensor=name, dtype=entry.dtype)
        raw = self._data[entry.begin : entry.end].view(_FLOATS[entry.dtype])
        if entry.dtype == "BF16":  # the upper half of a float32
            values = (raw.astype(np.uint32) << 16).view(np.float32)
        else:
            with np.errstate(over="ignore"):
                values = raw.astype(np.float32)
        if not np.isfinite(values).all():
            raise refuse(self.path, f"{name} holds NaN or infinity", f"{name} 含有 NaN 或无穷大", tensor=name)
        return values.reshape(entry.shape)


def _damaged(path: Path, detail: str) -> ConversionFailed:
    en = f"not a sound safetensors file: {detail}"
    return refuse(path, en, f"不是完好的 safetensors 文件：{detail}", detail=detail)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"header: {error}"[:200]) from None
    if not isinstance(header, dict):
        raise _damaged(path, "header is not an object")
    header.pop("__metadata__", None)
    return header


def _entry(path: Path, name: str, value: Any) -> Entry:
    try:
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        begin, end = offsets
        whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in [*shape, begin, end])
        sound = whole and len(shape) <= 8 and math.prod(shape) * _SIZES[dtype] == end - begin
    except (TypeError, KeyError, ValueError):
        sound = False
    if not sound:
        raise _damaged(path, f"entry {name[:80]!r}: dtype, shape and data_offsets do not fit together")
    return Entry(dtype, tuple(shape), begin, end)


def _check_layout(path: Path, entries: dict[str, Entry], size: int) -> None:
    """Tensors lie end to end over all the data: no holes to hide things in, no overlaps."""
    reached = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != reached:
            raise _damaged(path, f"entry {name[:80]!r} starts at {entry.begin}, not at {reached}")
        reached = entry.end
    if reached != size:
        raise _damaged(path, f"tensors end at {reached}, the data at {size}")
