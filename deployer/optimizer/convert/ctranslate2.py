"""Reads a CTranslate2 model.bin that nobody vouches for, by memory mapping and without the library.

The format, little-endian: a version, the name and revision of the specification, a count of variables, each
with its name, rank, axes, kind of number, bytes and the bytes themselves; then a count of aliases, each with
its name and that of the variable that it stands for. A text is led by its length, a closing zero included.
All of it is checked before any variable is touched.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.weights import Float, refuse

VERSION = 6
_KINDS = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "bfloat16"}
_SIZES = {0: 4, 1: 1, 2: 2, 3: 4, 4: 2, 5: 2}
_MOST = 100_000  # variables or aliases; the largest models have a few thousand
_RANK = 8


@dataclass(frozen=True)
class Variable:
    """Where one variable lies, counted in bytes from the file's begin."""

    kind: int
    shape: tuple[int, ...]
    begin: int
    end: int


class Variables:
    """A model.bin opened for reading: `specification`, `revision`, and the variables by name or alias."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.specification = ""
        self.revision = 0
        self.entries: dict[str, Variable] = {}
        self._data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Check the whole file's structure; raises ConversionFailed."""
        found = cls(path)
        cursor = _Cursor(path, found._data)
        version = cursor.number("I")
        if version != VERSION:
            en = f"version {version} of CTranslate2's format; version {VERSION} is supported"
            zh = f"CTranslate2 格式版本 {version}；支持的是版本 {VERSION}"
            raise refuse(path, en, zh, found=version, supported=VERSION)
        found.specification, found.revision = cursor.text(), cursor.number("I")
        for _ in range(cursor.count()):
            name = cursor.text()
            if name in found.entries:
                raise cursor.damaged(f"{name[:80]!r} stands twice")
            found.entries[name] = cursor.variable(name)
        aliases = {}
        for _ in range(cursor.count()):
            alias, name = cursor.text(), cursor.text()
            if alias in found.entries or alias in aliases or name not in found.entries:
                raise cursor.damaged(f"alias {alias[:80]!r} for {name[:80]!r}")
            aliases[alias] = found.entries[name]
        if cursor.place != found._data.size:
            raise cursor.damaged(f"{found._data.size - cursor.place} bytes behind the end")
        found.entries |= aliases
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def shape(self, name: str) -> tuple[int, ...]:
        """The axes of a variable; refuses a name that there is not."""
        return self._entry(name).shape

    def floats(self, name: str) -> npt.NDArray[np.float16] | Float:
        """A variable as it is kept if that is float16, else as float32; refuses integers and NaN."""
        entry = self._entry(name)
        raw = self._data[entry.begin : entry.end]
        if entry.kind == 4:
            values: Any = raw.view("<f2")
        elif entry.kind == 0:
            values = raw.view("<f4")
        elif entry.kind == 5:  # the upper half of a float32
            values = (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            kind = _KINDS[entry.kind]
            en, zh = f"{name} has kind {kind}, not a float", f"{name} 的类型是 {kind}，不是浮点数"
            raise refuse(self.path, en, zh, tensor=name, dtype=kind)
        if not np.isfinite(values).all():
            raise refuse(self.path, f"{name} holds NaN or infinity", f"{name} 含有 NaN 或无穷大", tensor=name)
        found: npt.NDArray[np.float16] | Float = values.reshape(entry.shape)
        return found

    def integer(self, name: str, default: int | None = None) -> int:
        """A variable that is one whole number; `default` where there is none of the name."""
        if name not in self.entries and default is not None:
            return default
        entry = self._entry(name)
        if entry.shape or entry.kind not in (1, 2, 3):
            raise refuse(self.path, f"{name} is not a whole number", f"{name} 不是整数", tensor=name)
        return int(self._data[entry.begin : entry.end].view(_KINDS[entry.kind])[0])

    def _entry(self, name: str) -> Variable:
        if name not in self.entries:
            raise refuse(self.path, f"no variable {name}", f"没有变量 {name}", tensor=name)
        return self.entries[name]


class _Cursor:
    """A place in the file that never leaves it."""

    def __init__(self, path: Path, data: npt.NDArray[np.uint8]) -> None:
        self.path = path
        self.place = 0
        self._data = data

    def number(self, form: str) -> int:
        """The next whole number in a form of `struct`."""
        (value,) = struct.unpack(f"<{form}", self._take(struct.calcsize(f"<{form}")).tobytes())
        return int(value)

    def count(self) -> int:
        """How many of something follow."""
        count = self.number("I")
        if count > _MOST:
            raise self.damaged(f"a count of {count}")
        return count

    def text(self) -> str:
        """The next text."""
        raw = self._take(self.number("H")).tobytes()
        try:
            if raw[-1:] != b"\0" or b"\0" in raw[:-1]:
                raise ValueError
            return raw[:-1].decode("utf-8")
        except ValueError:
            raise self.damaged("a name that is no text") from None

    def variable(self, name: str) -> Variable:
        """What follows a variable's name; skips its bytes."""
        rank = self.number("B")
        if rank > _RANK:
            raise self.damaged(f"{name[:80]!r} has {rank} axes")
        shape = tuple(self.number("I") for _ in range(rank))
        kind, size = self.number("B"), self.number("I")
        if kind not in _SIZES or math.prod(shape) * _SIZES[kind] != size:
            raise self.damaged(f"{name[:80]!r}: shape, kind and bytes do not fit together")
        begin = self.place
        self._take(size)
        return Variable(kind, shape, begin, self.place)

    def damaged(self, detail: str) -> ConversionFailed:
        """The refusal of the file, with what is wrong and where."""
        detail = f"{detail}, before byte {self.place}"
        en, zh = "not a sound CTranslate2 model.bin", "不是完好的 CTranslate2 model.bin"
        return refuse(self.path, f"{en}: {detail}", f"{zh}：{detail}", detail=detail)

    def _take(self, size: int) -> npt.NDArray[np.uint8]:
        if size > self._data.size - self.place:
            raise self.damaged(f"{size} bytes are wanted, {self._data.size - self.place} are left")
        part = self._data[self.place : self.place + size]
        self.place += size
        return part
