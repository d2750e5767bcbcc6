"""Small releases for tests of packaging: folders with a manifest that fits them."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deployer.packager.release import MANIFEST, Release, of_folder
from tests.shelf_files import model_dir

DOC_STRING = b"\x32\x10"  # a field of ONNX's model, of 16 bytes; added at the end it replaces an earlier one
FILES: Mapping[str, bytes] = {
    "model.onnx": b"\x08\x0a graph" * 1000,
    "model.onnx.data": b"\x01\x02\x03\x04" * 5000,
    "labels.json": b'["a", "b"]',
    "LICENSE": b"Apache-2.0",
}


def made(folder: Path, files: Mapping[str, bytes] = FILES, version: str = "1.0.0") -> Release:
    """A release of these files, which no server could load."""
    artifacts = []
    for path, content in sorted(files.items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        artifacts.append({"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)})
    manifest = {
        "schema": 1,
        "name": "test/made",
        "version": version,
        "task": "tensors",
        "files": {"model": "model.onnx"},
        "artifacts": artifacts,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return replace(of_folder(folder), card="# Card\n", license_package="MIT", license_weights="Apache-2.0")


def shelf(listing: str, **words: str) -> Release:
    """A model of the starter shelf."""
    return replace(of_folder(model_dir(listing)), **words)  # type: ignore[arg-type]


class Fresh:
    """A folder whose model becomes one that no home has seen, each time; what it answers stays."""

    def __init__(self, listing: str, folder: Path) -> None:
        self.folder = folder / listing
        shutil.copytree(model_dir(listing), self.folder)
        self._manifest = json.loads((self.folder / MANIFEST).read_text())
        self._graph = self._manifest["files"]["model"]
        self._size = (self.folder / self._graph).stat().st_size

    @property
    def body(self) -> object:
        """A request to it."""
        return self._manifest["examples"][0]["request"]

    def renew(self) -> Release:
        """The next model."""
        mark = secrets.token_hex(8)
        path = self.folder / self._graph
        with path.open("r+b") as file:
            file.truncate(self._size)
            file.seek(0, 2)
            file.write(DOC_STRING + mark.encode())
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for artifact in self._manifest["artifacts"]:
            if artifact["path"] == self._graph:
                artifact |= {"sha256": digest, "size": path.stat().st_size}
        self._manifest["version"] = f"1.0.{int(mark[:4], 16)}"
        (self.folder / MANIFEST).write_text(json.dumps(self._manifest))
        return of_folder(self.folder)


def spare_home(image_home: Path, folder: Path) -> Path:
    """A home that has what another one has, and can be spoilt; nothing in it is written twice."""
    home = folder / "home"
    home.mkdir()
    # Links do no harm: a layout replaces its files whole.
    ignored = shutil.ignore_patterns(".*")
    shutil.copytree(image_home / "images", home / "images", copy_function=os.link, ignore=ignored)
    (home / "cache").symlink_to(image_home / "cache")
    return home
