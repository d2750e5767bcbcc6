"""What people do with imports: ask for one, watch it, cancel it, begin it again; and the job behind it.

A job is one step that may run twice: the source's revision is pinned before anything is fetched, what came is
gone on with, and nothing of it is in the catalogue before the offer is whole. It ends when its draft is
handed to the checks, which decide about everything that follows.
"""

import logging
import re
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from dbos import DBOS, SetWorkflowID
from sqlmodel import Session, col, select

from catalog import imports, vendors
from catalog import manifest as manifests
from catalog.errors import CatalogError, InvalidManifest
from catalog.importers.reach import place_of
from catalog.importers.sources import read_sources, shown, slug
from catalog.importers.taking import is_plain
from catalog.imports import ImportCancelled
from catalog.models import ImportJob, JobState, Vendor, VendorMember, VersionState
from catalog.progress import Progress
from deployer.errors import DeployerError
from deployer.packager.registry import Reference
from marketplace import audit, import_work, publishing, workflows
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.errors import InvalidRequest, MarketError, NotAllowed
from marketplace.import_work import CONVERTS
from marketplace.models import Account
from marketplace.people_errors import AccountDisabled
from marketplace.permissions import Permission, permissions_of, role_for
from marketplace.services import Services, StepProgress

log = logging.getLogger(__name__)

BOARD = "imports"
QUEUE = "imports"
AT_ONCE = 4  # imports of different accounts, and looks of mirrors
PERIOD = 0.25  # seconds between two looks whether anybody still wants it
MOST = 1000  # uploaded files
WANTED = ("", VersionState.submitted, VersionState.listed)
CHOICES = ("task", "version", "license", "title_zh", "title_en", "summary_zh", "summary_en")
"""What a person may say of an import beside its source and name; texts all."""


class VendorNeeded(CatalogError):
    """The account acts for no vendor, or for several and names none. Facts: known (their names)."""

    code = "vendor-needed"


class Superseded(Exception):
    """The import was cancelled, removed or begun again before this step ran."""


@dataclass(frozen=True)
class Order:
    """What somebody wants imported."""

    source: str
    name: str = ""  # vendor/name, name, or nothing
    wanted: str = ""
    options: dict[str, Any] = field(default_factory=dict)  # CHOICES, languages, verticals, pipeline
    files: dict[str, dict[str, Any]] = field(default_factory=dict)  # uploaded: path → sha256, size


def topic(identity: UUID | str) -> str:
    """The hub's topic of one import; also its place among the progress that is shown."""
    return f"import:{identity}"


# What people ask for


def ask(services: Services, db: Session, viewer: audit.Actor, account: Account, order: Order) -> ImportJob:
    """Begin an import; it goes on after this returns.

    Raises SourceUnknown, VendorNeeded, UnknownVendor, NotMember, VendorUnproved and InvalidManifest before
    anything is fetched.
    """
    job = prepare(db, account, order)
    audit.record(
        db, viewer, AuditAction.begin_import, job.name, source=shown(job.source), wanted=order.wanted
    )
    db.commit()
    notify(services, job.id)
    enqueue(job)
    return job


def prepare(db: Session, account: Account, order: Order, mirror_id: UUID | None = None) -> ImportJob:
    """The row of an import that has been looked through; the caller commits and enqueues."""
    require_sound(order)
    if not order.files:
        for source in read_sources(order.source):
            # Nothing with a password in it is written down.
            if source.kind in ("http", "https"):
                place_of(source.place)
            if source.kind == "oci":
                Reference.parse(source.place)
    name = _name(db, account, order)
    vendor = vendors.get_vendor(db, name.partition("/")[0])
    publishing.require_member(db, vendor, account)
    if order.wanted:
        vendors.require_proved(vendor)
    options = {**order.options, "wanted": order.wanted, "files": order.files}
    return imports.create(
        db, source=_source(order), name=name, options=options, owner=account.id, mirror_id=mirror_id
    )


def _source(order: Order) -> str:
    return order.source if order.files else ",".join(map(str, read_sources(order.source)))


def require_sound(order: Order) -> None:
    """Refuse what cannot become an import, in words for its field."""
    if order.wanted not in WANTED:
        raise InvalidRequest(why="wanted is submitted, listed or empty")
    for key in CHOICES:
        if not isinstance(order.options.get(key, ""), str) or len(order.options.get(key, "")) > 500:
            raise InvalidRequest(why=f"{key} is a text of at most 500 characters")
    if len(order.files) > MOST or not all(map(_is_file, order.files.items())):
        raise InvalidRequest(why=f"files are at most {MOST} plain paths, each with sha256 and size")
    for key, kind in (("languages", list), ("verticals", list), ("pipeline", dict), ("convert", dict)):
        if not isinstance(order.options.get(key, kind()), kind):
            raise InvalidRequest(why=f"{key} is not a {kind.__name__}")
    if unknown := sorted(set(order.options.get("convert", {})) - CONVERTS):
        raise InvalidRequest(why=f"convert takes {', '.join(sorted(CONVERTS))}, not {unknown[0][:40]}")
    number = order.options.get("version", "")
    if number and not manifests.is_number(number):
        raise InvalidManifest(path="version", why="write three numbers, such as 1.0.0", why_zh="应如 1.0.0")


def _is_file(item: tuple[str, Any]) -> bool:
    path, told = item
    sha256, size = (told.get("sha256"), told.get("size")) if isinstance(told, dict) else ("", -1)
    hexadecimal = isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{64}", sha256)
    return bool(is_plain(path) and hexadecimal and type(size) is int and 0 <= size < 1 << 50)


def _name(db: Session, account: Account, order: Order) -> str:
    """vendor/name, with what was left out filled in: the account's one vendor, and the source's own name."""
    vendor, _, name = order.name.rpartition("/")
    if not name:
        name = slug(order.source) if order.files else read_sources(order.source)[0].name
    if not vendor:
        rows = (
            select(Vendor.name)
            .join(VendorMember, col(VendorMember.vendor_id) == col(Vendor.id))
            .where(VendorMember.account_id == account.id)
        )
        known = sorted(db.exec(rows))
        if len(known) != 1:
            raise VendorNeeded(known=known)
        vendor = known[0]
    return f"{vendor}/{name}"


def require_standing(db: Session, owner: UUID, name: str, wanted: str = "") -> None:
    """Refuse what goes on in the name of somebody who may not any more.

    Raises AccountDisabled, NotAllowed, UnknownVendor and NotMember.
    """
    account = db.get_one(Account, owner)
    if account.disabled is not None:
        raise AccountDisabled(name=account.name)
    needed = {VersionState.listed: Permission.decide_reviews, VersionState.submitted: Permission.publish}
    for permission in (Permission.manage_imports, needed.get(VersionState(wanted)) if wanted else None):
        if permission and permission not in permissions_of(account.roles):
            raise NotAllowed(role=role_for(permission), permission=str(permission))
    publishing.require_member(db, vendors.get_vendor(db, name.partition("/")[0]), account)


def cancel(
    services: Services, db: Session, viewer: audit.Actor, owner: UUID | None, identity: str
) -> ImportJob:
    """Stop one that waits or runs, of this account or without one of anybody's.

    Raises ImportBusy for one that ended.
    """
    job = imports.get(db, identity, owner, lock=True)
    imports.ask_to_cancel(db, job)
    audit.record(db, viewer, AuditAction.cancel_import, job.name, source=shown(job.source))
    db.commit()
    notify(services, job.id)
    enqueue(job)  # one that waits for another of its account's is in no queue, and ends there
    return job


def retry(services: Services, db: Session, viewer: audit.Actor, account: Account, identity: str) -> ImportJob:
    """Begin one that failed or was cancelled again: what came is gone on with."""
    job = imports.get(db, identity, account.id, lock=True)
    imports.begin_again(db, job)
    audit.record(db, viewer, AuditAction.retry_import, job.name, source=shown(job.source))
    db.commit()
    notify(services, job.id)
    enqueue(job)
    return job


def remove(services: Services, db: Session, viewer: audit.Actor, account: Account, identity: str) -> None:
    """Forget one that ended, with what came of it; a version that it became stays."""
    job = imports.get(db, identity, account.id, lock=True)
    imports.remove(db, job)
    audit.record(db, viewer, AuditAction.remove_import, job.name, source=shown(job.source))
    db.commit()
    shutil.rmtree(folder_of(services, job.id), ignore_errors=True)
    notify(services, job.id)


def folder_of(services: Services, identity: UUID) -> Path:
    """Where an import's files lie until they are a version's."""
    return services.settings.home / "imports" / str(identity)


def notify(services: Services, identity: UUID) -> None:
    """Wake the pages that show this import."""
    services.hub.notify(topic(identity))
    services.hub.notify(BOARD)


# The job


def workflow_id(job: ImportJob) -> str:
    """Id of the workflow of the present revision."""
    return f"import-{job.id}-{job.revision}"


def enqueue(job: ImportJob) -> None:
    """Put the workflow of the present revision into the queue; doing it twice does it once."""
    with SetWorkflowID(workflow_id(job)):
        DBOS.enqueue_workflow(QUEUE, import_workflow, str(job.id), job.revision)


def launch(services: Services) -> None:
    """Open the queue, and take up what a killed shop left; call it after `workflows.launch`."""
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=0.2)
    with read_session(services.engine) as db:
        rows = imports.unfinished(db)
        known = {str(identity) for identity in db.exec(select(ImportJob.id))}
    broken = {job.id for job in rows if _is_broken(job)}
    for job in rows:
        if job.id in broken:
            _fail(services, job.id, job.revision, "internal-error", {"incident": workflow_id(job)})
    for job in rows:  # only now: one that is broken counts as running till it is said
        if job.id not in broken:
            enqueue(job)
    _sweep(services, known)


def _is_broken(job: ImportJob) -> bool:
    status = DBOS.get_workflow_status(workflow_id(job))
    return status is not None and status.status in workflows.BROKEN


def _sweep(services: Services, known: set[str]) -> None:
    """Remove the files of imports that nobody knows any more."""
    place = services.settings.home / "imports"
    for folder in place.iterdir() if place.is_dir() else ():
        if folder.name not in known:
            shutil.rmtree(folder, ignore_errors=True)


@DBOS.workflow(name="import")
def import_workflow(identity: str, revision: int) -> str:
    """Import one source."""
    return bring_in(identity, revision)


@DBOS.step(name="bring-in")
def bring_in(identity: str, revision: int) -> str:
    """The whole job; returns done, failed, cancelled or superseded."""
    services, uid = workflows.bound(), UUID(identity)
    outcome = _outcome(services, uid, revision)
    if outcome != "superseded":
        _begin_next(services, uid)
    return outcome


def _outcome(services: Services, uid: UUID, revision: int) -> str:
    try:
        _bring_in(services, uid, revision)
    except Superseded:
        return "superseded"
    except ImportCancelled:
        _end_cancelled(services, uid, revision)
        return "cancelled"
    except (CatalogError, DeployerError, MarketError) as error:
        workflows.unless_closing(services)
        _fail(services, uid, revision, error.code, error.facts)
        return "failed"
    except Exception:
        workflows.unless_closing(services)
        log.exception("import failed", extra={"import": str(uid)})
        _fail(services, uid, revision, "internal-error", {"incident": f"import {uid}"})
        return "failed"
    finally:
        services.progress.pop(topic(uid), None)
    return "done"


def _current(db: Session, uid: UUID, revision: int, *, lock: bool = True) -> ImportJob:
    job = db.get(ImportJob, uid, with_for_update=lock)
    if job is None or job.revision != revision or job.state not in imports.OPEN:
        raise Superseded
    if job.cancel:
        raise ImportCancelled(id=str(uid))
    return job


def _claim(services: Services, uid: UUID, revision: int) -> None:
    """Begin, unless another import of the same account runs: that one's end begins this one."""
    with transaction(services.engine) as db:
        job = _current(db, uid, revision)
        db.get_one(Account, job.owner, with_for_update=True)
        waits = not imports.may_run(db, job)
    if waits:
        raise Superseded


def _begin_next(services: Services, uid: UUID) -> None:
    """An import ended: the next one of its account's is for the queue."""
    with transaction(services.engine) as db:
        ended, job = db.get(ImportJob, uid), None
        if ended is not None:
            # One that steps aside in this moment is waited for: it is to be begun as its next run.
            db.get_one(Account, ended.owner, with_for_update=True)
            job = imports.next_of(db, ended.owner)
        db.expunge_all()
    if job is not None:
        import_work.beside_the_step(lambda: enqueue(job))


def _bring_in(services: Services, uid: UUID, revision: int) -> None:
    folder = folder_of(services, uid)
    _claim(services, uid, revision)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    task = Task(services, uid, revision)
    version = import_work.make(services, task, folder)
    with transaction(services.engine) as db:
        job = _current(db, uid, revision)
        imports.set_done(db, job, version.id, version.number)
        imports.settle_mirror(db, job)
    shutil.rmtree(folder, ignore_errors=True)
    notify(services, uid)


class Task:
    """One import under way: its row as it is now, the step it is at, and how far.

    Raises when nobody wants it any more.
    """

    def __init__(self, services: Services, uid: UUID, revision: int) -> None:
        self._services, self._uid, self._revision = services, uid, revision
        self._step, self._last = "", 0.0
        self._looking = threading.Lock()
        self.progress: Progress = self._report

    def job(self) -> ImportJob:
        """The row, detached."""
        with read_session(self._services.engine) as db:
            job = _current(db, self._uid, self._revision, lock=False)
            require_standing(db, job.owner, job.name, str(job.options.get("wanted", "")))
            db.expunge(job)
        return job

    def enter(self, step: str, *, total: int = 0) -> None:
        """Begin a step."""
        self._step, self._last = step, 0.0
        with transaction(self._services.engine) as db:
            imports.enter(db, _current(db, self._uid, self._revision), step, total=total)
        self._services.progress.pop(topic(self._uid), None)
        notify(self._services, self._uid)

    def note(self, **values: Any) -> None:
        """Write down what was found out: the pinned source, the version."""
        with transaction(self._services.engine) as db:
            job = _current(db, self._uid, self._revision)
            for name, value in values.items():
                setattr(job, name, value)
            db.add(job)

    def _report(self, done: int, total: int, note: str = "") -> None:
        if self._services.hub.closed:
            raise workflows.ShopCloses
        with self._looking:
            if time.monotonic() - self._last < PERIOD:
                return
            self._last = time.monotonic()
        self.job()
        name = topic(self._uid)
        self._services.progress[name] = StepProgress(self._step, done, total, note)
        self._services.hub.notify(name)


def _end_cancelled(services: Services, uid: UUID, revision: int) -> None:
    with transaction(services.engine) as db:
        job = db.get(ImportJob, uid, with_for_update=True)
        if job is not None and job.revision == revision and job.state in imports.OPEN:
            imports.set_cancelled(db, job)
            imports.settle_mirror(db, job)
    notify(services, uid)


def _fail(services: Services, uid: UUID, revision: int, code: str, facts: dict[str, object]) -> None:
    """Write the cause down."""
    try:
        with transaction(services.engine) as db:
            job = _current(db, uid, revision)
            imports.set_failed(db, job, code, workflows.plain(facts))
            imports.settle_mirror(db, job)
    except Superseded:
        return
    except ImportCancelled:
        _end_cancelled(services, uid, revision)
        return
    notify(services, uid)


def ended(job: ImportJob) -> bool:
    """Whether nothing more happens to an import by itself."""
    return job.state not in (JobState.pending, JobState.running)
