"""Gives back the disk what nobody names any more: blobs, model folders, and what failed imports had fetched.

A blob stays while a file of a version or of a variant has its digest, or a model folder is linked to it; a
model folder stays while a version, a variant or a deployment has its digest. What was written within a day
stays in any case: its row may not be committed yet.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

from sqlmodel import Session, col, select

from catalog import blobs
from catalog.models import Artifact, ImportJob, JobState, Version, utcnow
from deployer.models import Deployment, Variant
from marketplace.db import read_session
from marketplace.services import Services

REST = timedelta(days=1)
IMPORTS_REST = timedelta(days=7)
_BATCH = 500


def collect(services: Services) -> int:
    """Remove it; how many bytes the blobs had. May run at any time, and beside itself."""
    home = services.settings.home
    with read_session(services.engine) as db:
        variants = {row.digest: row.manifest for row in db.exec(select(Variant))}
        for folder in _unnamed_models(db, home, set(variants)):
            shutil.rmtree(folder, ignore_errors=True)
        named = {a["sha256"] for manifest in variants.values() for a in manifest.get("artifacts", [])}
        freed = 0
        for blob in _unnamed_blobs(db, blobs.store(home), named):
            freed += _remove(blob)
        for identity in _rested_imports(db):
            shutil.rmtree(home / "imports" / str(identity), ignore_errors=True)
    return freed


def _remove(blob: Path) -> int:
    """Remove a blob that nobody has put there again meanwhile; its bytes."""
    found = blob.stat()
    if found.st_mtime >= time.time() - REST.total_seconds():
        return 0
    blob.unlink(missing_ok=True)
    return found.st_size


def _unnamed_models(db: Session, home: Path, variants: set[str]) -> Iterator[Path]:
    used = {*variants, *db.exec(select(Deployment.version_digest)), *db.exec(select(Deployment.variant))}
    for some in _batches(_rested(home / "models")):
        digests = {f"sha256:{folder.name}": folder for folder in some if folder.is_dir()}
        wanted = select(Version.digest).where(col(Version.digest).in_(digests))
        held: set[str] = set(db.exec(wanted).all())
        for digest in digests.keys() - used - held:
            yield digests[digest]


def _unnamed_blobs(db: Session, store: Path, named: set[str]) -> Iterator[Path]:
    for some in _batches(_rested(store)):
        alone = {blob.name: blob for blob in some if blob.is_file() and blob.stat().st_nlink == 1}
        wanted = select(Artifact.sha256).where(col(Artifact.sha256).in_(alone))
        held: set[str] = set(db.exec(wanted).all())
        for sha256 in alone.keys() - named - held:
            yield alone[sha256]


def _rested_imports(db: Session) -> Iterable[UUID]:
    """Imports that ended without a version and that nobody has tried again for a week."""
    ended = (JobState.failed, JobState.cancelled)
    rested = col(ImportJob.updated) < utcnow() - IMPORTS_REST
    return db.exec(select(ImportJob.id).where(col(ImportJob.state).in_(ended), rested))


def _rested(folder: Path) -> Iterator[Path]:
    """What lies in a folder under a name of its own and was not touched for a day."""
    before = time.time() - REST.total_seconds()
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith(".") and path.stat().st_mtime < before:
            yield path


def _batches(paths: Iterator[Path]) -> Iterator[list[Path]]:
    while some := list(islice(paths, _BATCH)):
        yield some
