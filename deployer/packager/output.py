"""Images carried away from a layout and back: a folder, a tar, and either read again without trust.

What is written holds only what hangs together: the manifest or index asked for, all below it, and what is
attached to them. What is read may come from anybody: every name, type, size and digest is looked at.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

from deployer.errors import ContentCorrupted, DiskFull, PackagingFailed, VerificationFailed
from deployer.packager import archive
from deployer.packager.image import MANIFEST, Platform, for_platform, images_of
from deployer.packager.layout import (
    INDEX,
    LARGEST,
    PART,
    Descriptor,
    Layout,
    refuse_full,
    roomy,
    write_whole,
)

MOST_FILES = 10_000  # names in an archive
MOST_PACKED = 200  # how much more than its own size a packed archive may hold: weights pack badly
MOST_AT_ONCE = 16 << 20  # bytes that a header may ask to be read at a time
BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
SMALL = ("oci-layout", "index.json")
GZIP = b"\x1f\x8b"


def below(layout: Layout, root: Descriptor) -> list[Descriptor]:
    """The manifest and every blob below it, each once; ContentCorrupted names one that is missing."""
    found: dict[str, Descriptor] = {}
    waiting = [root]
    while waiting:
        one = waiting.pop(0)
        if one.digest in found:
            continue
        found[one.digest] = one.plain()
        if one.media_type in {INDEX, MANIFEST}:
            told = layout.document(one)
            parts = [told.get("config"), *(told.get("layers") or ()), *(told.get("manifests") or ())]
            waiting += [Descriptor.of(part) for part in parts if part is not None]
        else:
            _is_whole(layout, one)
    return list(found.values())


def _is_whole(layout: Layout, blob: Descriptor) -> None:
    """By its size alone: a layout of ours writes what it keeps whole, and `opened` has read the rest."""
    try:
        size = layout.path(blob.digest).stat().st_size
    except OSError as error:
        raise ContentCorrupted(what="blob", expected=blob.digest, got="nothing") from error
    if size != blob.size:
        raise ContentCorrupted(what=blob.digest, expected=f"{blob.size} bytes", got=f"{size} bytes")


def _together(
    layout: Layout, root: Descriptor, name: str, extra: Sequence[Descriptor]
) -> tuple[list[Descriptor], list[Descriptor]]:
    """What index.json lists, and all blobs."""
    attached = sorted(extra, key=lambda one: one.digest)
    blobs = {one.digest: one for top in (root, *attached) for one in below(layout, top)}
    return [archive.named(root, name), *attached], list(blobs.values())


def to_folder(
    layout: Layout, root: Descriptor, folder: Path, name: str, extra: Sequence[Descriptor] = ()
) -> None:
    """An OCI layout in a folder that is new or empty: hard links where the disk is the same."""
    entries, blobs = _together(layout, root, name, extra)
    with roomy(folder.parent, sum(blob.size for blob in blobs)):
        kept = folder / "blobs" / "sha256"
        kept.mkdir(parents=True, exist_ok=True)
        if any(kept.iterdir()) or (folder / "index.json").exists():
            raise PackagingFailed(image=name, why=f"{folder} is not empty")
        for blob in blobs:
            source, target = layout.path(blob.digest), kept / blob.digest.removeprefix("sha256:")
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
                target.chmod(0o444)
        write_whole(folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        # The last, so that a folder with an index is a whole layout.
        write_whole(folder / "index.json", archive.index_json(entries))


def to_tar(
    layout: Layout,
    root: Descriptor,
    path: Path,
    name: str,
    extra: Sequence[Descriptor] = (),
    *,
    platform: Platform | None = None,
) -> None:
    """One file that is an OCI layout and that `docker load` takes; the same image, the same bytes.

    Engines that know no index find the image of `platform` in it, by default the first one.
    """
    entries, blobs = _together(layout, root, name, extra)
    image = None
    with contextlib.suppress(PackagingFailed):  # an artifact is no image, and travels all the same
        image = for_platform(layout, root, platform) if platform else images_of(layout, root)[0]
    with roomy(path.parent, sum(blob.size for blob in blobs)):
        partial = tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tar-", delete=False)  # noqa: SIM115
        try:
            with partial as out:
                archive.write(layout, out, entries=entries, blobs=blobs, image=image, name=name)
                out.flush()
                os.fsync(out.fileno())
            Path(partial.name).chmod(0o644)
            Path(partial.name).replace(path)
        except BaseException:
            Path(partial.name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Layout]:
    """A folder, .tar or .tar.gz as a layout, every blob of it checked against its name.

    Raises VerificationFailed for what is no layout or hostile, ContentCorrupted for other bytes than a
    digest says, DiskFull when a tar finds no room to be unpacked.
    """
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            root = path
            _check_folder(root)
        else:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layout-")))
            _unpack(path, root)
        yield _layout(root, path)


def _refuse(path: Path, why: str, why_zh: str) -> NoReturn:
    raise VerificationFailed(subject=path.name, step="layout", why=why, why_zh=why_zh)


def _layout(root: Path, path: Path) -> Layout:
    """The layout of a checked folder; refuses an index that is none."""
    try:
        marker = json.loads((root / "oci-layout").read_bytes())
        if marker["imageLayoutVersion"] != "1.0.0":
            raise ValueError
        layout = Layout(root, make=False)
        if not layout.entries():
            _refuse(path, "it lists no image", "其中没有列出任何镜像")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, PackagingFailed):
        _refuse(path, "it is no OCI image layout", "它不是 OCI 镜像布局")
    return layout


def _check_folder(root: Path) -> None:
    """Every file of a layout in a folder: plain, of a fair size, and what its name says."""
    for name in SMALL:
        _plain_size(root, root / name, LARGEST)
    blobs = root / "blobs" / "sha256"
    for folder in (blobs.parent, blobs):
        if folder.is_symlink() or not folder.is_dir():
            _refuse(root, "it is no OCI image layout", "它不是 OCI 镜像布局")
    for count, entry in enumerate(sorted(blobs.iterdir())):
        if count >= MOST_FILES or not BLOB.fullmatch(f"blobs/sha256/{entry.name}"):
            _refuse(root, f"{entry.name[:80]} has no place in a layout", f"布局中不应有 {entry.name[:80]}")
        _plain_size(root, entry)
        with entry.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry.name:
            raise ContentCorrupted(what=entry.name, expected=entry.name, got=digest)


def _plain_size(root: Path, path: Path, most: int | None = None) -> None:
    try:
        found = path.lstat()
    except OSError:
        _refuse(root, f"{path.name} is missing", f"缺少 {path.name}")
    if not stat.S_ISREG(found.st_mode):
        _refuse(root, f"{path.name[:80]} is no plain file", f"{path.name[:80]} 不是普通文件")
    if most is not None and found.st_size > most:
        _refuse(root, f"{path.name[:80]} is too large", f"{path.name[:80]} 过大")


class _Measured:
    """A file that does not let a hostile header have memory: no read is longer than MOST_AT_ONCE."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError("a header that is too long")
        return self._file.read(size)

    def seek(self, at: int, whence: int = 0) -> int:
        return self._file.seek(at, whence)

    def tell(self) -> int:
        return self._file.tell()


def _unpack(path: Path, root: Path) -> None:
    """The files of a layout out of a tar, packed or not; all others are passed over."""
    (root / "blobs" / "sha256").mkdir(parents=True)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if packed else raw as plain:
                most = path.stat().st_size * MOST_PACKED if packed else None
                _unpack_members(path, plain, root, most)  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        _refuse(path, f"it is no sound archive: {str(error)[:100]}", "它不是完好的归档文件")
    except OSError as error:
        refuse_full(root, error)


def _unpack_members(path: Path, plain: IO[bytes], root: Path, most: int | None) -> None:
    seen: set[str] = set()
    total = 0
    with tarfile.open(fileobj=_Measured(plain), mode="r:") as members:  # type: ignore[call-overload]
        for member in members:
            name = member.name.removeprefix("./")
            if name in seen or len(seen) >= MOST_FILES:
                _refuse(path, f"{name[:80]} is there twice, or too much is", f"{name[:80]} 重复或条目过多")
            seen.add(name)
            total += member.size
            if most is not None and total > most:
                _refuse(path, "it would unpack to too much", "解压后的内容过多")
            _unpack_member(path, members, member, name, root)


def _unpack_member(
    path: Path, members: tarfile.TarFile, member: tarfile.TarInfo, name: str, root: Path
) -> None:
    parts = Path(name).parts
    if member.isdir() and ".." not in parts and not name.startswith("/"):
        return
    if not member.isreg() or member.issparse() or ".." in parts or name.startswith("/"):
        _refuse(path, f"{name[:80]} is no plain file of a layout", f"{name[:80]} 不是布局中的普通文件")
    blob = BLOB.fullmatch(name)
    if not blob and name not in SMALL:
        return
    if name in SMALL and member.size > LARGEST:
        _refuse(path, f"{name} is too large", f"{name} 过大")
    free = shutil.disk_usage(root).free
    if member.size > free:
        raise DiskFull(path=str(root), needed=member.size, free=free)
    source = members.extractfile(member)
    assert source
    hashed = hashlib.sha256()
    with roomy(root, member.size), (root / name).open("xb") as out:
        while data := source.read(PART):
            hashed.update(data)
            out.write(data)
    if blob and hashed.hexdigest() != blob[1]:
        raise ContentCorrupted(what=name, expected=blob[1], got=hashed.hexdigest())
