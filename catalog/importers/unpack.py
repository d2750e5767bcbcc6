"""Named files out of an archive, and nothing else.

The names on disk are ours, never the archive's, so that no entry can climb out of its folder. Every
file has a declared size that is checked before and while it is unpacked, so that a bomb stops early.
An inner path may go into an archive within the archive: `pkg/model.zip!tokenizer.json`.

What two readers could take differently is refused: members that share bytes, names that occur twice, headers
that contradict the directory; links are never made, followed or found.
"""

import gzip
import hashlib
import lzma
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from catalog.errors import ArchiveInvalid, DigestMismatch, SourceMissing
from catalog.storage import CHUNK, require_room, storage_errors, sync

LIMIT = 4 << 30  # bytes of one unpacked file, or of all that is passed over in a tar
RATIO = 100  # an archive that unpacks to more than so many times its size is a bomb; weights hardly shrink
ALLOWANCE = 16 << 20  # bytes that any archive may unpack to
MOST = 50_000  # members
LONGEST = 1 << 20  # bytes of a tar's header of its own, or of a name: they are read as a whole
DIRECTORY = 32 << 20  # bytes of a zip's directory, likewise
TARS = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,  # a compression that Python does not have
    RuntimeError,  # an encrypted member
)


@dataclass(frozen=True)
class Member:
    """One file wanted: its path in the archive, where to put it, and what it must be if known."""

    inner: str
    out: Path
    size: int | None = None
    sha256: str | None = None


def unpack(archive: Path, members: Iterable[Member]) -> None:
    """Take these files out; raises SourceMissing, ArchiveInvalid, DigestMismatch or StorageFull."""
    wanted = list(members)
    plain = [m for m in wanted if "!" not in m.inner]
    nested = sorted((m for m in wanted if "!" in m.inner), key=lambda m: m.inner.partition("!")[0])
    try:
        if plain:
            _unpack_plain(archive, plain)
    except _BROKEN as error:
        raise ArchiveInvalid(source=archive.name, why=f"{type(error).__name__}: {error}") from error
    for outer, group in groupby(nested, key=lambda m: m.inner.partition("!")[0]):
        inside = list(group)
        place = inside[0].out.parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as folder:
            middle = Path(folder) / Path(outer).name
            unpack(archive, [Member(outer, middle)])
            unpack(middle, [Member(m.inner.partition("!")[2], m.out, m.size, m.sha256) for m in inside])


def entries(archive: Path) -> dict[str, int]:
    """The plain files of an archive with their sizes, links and folders left out; raises ArchiveInvalid.

    A pattern can be held against them, and what it means unpacked.
    """
    found: dict[str, int] = {}
    try:
        for name, size in _listed(archive):
            if name in found:
                raise ArchiveInvalid(source=archive.name, why=f"{name[:80]} occurs twice in it")
            found[name] = size
            if len(found) > MOST:
                raise ArchiveInvalid(source=archive.name, why=f"more than {MOST} members")
    except _BROKEN as error:
        raise ArchiveInvalid(source=archive.name, why=f"{type(error).__name__}: {error}") from error
    return found


def _listed(archive: Path) -> Iterator[tuple[str, int]]:
    if zipfile.is_zipfile(archive):
        with _zip(archive) as opened:
            _require_sound(archive, opened)
            yield from ((i.filename, i.file_size) for i in opened.infolist() if _is_plain(i))
        return
    if not archive.name.endswith(TARS):
        raise ArchiveInvalid(source=archive.name, why="neither a zip nor a tar archive")
    passed = 0
    with tarfile.open(archive, "r|*", tarinfo=_Header) as opened_tar:
        for info in opened_tar:
            passed += info.size
            _require_measure(archive, passed)
            if info.isreg():
                yield info.name, info.size


def _zip(archive: Path) -> zipfile.ZipFile:
    """An opened zip whose directory was measured first: zipfile reads all of it."""
    with archive.open("rb") as file:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # what zipfile itself goes by
    if end is None:
        raise zipfile.BadZipFile("it has no directory")
    if max(end[3], end[4]) > MOST or end[5] > DIRECTORY:
        raise ArchiveInvalid(source=archive.name, why=f"more than {MOST} members")
    return zipfile.ZipFile(archive)


class _Header(tarfile.TarInfo):
    """A member's header; those that tarfile would read at any length are refused."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        found = super().frombuf(buf, encoding, errors)
        if found.type in _OF_ANY_LENGTH and found.size > LONGEST:
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse member")
        return found

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise tarfile.ReadError("a sparse member")


_OF_ANY_LENGTH = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _is_plain(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return not info.is_dir() and (not stat.S_IFMT(mode) or stat.S_ISREG(mode))


def _require_measure(archive: Path, unpacked: int) -> None:
    """Refuse what unpacks to far more than it is."""
    most = RATIO * archive.stat().st_size + ALLOWANCE
    if unpacked > most:
        why = f"it unpacks to more than {most} bytes, {RATIO} times its size"
        raise ArchiveInvalid(source=archive.name, why=why)


def _require_sound(archive: Path, opened: zipfile.ZipFile) -> None:
    """Refuse members that share bytes or are named otherwise in their own header, and bombs."""
    _require_measure(archive, sum(info.file_size for info in opened.infolist()))
    end = 0
    with archive.open("rb") as file:
        for info in sorted(opened.infolist(), key=lambda i: i.header_offset):
            file.seek(info.header_offset)
            head = file.read(30)
            if len(head) < 30 or head[:4] != b"PK\x03\x04" or info.header_offset < end:
                why = f"{info.filename[:80]} shares bytes with another member"
                raise ArchiveInvalid(source=archive.name, why=why)
            name, extra = struct.unpack("<HH", head[26:30])
            if file.read(name) != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
                why = f"{info.filename[:80]} has another name in its own header"
                raise ArchiveInvalid(source=archive.name, why=why)
            end = info.header_offset + 30 + name + extra + info.compress_size
        file.seek(0, 2)
        if end > file.tell():
            raise ArchiveInvalid(source=archive.name, why="a member reaches beyond its end")


def _unpack_plain(archive: Path, members: list[Member]) -> None:
    if zipfile.is_zipfile(archive):
        with _zip(archive) as opened:
            _require_sound(archive, opened)
            for member in members:
                _from_zip(archive, opened, member)
    elif archive.name.endswith(TARS):
        _from_tar(archive, members)
    else:
        raise ArchiveInvalid(source=archive.name, why="neither a zip nor a tar archive")


def _from_zip(archive: Path, opened: zipfile.ZipFile, member: Member) -> None:
    found = [info for info in opened.infolist() if info.filename == member.inner]
    if not found:
        raise SourceMissing(source=archive.name, file=member.inner)
    info = found[0]
    if len(found) > 1 or not _is_plain(info):
        why = "occurs twice" if len(found) > 1 else "is no plain file"
        raise ArchiveInvalid(source=archive.name, why=f"{member.inner} {why}")
    with opened.open(info) as file:
        _write(archive, member, file, info.file_size)


def _from_tar(archive: Path, members: list[Member]) -> None:
    """One walk through the tar, which is a stream: stops when everything wanted has been seen."""
    left = {m.inner: m for m in members}
    passed = 0
    with tarfile.open(archive, "r|*", tarinfo=_Header) as opened:
        for info in opened:
            passed += info.size
            if passed > LIMIT:
                raise ArchiveInvalid(source=archive.name, why=f"more than {LIMIT} bytes unpacked")
            _require_measure(archive, passed)
            # A link could name anything: only plain files count as found.
            if info.name in left and info.isreg():
                file = opened.extractfile(info)
                if file is not None:
                    _write(archive, left.pop(info.name), file, info.size)
            if not left:
                return
    raise SourceMissing(source=archive.name, file=next(iter(left)))


def _write(archive: Path, member: Member, file: IO[bytes], declared: int) -> None:
    """Copy one file out, never more than its declared size, and check size and digest."""
    size = declared if member.size is None else member.size
    if declared != size or size > LIMIT:
        why = f"{member.inner} is {declared} bytes, {size} were expected"
        raise ArchiveInvalid(source=archive.name, why=why)
    member.out.parent.mkdir(parents=True, exist_ok=True)
    require_room(member.out.parent, size)
    half = member.out.with_name(member.out.name + ".half")
    digest, written = hashlib.sha256(), 0
    try:
        with storage_errors(member.out.parent, size), half.open("wb") as out:
            while piece := file.read(CHUNK):
                written += len(piece)
                if written > size:
                    why = f"{member.inner} is longer than the {size} bytes it declares"
                    raise ArchiveInvalid(source=archive.name, why=why)
                digest.update(piece)
                out.write(piece)
            sync(out)
        if written < size:
            raise ArchiveInvalid(source=archive.name, why=f"{member.inner} is cut off")
        if member.sha256 is not None and digest.hexdigest() != member.sha256:
            raise DigestMismatch(
                source=archive.name, file=member.inner, expected=member.sha256, got=digest.hexdigest()
            )
        half.replace(member.out)
    finally:
        half.unlink(missing_ok=True)
