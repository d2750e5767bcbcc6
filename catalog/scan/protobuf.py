"""Protocol buffers walked by hand: flat, so that no nesting recurses, and bounded in the number of fields.

Nothing is copied but what a caller asks for: a field is its number and where its bytes lie.
"""

from collections.abc import Iterator
from typing import Protocol

from catalog.scan.findings import Refused

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5


class Buffer(Protocol):
    """What is walked: bytes, or a mapped file."""

    def __getitem__(self, index: int, /) -> int:
        """One byte."""


class Budget:
    """How many fields may still be read of a file, whatever they are nested in."""

    def __init__(self, fields: int, code: str, path: str) -> None:
        self.left, self.code, self.path = fields, code, path

    def spend(self, fields: int) -> None:
        """Take so many; refuses the file when there are none left."""
        self.left -= fields
        if self.left < 0:
            raise Refused(f"{self.code}-too-many-parts")


class Malformed(Exception):
    """The bytes are no protocol buffer from here on."""

    def __init__(self, place: int) -> None:
        self.place = place
        super().__init__(str(place))


def varint(data: Buffer, place: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends."""
    value = shift = 0
    while True:
        if place >= end or shift > 63:
            raise Malformed(place)
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7


def fields(data: Buffer, start: int, end: int, budget: Budget) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and extent of each field; a varint's value stands where its extent would begin."""
    place = start
    while place < end:
        budget.left -= 1
        if budget.left < 0:
            budget.spend(0)
        tag, place = varint(data, place, end)
        number, wire = tag >> 3, tag & 7
        if not number or number > 0x1FFFFFFF:
            raise Malformed(place)
        if wire == BYTES:
            size, place = varint(data, place, end)
            if size > end - place:
                raise Malformed(place)
            yield number, wire, place, place + size
            place += size
        elif wire == VARINT:
            value, place = varint(data, place, end)
            yield number, wire, value, 0
        elif wire in (EIGHT, FOUR):
            size = 8 if wire == EIGHT else 4
            if size > end - place:
                raise Malformed(place)
            yield number, wire, place, place + size
            place += size
        else:  # groups, which no form here has, and numbers that are no wire type
            raise Malformed(place)


def varints(data: Buffer, start: int, end: int) -> Iterator[int]:
    """The numbers of a packed field."""
    while start < end:
        value, start = varint(data, start, end)
        yield value


def signed(value: int) -> int:
    """A 64 bit number as int64."""
    return value - (1 << 64) if value >> 63 else value
