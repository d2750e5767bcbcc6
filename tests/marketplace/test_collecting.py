"""What nobody names is removed from the disk, and nothing else."""

import os
import time
from pathlib import Path
from uuid import uuid4

from catalog import blobs, listings
from catalog.listings import NewListing
from catalog.models import ImportJob, JobState, utcnow
from marketplace import collecting
from marketplace.db import transaction
from tests.marketplace.inside import Inside
from tests.marketplace.shelves import manifest


def keep(inside: Inside, tmp_path: Path, content: bytes) -> str:
    source = tmp_path / "file"
    source.write_bytes(content)
    return blobs.put(inside.services.settings.home, source)


def rest(path: Path) -> Path:
    """As if it had been written two days ago."""
    old = time.time() - 2 * collecting.REST.total_seconds()
    os.utime(path, (old, old))
    return path


def publish(inside: Inside, tmp_path: Path, content: bytes) -> tuple[Path, Path]:
    """The blob and the model folder of a version with this file."""
    home = inside.services.settings.home
    sha256 = keep(inside, tmp_path, content)
    files = [{"path": "model.onnx", "sha256": sha256, "size": len(content)}]
    with transaction(inside.engine) as db:
        vendor = listings.ensure_vendor(db, "acme", title_zh="甲", title_en="Acme")
        described = manifest("acme/reader", "1.0.0", artifacts=files)
        offer = NewListing("读字", "Reader", "读。", "Reads.")
        made = listings.publish_version(
            db, vendor, offer, described, license_package="MIT", license_weights="MIT"
        )
        folder = blobs.materialize(home, made.manifest, made.digest)
    return rest(blobs.blob_path(home, sha256)), rest(folder)


def test_named_files_stay_and_others_go(inside: Inside, tmp_path: Path) -> None:
    home = inside.services.settings.home
    blob, folder = publish(inside, tmp_path, b"named")
    stray = rest(blobs.blob_path(home, keep(inside, tmp_path, b"nobody's")))
    unnamed = home / "models" / ("0" * 64)
    unnamed.mkdir()
    os.link(stray, unnamed / "model.onnx")
    rest(stray)
    rest(unnamed)
    assert collecting.collect(inside.services) == len(b"nobody's")
    assert blob.exists() and (folder / "model.onnx").exists()
    assert not stray.exists() and not unnamed.exists()


def test_fresh_files_stay_until_somebody_had_time_to_name_them(inside: Inside, tmp_path: Path) -> None:
    home = inside.services.settings.home
    blob = rest(blobs.blob_path(home, keep(inside, tmp_path, b"wanted again")))
    keep(inside, tmp_path, b"wanted again")
    assert collecting.collect(inside.services) == 0 and blob.exists()


def test_what_a_failed_import_fetched_goes_after_a_week(inside: Inside) -> None:
    place = inside.services.settings.home / "imports"
    found = {}
    with transaction(inside.engine) as db:
        for state, age in ((JobState.failed, 8), (JobState.failed, 6), (JobState.running, 8)):
            job = ImportJob(source="hf://a/b", owner=uuid4(), state=state)
            job.updated = utcnow() - age * collecting.IMPORTS_REST / 7
            db.add(job)
            (place / str(job.id)).mkdir(parents=True)
            found[state, age] = place / str(job.id)
    collecting.collect(inside.services)
    assert [path.exists() for path in found.values()] == [False, True, True]
