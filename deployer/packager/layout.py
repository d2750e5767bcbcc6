"""An OCI image layout in a folder: blobs by digest, written in one piece or not at all.

Beside the layout's own files lies `cache/`: which blob came out of which inputs, so that a layer is
made once and shared by every image.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

INDEX = "application/vnd.oci.image.index.v1+json"


def canonical(value: object) -> bytes:
    """JSON with one spelling: sorted keys, no blanks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Descriptor:
    """A blob of the layout: what it is, its digest (sha256:…) and size in bytes."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


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
    """The layout in one folder; safe for several processes, since a blob's name is its content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"
        for folder in (self.blobs, root / "cache"):
            folder.mkdir(parents=True, exist_ok=True)
        marker = root / "oci-layout"
        if not marker.exists():
            self._put(marker, canonical({"imageLayoutVersion": "1.0.0"}))

    def path(self, digest: str) -> Path:
        """Where a blob lies, whether it is there or not."""
        return self.blobs / digest.removeprefix("sha256:")

    @contextlib.contextmanager
    def writing(self) -> Iterator[BlobWriter]:
        """Write a blob; it appears under its digest at the end, and nothing appears after an error."""
        with tempfile.NamedTemporaryFile(dir=self.root, prefix=".blob-", delete=False) as file:
            partial = Path(file.name)
            try:
                writer = BlobWriter(file.file)
                yield writer
                file.flush()
                os.fsync(file.fileno())
                partial.chmod(0o444)
                partial.replace(self.path(writer.digest()))
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Keep a small blob."""
        with self.writing() as writer:
            writer.write(data)
        return Descriptor(media_type, writer.digest(), writer.size)

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

    def tag(self, manifest: Descriptor, name: str) -> None:
        """Name a manifest in index.json; a name points to one manifest."""
        index = self.root / "index.json"
        entries: list[dict[str, Any]] = []
        with contextlib.suppress(OSError, ValueError):
            entries = json.loads(index.read_bytes())["manifests"]
        annotation = "org.opencontainers.image.ref.name"
        entries = [entry for entry in entries if entry.get("annotations", {}).get(annotation) != name]
        entries.append({**manifest.to_json(), "annotations": {annotation: name}})
        entries.sort(key=lambda entry: entry["annotations"][annotation])
        self._put(index, canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))

    def _cache(self, key: object) -> Path:
        return self.root / "cache" / f"{hashlib.sha256(canonical(key)).hexdigest()}.json"

    def _put(self, path: Path, data: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.root, prefix=".file-", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)
