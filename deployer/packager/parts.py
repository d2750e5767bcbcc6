"""A release's files as layers: weights, config and documents, each by itself and uncompressed.

The same weights are then one blob for every image, one-layer image and ModelPack that carries them, and a
server maps them in place. Every file is checked against the manifest while it is read; what a layer
holds follows from the manifest alone, so a known release costs nothing.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from deployer.errors import ContentCorrupted, PackagingFailed
from deployer.packager.layers import LAYER
from deployer.packager.layout import PART, BlobWriter, Descriptor, Layout
from deployer.packager.release import MANIFEST, Release

FOLDER = "model"
CARD = "card.md"
FORM = 1  # counts up when the layers' form changes
DOCUMENTS = re.compile(r"(^|/)((LICEN[CS]E|NOTICE|COPYING|AUTHORS|README)[^/]*|[^/]*\.md)$", re.IGNORECASE)
# What people or tokenizers read; all else is numbers, and graphs find their numbers beside them.
WORDS = re.compile(r"\.(json|jsonl|txt|csv|tsv|ya?ml|toml|vocab|dic|dict|model|jinja)$", re.IGNORECASE)


@dataclass(frozen=True)
class Parts:
    """The layers of a release; `docs` is None when it has neither card nor licences."""

    weights: Descriptor
    config: Descriptor
    docs: Descriptor | None

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """From the bottom: what changes least and weighs most first."""
        return tuple(filter(None, (self.weights, self.config, self.docs)))


@dataclass(frozen=True)
class Piece:
    """A file of a layer: its bytes, or the file of the release that holds them, with digest and size."""

    sha256: str
    size: int
    content: bytes | None = None


def split(release: Release) -> tuple[dict[str, Piece], dict[str, Piece], dict[str, Piece]]:
    """Weights, config and documents by their paths in the folder; refuses paths that lead out of it."""
    weights: dict[str, Piece] = {}
    config: dict[str, Piece] = {}
    docs: dict[str, Piece] = {}
    for artifact in release.manifest["artifacts"]:
        path = str(artifact["path"])
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path in {".", MANIFEST}:
            raise PackagingFailed(image=release.name, why=f"{path} is no path of a model")
        kind = docs if DOCUMENTS.search(path) else config if WORDS.search(path) else weights
        kind[path] = Piece(str(artifact["sha256"]), int(artifact["size"]))
    config[MANIFEST] = _written((release.folder / MANIFEST).read_bytes())
    if release.card and CARD not in docs:
        docs[CARD] = _written(release.card.encode())
    return weights, config, docs


def _written(content: bytes) -> Piece:
    return Piece(hashlib.sha256(content).hexdigest(), len(content), content)


def parts(layout: Layout, release: Release) -> Parts:
    """The release's layers in the layout, made where they are not there yet.

    Raises ContentCorrupted for a file that is not what the manifest says, and DiskFull.
    """
    weights, config, docs = split(release)
    kept = [
        _layer(layout, release.folder, kind) for kind in (weights, config, docs) if kind or kind is weights
    ]
    return Parts(kept[0], kept[1], kept[2] if docs else None)


def _layer(layout: Layout, folder: Path, pieces: Mapping[str, Piece]) -> Descriptor:
    content = sorted((path, piece.sha256, piece.size) for path, piece in pieces.items())
    key = ["model", FORM, FOLDER, content]
    known = layout.recall(key)
    if known:
        return Descriptor.of(known)
    with layout.writing() as writer:
        _write(folder, pieces, writer)
    made = Descriptor(LAYER, writer.digest(), writer.size)
    layout.remember(key, made.to_json())
    return made


def _write(folder: Path, pieces: Mapping[str, Piece], out: BlobWriter) -> None:
    """A tar with the pieces below FOLDER, and the folders that they are in."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, bufsize=PART) as archive:  # type: ignore[call-overload]
        archive.copybufsize = PART
        for path, piece in _in_order(pieces):
            info = tarfile.TarInfo(path)
            if piece is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
                continue
            info.size = piece.size
            if piece.content is not None:
                archive.addfile(info, io.BytesIO(piece.content))
                continue
            with (folder / path.removeprefix(f"{FOLDER}/")).open("rb") as file:
                read = _Checked(file)
                try:
                    archive.addfile(info, read)
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise _differs(path, piece, "shorter") from error  # the way of tarfile to say so
                if file.read(1) or read.hash.hexdigest() != piece.sha256:
                    raise _differs(path, piece, read.hash.hexdigest())


def _differs(path: str, piece: Piece, got: str) -> ContentCorrupted:
    return ContentCorrupted(what=path.removeprefix(f"{FOLDER}/"), expected=piece.sha256, got=got)


def _in_order(pieces: Mapping[str, Piece]) -> Iterator[tuple[str, Piece | None]]:
    """Every file and, before it, every folder on its way."""
    entries: dict[str, Piece | None] = {FOLDER: None}
    for path, piece in pieces.items():
        whole = PurePosixPath(FOLDER, path)
        entries |= {str(parent): None for parent in whole.parents if str(parent) != "."}
        entries[str(whole)] = piece
    yield from sorted(entries.items())


class _Checked:
    """Reads a file and hashes what it reads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def files_of(release: Release) -> Mapping[str, Any]:
    """The paths of each part, for those who describe them."""
    weights, config, docs = split(release)
    return {"weights": sorted(weights), "config": sorted(config), "docs": sorted(docs)}
