"""Archives read by their own records, before any library unpacks them.

A zip says everything twice, in its central directory and before each member; libraries believe one or the
other. Here both must agree, members may not overlap, and what they unpack to is bounded.
"""

import io
import lzma
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from catalog.scan.findings import Refused, shown
from catalog.scan.names import name_fault
from catalog.scan.source import Source

MOST_MEMBERS = 20_000
MOST_BYTES = 64 << 30
MOST_RATIO = 1100
"""More than DEFLATE can reach on anything, which is 1032 : 1; what claims more lies."""
SUSPICIOUS = 200
"""Ratio from which a large member is a bomb: weights and texts stay far below it."""
LARGE = 64 << 20
_END = b"PK\x05\x06"
_LOCAL, _CENTRAL, _LOCATOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x06\x07"
_STORED, _DEFLATED = 0, 8
_MARKS = re.compile(rb"07070[127][0-7a-f]{50}[^\0]{0,300}\0|[\x50-\x5f]\x2a\x4d\x18", re.I)
"""cpio with a name that ends, and a frame of zstd that is to be skipped."""


@dataclass(frozen=True)
class Member:
    """One file of a zip, as both of its records say."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    start: int
    """Where its packed bytes begin."""


def check_zip(path: Path) -> list[Member]:
    """The members of a zip that is what it says; raises Refused with archive-* otherwise."""
    with Source(path) as source:
        return zip_members(source)


def check_tar(path: Path, most_bytes: int = MOST_BYTES) -> list[tuple[str, int]]:
    """Names and sizes of a tar's plain files; refuses links, devices, climbing or double names, and bombs.

    The tar may be packed (gzip, bzip2, xz). It is walked as a stream, so it costs time but no memory.
    """
    members: list[tuple[str, int]] = []
    seen: set[str] = set()
    packed, total = path.stat().st_size, 0
    try:
        with (
            path.open("rb") as raw,
            tarfile.open(fileobj=_Metered(raw, packed, path.name), mode="r|*") as tar,
        ):
            for info in tar:
                _check_tar_member(path.name, info, seen)
                total += info.size
                if len(seen) > MOST_MEMBERS or total > min(most_bytes, packed * SUSPICIOUS + LARGE):
                    raise Refused("archive-bomb")
                if info.isreg():
                    members.append((info.name, info.size))
                tar.members = []  # type: ignore[attr-defined]  # the library would keep them all
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise Refused("archive-invalid-records", why=type(error).__name__) from error
    return members


class _Metered(io.RawIOBase):
    """A file that a stream reads; here only so that a tar library gets nothing but read()."""

    def __init__(self, file: io.BufferedReader, size: int, name: str) -> None:
        self.file, self.size, self.label = file, size, name

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)

    def readable(self) -> bool:
        return True


def _check_tar_member(archive: str, info: tarfile.TarInfo, seen: set[str]) -> None:
    if info.issym():
        raise Refused("archive-link", name=shown(info.name))
    if info.islnk():
        raise Refused("archive-link", name=shown(info.name))
    if not (info.isreg() or info.isdir()) or info.sparse is not None:
        raise Refused("archive-special", name=shown(info.name))
    _check_name(archive, info.name, seen, folder=info.isdir())


def _check_name(archive: str, name: str, seen: set[str], *, folder: bool) -> None:
    plain = name.removeprefix("./").rstrip("/") if folder else name.removeprefix("./")
    if folder and plain in ("", "."):
        return
    if plain.startswith("/") or name_fault(plain):
        raise Refused("archive-name-unsafe", name=shown(name))
    folded = plain.casefold()
    if folded in seen and not folder:
        raise Refused("archive-name-twice", name=shown(name))
    seen.add(folded)


def zip_members(source: Source) -> list[Member]:
    """The members of an open zip, all records held against each other."""
    end, count, at, size = _end(source)
    if at + size != end:
        raise _broken(source, "directory")
    members: list[Member] = []
    seen: set[str] = set()
    if size > 64 << 20 or count > MOST_MEMBERS:
        raise Refused("archive-bomb")
    directory = source.read(at, size)
    place = 0
    for _ in range(count):
        member, place = _central(source, directory, place)
        folder = member.name.endswith("/")
        _check_name(source.name, member.name, seen, folder=folder)
        members.append(member)
    if place != len(directory):
        raise _broken(source, "directory")
    _check_places(source, members, at)
    return members


def _end(source: Source) -> tuple[int, int, int, int]:
    """Place of the end record, number of members, place and size of the directory."""
    found = source.tail.rfind(_END)
    if found < 0 or found + 22 > len(source.tail):
        raise _broken(source, "end")
    disk, first, here, count, size, at, comment = struct.unpack_from("<4H2IH", source.tail, found + 4)
    end = source.size - len(source.tail) + found
    if found + 22 + comment != len(source.tail) or disk or first or here != count:
        raise _broken(source, "end")
    if 0xFFFF in (count,) or 0xFFFFFFFF in (size, at):
        return _end64(source, end)
    return end, count, at, size


def _end64(source: Source, end: int) -> tuple[int, int, int, int]:
    mark, _, place, _ = struct.unpack("<4sIQI", source.read(end - 20, 20))
    if mark != _LOCATOR:
        raise _broken(source, "end")
    mark, length, _, _, _, _, here, count, size, at = struct.unpack("<4sQHHIIQQQQ", source.read(place, 56))
    if mark != b"PK\x06\x06" or here != count or place + 12 + length != end - 20:
        raise _broken(source, "end")
    return place, count, at, size


def _central(source: Source, data: bytes, place: int) -> tuple[Member, int]:
    if data[place : place + 4] != _CENTRAL or place + 46 > len(data):
        raise _broken(source, "directory")
    fields = struct.unpack_from("<4s6H3I5H2I", data, place)
    flags, method, crc, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_size, extra_size, comment_size, outer, local = (
        fields[10],
        fields[11],
        fields[12],
        fields[15],
        fields[16],
    )
    name = data[place + 46 : place + 46 + name_size]
    extra = data[place + 46 + name_size : place + 46 + name_size + extra_size]
    following = place + 46 + name_size + extra_size + comment_size
    if following > len(data) or len(extra) != extra_size:
        raise _broken(source, "directory")
    size, packed, local = _sizes64(source, extra, size, packed, local)
    if outer >> 16 & 0o170000 == 0o120000:
        raise Refused("archive-link", name=shown(name))
    if flags & 1:
        raise Refused("archive-encrypted", name=shown(name))
    if method not in (_STORED, _DEFLATED) or (method == _STORED and size != packed):
        raise _broken(source, "method")
    if size > packed * MOST_RATIO + 64 or (size > LARGE and size > packed * SUSPICIOUS):
        raise Refused("archive-bomb")
    start = _local(source, local, name, flags, (method, crc, packed, size))
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise Refused("archive-name-unsafe", name=shown(name)) from None
    return Member(text, method, crc, packed, size, start), following


def _sizes64(source: Source, extra: bytes, size: int, packed: int, local: int) -> tuple[int, int, int]:
    values = [size, packed, local]
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        body = extra[place + 4 : place + 4 + length]
        if len(body) != length:
            raise _broken(source, "extra")
        if kind == 1:
            for index in range(3):
                if values[index] == 0xFFFFFFFF:
                    if len(body) < 8:
                        raise _broken(source, "extra")
                    values[index], body = int.from_bytes(body[:8], "little"), body[8:]
        place += 4 + length
    return values[0], values[1], values[2]


def _local(source: Source, at: int, name: bytes, flags: int, said: tuple[int, int, int, int]) -> int:
    """Where a member's bytes begin; its own record must say what the directory says."""
    head = source.read(at, 30)
    mark, _, own_flags, method, _, _, crc, packed, size, name_size, extra_size = struct.unpack(
        "<4s5H3I2H", head
    )
    if mark != _LOCAL or source.read(at + 30, name_size) != name or own_flags != flags or method != said[0]:
        raise Refused("archive-contradicts", name=shown(name))
    extra = source.read(at + 30 + name_size, extra_size)
    if not flags & 8:  # else its sizes stand behind it
        size, packed, _ = _sizes64(source, extra, size, packed, 0)
        if (crc, packed, size) != said[1:]:
            raise Refused("archive-contradicts", name=shown(name))
    return at + 30 + int(name_size) + int(extra_size)


def _check_places(source: Source, members: list[Member], directory: int) -> None:
    """Members lie behind each other, and nothing lies before, between or beside them."""
    before, total = 0, 0
    for member in sorted(members, key=lambda m: m.start):
        head = member.start - before
        if head < 30 + len(member.name.encode()):
            raise Refused("archive-overlap", name=shown(member.name))
        if head > 30 + 2 * 65536 + 24:
            raise _broken(source, "gap")
        before = member.start + member.packed
        total += member.size
    if before > directory or total > MOST_BYTES:
        code = "archive-overlap" if before > directory else "archive-bomb"
        raise Refused(code, name="")


def unpacked(source: Source, member: Member, piece: int = 1 << 20) -> Iterator[bytes]:
    """A member's bytes in pieces, never more than it says; its checksum is held against them at the end."""
    crc, size = 0, 0
    engine = zlib.decompressobj(-15) if member.method == _DEFLATED else None
    for packed in source.pieces(member.start, member.start + member.packed, piece):
        for part in _inflate(engine, packed, piece) if engine else (packed,):
            size += len(part)
            if size > member.size:
                raise Refused("archive-contradicts", name=shown(member.name))
            crc = zlib.crc32(part, crc)
            yield part
    if size != member.size or crc != member.crc or (engine and not engine.eof):
        raise Refused("archive-contradicts", name=shown(member.name))


def _inflate(engine: "zlib._Decompress", packed: bytes, piece: int) -> Iterator[bytes]:
    """What some packed bytes unpack to, in parts that are never larger than `piece`."""
    try:
        while True:
            part = engine.decompress(packed, piece)
            packed = engine.unconsumed_tail
            if part:
                yield part
            elif not packed:
                return
    except zlib.error:
        raise Refused("archive-invalid-records", why="deflate") from None


def is_tar(head: bytes) -> bool:
    """Whether a tar begins here: by its mark, or by the checksum alone, as before there was a mark."""
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def is_packed(head: bytes) -> bool:
    """Whether an archive begins here with a short or varying mark: cpio, zstd, zlib's or lzma's stream."""
    if _MARKS.match(head):
        return True
    if head[:3] == b"\x5d\0\0" and (head[5:13] == b"\xff" * 8 or head[10:13] == bytes(3)):
        return len(head) > 13 and not head[13]
    if head[:1] != b"\x78" or int.from_bytes(head[:2], "big") % 31:
        return False
    engine = zlib.decompressobj()
    try:
        engine.decompress(head, 1 << 20)
    except zlib.error:
        return False
    return engine.eof or len(head) - len(engine.unconsumed_tail) >= 1024


def content(source: Source) -> str:
    """What a zip is, told by the names of its members, whatever state it is in."""
    names = _names(source)
    plain = [n.rpartition("/")[2] for n in names]
    if any(n in ("data.pkl", "constants.pkl") or n.endswith((".pkl", ".pickle")) for n in plain):
        return "pickle"
    if "[Content_Types].xml" in plain or ("mimetype" in plain and "content.xml" in plain):
        return "office"
    if "model.weights.h5" in plain or ("config.json" in plain and "metadata.json" in plain):
        return "hdf5"
    return "npz" if names and all(n.endswith(".npy") for n in plain) else "archive"


def _names(source: Source) -> list[str]:
    """Names in the local records at the head and in the directory at the tail; broken ones are left out."""
    names: list[str] = []
    for data, mark, length_at, name_at in ((source.head, _LOCAL, 26, 30), (source.tail, _CENTRAL, 28, 46)):
        at = data.find(mark)
        while 0 <= at <= len(data) - name_at and len(names) < 1000:
            length = int.from_bytes(data[at + length_at : at + length_at + 2], "little")
            names.append(data[at + name_at : at + name_at + length].decode("utf-8", "replace"))
            at = data.find(mark, at + 4)
    return names


def ends_as_zip(source: Source) -> bool:
    """Whether a library would open this file as a zip, whatever stands before it and behind it."""
    at = source.tail.rfind(_END)
    while at >= 0:
        if at + 22 <= len(source.tail) and _opens(source, at):
            return True
        at = source.tail.rfind(_END, 0, at)
    return False


def _opens(source: Source, at: int) -> bool:
    """Whether an end record in the tail leads to a directory, by its size, its place or its zip64 records."""
    size, start, comment = struct.unpack_from("<IIH", source.tail, at + 12)
    end = source.size - len(source.tail) + at
    if not size and at + 22 + comment == len(source.tail):
        return True  # an empty one
    if size == 0xFFFFFFFF or (end >= 20 and source.read(end - 20, 4) == _LOCATOR):
        return True  # its zip64 records hold, whatever it says itself
    # Libraries disagree which of the two holds.
    return any(0 <= place <= end - 46 and source.read(place, 4) == _CENTRAL for place in (end - size, start))


def _broken(source: Source, why: str) -> Refused:
    return Refused("archive-invalid-records", why=why)
