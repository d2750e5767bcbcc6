"""Reads a FlatBuffer that nobody vouches for: every offset and length is checked before it is followed.

A table begins with the way back to its vtable, which holds the length of both in bytes and then, for each
field by its number, where it lies in the table; 0 where it is left out and has its default.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

MOST = 1_000_000  # items of one vector of tables or texts; the largest models have some thousands


class Damaged(ValueError):
    """An offset or a length leads out of the file; the message says where."""


class Table:
    """A table at a place of a buffer; fields are asked for by their numbers in the schema."""

    def __init__(self, data: npt.NDArray[np.uint8], at: int) -> None:
        self._data = data
        self._at = at
        vtable = at - self._unpack("i", at)
        size = self._unpack("H", vtable)
        if size < 4 or size % 2:
            raise Damaged(f"a vtable of {size} bytes at byte {vtable}")
        self._vtable, self._fields = vtable, (size - 4) // 2

    @classmethod
    def root(cls, data: npt.NDArray[np.uint8], identifier: bytes) -> "Table":
        """The first table of a file that carries the four letters of its format."""
        if data.size < 8 or data[4:8].tobytes() != identifier:
            raise Damaged(f"the letters {identifier.decode()} are missing at byte 4")
        return cls(data, int(np.frombuffer(data[:4].tobytes(), "<u4")[0]))

    def number(self, field: int, form: str, default: float = 0) -> Any:
        """A number in a form of `struct`."""
        place = self._place(field)
        return self._unpack(form, place) if place else default

    def text(self, field: int) -> str:
        """A text, empty when left out."""
        begin, count = self._vector(field, 1)
        return self._data[begin : begin + count].tobytes().decode("utf-8", "replace")

    def numbers(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """A vector of numbers, empty when left out; shares the file's memory."""
        size = np.dtype(dtype).itemsize
        begin, count = self._vector(field, size)
        return self._data[begin : begin + count * size].view(dtype)

    def table(self, field: int) -> "Table | None":
        """Another table."""
        place = self._place(field)
        return Table(self._data, place + self._unpack("I", place)) if place else None

    def tables(self, field: int) -> "list[Table]":
        """A vector of tables."""
        begin, count = self._vector(field, 4)
        if count > MOST:
            raise Damaged(f"a vector of {count} tables at byte {begin}")
        places = (begin + 4 * number for number in range(count))
        return [Table(self._data, place + self._unpack("I", place)) for place in places]

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        place = self._place(field)
        if not place:
            return 0, 0
        begin = place + self._unpack("I", place)
        count = self._unpack("I", begin)
        if begin + 4 + count * size > self._data.size:
            raise Damaged(f"a vector of {count} items at byte {begin} runs out of the file")
        return begin + 4, count

    def _place(self, field: int) -> int:
        offset = self._unpack("H", self._vtable + 4 + 2 * field) if field < self._fields else 0
        return self._at + offset if offset else 0

    def _unpack(self, form: str, at: int) -> Any:
        size = struct.calcsize(f"<{form}")
        if not 0 <= at <= self._data.size - size:
            raise Damaged(f"byte {at} of {self._data.size}")
        return struct.unpack(f"<{form}", self._data[at : at + size].tobytes())[0]
