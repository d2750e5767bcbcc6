"""One pass over every byte of a file: its digest, and programs that hide in it."""

import hashlib
import re
import struct

from catalog.scan.source import PIECE, Source

_KEPT = 512  # bytes carried from one piece to the next, so that nothing hides at a seam
_STUB = b"This program cannot be run in DOS mode"
_PE = b"PE\x00\x00"
_MACHINES = {0x14C, 0x8664, 0xAA64, 0x1C0, 0x1C4, 0x200, 0x5064, 0x6264}
_MACHO = ((b"\xfa\xed\xfe", -1), (b"\xfe\xed\xfa", 0))
"""What the marks of Mach-O have in common, and where they begin: each search costs as much as sha256."""
_ELF = re.compile(rb"\x7fELF[\x01\x02][\x01\x02]\x01[\x00-\x12][\x00-\x05]\x00{7}")
_CPUS = {7, 12, 18, 0x01000007, 0x0100000C, 0x0200000C, 0x01000012}


def sweep(source: Source) -> tuple[str, str]:
    """Hex sha256 of the file, and the kind of program found in it anywhere: elf, pe, mach-o or ""."""
    digest, carried, found = hashlib.sha256(), b"", ""
    for piece in source.pieces(piece=PIECE):
        digest.update(piece)
        if not found:
            window = carried + piece
            found = program_in(window)
            carried = window[-_KEPT:]
    return digest.hexdigest(), found


def program_in(data: bytes) -> str:
    """The kind of program that begins in these bytes; their headers are looked at, not only the marks."""
    if b"\x7fELF" in data and _ELF.search(data):
        return "elf"
    if _STUB in data or any(_is_pe(data, at) for at in _places(data, _PE)):
        return "pe"
    if any(_is_macho(data, at + before) for mark, before in _MACHO for at in _places(data, mark)):
        return "mach-o"
    return ""


def _places(data: bytes, mark: bytes) -> list[int]:
    places: list[int] = []
    at = data.find(mark)
    while at >= 0 and len(places) < 1000:
        places.append(at)
        at = data.find(mark, at + 1)
    return places


def _is_pe(data: bytes, at: int) -> bool:
    """Whether a PE header with a known machine and a sane optional header stands here."""
    if at + 26 > len(data):
        return False
    machine, sections = struct.unpack_from("<HH", data, at + 4)
    optional, _, magic = struct.unpack_from("<HHH", data, at + 20)
    return (
        machine in _MACHINES and 0 < sections <= 96 and magic in (0x10B, 0x20B) and optional in (0xE0, 0xF0)
    )


def _is_macho(data: bytes, at: int) -> bool:
    if at < 0 or at + 28 > len(data) or not {0xCF, 0xCE} & {data[at], data[at + 3]}:
        return False
    order = "<" if data[at + 3] == 0xFE else ">"
    cpu, _, kind, commands, size = struct.unpack_from(f"{order}5I", data, at + 4)
    return cpu in _CPUS and 1 <= kind <= 12 and 0 < commands < 4096 and 8 * commands <= size < 1 << 20
