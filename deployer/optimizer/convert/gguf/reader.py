"""Reads a GGUF file that nobody vouches for, by memory mapping: what it says of itself, and its tensors.

The format, little-endian: `GGUF`, a version, how many tensors and facts; the facts, each with key, kind and
value; then each tensor with name, axes (the fastest first), kind and place; then, aligned, their bytes.
Every length is checked against the file before it is followed.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.gguf.blocks import KINDS, Kind
from deployer.optimizer.convert.weights import Float, refuse

VERSIONS = (2, 3)
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_MOST = 1_000_000  # facts or tensors
_LONGEST = 1 << 26  # items of one array
_RANK = 4


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies; its shape has the fastest axis last, as numpy counts."""

    kind: Kind
    shape: tuple[int, ...]
    begin: int
    size: int


class Gguf:
    """A GGUF file opened for reading: `facts` by key, `tensors` by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self._data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Check the whole file's structure; raises ConversionFailed."""
        found = cls(path)
        cursor = _Cursor(path, found._data)
        if cursor.take(4) != b"GGUF":
            raise cursor.damaged("the letters GGUF are missing")
        if (version := cursor.number("I")) not in VERSIONS:
            known = " | ".join(map(str, VERSIONS))
            en, zh = f"version {version} of GGUF; {known}", f"GGUF 版本 {version}；支持 {known}"
            raise refuse(path, en, zh, version=version)
        tensors, facts = cursor.number("Q"), cursor.number("Q")
        if max(tensors, facts) > _MOST:
            raise cursor.damaged(f"{tensors} tensors and {facts} facts")
        for _ in range(facts):
            key = cursor.text()
            found.facts[key] = cursor.value(cursor.number("I"))
        infos = [(cursor.text(), *cursor.info()) for _ in range(tensors)]
        step = found.facts.get("general.alignment", 32)
        if type(step) is not int or not 1 <= step <= 1 << 16:
            raise cursor.damaged(f"an alignment of {step}")
        start = cursor.place + -cursor.place % step
        for name, shape, number, offset in infos:
            found.tensors[name] = cursor.placed(name, shape, number, start + offset)
        if len(found.tensors) != tensors:
            raise cursor.damaged("two tensors of one name")
        return found

    def fact(self, key: str, kind: type, default: Any = None) -> Any:
        """A fact of this kind; refuses one that is missing, unless there is a default, and others' kinds."""
        value = self.facts.get(key, default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            shown = str(value)[:60]
            raise refuse(self.path, f"{key} is {shown}", f"{key} 是 {shown}", key=key)
        return value

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor."""
        tensor = self.tensors[name]
        return self._data[tensor.begin : tensor.begin + tensor.size]

    def float32(self, name: str) -> Float:
        """A tensor's numbers, whatever it is kept as; refuses those that are not finite."""
        tensor = self.tensors[name]
        values = tensor.kind.floats(self.raw(name)).reshape(tensor.shape)
        if not np.isfinite(values).all():
            raise refuse(self.path, f"{name} holds NaN or infinity", f"{name} 含有 NaN 或无穷大", tensor=name)
        return values


class _Cursor:
    """A place in the file that never leaves it."""

    def __init__(self, path: Path, data: npt.NDArray[np.uint8]) -> None:
        self.path = path
        self.place = 0
        self._data = data

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if size > self._data.size - self.place:
            raise self.damaged(f"{size} bytes are wanted, {self._data.size - self.place} are left")
        part = self._data[self.place : self.place + size].tobytes()
        self.place += size
        return part

    def number(self, form: str) -> Any:
        """The next number in a form of `struct`."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def text(self) -> str:
        """The next text."""
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of a kind; arrays of numbers become numpy's, arrays of texts lists."""
        if kind in _FORMS:
            return self.number(_FORMS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth:
            raise self.damaged(f"a fact of kind {kind}")
        inner, count = self.number("I"), self.number("Q")
        if count > _LONGEST:
            raise self.damaged(f"an array of {count}")
        if inner in _FORMS:
            dtype = np.dtype(f"<{_FORMS[inner]}" if inner != 7 else "?")
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        return [self.value(inner, depth + 1) for _ in range(count)]

    def info(self) -> tuple[tuple[int, ...], int, int]:
        """Shape, kind and offset of a tensor."""
        rank = self.number("I")
        if rank > _RANK:
            raise self.damaged(f"a tensor of {rank} axes")
        shape = tuple(self.number("Q") for _ in range(rank))[::-1]
        return shape, self.number("I"), self.number("Q")

    def placed(self, name: str, shape: tuple[int, ...], number: int, begin: int) -> Tensor:
        """A tensor whose bytes lie in the file and fit its shape."""
        kind = KINDS.get(number)
        if kind is None:
            known = ", ".join(sorted(one.name for one in KINDS.values()))
            en = f"{name[:80]} is kept as kind {number}; known: {known}"
            raise refuse(self.path, en, f"{name[:80]} 的存储类型是 {number}；支持 {known}", tensor=name[:80])
        size = kind.size(shape)
        if size < 0 or begin + size > self._data.size:
            raise self.damaged(f"{name[:80]!r} of shape {list(shape)} runs out of the file")
        return Tensor(kind, shape, begin, size)

    def damaged(self, detail: str) -> ConversionFailed:
        """The refusal of the file, with what is wrong and where."""
        detail = f"{detail}, before byte {self.place}"
        en, zh = "not a sound GGUF file", "不是完好的 GGUF 文件"
        return refuse(self.path, f"{en}: {detail}", f"{zh}：{detail}", detail=detail)
