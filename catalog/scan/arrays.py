"""Tables of numbers: numpy's files with their header read by hand, and plain little-endian floats.

numpy itself would unpickle an array of objects; here such an array is refused by its header.
"""

import ast
import math
import re

import numpy as np

from catalog.scan import archives
from catalog.scan.findings import Refused, Report, shown
from catalog.scan.source import Source

MOST_DIMS = 32
MOST_UNPACKED = 2 << 30
MOST_PLAIN = 1e9
"""A table of plain numbers holds none beyond this; what is no such table nearly always does."""
_PLAIN_TYPE = re.compile(
    r"[<>|=]?([biufc])(1|2|4|8|16)|[<>|=]?\?|[<>|=]?([SU])(\d{1,6})|[<>]?[mM]8(\[\w+\])?"
)


def npy(source: Source, report: Report) -> None:
    """An .npy file: known type, sane shape, and exactly the bytes that these take."""
    start, needed = _header(source, source.read(0, min(source.size, 1 << 16)))
    if start + needed != source.size:
        raise Refused("array-size", needed=start + needed, size=source.size)


def npz(source: Source, report: Report) -> None:
    """An .npz file: a zip of .npy files, each looked at without numpy."""
    members = archives.zip_members(source)
    if sum(member.size for member in members) > MOST_UNPACKED:
        raise Refused("archive-bomb")
    for member in members:
        head, size = b"", 0
        for part in archives.unpacked(source, member):
            size += len(part)
            if len(head) < 1 << 16:
                head += part[: 1 << 16]
        if not head.startswith(b"\x93NUMPY"):
            raise Refused("file-name-content", name=shown(member.name), content="binary")
        start, needed = _header(source, head)
        if start + needed != size:
            raise Refused("array-size", needed=start + needed, size=size)


def _header(source: Source, head: bytes) -> tuple[int, int]:
    """Where the numbers begin and how many bytes they take."""
    if len(head) < 12 or head[6] not in (1, 2, 3):
        raise Refused("array-header")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    start = 8 + width + length
    if length > 10_000 or start > len(head):
        raise Refused("array-header")
    try:
        fields = ast.literal_eval(head[8 + width : start].decode("utf-8").strip())
        kind, shape, _ = fields["descr"], fields["shape"], fields["fortran_order"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise Refused("array-header") from None
    if "O" in str(kind):
        raise Refused("file-pickle", names=["object"])
    if not isinstance(kind, str) or not _PLAIN_TYPE.fullmatch(kind):
        raise Refused("array-header")
    if not isinstance(shape, tuple) or len(shape) > MOST_DIMS:
        raise Refused("array-header")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise Refused("array-header")
    return start, math.prod(shape) * np.dtype(kind).itemsize


def numbers(source: Source, report: Report) -> None:
    """A .bin file: a packed lexicon of this shop, or plain float32 numbers and nothing else."""
    if source.head.startswith(b"LEXICON1"):
        _lexicon(source)
        return
    if source.size % 4:
        raise Refused("file-unknown", suffix=".bin")
    for piece in source.pieces():
        values = np.frombuffer(piece, "<f4")
        with np.errstate(invalid="ignore"):
            sane = np.abs(values) <= MOST_PLAIN
        if not sane.all():
            raise Refused("file-unknown", suffix=".bin")
    report.facts["numbers"] = source.size // 4


def _lexicon(source: Source) -> None:
    """Its head must agree with its length: tables of fixed size, then the sorted entries."""
    count, signs = (int.from_bytes(source.head[at : at + 4], "little") for at in (8, 12))
    fixed = 16 + (8 * 20 if signs else 0) + 8 * 4 * signs + 4 * (count + 1) + 4 * count + 4 * signs
    if not count or fixed > source.size:
        raise Refused("file-truncated", needed=fixed, size=source.size)
    places_at = 16 + (8 * 20 if signs else 0) + 8 * 4 * signs
    last = -1
    for piece in source.pieces(places_at, places_at + 4 * (count + 1)):
        places = np.frombuffer(piece, "<u4").astype(np.int64)
        if (np.diff(places) < 0).any() or places[0] < last:
            raise Refused("file-unknown", suffix=".bin")
        last = int(places[-1])
    if fixed + last != source.size:
        raise Refused("file-trailing", size=source.size - fixed - last)
