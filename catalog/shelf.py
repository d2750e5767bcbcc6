"""Filling the starter shelf: fetch, build, store, publish, sign, one entry after the other.

An entry is on the shelf wholly or not at all. A failure is written to its item and may be tried again;
a killed process leaves archives and blobs that the next run finds. No transaction is open while
anything is fetched or built.
"""

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from catalog import blobs, signing
from catalog import manifest as manifests
from catalog.entries import (
    BUILDING,
    STARTER,
    VENDOR,
    Builder,
    Builders,
    Entry,
    assemble,
    load_entries,
    load_entry,
    make_manifest,
)
from catalog.errors import BlobCorrupted, BlobMissing, BuildFailed
from catalog.importers.packages import cached_archive
from catalog.listings import ensure_vendor, publish_version
from catalog.models import Listing, ShelfItem, ShelfState, Version, VersionState, utcnow
from catalog.progress import Progress, silent
from catalog.storage import only_one

__all__ = [
    "Builder",
    "Builders",
    "DownloadCache",
    "Entry",
    "ShelfStatus",
    "ensure_items",
    "fetch_entry",
    "fill_entry",
    "load_entries",
    "load_entry",
    "mark_ready",
    "shelf_status",
    "wait_again",
    "waiting",
]

log = logging.getLogger(__name__)
EVERY = 0.5  # seconds between two notes of progress in the database
UNFINISHED = (ShelfState.waiting, ShelfState.fetching, ShelfState.building)


@dataclass(frozen=True)
class DownloadCache:
    """The folder of fetched archives; with `keep` they stay after use."""

    folder: Path
    keep: bool = False


@dataclass(frozen=True)
class ShelfStatus:
    """How full the shelf is; `total` counts all entries, `items` stand in the order of filling."""

    ready: int
    total: int
    failed: int
    items: list[ShelfItem] = field(default_factory=list)


def ensure_items(db: Session, tiers: Collection[str], only: Iterable[str] = (), root: Path = STARTER) -> None:
    """Write down which entries there are to fill; what is ready stays, all else waits again.

    No tiers leave the shelf as it is. The caller commits; nothing may be filling meanwhile.
    """
    chosen = set(only)
    entries = [e for e in load_entries(tiers, root) if not chosen or e.id in chosen]
    for position, entry in enumerate(entries):
        item = db.get(ShelfItem, entry.id) or ShelfItem(id=entry.id)
        item.position = position
        if item.state != ShelfState.ready or not _is_listed(db, entry):
            item.state, item.done, item.total = ShelfState.waiting, 0, entry.bytes
            item.error_code, item.error_facts = "", {}
        db.add(item)
    kept = {entry.id for entry in entries}
    for item in db.exec(select(ShelfItem)):
        if item.id not in kept and item.state != ShelfState.ready:
            db.delete(item)  # another release's entry, or one that was not chosen this time
    db.flush()


def _is_listed(db: Session, entry: Entry) -> bool:
    found = (
        select(Version.id)
        .join(Listing, col(Listing.id) == col(Version.listing_id))
        .where(Listing.name == entry.name, Version.state == VersionState.listed)
    )
    return db.exec(found).first() is not None


def waiting(db: Session) -> list[str]:
    """Ids of the entries that wait to be filled, the smallest first."""
    found = select(ShelfItem.id).where(col(ShelfItem.state).in_(UNFINISHED))
    return list(db.exec(found.order_by(col(ShelfItem.position))))


def wait_again(db: Session) -> list[str]:
    """Let the entries that failed wait once more; gives their ids in the order of filling."""
    items = db.exec(
        select(ShelfItem).where(ShelfItem.state == ShelfState.failed).order_by(col(ShelfItem.position))
    ).all()
    for item in items:
        item.state, item.done, item.error_code, item.error_facts = ShelfState.waiting, 0, "", {}
    return [item.id for item in items]


def mark_ready(db: Session, name: str) -> None:
    """Note that an entry's listing came from elsewhere, such as a bundle, and need not be fetched."""
    entry = next((each for each in load_entries() if each.name == name), None)
    if entry is None:
        return
    item = db.get(ShelfItem, entry.id) or ShelfItem(id=entry.id)
    item.state, item.done, item.total = ShelfState.ready, entry.bytes, entry.bytes
    item.error_code, item.error_facts = "", {}
    db.add(item)


def shelf_status(db: Session) -> ShelfStatus:
    """How many entries there are, are ready and have failed."""
    items = list(db.exec(select(ShelfItem).order_by(col(ShelfItem.position), col(ShelfItem.id))))
    states = [item.state for item in items]
    ready, failed = states.count(ShelfState.ready), states.count(ShelfState.failed)
    return ShelfStatus(ready, len(items), failed, items)


def fetch_entry(
    entry: Entry,
    home: Path,
    cache: DownloadCache,
    builders: Builders,
    progress: Progress = silent,
    version: str = "",
) -> dict[str, Any]:
    """Bring an entry's files into the store and return its manifest; what is there is not fetched again.

    Raises FetchError, StorageFull, BuildFailed, or what a builder raises. Safe to run twice.
    """
    work = home / "cache" / "build" / entry.id
    with only_one(work.with_name(f".{entry.id}.lock")):
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            have = dict(_in_store(entry, home))
            folder = assemble(entry, cache.folder, work, builders, progress, have)
            manifest = make_manifest(entry, folder, version)
            for artifact in manifest["artifacts"]:
                blobs.put(home, folder / artifact["path"], artifact["sha256"])
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return manifest


def _in_store(entry: Entry, home: Path) -> Iterable[tuple[str, Path]]:
    """The entry's files that the store has, checked; damaged ones are moved aside on the way."""
    for source in entry.sources():
        with suppress(BlobMissing, BlobCorrupted):
            yield source.sha256, blobs.verify(home, source.sha256, source.path)


def fill_entry(
    engine: Engine,
    entry: Entry,
    home: Path,
    cache: DownloadCache,
    builders: Builders,
    changed: Callable[[], None] = lambda: None,
) -> ShelfState:
    """Bring one entry on the shelf and say how it ended; a failure is written to its item, not raised.

    `changed` is called whenever the item changed.
    """
    note = _Notebook(engine, entry, changed)
    note.write(state=ShelfState.fetching, done=0, total=entry.bytes, error_code="", error_facts={})
    try:
        manifest = _number(engine, entry, fetch_entry(entry, home, cache, builders, note))
        _sign(home, manifest)
        _publish(engine, entry, manifest)
    except Exception as error:
        code, facts = _cause(entry, error)
        note.write(state=ShelfState.failed, error_code=code, error_facts=facts)
        return ShelfState.failed
    note.write(state=ShelfState.ready, done=entry.bytes, total=entry.bytes)
    if not cache.keep:
        _drop_archives(engine, entry, cache.folder)
    return ShelfState.ready


def _cause(entry: Entry, error: Exception) -> tuple[str, dict[str, Any]]:
    """Code and facts of a failure; errors of builders carry them in the same way as ours."""
    code, facts = getattr(error, "code", None), getattr(error, "facts", None)
    if isinstance(code, str) and isinstance(facts, dict):
        log.warning("shelf entry %s failed: %s: %s", entry.id, code, error)
    else:
        log.exception("shelf entry %s failed", entry.id)
        wrapped = BuildFailed(entry=entry.id, why=f"{type(error).__name__}: {error}")
        code, facts = wrapped.code, wrapped.facts
    plain = {k: v if isinstance(v, str | int | float | bool) else str(v) for k, v in facts.items()}
    return code, plain


@dataclass
class _Notebook:
    """A Progress that writes to the entry's item, at most every half second, each in its own transaction."""

    engine: Engine
    entry: Entry
    changed: Callable[[], None]
    last: float = 0.0
    building: bool = False

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Write how many of the entry's bytes are here; archives that need no fetching count as here."""
        if note == BUILDING and not self.building:
            self.building = True
            self.write(state=ShelfState.building, done=self.entry.bytes)
        elif not self.building and time.monotonic() - self.last >= EVERY:
            self.write(done=self.entry.bytes - total + done)

    def write(self, **values: Any) -> None:
        """Write columns of the item at once."""
        self.last = time.monotonic()
        with _writing(self.engine) as db:
            db.execute(
                update(ShelfItem).where(col(ShelfItem.id) == self.entry.id).values(**values, updated=utcnow())
            )
            db.commit()
        self.changed()


def _writing(engine: Engine) -> Session:
    """A session that means to write, as the shop's database marks it."""
    return Session(engine.execution_options(write=True))


def _number(engine: Engine, entry: Entry, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest under a number of its own: the one it has already, its own, or the next free patch.

    A built file may come out different, or a release may change an entry: that is a new version.
    """
    with _writing(engine) as db:
        found = select(Version.number, Version.digest).join(
            Listing, col(Listing.id) == col(Version.listing_id)
        )
        taken = dict(db.exec(found.where(Listing.name == entry.name)).all())
        db.rollback()
    for number, digest in taken.items():
        if manifests.digest({**manifest, "version": number}) == digest:
            return {**manifest, "version": number}
    while manifest["version"] in taken:
        major, minor, patch = manifest["version"].split(".")
        manifest = {**manifest, "version": f"{major}.{minor}.{int(patch) + 1}"}
    return manifest


def _sign(home: Path, manifest: dict[str, Any]) -> None:
    digest = manifests.digest(manifest)
    folder = blobs.materialize(home, manifest, digest)
    if signing.signature_of(home, digest) is None:
        signing.sign(home, folder, digest)


def _publish(engine: Engine, entry: Entry, manifest: dict[str, Any]) -> None:
    with _writing(engine) as db:
        vendor = ensure_vendor(
            db, VENDOR, title_zh="OPC 市场自营", title_en="OPC Market's own", verified=True
        )
        publish_version(
            db,
            vendor,
            entry.offer,
            manifest,
            license_package=entry.license_package,
            license_weights=entry.license_weights,
            source=entry.source,
        )
        db.commit()


def _drop_archives(engine: Engine, entry: Entry, folder: Path) -> None:
    """Delete an entry's archives, but for those that an entry still to be filled needs too."""
    with _writing(engine) as db:
        open_ids = set(db.exec(select(ShelfItem.id).where(col(ShelfItem.state) != ShelfState.ready)))
        db.rollback()
    needed = {
        a.file
        for other in load_entries(root=entry.folder.parent)
        if other.id in open_ids
        for a in other.archives
    }
    for archive in entry.archives:
        if archive.file not in needed:
            cached_archive(archive, folder).unlink(missing_ok=True)
