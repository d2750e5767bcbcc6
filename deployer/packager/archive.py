"""One tar that is an OCI layout and a `docker save` archive at once, over the same blobs.

An engine takes it as a stream, without the layers that it has; whoever carries images away takes it as a
file. The same manifests give the same bytes: sorted, no times, no owners.
"""

import io
import queue
import tarfile
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from deployer.packager.image import Image
from deployer.packager.layout import INDEX, NAME, PART, Descriptor, Layout, canonical

CONTAINERD_NAME = "io.containerd.image.name"


def blob_path(digest: str) -> str:
    """Where a blob lies in a layout."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def index_json(entries: Sequence[Descriptor]) -> bytes:
    """The index.json of a layout that lists these."""
    listed = [one.to_json() for one in entries]
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed})


def named(manifest: Descriptor, name: str) -> Descriptor:
    """A manifest as index.json names it: the tag for readers of layouts, the whole name for containerd."""
    tag = name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else name
    return Descriptor(manifest.media_type, manifest.digest, manifest.size, {CONTAINERD_NAME: name, NAME: tag})


def write(
    layout: Layout,
    out: Any,
    *,
    entries: Sequence[Descriptor],
    blobs: Sequence[Descriptor],
    image: Image | None,
    name: str,
) -> None:
    """Write the archive: what index.json lists, the blobs, and the image that an engine finds in it."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=PART) as archive:
        archive.copybufsize = PART  # type: ignore[attr-defined]  # smaller pieces would be moved many times on their way

        def add(path: str, data: bytes) -> None:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        add("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        add("index.json", index_json(entries))
        if image:
            entry = {
                "Config": blob_path(image.config.digest),
                "RepoTags": [name],
                "Layers": [blob_path(layer.digest) for layer in image.layers],
            }
            add("manifest.json", canonical([entry]))
        for descriptor in blobs:
            info = tarfile.TarInfo(blob_path(descriptor.digest))
            info.size = descriptor.size
            with layout.path(descriptor.digest).open("rb") as file:
                archive.addfile(info, file)


class _Parts:
    """The writing end of a queue that looks like a file; ends the writer when nobody reads any more."""

    def __init__(self) -> None:
        self.queue: queue.Queue[bytes | BaseException | None] = queue.Queue(8)
        self.closed = threading.Event()

    def put(self, item: bytes | BaseException | None) -> None:
        while not self.closed.is_set():
            try:
                self.queue.put(item, timeout=0.5)
            except queue.Full:
                continue
            return
        raise BrokenPipeError("the engine stopped reading")

    def write(self, data: bytes) -> int:
        self.put(bytes(data))
        return len(data)


def stream(layout: Layout, image: Image, name: str, skip: Collection[str]) -> Iterator[bytes]:
    """The archive of one image in parts, never whole in memory; blobs of layers in `skip` are left out."""
    parts = _Parts()
    pairs = zip(image.layers, image.diff_ids, strict=True)
    kept = [layer for layer, diff_id in pairs if diff_id not in skip]

    def run() -> None:
        try:
            blobs = (image.config, image.manifest, *dict.fromkeys(kept))
            entries = [named(image.manifest, name)]
            write(layout, parts, entries=entries, blobs=blobs, image=image, name=name)
            parts.put(None)
        except BrokenPipeError:
            return
        except Exception as error:
            parts.put(error)

    threading.Thread(target=run, name="image-archive", daemon=True).start()
    try:
        while (item := parts.queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        parts.closed.set()
