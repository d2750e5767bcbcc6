"""Shared objects without what no loader reads: symbol tables for linkers, debug information, section tables.

A loader goes by the program headers alone. So the segments that they name are kept as they are, moved
together where something lay between them, and the rest is left out; wheels carry a third of their size
of it. Addresses in memory stay the same, since only places in the file change.
"""

import struct
from dataclasses import dataclass

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
IDENT = b"\x7fELF\x02\x01"  # 64 bits, little-endian: both architectures that images are made for
SHARED, LOAD = 3, 1  # e_type ET_DYN, p_type PT_LOAD
LARGEST_PAGE = 1 << 16  # bytes; no kernel of these architectures maps by more


@dataclass
class _Piece:
    """A stretch of the file that is kept, what its place is a multiple of, and where it goes."""

    start: int
    end: int
    align: int = 1
    new: int = 0


def _pieces(segments: list[tuple[int, ...]], table: tuple[int, int]) -> list[_Piece]:
    """What is kept, in the order of the file, with their new places; overlapping segments are one piece."""
    wanted = [_Piece(0, HEADER.size), _Piece(*table)]
    for kind, _, offset, _, _, size, _, align in segments:
        if size:
            wanted.append(_Piece(offset, offset + size, max(align, 1) if kind == LOAD else 1))
    merged: list[_Piece] = []
    for piece in sorted(wanted, key=lambda one: (one.start, one.end)):
        if merged and piece.start <= merged[-1].end:
            merged[-1].end = max(merged[-1].end, piece.end)
            merged[-1].align = max(merged[-1].align, piece.align)
        else:
            merged.append(piece)
    end = 0
    for piece in merged:
        # The next place after the last piece that keeps file and memory in step, page by page.
        piece.new = end + (piece.start - end) % piece.align
        end = piece.new + piece.end - piece.start
    return merged


def shorn(data: bytes) -> bytes:
    """A shared object's loaded parts as a file; anything else comes back as it is."""
    if len(data) < HEADER.size or not data.startswith(IDENT):
        return data
    header = list(HEADER.unpack_from(data))
    kind, at, size, count = header[1], header[5], header[9], header[10]
    if kind != SHARED or size != SEGMENT.size or at + size * count > len(data):
        return data
    segments = [_with_page(SEGMENT.unpack_from(data, at + size * index)) for index in range(count)]
    pieces = _pieces(segments, (at, at + size * count))
    if pieces[-1].end > len(data):
        return data

    def place(offset: int) -> int:
        return next(
            piece.new + offset - piece.start for piece in pieces if piece.start <= offset <= piece.end
        )

    out = bytearray(pieces[-1].new + pieces[-1].end - pieces[-1].start)
    for piece in pieces:
        out[piece.new : piece.new + piece.end - piece.start] = data[piece.start : piece.end]
    header[5], header[6], header[12], header[13] = place(at), 0, 0, 0
    HEADER.pack_into(out, 0, *header)
    for index, segment in enumerate(segments):
        moved = (*segment[:2], place(segment[2]) if segment[5] else _nowhere(segment), *segment[3:])
        SEGMENT.pack_into(out, header[5] + size * index, *moved)
    return bytes(out) if len(out) < len(data) else data


def _nowhere(segment: tuple[int, ...]) -> int:
    """A place for what has no bytes in the file: loaders want it in step with memory all the same."""
    return segment[3] % max(segment[7], 1) if segment[0] == LOAD else 0


def _with_page(segment: tuple[int, ...]) -> tuple[int, ...]:
    """The segment aligned to pages as they are; some linkers leave room for pages of 2 MiB."""
    if segment[0] == LOAD and segment[7] > LARGEST_PAGE:
        return (*segment[:7], LARGEST_PAGE)
    return segment
