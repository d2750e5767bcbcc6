import hashlib
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from catalog import blobs
from catalog import manifest as manifests
from catalog.errors import BlobCorrupted, BlobMissing, DigestMismatch

FILES = {"model.onnx": b"weights" * 100, "deep/words.txt": "词\n".encode()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _stored(home: Path, tmp_path: Path, files: dict[str, bytes] = FILES) -> dict[str, Any]:
    """Put files into the store and describe them."""
    artifacts = []
    for path, content in files.items():
        source = tmp_path / "source"
        source.write_bytes(content)
        artifacts.append({"path": path, "sha256": blobs.put(home, source), "size": len(content)})
    return manifests.validate(
        {
            "schema": 1,
            "name": "a/b",
            "version": "1.0.0",
            "task": "tensors",
            "files": {"model": "model.onnx"},
            "artifacts": artifacts,
        }
    )


def _rot(blob: Path) -> None:
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"rotten")


def test_put_names_a_file_by_its_content(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    for _ in range(2):
        assert blobs.put(home, source, digest) == digest
    blob = blobs.blob_path(home, digest)
    assert blob.read_bytes() == b"abc"
    assert blob.stat().st_mode & 0o777 == 0o444
    assert [p.name for p in blobs.store(home).iterdir()] == [digest]


def test_put_refuses_other_content(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    with pytest.raises(DigestMismatch):
        blobs.put(home, source, "0" * 64)
    assert not blobs.store(home).exists()


def test_put_mends_a_damaged_blob(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"weights")
    digest = blobs.put(home, source)
    _rot(blobs.blob_path(home, digest))
    blobs.put(home, source)
    assert blobs.verify(home, digest).read_bytes() == b"weights"


def test_verify_says_what_is_wrong(home: Path, tmp_path: Path) -> None:
    manifest = _stored(home, tmp_path)
    digest = manifest["artifacts"][1]["sha256"]
    _rot(blobs.blob_path(home, digest))
    with pytest.raises(BlobCorrupted) as refusal:
        blobs.verify(home, digest, "model.onnx")
    assert refusal.value.facts == {"sha256": digest, "path": "model.onnx"}
    with pytest.raises(BlobMissing):
        blobs.verify(home, digest, "model.onnx")
    assert blobs.missing(home, manifest) == ["model.onnx"]


def test_materialize_lays_out_links_and_the_manifest(home: Path, tmp_path: Path) -> None:
    manifest = _stored(home, tmp_path)
    digest = manifests.digest(manifest)
    folder = blobs.materialize(home, manifest)
    assert folder == blobs.model_dir(home, digest) == home / "models" / digest[7:]
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == FILES | {"manifest.json": manifests.canonical(manifest)}
    for artifact in manifest["artifacts"]:
        assert (folder / artifact["path"]).samefile(blobs.blob_path(home, artifact["sha256"]))
    before = folder.stat().st_ino
    assert blobs.materialize(home, manifest, digest).stat().st_ino == before
    assert {p.name for p in folder.parent.iterdir() if p.is_dir()} == {folder.name}


def test_materialize_finds_a_damaged_blob_every_time(home: Path, tmp_path: Path) -> None:
    manifest = _stored(home, tmp_path)
    folder = blobs.materialize(home, manifest)
    for artifact in manifest["artifacts"]:
        _rot(blobs.blob_path(home, artifact["sha256"]))
        with pytest.raises(BlobCorrupted):
            blobs.materialize(home, manifest)
        _stored(home, tmp_path)
        assert blobs.materialize(home, manifest) == folder
        assert (folder / artifact["path"]).read_bytes() == FILES[artifact["path"]]


@pytest.mark.parametrize("harm", ["gone", "extra", "changed", "manifest"])
def test_materialize_mends_the_folder(home: Path, tmp_path: Path, harm: str) -> None:
    manifest = _stored(home, tmp_path)
    folder = blobs.materialize(home, manifest)
    if harm == "gone":
        (folder / "model.onnx").unlink()
    elif harm == "extra":
        (folder / "more").write_bytes(b"x")
    else:
        name = "model.onnx" if harm == "changed" else "manifest.json"
        (folder / name).unlink()
        (folder / name).write_bytes(b"other")
    blobs.materialize(home, manifest)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == FILES | {"manifest.json": manifests.canonical(manifest)}


def test_materialize_beside_itself(home: Path, tmp_path: Path) -> None:
    manifest = _stored(home, tmp_path, {"model.onnx": os.urandom(2_000_000), "b": b"b"})
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(blobs.materialize(home, manifest))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1 and len(results) == 6
    assert (results[0] / "b").read_bytes() == b"b"


def test_full_disk_leaves_no_half_blob(home: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(2_000_000))
    code = f"""
from pathlib import Path
from catalog import blobs
from catalog.errors import StorageFull
try:
    blobs.put(Path({str(home)!r}), Path({str(source)!r}))
except StorageFull as full:
    print("full", full.facts["needed"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert done.stdout.strip() == "full 2000000", done.stderr
    assert list(blobs.store(home).iterdir()) == []


def test_folder_on_a_disk_that_cannot_link(home: Path, tmp_path: Path) -> None:
    """Here the store is on another disk, where the machine has one; files are copied then."""
    other = Path("/dev/shm") if Path("/dev/shm").is_dir() else tmp_path
    linked = other.stat().st_dev == tmp_path.stat().st_dev
    manifest = _stored(home, tmp_path)
    far = other / f"opc-test-{os.getpid()}"
    try:
        blobs.store(home).parent.rename(home / "old")
        far.mkdir()
        for blob in (home / "old" / "sha256").iterdir():
            (far / blob.name).write_bytes(blob.read_bytes())
        blobs.store(home).parent.mkdir()
        blobs.store(home).symlink_to(far)
        folder = blobs.materialize(home, manifest)
        assert (folder / "model.onnx").read_bytes() == FILES["model.onnx"]
        blob = blobs.blob_path(home, manifest["artifacts"][1]["sha256"])
        assert (folder / "model.onnx").samefile(blob) == linked
        inode = folder.stat().st_ino
        assert blobs.materialize(home, manifest).stat().st_ino == inode
    finally:
        for blob in far.iterdir():
            blob.unlink()
        far.rmdir()
