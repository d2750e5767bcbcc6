"""Releases for the tests of bills, statements and verification: a small model, and its chain."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployer.packager import provenance
from deployer.packager.image import assemble, image_index
from deployer.packager.layers import file, layer
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.parts import parts
from deployer.packager.release import Release, Workshop, of_folder

WEIGHTS, LABELS = b"weights " * 4000, b"no\nyes\n"
ARCHIVE = {
    "registry": "pypi",
    "package": "snownlp",
    "version": "0.12.3",
    "file": "snownlp-0.12.3.tar.gz",
    "size": 37,
    "sha256": "ab" * 32,
}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def model_folder(folder: Path, **files: bytes) -> Path:
    """A model folder of the catalogue's form; `files` are further ones by role."""
    contents = {"model.onnx": WEIGHTS, "labels.txt": LABELS}
    contents |= {f"{role}.json": content for role, content in files.items()}
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = {
        "schema": 1,
        "name": "opc-market/zh-sentiment",
        "version": "1.0.0",
        "task": "text-classification",
        "files": {"model": "model.onnx", "labels": "labels.txt"} | {role: f"{role}.json" for role in files},
        "options": {},
        "examples": [
            {"title_zh": "例", "title_en": "One", "request": {"text": "好"}, "expect": {"results": [{}]}}
        ],
        "artifacts": [
            {"path": name, "sha256": sha(content), "size": len(content)}
            for name, content in sorted(contents.items())
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, sort_keys=True))
    return folder


def chain_for(release: Release) -> dict[str, Any]:
    """As the catalogue tells it: the labels lie in the archive, the model was made here."""
    texts = {"archive": ARCHIVE["file"], "inner": "pos.txt", "sha256": "cd" * 32}
    labels = {"archive": ARCHIVE["file"], "inner": "labels.txt", "sha256": sha(LABELS)}
    return provenance.source_chain(
        release.manifest["artifacts"],
        [ARCHIVE],
        taken=[{**labels, "path": "labels.txt"}],
        builds=[
            {"builder": "linear-text", "inputs": {"positive": texts}, "paths": ["model.onnx"], "options": {}}
        ],
        version="0.1.0",
    )


def release_of(folder: Path) -> Release:
    bare = of_folder(folder)
    return replace(
        bare,
        title_en="Sentiment",
        summary_en="Tells praise from blame.",
        license_package="MIT",
        license_weights="LicenseRef-not-stated",
        card="# Sentiment\n",
        chain=chain_for(bare),
    )


QUANTISED = b"smaller " * 1000


def certificate(quantised: bytes = QUANTISED) -> dict[str, Any]:
    """A certificate whose decision holds by the figures that it states."""
    interval = {"value": 0.998, "low": 0.992, "high": 1.0}
    return {
        "schema": "opc-market/certificate/1",
        "subject": {"name": "opc-market/zh-sentiment", "files": {"model.onnx": sha(WEIGHTS)}},
        "variant": {
            "graphs": {"model": "dynamic-int8"},
            "kept_in_float": {},
            "files": {"model-int8.onnx": sha(quantised)},
            "size": len(quantised),
            "baseline_size": len(WEIGHTS),
        },
        "objective": {"kind": "smallest", "max_drop": 0.01},
        "device": "cpu",
        "grade": "measured",
        "versions": {"onnxruntime": "1.32.0"},
        "seed": 0,
        "data": {"name": "reviews.csv", "digest": "sha256:" + "34" * 32, "rows": 200, "judged": 140},
        "quality": {"rows": 140, "basis": "agreement", "agreement": interval},
        "speed": {
            "ratio": {"value": 1.8, "low": 1.7, "high": 1.9},
            "control": None,
            "milliseconds": 1.2,
            "baseline_milliseconds": 2.1,
        },
        "target": None,
        "trials": [],
    }


def variant_of(folder: Path, certified: Mapping[str, Any] | None = None) -> Release:
    """A variant: the model of `release_of`, quantised and certified."""
    base = release_of(model_folder(folder.with_name(f"{folder.name}-base")))
    model_folder(folder, certificate=json.dumps(certified or certificate()).encode())
    (folder / "model.onnx").unlink()
    (folder / "model-int8.onnx").write_bytes(QUANTISED)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["model"] = "model-int8.onnx"
    new = {"path": "model-int8.onnx", "sha256": sha(QUANTISED), "size": len(QUANTISED)}
    kept = [one for one in manifest["artifacts"] if one["path"] != "model.onnx"]
    manifest["artifacts"] = sorted([*kept, new], key=lambda one: str(one["path"]))
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, sort_keys=True))
    made = of_folder(folder)
    return replace(base, folder=folder, digest=made.digest, manifest=made.manifest)


def image_of(workshop: Workshop, release: Release) -> tuple[Layout, Descriptor]:
    """An index over two small images of a release, in the workshop's layout, under the release's name."""
    workshop.images.mkdir(parents=True, exist_ok=True)
    layout = Layout(workshop.images)
    model = parts(layout, release).layers
    images = []
    for arch in ("amd64", "arm64"):
        base = layer(layout, ["base", arch], lambda arch=arch: {"etc/arch": file(arch.encode())})
        images.append(assemble(layout, (base, *model), {"User": "65532"}, arch=arch))
    root = image_index(layout, images)
    layout.tag(root, f"{release.name}:{release.version}")
    return layout, root


class Key:
    """A signer with a key of its own."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.public = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def workshop(home: Path, key: Key | None) -> Workshop:
    if key is None:
        return Workshop(home)
    return Workshop(home, sign=key.sign, public_key=key.public)
