"""Imports and mirrors as rows: begun, under way, ended; what somebody asked for and how far it has come."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from catalog.errors import CatalogError
from catalog.importers.sources import shown
from catalog.models import CheckState, ImportJob, JobState, Mirror, Version, VersionState, utcnow

OPEN = (JobState.pending, JobState.running)
STEPS = ("look", "fetch", "unpack", "convert", "describe", "check")
"""In the order in which they run; some are passed over."""
SHORTEST = 15 * 60  # seconds between two looks of a mirror
LONGEST = 366 * 24 * 3600
MOST_SHOWN = 200
KEPT = 1000  # ended imports whose history is kept


class UnknownImport(CatalogError):
    """The asker has no such import. Facts: id."""

    code = "unknown-import"


class ImportBusy(CatalogError):
    """An import is in a state that does not allow this. Facts: id, state."""

    code = "import-busy"


class ImportCancelled(CatalogError):
    """Somebody cancelled the import. Facts: id."""

    code = "import-cancelled"


class UnknownMirror(CatalogError):
    """The asker keeps no mirror of this name. Facts: name."""

    code = "unknown-mirror"


class MirrorTaken(CatalogError):
    """The listing is kept in step already. Facts: name, source."""

    code = "mirror-taken"


class MirrorVersionRefused(CatalogError):
    """What the source has by now did not pass the checks. Facts: name, version."""

    code = "mirror-version-refused"


class MirrorPeriodWrong(CatalogError):
    """A mirror cannot be looked at so often or so seldom. Facts: least, most (seconds)."""

    code = "mirror-period-wrong"


# Imports


def create(
    db: Session,
    *,
    source: str,
    name: str,
    options: dict[str, Any],
    owner: UUID,
    mirror_id: UUID | None = None,
) -> ImportJob:
    """A new import; the caller commits."""
    job = ImportJob(source=source, name=name, options=options, owner=owner, mirror_id=mirror_id)
    db.add(job)
    db.flush()
    _prune(db, owner)
    return job


def _prune(db: Session, owner: UUID) -> None:
    ended = select(ImportJob.id).where(ImportJob.owner == owner, col(ImportJob.state).not_in(OPEN))
    old = list(db.exec(ended.order_by(col(ImportJob.created).desc()).offset(KEPT)))
    if old:
        db.exec(delete(ImportJob).where(col(ImportJob.id).in_(old)))


def get(db: Session, identity: str | UUID, owner: UUID | None, *, lock: bool = False) -> ImportJob:
    """An import of this account, by its id or the first eight or more signs of it; raises UnknownImport.

    Without an owner that of anybody.
    """
    text = str(identity)
    try:
        job = db.get(ImportJob, UUID(text), with_for_update=lock)
    except ValueError:
        found = [row for row in of_account(db, owner) if len(text) >= 8 and str(row.id).startswith(text)]
        job = found[0] if len(found) == 1 else None
    if job is None or owner not in (None, job.owner):
        raise UnknownImport(id=text)
    return job


def of_account(db: Session, owner: UUID | None, limit: int = MOST_SHOWN) -> list[ImportJob]:
    """The imports of an account, or of everybody, the newest first."""
    rows = select(ImportJob).order_by(col(ImportJob.created).desc()).limit(limit)
    return list(db.exec(rows if owner is None else rows.where(ImportJob.owner == owner)))


def unfinished(db: Session) -> list[ImportJob]:
    """What a killed shop left, the oldest first."""
    rows = select(ImportJob).where(col(ImportJob.state).in_(OPEN))
    return list(db.exec(rows.order_by(col(ImportJob.created))))


def may_run(db: Session, job: ImportJob) -> bool:
    """Whether none of its account's other imports runs; if so it counts as running from now on.

    One that has to wait begins again later, as another run. The caller holds the account's row and commits.
    """
    others = select(ImportJob.id).where(ImportJob.owner == job.owner, ImportJob.id != job.id)
    if db.exec(others.where(ImportJob.state == JobState.running)).first() is not None:
        job.revision += 1
        db.add(job)
        db.flush()
        return False
    enter(db, job, job.step)
    return True


def next_of(db: Session, owner: UUID) -> ImportJob | None:
    """The import of an account that has waited longest."""
    rows = select(ImportJob).where(ImportJob.owner == owner, ImportJob.state == JobState.pending)
    return db.exec(rows.order_by(col(ImportJob.created))).first()


def enter(db: Session, job: ImportJob, step: str, *, done: int = 0, total: int = 0) -> None:
    """Begin a step."""
    job.state, job.step, job.done, job.total = JobState.running, step, done, total
    _touch(db, job)


def set_done(db: Session, job: ImportJob, version_id: UUID, number: str) -> None:
    """It became this version, which is being checked now."""
    job.state, job.version_id, job.version = JobState.done, version_id, number
    job.error_code, job.error_facts = "", {}
    # It is not asked for any more: a key in its address need not stay.
    job.source, job.pinned = shown(job.source), shown(job.pinned)
    job.done = job.total
    _touch(db, job)


def set_failed(db: Session, job: ImportJob, code: str, facts: dict[str, Any]) -> None:
    """It ended with a named refusal."""
    job.state, job.error_code, job.error_facts = JobState.failed, code, facts
    _touch(db, job)


def set_cancelled(db: Session, job: ImportJob) -> None:
    """It ended because somebody asked for it."""
    job.state = JobState.cancelled
    _touch(db, job)


def ask_to_cancel(db: Session, job: ImportJob) -> None:
    """Have one that waits or runs ended; raises ImportBusy for one that ended."""
    if job.state not in OPEN:
        raise ImportBusy(id=str(job.id), state=job.state)
    job.cancel = True
    _touch(db, job)


def begin_again(db: Session, job: ImportJob) -> None:
    """Start one that failed or was cancelled again, at the revision that was pinned; raises ImportBusy."""
    if job.state not in (JobState.failed, JobState.cancelled):
        raise ImportBusy(id=str(job.id), state=job.state)
    job.state, job.cancel, job.step, job.revision = JobState.pending, False, "", job.revision + 1
    job.error_code, job.error_facts = "", {}
    _touch(db, job)


def remove(db: Session, job: ImportJob) -> None:
    """Forget one that ended; its version stays. Raises ImportBusy."""
    if job.state in OPEN:
        raise ImportBusy(id=str(job.id), state=job.state)
    db.delete(job)
    db.flush()


def _touch(db: Session, row: ImportJob) -> None:
    row.updated = utcnow()
    db.add(row)
    db.flush()


# Mirrors


def create_mirror(
    db: Session,
    *,
    name: str,
    source: str,
    options: dict[str, Any],
    owner: UUID,
    period: int,
    pinned: str = "",
) -> Mirror:
    """A listing that is kept in step from now on; the caller commits. Raises MirrorTaken and the like."""
    if not SHORTEST <= period <= LONGEST:
        raise MirrorPeriodWrong(least=SHORTEST, most=LONGEST)
    other = db.exec(select(Mirror).where(Mirror.name == name)).first()
    if other is not None:
        raise MirrorTaken(name=name, source=shown(other.source))
    mirror = Mirror(name=name, source=source, options=options, owner=owner, period=period, pinned=pinned)
    db.add(mirror)
    db.flush()
    return mirror


def get_mirror(db: Session, name: str, owner: UUID | None, *, lock: bool = False) -> Mirror:
    """The mirror of a listing, that this account keeps, or without one anybody; raises UnknownMirror."""
    rows = select(Mirror).where(Mirror.name == name)
    mirror = db.exec(rows.with_for_update() if lock else rows).first()
    if mirror is None or owner not in (None, mirror.owner):
        raise UnknownMirror(name=name)
    return mirror


def mirrors_of(db: Session, owner: UUID | None) -> list[Mirror]:
    """The mirrors that an account, or everybody, keeps, by name."""
    rows = select(Mirror).order_by(col(Mirror.name))
    return list(db.exec(rows if owner is None else rows.where(Mirror.owner == owner)))


def switch_mirrors(db: Session, owner: UUID, *, on: bool) -> None:
    """Look at the sources of an account's mirrors no more, or again; the caller commits."""
    db.exec(update(Mirror).where(col(Mirror.owner) == owner).values(enabled=on))


def due(db: Session) -> Sequence[Mirror]:
    """Mirrors to look at now, the one that waited longest first; none whose import is still open."""
    busy = select(ImportJob.mirror_id).where(
        col(ImportJob.mirror_id).is_not(None), col(ImportJob.state).in_(OPEN)
    )
    rows = select(Mirror).where(
        col(Mirror.enabled).is_(True), Mirror.due <= utcnow(), col(Mirror.id).not_in(busy)
    )
    return list(db.exec(rows.order_by(col(Mirror.due)).limit(50)))


def looked(db: Session, mirror: Mirror, code: str = "", facts: dict[str, Any] | None = None) -> None:
    """Note a look: the next one after the period, after an error sooner, but never at once."""
    mirror.looked = utcnow()
    wait = min(mirror.period, max(SHORTEST, mirror.period // 4)) if code else mirror.period
    mirror.due = mirror.looked + timedelta(seconds=wait)
    mirror.error_code, mirror.error_facts = code, facts or {}
    db.add(mirror)
    db.flush()


def settle_mirror(db: Session, job: ImportJob) -> None:
    """Note at an import's mirror how it ended; the caller commits.

    A mirror has a revision once the version of it has passed its checks: until they end it is only noted that
    the source was looked at, and `settle_version` says the rest.
    """
    mirror = db.get(Mirror, job.mirror_id, with_for_update=True) if job.mirror_id else None
    if mirror is None:
        return
    if job.state == JobState.done:
        looked(db, mirror)
        _settle_done(db, mirror, job)
    elif job.state == JobState.cancelled:
        looked(db, mirror, ImportCancelled.code, {"id": str(job.id)})
    else:
        looked(db, mirror, job.error_code, job.error_facts)


def settle_version(db: Session, version: Version) -> None:
    """Note at the mirror that a version came from how its checks ended; the caller commits."""
    rows = select(ImportJob).where(ImportJob.version_id == version.id, col(ImportJob.mirror_id).is_not(None))
    job = db.exec(rows.order_by(col(ImportJob.created).desc())).first()
    mirror = db.get(Mirror, job.mirror_id, with_for_update=True) if job else None
    if job is None or mirror is None:
        return
    db.flush()
    db.refresh(job)  # as it is now that nobody else settles the mirror
    last = last_done(db, mirror.id)
    if last is not None and last.id == job.id:
        _settle_done(db, mirror, job)


def _settle_done(db: Session, mirror: Mirror, job: ImportJob) -> None:
    """What the checks of an import's version came to, where they have ended."""
    version = db.get(Version, job.version_id, populate_existing=True) if job.version_id else None
    if version is not None and version.check_state == CheckState.passed:
        mirror.pinned = str(job.options.get("identity", ""))
        if mirror.error_code == MirrorVersionRefused.code:
            mirror.error_code, mirror.error_facts = "", {}
    elif version is not None and version.check_state == CheckState.failed:
        mirror.error_code, mirror.error_facts = MirrorVersionRefused.code, refusal_of(mirror, version)
    db.add(mirror)
    db.flush()


def refusal_of(mirror: Mirror, version: Version) -> dict[str, Any]:
    """The facts of MirrorVersionRefused."""
    return {"name": mirror.name, "version": version.number}


def last_done(db: Session, mirror_id: UUID) -> ImportJob | None:
    """The newest import of a mirror that became a version."""
    rows = select(ImportJob).where(ImportJob.mirror_id == mirror_id, ImportJob.state == JobState.done)
    return db.exec(rows.order_by(col(ImportJob.created).desc())).first()


def refused_draft(db: Session, mirror_id: UUID | None) -> Version | None:
    """The draft of a mirror's newest import, if it did not pass: the next import takes its place."""
    job = last_done(db, mirror_id) if mirror_id else None
    version = db.get(Version, job.version_id) if job and job.version_id else None
    refused = version is not None and version.check_state == CheckState.failed
    return version if refused and version is not None and version.state == VersionState.draft else None
