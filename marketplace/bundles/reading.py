"""Check and unpack a bundle in one stream: nothing is kept that is not in its signed table."""

import hashlib
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from catalog.storage import CHUNK, only_one, require_room, storage_errors
from deployer.errors import BundleRefused
from deployer.spec import Progress, silent
from marketplace.bundles.contents import ENVELOPE, KEY, LARGEST_TABLE, TABLE, Item, Table, decode, refuse

LARGEST_SIGNATURE = 1 << 20
LARGEST_HEADER = 1 << 16

Check = Callable[[bytes, bytes, bytes], object]
"""Takes the bytes of table, envelope and key; raises when the signature does not hold or is nobody's."""


def is_bundle(file: Path) -> bool:
    """Whether a file begins as a bundle does; all else is found out later."""
    try:
        with _opened(file) as archive:
            first = archive.next()
    except BundleRefused:
        return False
    return first is not None and first.name == TABLE


def look(file: Path, check: Check) -> Table:
    """The table of a bundle whose signature holds; its files are not looked at. Raises BundleRefused."""
    with _opened(file) as archive:
        return _table(file, archive, check)


def verify(file: Path, check: Check, progress: Progress = silent) -> Table:
    """Check every file of a bundle without keeping any; raises BundleRefused."""
    with _opened(file) as archive:
        table = _table(file, archive, check)
        for _ in _files(file, archive, table, progress):
            pass
    return table


@contextmanager
def unpacked(
    file: Path, folder: Path, check: Check, progress: Progress = silent
) -> Iterator[tuple[Table, Path]]:
    """The table and a folder below `folder` with the checked files, gone again at the end.

    Raises BundleRefused, and StorageFull before anything is written. One at a time, so that what a killed
    one left there is known to be nobody's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder.with_name(f".{folder.name}.lock")), _opened(file) as archive:
        table = _table(file, archive, check)
        for left in folder.glob(".bundle-*"):
            rmtree(left, ignore_errors=True)
        require_room(folder, table.size)
        root = Path(tempfile.mkdtemp(dir=folder, prefix=".bundle-"))
        try:
            with storage_errors(folder, table.size):
                for item, parts in _files(file, archive, table, progress, root):
                    _write(root / item.path, item, parts)
            yield table, root
        finally:
            rmtree(root, ignore_errors=True)


class _Member(tarfile.TarInfo):
    """A member whose extended header, which the library reads whole into memory, is small."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in tarfile.REGULAR_TYPES and self.size > LARGEST_HEADER:
            raise tarfile.ReadError("a header is too large")
        try:
            return super()._proc_member(archive)  # type: ignore[misc,no-any-return]
        except ValueError as error:
            raise tarfile.ReadError(str(error)) from error


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        refuse(file.name, "there is no such file", "没有这个文件")
    except OSError as error:
        refuse(file.name, f"it cannot be read: {error.strerror}", f"无法读取：{error.strerror}")
    try:
        with (
            stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=_Member) as archive,
        ):
            yield archive
    except (tarfile.TarError, EOFError) as error:
        refuse(file.name, f"it is no whole tar: {error}", f"不是完整的 tar 文件：{error}")


def _table(file: Path, archive: tarfile.TarFile, check: Check) -> Table:
    content = _small(file, archive, TABLE, LARGEST_TABLE)
    envelope = _small(file, archive, ENVELOPE, LARGEST_SIGNATURE)
    check(content, envelope, _small(file, archive, KEY, LARGEST_SIGNATURE))
    return decode(content, file.name)


def _small(file: Path, archive: tarfile.TarFile, name: str, largest: int) -> bytes:
    member = archive.next()
    if member is None or member.name != name or not member.isreg() or member.size > largest:
        refuse(file.name, f"{name} is not where it has to be", f"{name} 不在应有的位置")
    source = archive.extractfile(member)
    content = source.read() if source else b""
    if len(content) != member.size:
        refuse(file.name, f"{name} is cut off", f"{name} 不完整")
    return content


def _files(
    file: Path, archive: tarfile.TarFile, table: Table, progress: Progress, root: Path | None = None
) -> Iterator[tuple[Item, Iterator[bytes]]]:
    """Each item with its bytes, which are checked as they are read (here, if nobody else reads them)."""
    done = 0
    for item in table.items:
        member = archive.next()
        if member is None:
            refuse(file.name, f"it is cut off before {item.path}", f"文件不完整，缺 {item.path} 及其后内容")
        if member.name != item.path or not member.isreg() or member.size != item.size:
            refuse(file.name, f"{item.path} is not what its table says", f"{item.path} 与目录表不符")
        parts = _checked(file, archive, member, item)
        if root is None:
            for _ in parts:
                pass
        yield item, parts
        done += item.size
        progress(done, table.size, item.path)
    if archive.next() is not None:
        refuse(file.name, "it holds more than its table says", "其中有目录表之外的内容")


def _checked(file: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, item: Item) -> Iterator[bytes]:
    source = archive.extractfile(member)
    got, left = hashlib.sha256(), item.size
    while source is not None and left and (part := source.read(min(CHUNK, left))):
        got.update(part)
        left -= len(part)
        yield part
    if left:
        refuse(file.name, f"{item.path} is cut off", f"{item.path} 不完整")
    if got.hexdigest() != item.sha256:
        refuse(file.name, f"{item.path} was changed", f"{item.path} 被改动过")


def _write(target: Path, item: Item, parts: Iterator[bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        for part in parts:
            out.write(part)
    target.chmod(item.mode)
