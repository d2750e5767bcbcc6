"""One pass over every byte of a file: its digest, and programs that hide in it."""

import hashlib
import re

from catalog.scan.source import PIECE, Source

_KEPT = 512  # bytes carried from one piece to the next, so that nothing hides at a seam
_STUB = b"This program cannot be run in DOS mode"
_MACHO = (b"\xfa\xed\xfe", b"\xfe\xed\xfa")
"""What the marks of Mach-O have in common: each search costs as much as sha256."""
_ELF = re.compile(
    rb"\x7fELF(?:[\x01\x02][\x01\x02]\x01[\x00-\x12][\x00-\x05]\x00{7}"
    # Linux runs one whatever stands in between, for the machines that there are
    rb"|.{12}(?:[\x02\x03]\0(?:[\x03\x08\x14-\x16\x28\x3e\xb7\xf3]\0|\x02\x01)"
    rb"|\0[\x02\x03]\0[\x08\x14-\x16]))",
    re.S,
)
_PE = re.compile(
    rb"PE\0\0(?:[\x4c\xc0\xc4]\x01|\x64[\x50\x62\x86\xaa]|\0\x02)[\x01-\x60]\0.{12}"
    rb"[\xe0\xf0]\0..\x0b[\x01\x02]",
    re.S,
)
"""A known machine, a sane number of sections, and an optional header of either kind."""
_MACHO_LITTLE = re.compile(
    rb"[\xce\xcf]\xfa\xed\xfe[\x07\x0c\x12]\0\0[\x00-\x02].{4}[\x01-\x0c]\0\0\0.[\x00-\x0f]\0\0..[\x00-\x0f]\0",
    re.S,
)
_MACHO_BIG = re.compile(
    rb"\xfe\xed\xfa[\xce\xcf][\x00-\x02]\0\0[\x07\x0c\x12].{4}\0\0\0[\x01-\x0c]\0\0[\x00-\x0f].\0[\x00-\x0f]..",
    re.S,
)
"""A known processor and kind, and commands that a program could have."""


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
    """The kind of program that begins in these bytes; their headers are looked at, not only the marks.

    A pattern is tried only where its mark stands, which is found far more quickly.
    """
    if _from(data, b"\x7fELF", _ELF):
        return "elf"
    if _STUB in data or _from(data, b"PE\0\0", _PE):
        return "pe"
    if _from(data, _MACHO[0], _MACHO_LITTLE) or _from(data, _MACHO[1], _MACHO_BIG):
        return "mach-o"
    return ""


def _from(data: bytes, mark: bytes, header: "re.Pattern[bytes]") -> bool:
    """Whether a header stands in these bytes, the mark of which begins at most a byte behind it."""
    at = data.find(mark)
    return at >= 0 and header.search(data, max(0, at - 1)) is not None
