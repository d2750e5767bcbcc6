"""Config and manifest of an OCI image out of layers, and the archive in which an engine takes it."""

import io
import queue
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployer.packager.layout import Descriptor, Layout, canonical

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
PART = 1 << 20  # bytes of the archive handed on at a time


@dataclass(frozen=True)
class Image:
    """An image of the layout, its layers from the bottom."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def diff_ids(self) -> list[str]:
        """The layers as an engine counts them; uncompressed ones go by their own digest."""
        return [layer.digest for layer in self.layers]

    def tag(self, repository: str) -> str:
        """A name that changes with the content: the first 12 hex digits of the config's digest."""
        return f"{repository}:{self.config.digest.removeprefix('sha256:')[:12]}"


def assemble(
    layout: Layout,
    layers: tuple[Descriptor, ...],
    settings: dict[str, Any],
    *,
    arch: str,
) -> Image:
    """Write config and manifest for layers of the layout; `settings` is the config's `config` part."""
    diff_ids = [layer.digest for layer in layers]
    config = {
        "architecture": arch,
        "os": "linux",
        "created": EPOCH,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": EPOCH, "created_by": "opc-market"} for _ in diff_ids],
    }
    if arch == "arm64":
        config["variant"] = "v8"
    kept = layout.add(canonical(config), CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": kept.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    return Image(layout.add(canonical(manifest), MANIFEST), kept, layers)


def _write_archive(layout: Layout, image: Image, tag: str, skip: set[str], out: Any) -> None:
    """OCI layout and docker's own index over the same blobs; blobs of layers in `skip` are left out."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=PART) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        def blob(digest: str) -> str:
            return f"blobs/sha256/{digest.removeprefix('sha256:')}"

        named = {
            **image.manifest.to_json(),
            "annotations": {
                "io.containerd.image.name": tag,
                "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
            },
        }
        add("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        add("index.json", canonical({"schemaVersion": 2, "manifests": [named]}))
        entry = {
            "Config": blob(image.config.digest),
            "RepoTags": [tag],
            "Layers": [blob(digest) for digest in image.diff_ids],
        }
        add("manifest.json", canonical([entry]))
        kept = [layer for layer in image.layers if layer.digest not in skip]
        for descriptor in (image.config, image.manifest, *kept):
            info = tarfile.TarInfo(blob(descriptor.digest))
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


def archive(layout: Layout, image: Image, tag: str, skip: set[str]) -> Iterator[bytes]:
    """The archive in parts, never whole in memory."""
    parts = _Parts()

    def run() -> None:
        try:
            _write_archive(layout, image, tag, skip, parts)
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
