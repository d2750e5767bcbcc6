"""Where a person's data lies: a file, a folder with a table and the files it names, or a zip of such.

Nothing is unpacked onto the disk. Paths of a table lead to files of its own folder or archive and nowhere
else, whatever they say and wherever a link points.
"""

import hashlib
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol

from deployer.optimizer.rows.contents import MOST_BYTES, File, Packing, Spoilt, load
from deployer.optimizer.rows.errors import (
    DataFormat,
    DataMissing,
    DataNoTable,
    DataPathMissing,
    DataPathOutside,
    DataTooLarge,
    DataZipBomb,
    DataZipBroken,
)

TABLES = ("data.csv", "data.tsv", "data.jsonl", "data.ndjson", "data.json")
_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_MOST_DIRECTORY = 64 << 20  # bytes of an archive's own list of members
_MOST_RATIO = 200  # times that a member may be larger unpacked than packed
_SMALL = 64 << 20  # bytes below which any ratio is let be
_ENCRYPTED, _UTF8 = 0x1, 0x800


class Source(Protocol):
    """An open place of data."""

    name: str
    table: str
    """The name of the table."""

    def open(self) -> IO[bytes]:
        """The table's bytes, from the start."""

    def file(self, path: str, row: int, column: str) -> File:
        """A file that the table names; raises a refusal."""

    def digest(self) -> str:
        """sha256 of an archive's bytes; empty where the table and its files make the digest."""

    def close(self) -> None:
        """Let go of what is open."""


class Folder:
    """A table on the disk, and what lies beside it."""

    def __init__(self, table: Path) -> None:
        self.name = self.table = table.name
        self.path = table
        self._root = table.parent.resolve()
        self._known: dict[str, File] = {}

    def open(self) -> IO[bytes]:
        """The table."""
        return self.path.open("rb")

    def digest(self) -> str:
        """Nothing: the table and its files make the digest."""
        return ""

    def close(self) -> None:
        """Nothing is open."""

    def file(self, path: str, row: int, column: str) -> File:
        """A file below the table's folder."""
        facts = {"name": self.name, "row": row, "column": column}
        found = self._find(path, facts)
        try:
            status = found.stat()
            if not stat.S_ISREG(status.st_mode):
                raise DataPathMissing(**facts, path=path[:200])
            if status.st_size > MOST_BYTES:
                raise DataTooLarge(**facts, line=None, limit=MOST_BYTES)
            data = load(found, None)
        except OSError as error:
            raise DataPathMissing(**facts, path=path[:200]) from error
        return File(found, path, len(data), hashlib.sha256(data).hexdigest())

    def _find(self, path: str, facts: dict[str, object]) -> Path:
        relative = _relative(path)
        if relative is None:
            raise DataPathOutside(**facts, path=path[:200])
        for spelling in (path, relative):
            try:
                found = (self._root / spelling).resolve()
                exists = found.exists()
            except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
                continue
            if not found.is_relative_to(self._root):
                raise DataPathOutside(**facts, path=path[:200])
            if exists:
                return found
        raise DataPathMissing(**facts, path=path[:200])


class Archive:
    """A zip with a table and the files it names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._zip = _open_zip(path)
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Find the table; refuse names that lead out."""
        self._members = {
            name: info for info in self._zip.infolist() for name in _spellings(info) if not info.is_dir()
        }
        for name in self._members:
            if _relative(name) is None:
                raise DataPathOutside(name=self.name, row=None, column=None, path=name[:200])
        names = {info.filename for info in self._zip.infolist() if not info.is_dir()}
        self.table = _table_of(sorted(names), self.name)
        self._root = PurePosixPath(self.table).parent
        self._check(self._members[self.table])

    def open(self) -> IO[bytes]:
        """The table."""
        return self._zip.open(self.table)

    def close(self) -> None:
        """Close the archive; what was found in it can still be read."""
        self._zip.close()

    def digest(self) -> str:
        """sha256 of the archive."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def file(self, path: str, row: int, column: str) -> File:
        """A member beside the table, or at the path from the archive's root."""
        facts = {"name": self.name, "row": row, "column": column}
        relative = _relative(path)
        if relative is None:
            raise DataPathOutside(**facts, path=path[:200])
        names = str(self._root / relative), relative
        info = next((self._members[name] for name in names if name in self._members), None)
        if info is None or stat.S_ISLNK(info.external_attr >> 16):
            raise DataPathMissing(**facts, path=path[:200])
        if info.file_size > MOST_BYTES:
            raise DataTooLarge(**facts, line=None, limit=MOST_BYTES)
        self._check(info)
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        packing = Packing(info.header_offset, info.compress_size, deflated)
        try:
            data = load(self.path, packing)
        except (OSError, Spoilt) as error:
            raise self._broken(info, str(error)) from error
        if len(data) != info.file_size:  # a size that lies is how bombs are hidden
            raise self._broken(info, f"unpacks to {len(data)} bytes, not {info.file_size}")
        return File(self.path, path, len(data), hashlib.sha256(data).hexdigest(), packing)

    def _check(self, info: zipfile.ZipInfo) -> None:
        """Refuse a member that is locked, packed in a rare way, or swells too much."""
        if info.flag_bits & _ENCRYPTED:
            why, why_zh = "a password is needed", "需要密码"
            raise DataZipBroken(name=self.name, why=f"{info.filename[:80]}: {why}", why_zh=why_zh)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._broken(info, "is packed in a way other than deflate")
        if info.file_size > _SMALL and info.file_size > _MOST_RATIO * info.compress_size:
            limit = max(_SMALL, _MOST_RATIO * info.compress_size)
            raise DataZipBomb(name=self.name, member=info.filename[:80], size=info.file_size, limit=limit)

    def _broken(self, info: zipfile.ZipInfo, why: str) -> DataZipBroken:
        return DataZipBroken(name=self.name, why=f"{info.filename[:80]}: {why}", why_zh="其中的文件已损坏")


def source_at(path: Path) -> Source:
    """What lies at a path, an .npz apart; raises a refusal."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise DataMissing(name=path.name) from error
    if stat.S_ISDIR(mode):
        names = sorted(one.name for one in path.iterdir() if one.is_file())
        return Folder(path / _table_of(names, path.name))
    if not stat.S_ISREG(mode):
        raise DataNoTable(name=path.name, expected=", ".join(TABLES), found="")
    return Archive(path) if is_zip(path) else Folder(path)


def is_zip(path: Path) -> bool:
    """Whether a file begins as zip archives do."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def _open_zip(path: Path) -> zipfile.ZipFile:
    if _directory_size(path) > _MOST_DIRECTORY:
        why, why_zh = "lists far too many members", "包含的文件过多"
        raise DataZipBroken(name=path.name, why=why, why_zh=why_zh)
    try:
        opened = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise DataZipBroken(name=path.name, why=str(error)[:200], why_zh="不是完整的 zip 文件") from error
    if any(name.startswith(("xl/", "word/", "ppt/")) for name in opened.namelist()):
        opened.close()
        raise DataFormat(name=path.name, found="Office (.xlsx, .docx)")
    return opened


def _directory_size(path: Path) -> int:
    """Bytes of the archive's list of members, as its end says; zip64's mark of "more" counts as 4 GB."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0


def _spellings(info: zipfile.ZipInfo) -> list[str]:
    """A member's name, and what it may be where the archive does not say its encoding.

    Windows in China writes GBK, other programs UTF-8; 图片 in GBK happens to be UTF-8 too (ͼƬ).
    """
    names = [info.filename]
    if not info.flag_bits & _UTF8 and not info.filename.isascii():
        for charset in ("utf-8", "gb18030"):
            try:
                names.append(info.filename.encode("cp437").decode(charset))
            except UnicodeError:
                continue
    return names


def _table_of(names: Sequence[str], where: str) -> str:
    """The table among names: data.csv or the like, the one nearest the root, or the only one there is."""
    plain = [name for name in names if not any(p.startswith((".", "__MACOSX")) for p in name.split("/"))]
    listed = sorted(plain, key=lambda name: (name.count("/"), name))
    for wanted in TABLES:
        for name in listed:
            if name.rpartition("/")[2].lower() == wanted and name.count("/") <= 1:
                return name
    tables = [name for name in listed if name.lower().endswith(_SUFFIXES)]
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(tables[:5] or listed[:5])
    raise DataNoTable(name=where, expected=", ".join(TABLES[:3]), found=found[:300])


def _relative(path: str) -> str | None:
    """A path with forward strokes, without `.`; None for one that leads out, by any system's rules."""
    windows = PureWindowsPath(path)
    if "\0" in path or windows.drive or windows.root or path.startswith(("/", "~")):
        return None
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else "/".join(parts)
