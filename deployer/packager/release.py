"""What is packaged, and where: one release of a model, and the workshop of a home.

A release is a version of the catalogue or a variant of it, laid out in a folder with its manifest, and what
is known of it: its words, licences, signature, and the chain from its source to its files. The deployer
knows nothing of the catalogue, so whoever packages fills it in; `of_folder` makes one of a bare folder.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

Sign = Callable[[bytes], bytes]
"""An ECDSA (P-256, SHA-256, DER) signature over the bytes, by the home's key."""


@dataclass(frozen=True)
class Release:
    """One version or variant of a model, ready to be packaged."""

    folder: Path
    """Laid out and checked; holds manifest.json. Never written to."""
    name: str
    """vendor/name"""
    version: str
    """1.0.0"""
    digest: str
    """sha256:… of the manifest's canonical bytes; names the release."""
    manifest: Mapping[str, Any]
    title_zh: str = ""
    title_en: str = ""
    summary_zh: str = ""
    summary_en: str = ""
    license_package: str = ""
    """SPDX expression of the packaging."""
    license_weights: str = ""
    card: str = ""
    """The model card, Markdown."""
    languages: tuple[str, ...] = ()
    chain: Mapping[str, Any] = field(default_factory=dict)
    """The steps known so far, see `deployer.packager.provenance`."""
    model_signature: Path | None = None
    """The OpenSSF signature over the folder, when it is signed."""

    @property
    def task(self) -> str:
        """The catalogue's task, such as image-classification."""
        return str(self.manifest["task"])

    @property
    def slug(self) -> str:
        """The name's second half, fit for file names and image repositories."""
        return self.name.rpartition("/")[2]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(int(artifact["size"]) for artifact in self.manifest["artifacts"])


@dataclass(frozen=True)
class Workshop:
    """Where packages are made: a home's layout and caches, its base image, and its key."""

    home: Path
    base: str = "debian"
    """The base of images: debian, auto, or the name of an image; see `deployer.packager.base`."""
    sign: Sign | None = None
    """None packages without signatures."""
    public_key: bytes = b""
    """PEM of the key that signs."""

    @property
    def images(self) -> Path:
        """The OCI layout that all images share."""
        return self.home / "images"

    @property
    def cache(self) -> Path:
        """What was fetched: Debian packages, wheels, npm packages."""
        return self.home / "cache"


def of_folder(folder: Path) -> Release:
    """A release of a model folder that no catalogue speaks for; raises OSError, ValueError and KeyError."""
    content = (folder / MANIFEST).read_bytes()
    manifest = json.loads(content)
    canonical = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Release(
        folder=folder,
        name=str(manifest["name"]),
        version=str(manifest["version"]),
        digest=f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}",
        manifest=manifest,
    )
