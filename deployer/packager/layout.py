"""An OCI image layout in a folder: blobs by digest, written in one piece or not at all.

Beside the layout's own files lies `cache/`: which blob came out of which inputs, so that a layer is
made once and shared by every image. index.json lists the manifests: images by their names, and what
is attached to them without one.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import FileLock

from deployer.errors import ContentCorrupted, DiskFull, PackagingFailed

INDEX = "application/vnd.oci.image.index.v1+json"
NAME = "org.opencontainers.image.ref.name"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LARGEST = 64 << 20  # bytes of a blob that is read whole: manifests, configs, bills, cards
PART = 1 << 20  # bytes moved at a time
ABANDONED = 3600  # seconds after which nobody writes a file any more
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def canonical(value: object) -> bytes:
    """JSON with one spelling: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def refuse_full(path: Path, error: OSError, needed: int = 0) -> NoReturn:
    """Raise DiskFull when that is what the error says, and the error itself otherwise."""
    if error.errno not in NO_ROOM:
        raise error
    free = 0
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path).free
    raise DiskFull(path=str(path), needed=needed, free=free) from error


@contextlib.contextmanager
def roomy(path: Path, needed: int = 0) -> Iterator[None]:
    """What is done below a folder may find the disk full: DiskFull then."""
    try:
        yield
    except OSError as error:
        refuse_full(path, error, needed)


@dataclass(frozen=True)
class Descriptor:
    """A blob of the layout: what it is, its digest (sha256:…) and size in bytes, and what is said of it."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""
    platform: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        told: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            told["annotations"] = dict(self.annotations)
        if self.artifact_type:
            told["artifactType"] = self.artifact_type
        if self.platform:
            told["platform"] = dict(self.platform)
        return told

    @classmethod
    def of(cls, told: object) -> "Descriptor":
        """Out of a manifest; refuses what is no descriptor, since manifests come from anywhere."""
        if not isinstance(told, Mapping):
            raise PackagingFailed(image="manifest", why=f"not a descriptor: {str(told)[:100]}")
        kind, digest, size = (told.get(key) for key in ("mediaType", "digest", "size"))
        annotations, platform = told.get("annotations") or {}, told.get("platform") or {}
        artifact = told.get("artifactType") or ""
        sound = (
            isinstance(kind, str)
            and isinstance(digest, str)
            and DIGEST.fullmatch(digest)
            and type(size) is int
            and size >= 0
            and isinstance(artifact, str)
            and isinstance(platform, Mapping)
            and isinstance(annotations, Mapping)
            and all(isinstance(word, str) for pair in annotations.items() for word in pair)
        )
        if not sound:
            raise PackagingFailed(image="manifest", why=f"not a descriptor: {str(dict(told))[:200]}")
        return cls(str(kind), str(digest), int(str(size)), dict(annotations), artifact, dict(platform))

    @property
    def name(self) -> str:
        """The name that an index gives it; empty for none."""
        return self.annotations.get(NAME, "")

    def plain(self) -> "Descriptor":
        """The blob alone, without what one index says of it."""
        return Descriptor(self.media_type, self.digest, self.size)


class BlobWriter:
    """Takes the bytes of one blob; `descriptor` is there once the writer is closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Append; the tar writer needs no more of a file than this."""
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def digest(self) -> str:
        """sha256 of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"


class Layout:
    """The layout in one folder; safe for several processes, since a blob's name is its content.

    With `make=False` it is somebody else's, which is read and never written.
    """

    def __init__(self, root: Path, *, make: bool = True) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        if not make:
            return
        for folder in (self.blobs, root / "cache"):
            folder.mkdir(parents=True, exist_ok=True)
        marker = root / "oci-layout"
        if not marker.exists():
            self._put(marker, canonical({"imageLayoutVersion": "1.0.0"}))

    def path(self, digest: str) -> Path:
        """Where a blob lies, whether it is there or not."""
        return self.blobs / digest.removeprefix("sha256:")

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here."""
        return self.path(descriptor.digest).exists()

    @contextlib.contextmanager
    def writing(self, expected: Descriptor | None = None) -> Iterator[BlobWriter]:
        """Write a blob; it appears under its digest at the end, and nothing appears after an error.

        Other bytes than those `expected` are ContentCorrupted; no room is DiskFull.
        """
        with (
            roomy(self.root),
            tempfile.NamedTemporaryFile(dir=self.root, prefix=".blob-", delete=False) as file,
        ):
            partial = Path(file.name)
            try:
                writer = BlobWriter(file.file)
                yield writer
                if expected and (writer.digest(), writer.size) != (expected.digest, expected.size):
                    raise _corrupted(expected.digest, expected, writer.digest(), writer.size)
                file.flush()
                os.fsync(file.fileno())
                partial.chmod(0o444)
                partial.replace(self.path(writer.digest()))
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a small blob."""
        made = Descriptor(media_type, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        if not self.has(made):
            with self.writing() as writer:
                writer.write(data)
        return made

    def read(self, descriptor: Descriptor) -> bytes:
        """A small blob's bytes; ContentCorrupted when they are not there or not what the digest says."""
        if descriptor.size > LARGEST:
            raise PackagingFailed(
                image=descriptor.digest, why=f"{descriptor.size} bytes are too much to read"
            )
        try:
            with self.path(descriptor.digest).open("rb") as file:
                data = file.read(descriptor.size + 1)
        except OSError as error:
            raise ContentCorrupted(what="blob", expected=descriptor.digest, got=error.strerror) from error
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest != descriptor.digest:
            raise _corrupted("blob", descriptor, digest, len(data))
        return data

    def document(self, descriptor: Descriptor) -> dict[str, Any]:
        """A blob that is a JSON object, such as a manifest; refuses anything else."""
        try:
            found = json.loads(self.read(descriptor))
        except (ValueError, RecursionError) as error:
            raise PackagingFailed(image=descriptor.digest, why="not JSON") from error
        if not isinstance(found, dict):
            raise PackagingFailed(image=descriptor.digest, why="not a JSON object")
        return found

    def recall(self, key: object) -> dict[str, Any] | None:
        """What was remembered for these inputs, if its blob is still there."""
        try:
            found: dict[str, Any] = json.loads(self._cache(key).read_bytes())
        except (OSError, ValueError):
            return None
        digest = found.get("digest")
        return found if not isinstance(digest, str) or self.path(digest).exists() else None

    def remember(self, key: object, value: dict[str, Any]) -> None:
        """Note what these inputs gave."""
        self._put(self._cache(key), canonical(value))

    def entries(self) -> list[Descriptor]:
        """What index.json lists, named or not; refuses an index that is none."""
        try:
            content = (self.root / "index.json").read_bytes()
        except FileNotFoundError:
            return []
        try:
            listed = json.loads(content)["manifests"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PackagingFailed(image=str(self.root), why="index.json is no index") from error
        if not isinstance(listed, list):
            raise PackagingFailed(image=str(self.root), why="index.json is no index")
        return [Descriptor.of(entry) for entry in listed]

    def names(self) -> list[tuple[str, Descriptor]]:
        """The named manifests, in the order of their names."""
        return sorted(((one.name, one) for one in self.entries() if one.name), key=lambda pair: pair[0])

    def tagged(self, name: str) -> Descriptor | None:
        """The manifest of a name."""
        return dict(self.names()).get(name)

    def tag(self, manifest: Descriptor, name: str) -> None:
        """Name a manifest in index.json; a name points to one manifest."""
        named = Descriptor(
            manifest.media_type,
            manifest.digest,
            manifest.size,
            {**manifest.annotations, NAME: name},
            manifest.artifact_type,
            manifest.platform,
        )
        self._list(named, replaces=lambda one: one.name == name)

    def enter(self, manifest: Descriptor) -> None:
        """List a manifest without a name, once, so that it travels with the layout."""
        self._list(manifest, replaces=lambda one: one.digest == manifest.digest and not one.name)

    def sweep(self) -> None:
        """Remove what killed builds left half-written, once it is old enough to be nobody's."""
        for pattern in (".blob-*", ".file-*"):
            for path in self.root.glob(pattern):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > ABANDONED:
                        path.unlink()

    def _list(self, added: Descriptor, replaces: Callable[[Descriptor], bool]) -> None:
        with roomy(self.root), FileLock(str(self.root / ".index.lock")):
            found = self.entries()
            kept = [one for one in found if not replaces(one)] + [added]
            kept.sort(key=lambda one: (one.name, one.digest))
            if kept != found:
                listed = [one.to_json() for one in kept]
                whole = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
                self._put(self.root / "index.json", canonical(whole))

    def _cache(self, key: object) -> Path:
        return self.root / "cache" / f"{hashlib.sha256(canonical(key)).hexdigest()}.json"

    def _put(self, path: Path, data: bytes) -> None:
        with roomy(self.root):
            write_whole(path, data)


def _corrupted(what: str, expected: Descriptor, digest: str, size: int) -> ContentCorrupted:
    return ContentCorrupted(
        what=what,
        expected=f"{expected.digest} ({expected.size} bytes)",
        got=f"{digest} ({size} bytes)",
    )


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or as it was."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".file-", delete=False) as file:
        try:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)  # a home is its owner's alone; what is carried away is for all
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
