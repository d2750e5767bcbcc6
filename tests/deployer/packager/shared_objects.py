"""What a shared object says of itself by its program headers, as a loader reads it: machine and libraries."""

import struct
from dataclasses import dataclass

MACHINES = {"amd64": 62, "arm64": 183}  # EM_X86_64, EM_AARCH64
LOAD, DYNAMIC = 1, 2
NEEDED, STRINGS = 1, 5  # DT_NEEDED, DT_STRTAB


@dataclass(frozen=True)
class SharedObject:
    machine: int
    needed: frozenset[str]
    memory: tuple[tuple[int, int, bytes], ...]
    """Of each loaded segment: address, size in memory, and content but for headers, which hold places."""


def read(data: bytes) -> SharedObject:
    assert data[:6] == b"\x7fELF\x02\x01"
    machine = struct.unpack_from("<H", data, 18)[0]
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", data, table + size * i) for i in range(count)]
    loads = [s for s in segments if s[0] == LOAD]
    for _, _, offset, address, _, _, _, align in loads:
        assert (offset - address) % align == 0
    plain = bytearray(data)
    plain[:64], plain[table : table + size * count] = bytes(64), bytes(size * count)
    memory = tuple((s[3], s[6], bytes(plain[s[2] : s[2] + s[5]])) for s in loads)
    return SharedObject(machine, _needed(data, segments, loads), memory)


def _needed(data: bytes, segments: list[tuple[int, ...]], loads: list[tuple[int, ...]]) -> frozenset[str]:
    dynamic = next((s for s in segments if s[0] == DYNAMIC), None)
    if dynamic is None:
        return frozenset()
    entries = list(struct.iter_unpack("<QQ", data[dynamic[2] : dynamic[2] + dynamic[5]]))
    entries = entries[: entries.index((0, 0))]
    names = next(value for tag, value in entries if tag == STRINGS)
    start = next(s[2] + names - s[3] for s in loads if s[3] <= names < s[3] + s[5])
    found = (start + value for tag, value in entries if tag == NEEDED)
    return frozenset(data[at : data.index(b"\0", at)].decode() for at in found)
