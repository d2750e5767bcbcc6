"""What people do with packages: ask for one, watch it, cancel it, take its file; and the job behind it.

A job is one durable step around `deployer.terminals.package`. What was asked for decides the key, and the key
the bytes: the same wish again is the same package, and a killed shop makes it once more from its layers.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from dbos import DBOS, SetWorkflowID
from sqlmodel import Session

from catalog import blobs
from catalog import manifest as manifests
from catalog.errors import CatalogError
from deployer import optimizations, packages, terminals
from deployer.errors import DeployerError, TerminalNotSupported
from deployer.models import Package, PackageState
from deployer.packager.release import Release
from deployer.packages import NewPackage, PackageGone, PackagingCancelled
from deployer.spec import Progress
from marketplace import audit, releases, workflows
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.errors import MarketError
from marketplace.models import Account
from marketplace.services import Services, StepProgress

log = logging.getLogger(__name__)

BOARD = "packages"
QUEUE = "packages"
AT_ONCE = 2
PERIOD = 0.25  # seconds between two looks whether anybody still wants it


class Superseded(Exception):
    """The package was cancelled, removed or begun again before this step ran."""


def topic(identity: UUID | str) -> str:
    """The hub's topic of one package; also its place among the progress that is shown."""
    return f"package:{identity}"


# What people ask for


@dataclass(frozen=True)
class Offer:
    """A terminal with one of its devices, and why a release cannot go there, if so."""

    terminal: terminals.Terminal
    device: str
    platforms: tuple[str, ...]
    """Of images; the first is made unless told otherwise."""
    refusal: TerminalNotSupported | None = None


def offers(release: Release | None = None, base: str = releases.BASE) -> list[Offer]:
    """Every terminal and device, in the table's order; with a release, whether it can be packaged so."""
    return [_offer(each, device, release, base) for each in terminals.TERMINALS for device in each.devices]


def _offer(terminal: terminals.Terminal, device: str, release: Release | None, base: str) -> Offer:
    try:
        wanted = terminals.order(terminal.id, device=device)
        platforms = terminals.platforms_of(device) if wanted.platforms else ()
        if release:
            terminals.require(release, wanted, base)
    except TerminalNotSupported as error:
        return Offer(terminal, device, (), error)
    others = tuple(each for each in platforms if each not in wanted.platforms)
    return Offer(terminal, device, (*wanted.platforms, *others))


def ask(
    services: Services,
    db: Session,
    account: Account,
    *,
    listing: str,
    terminal: str,
    variant: str = "",
    platforms: Sequence[str] = (),
    device: str = "",
    address: str = "",
) -> Package:
    """The package of vendor/name[@version] for a terminal; its making goes on after this returns.

    One that is there, waits or is built is returned as it is; one that failed, was cancelled or lost its
    file begins again. Raises UnknownListing, UnknownVersion, UnknownVariant, VariantMismatch,
    UnknownTerminal, UnknownDevice, PlatformNotSupported and TerminalNotSupported before anything is made.
    """
    home = services.settings.home
    wanted = terminals.order(terminal, platforms=platforms, device=device)
    release = releases.describe(home, db, listing, variant, asker=account.id)
    db.commit()  # no transaction stays open while graphs are looked at
    workshop = releases.workshop_of(services.settings)
    if release.folder.is_dir():  # else the job will look, once it has laid the files out
        terminals.require(release, wanted, workshop.base)
    key = terminals.key_of(workshop, release.digest, wanted)
    row, added = packages.create_package(
        db,
        NewPackage(
            key=key,
            listing=release.name,
            version=str(release.manifest["version"]),
            version_digest=_version_digest(db, release, variant),
            variant=variant,
            task=release.task,
            terminal=wanted.terminal.id,
            device=wanted.device,
            platforms=list(wanted.platforms),
            owner=account.id,
        ),
    )
    if not added and _has_ended(home, row):
        packages.begin_again(db, row)
        added = True
    if added:
        facts = {"terminal": wanted.terminal.id, "version": row.version}
        audit.record(db, account, AuditAction.begin_package, release.name, address=address, **facts)
    db.commit()
    if added:
        notify(services, row.id)
        _enqueue(row)
    return row


def _version_digest(db: Session, release: Release, variant: str) -> str:
    return optimizations.get_variant(db, variant).version_digest if variant else release.digest


def _has_ended(home: Path, row: Package) -> bool:
    """Whether there is nothing to hand out and nobody at work on it."""
    if row.state in packages.OPEN:
        return False
    return row.state != PackageState.ready or terminals.kept(home, row.key) is None


def cancel(services: Services, db: Session, identity: str) -> Package:
    """Stop one that waits or is built; raises PackageBusy for one that ended."""
    row = packages.get_package(db, identity, lock=True)
    packages.ask_to_cancel(db, row)
    db.commit()
    notify(services, row.id)
    return row


def retry(services: Services, db: Session, identity: str) -> Package:
    """Begin one that failed, was cancelled or lost its file again."""
    row = packages.get_package(db, identity, lock=True)
    if row.state == PackageState.ready and not _has_ended(services.settings.home, row):
        return row
    packages.begin_again(db, row)
    db.commit()
    notify(services, row.id)
    _enqueue(row)
    return row


def remove(services: Services, db: Session, identity: str) -> None:
    """Forget one that ended, with its file."""
    row = packages.get_package(db, identity, lock=True)
    packages.remove_package(db, row)
    db.commit()
    shutil.rmtree(terminals.folder_of(services.settings.home, row.key), ignore_errors=True)
    notify(services, row.id)


def file_of(services: Services, row: Package) -> terminals.Package:
    """The file of a ready package; raises PackageGone where there is none."""
    found = terminals.kept(services.settings.home, row.key) if row.state == PackageState.ready else None
    if found is None:
        raise PackageGone(id=str(row.id), state=row.state)
    return found


def notify(services: Services, identity: UUID) -> None:
    """Wake the pages that show this package or its listing."""
    services.hub.notify(topic(identity))
    services.hub.notify(BOARD)


# The job


def workflow_id(row: Package) -> str:
    """Id of the workflow of the present revision."""
    return f"package-{row.id}-{row.revision}"


def _enqueue(row: Package) -> None:
    """Put the workflow of the present revision into the queue; doing it twice does it once."""
    with SetWorkflowID(workflow_id(row)):
        DBOS.enqueue_workflow(QUEUE, package_workflow, str(row.id), row.revision)


def launch(services: Services) -> None:
    """Open the queue, and take up what a killed shop left; call it after `workflows.launch`."""
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=0.2)
    with read_session(services.engine) as db:
        rows = packages.unfinished(db)
    for row in rows:
        status = DBOS.get_workflow_status(workflow_id(row))
        if status is not None and status.status in workflows.BROKEN:
            _fail(services, row.id, row.revision, "internal-error", {"incident": workflow_id(row)})
        else:
            _enqueue(row)


@DBOS.workflow(name="package")
def package_workflow(identity: str, revision: int) -> str:
    """Make one package."""
    return make(identity, revision)


@DBOS.step(name="make-package")
def make(identity: str, revision: int) -> str:
    """The whole job; returns ready, failed, cancelled or superseded."""
    services, uid = workflows.bound(), UUID(identity)
    try:
        _make(services, _begin(services, uid, revision))
    except Superseded:
        return "superseded"
    except PackagingCancelled:
        _end_cancelled(services, uid, revision)
        return "cancelled"
    except (CatalogError, DeployerError, MarketError) as error:
        workflows.unless_closing(services)
        _fail(services, uid, revision, error.code, error.facts)
        return "failed"
    except Exception:
        workflows.unless_closing(services)
        log.exception("packaging failed", extra={"package": identity})
        _fail(services, uid, revision, "internal-error", {"incident": f"package {identity}"})
        return "failed"
    finally:
        services.progress.pop(topic(uid), None)
    return "ready"


def _current(db: Session, uid: UUID, revision: int, *, lock: bool = True) -> Package:
    row = db.get(Package, uid, with_for_update=lock)
    if row is None or row.revision != revision or row.state not in packages.OPEN:
        raise Superseded
    if row.cancel:
        raise PackagingCancelled(id=str(uid))
    return row


def _begin(services: Services, uid: UUID, revision: int) -> Package:
    with transaction(services.engine) as db:
        row = _current(db, uid, revision)
        row.steps = []  # of a run that was killed
        packages.set_state(db, row, PackageState.building)
        db.flush()
        db.refresh(row)
        db.expunge(row)
    notify(services, uid)
    return row


def _make(services: Services, row: Package) -> None:
    """Fetch what is missing, lay the release out, and package it."""
    job = _Job(services, row)
    with read_session(services.engine) as db:
        release = releases.describe(
            services.settings.home,
            db,
            f"{row.listing}@{row.version}",
            row.variant,
            asker=row.owner,
            all_states=True,
        )
    job.enter("fetch")
    if blobs.missing(services.settings.home, dict(release.manifest)) and not row.variant:
        workflows.refill(services, row.listing, job.progress)
    job.enter("prepare")
    job.progress(0, manifests.size(dict(release.manifest)))
    releases.lay_out(services, release, certified=bool(row.variant), progress=job.progress)
    made = terminals.package(
        releases.workshop_of(services.settings),
        release,
        row.terminal,
        platforms=row.platforms,
        device=row.device,
        key=row.key,
        progress=job.progress,
        entering=job.enter,
    )
    with transaction(services.engine) as db:
        packages.set_ready(
            db,
            _current(db, row.id, row.revision),
            file_name=made.file_name,
            media_type=made.media_type,
            size=made.size,
            digest=made.digest,
            facts=made.facts,
        )
    notify(services, row.id)


class _Job:
    """The step that one package is at, and how far; raises when nobody wants it any more."""

    def __init__(self, services: Services, row: Package) -> None:
        self._services, self._row = services, row
        self._step, self._last = "", 0.0
        self.progress: Progress = self._report

    def enter(self, step: str) -> None:
        """Begin a step."""
        self._step, self._last = step, 0.0
        with transaction(self._services.engine) as db:
            packages.begin_step(db, _current(db, self._row.id, self._row.revision), step)
        self._services.progress.pop(topic(self._row.id), None)
        notify(self._services, self._row.id)

    def _report(self, done: int, total: int, note: str = "") -> None:
        if self._services.hub.closed:
            raise workflows.ShopCloses
        if time.monotonic() - self._last < PERIOD:
            return
        self._last = time.monotonic()
        with read_session(self._services.engine) as db:
            _current(db, self._row.id, self._row.revision, lock=False)
        name = topic(self._row.id)
        self._services.progress[name] = StepProgress(self._step, done, total, note)
        self._services.hub.notify(name)


def _end_cancelled(services: Services, uid: UUID, revision: int) -> None:
    with transaction(services.engine) as db:
        row = db.get(Package, uid, with_for_update=True)
        if row is not None and row.revision == revision and row.state in packages.OPEN:
            packages.set_cancelled(db, row)
    notify(services, uid)


def _fail(services: Services, uid: UUID, revision: int, code: str, facts: dict[str, object]) -> None:
    """Write the cause down."""
    try:
        with transaction(services.engine) as db:
            packages.set_failed(db, _current(db, uid, revision), code, workflows.plain(facts))
    except Superseded:
        return
    except PackagingCancelled:
        _end_cancelled(services, uid, revision)
        return
    notify(services, uid)
