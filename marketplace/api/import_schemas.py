"""What the JSON API says of imports and mirrors; pages and command line read the same."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from catalog.importers.sources import shown
from catalog.models import ImportJob, JobState, Mirror, Version
from marketplace import problems
from marketplace.importing import topic
from marketplace.services import Services


@dataclass(frozen=True)
class ImportOut:
    """An import as it is now; once it is done, `version` is a draft whose checks `check_state` tells."""

    id: str
    source: str
    pinned: str  # with its revision fixed; "" until that is known
    name: str  # vendor/name
    state: str  # pending | running | done | failed | cancelled
    cancel: bool  # asked to stop, and not stopped yet
    step: str  # look | fetch | unpack | convert | describe | check
    done: int  # bytes of the running step
    total: int  # 0 where that is not known
    note: str
    task: str  # that was asked for
    wanted: str  # state to bring the version to
    version: str  # number
    version_state: str
    check_state: str
    mirror: bool
    error: dict[str, Any] | None
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class ImportPage:
    """Imports, the newest first."""

    items: list[ImportOut]
    total: int


@dataclass(frozen=True)
class MirrorOut:
    """A listing that is kept in step, and how the last look went."""

    name: str
    source: str
    pinned: str
    period: int  # seconds
    enabled: bool  # not while its account is disabled
    wanted: str
    looked: datetime | None
    due: datetime
    error: dict[str, Any] | None
    created: datetime


@dataclass(frozen=True)
class MirrorPage:
    """Mirrors by name."""

    items: list[MirrorOut]
    total: int


def import_out(services: Services, db: Session, job: ImportJob, lang: str) -> ImportOut:
    """An import, with the progress of the step that runs and the state of the version that it became."""
    live = services.progress.get(topic(job.id)) if job.state == JobState.running else None
    version = db.get(Version, job.version_id) if job.version_id else None
    return ImportOut(
        id=str(job.id),
        source=shown(job.source),
        pinned=shown(job.pinned),
        name=job.name,
        state=job.state,
        cancel=job.cancel and job.state == JobState.running,
        step=job.step,
        done=live.done if live else job.done,
        total=(live.total if live else 0) or job.total,
        note=live.note if live else "",
        task=str(job.options.get("task", "")),
        wanted=str(job.options.get("wanted", "")),
        version=job.version,
        version_state=version.state if version else "",
        check_state=version.check_state if version else "",
        mirror=job.mirror_id is not None,
        error=_problem(job.error_code, job.error_facts, lang),
        created=job.created,
        updated=job.updated,
    )


def mirror_out(mirror: Mirror, lang: str) -> MirrorOut:
    """A mirror."""
    return MirrorOut(
        name=mirror.name,
        source=shown(mirror.source),
        pinned=shown(mirror.pinned),
        period=mirror.period,
        enabled=mirror.enabled,
        wanted=str(mirror.options.get("wanted", "")),
        looked=mirror.looked,
        due=mirror.due,
        error=_problem(mirror.error_code, mirror.error_facts, lang),
        created=mirror.created,
    )


def _problem(code: str, facts: dict[str, Any], lang: str) -> dict[str, Any] | None:
    return problems.problem(code, lang, **facts).to_dict() if code else None
