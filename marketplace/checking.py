"""Checking versions: a durable job that fills a version's table of checks, and what follows from it.

The rows of a draft are written one after another, so that people see them come. A killed shop begins the job
anew; one whose version was replaced or withdrawn meanwhile ends. What failed leaves no file behind; what
passed enters the store, is signed, and comes to the state that was wanted. What older rules let through, and
is submitted or on the shelf, is looked at again, one version at a time, and keeps its table until the new one
is whole.
"""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from dbos import DBOS, SetWorkflowID
from sqlmodel import Session, col, select

from catalog import blobs, imports, review, signing
from catalog.errors import BlobCorrupted, BlobMissing, CatalogError, VersionStateRefused
from catalog.models import CheckState, Listing, Verdict, Version, VersionEvent, VersionState
from catalog.offered import SHOWN
from catalog.progress import Progress
from catalog.scan import RULES, Row
from deployer.runtimes.folders import private_folder
from marketplace import checks, publishing, workflows
from marketplace.audit import AuditAction, record
from marketplace.checks import Badge, badges, is_marked, rows_of
from marketplace.db import read_session, transaction
from marketplace.examining import Bounds, Examination, Subject, examine
from marketplace.models import Account
from marketplace.permissions import Permission, permissions_of
from marketplace.services import Services, StepProgress

__all__ = [
    "Badge",
    "Subject",
    "badges",
    "examine",
    "is_marked",
    "launch",
    "recheck",
    "rows_of",
    "start",
    "topic",
]

log = logging.getLogger(__name__)

BOARD = "reviews"
QUEUE, AT_ONCE = "checks", 2
AGAIN = "rechecks"
WORK = "work-"  # how the folders of running checks begin
PERIOD = 0.25  # seconds between two looks whether anybody still wants it
NOT_ABOUT_IT = frozenset({"dry-run-failed", "dry-run-no-sandbox", "scanner-missing"})
"""What says something of this machine, and nothing of a version that it once let through."""
RECHECKED = (*SHOWN, VersionState.submitted)
"""States in which a version is checked again: what people have, and what waits for a decision."""


class Superseded(Exception):
    """The version was replaced, withdrawn or begun again before this ran."""


def topic(version: UUID | str) -> str:
    """The hub's topic of one version's checks."""
    return f"checks:{version}"


def notify(services: Services, version: UUID) -> None:
    """Wake whoever watches this version or the operators' queue."""
    services.hub.notify(topic(version))
    services.hub.notify(BOARD)


# What people ask for


def start(services: Services, db: Session, version: Version, *, wanted: str = "") -> None:
    """Have a draft checked, and bring it to `wanted` ("submitted", "listed", "") when all checks passed.

    Commits. Its files lie in publishing.staging(services, version). Starting again supersedes the run before.
    Raises VersionStateRefused for anything but a draft: what was checked of it stands.
    """
    review.lock(db, version)
    if version.state != VersionState.draft:
        wish = VersionState.draft
        raise VersionStateRefused(number=version.number, state=version.state, wanted=wish)
    version.check_state, version.wanted = CheckState.waiting, wanted
    version.check_run += 1
    db.add(version)
    db.commit()
    notify(services, version.id)
    _enqueue(version)


def recheck(services: Services, db: Session, version: Version) -> None:
    """Have a version that is submitted or on the shelf checked again; it stays there meanwhile. Commits."""
    version.check_run += 1
    db.add(version)
    db.commit()
    notify(services, version.id)
    _enqueue_again(version)


def outdated(db: Session) -> list[Version]:
    """Versions, submitted or on the shelf, that other rules than today's let through, the oldest first."""
    found = select(Version).where(
        col(Version.state).in_(RECHECKED), col(Version.rules) != "", col(Version.rules) != RULES
    )
    return list(db.exec(found.order_by(col(Version.created), col(Version.id))))


def is_outdated(version: Version) -> bool:
    """Whether other rules than today's let a version through.

    The market's own entries have no rules, since nobody else wrote them.
    """
    return version.rules not in ("", RULES)


def unchecked(db: Session) -> list[Version]:
    """The market's own versions on the shelf that no check has looked at here, the smallest first."""
    found = select(Version).where(Version.state == VersionState.listed, Version.rules == "")
    return list(db.exec(found.order_by(col(Version.size), col(Version.id))))


# The jobs


def workflow_id(version: Version) -> str:
    """Id of the workflow of the present run of a draft's checks."""
    return f"check-{version.id}-{version.check_run}"


def again_id(version: Version) -> str:
    """Id of the workflow of a version that is checked again, by these rules."""
    return f"recheck-{version.id}-{version.check_run}-{RULES}"


def _enqueue(version: Version) -> None:
    with SetWorkflowID(workflow_id(version)):
        DBOS.enqueue_workflow(QUEUE, check_workflow, str(version.id), version.check_run)


def _enqueue_again(version: Version) -> None:
    with SetWorkflowID(again_id(version)):
        DBOS.enqueue_workflow(AGAIN, recheck_workflow, str(version.id), version.check_run)


def launch(services: Services) -> None:
    """Open the queues, and take up what a killed shop left; call it after `workflows.launch`."""
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=0.2)
    DBOS.register_queue(AGAIN, worker_concurrency=1)
    with transaction(services.engine) as db:
        waiting = list(db.exec(select(Version).where(col(Version.check_state).in_(checks.OPEN))))
        old = outdated(db)
        for version in old:
            status = DBOS.get_workflow_status(again_id(version))
            if status is not None and status.status in (*workflows.BROKEN, "SUCCESS"):
                version.check_run += 1  # that run came to nothing
                db.add(version)
    for version in waiting:
        status = DBOS.get_workflow_status(workflow_id(version))
        if status is not None and status.status in workflows.BROKEN:
            _give_up(services, version.id, version.check_run, "internal-error", workflow_id(version))
        else:
            _enqueue(version)
    for version in old:
        _enqueue_again(version)


def clear_leftovers(services: Services) -> None:
    """Remove what checks of a killed shop left: their work, and staged files that the store has by now.

    Call it before `workflows.launch`: the queues of the shop before open there, and a check that goes on must
    meet neither links to its files nor somebody who clears its own work away.
    """
    for place in (*_works(services).glob(f"{WORK}*"), services.settings.run_dir / "checks"):
        shutil.rmtree(place, ignore_errors=True)
    staged = services.settings.home / "staging"
    names = [path.name for path in staged.iterdir()] if staged.is_dir() else []
    with transaction(services.engine) as db:
        for name in names:
            with contextlib.suppress(ValueError):
                version = db.get(Version, UUID(name))
                if version is not None and version.check_state == CheckState.passed:
                    publishing.remove_staging(services, version.id)


@DBOS.workflow(name="check")
def check_workflow(identity: str, run: int) -> str:
    """Check one draft."""
    return look(identity, run)


@DBOS.step(name="look")
def look(identity: str, run: int) -> str:
    """The whole job; returns passed, failed or superseded."""
    services, uid = workflows.bound(), UUID(identity)
    try:
        version, subject = _begin(services, uid, run)
        return _check(services, version, subject)
    except Superseded:
        return "superseded"
    except CatalogError as error:
        workflows.unless_closing(services)
        _give_up(services, uid, run, error.code, str(error), facts=error.facts)
        return "failed"
    except Exception:
        workflows.unless_closing(services)
        log.exception("checks failed", extra={"version": identity})
        _give_up(services, uid, run, "internal-error", f"checks {identity}")
        return "failed"
    finally:
        services.progress.pop(topic(uid), None)


@DBOS.workflow(name="recheck")
def recheck_workflow(identity: str, run: int) -> str:
    """Check one version of the shelf again."""
    return look_again(identity, run)


@DBOS.step(name="look-again")
def look_again(identity: str, run: int) -> str:
    """The whole job; returns passed, failed, superseded or stopped."""
    services, uid = workflows.bound(), UUID(identity)
    try:
        return _check_again(services, uid, run)
    except Superseded:
        return "superseded"
    except Exception:  # nothing is known, so nothing is changed; the next start tries once more
        workflows.unless_closing(services)
        log.exception("checks failed", extra={"version": identity})
        return "stopped"
    finally:
        services.progress.pop(topic(uid), None)


def _current(db: Session, uid: UUID, run: int, *, lock: bool = True) -> Version:
    """The draft while this run is its newest; raises Superseded."""
    version = db.get(Version, uid, with_for_update=lock)
    if version is None or version.check_run != run or version.check_state not in checks.OPEN:
        raise Superseded
    return version


def _shown(db: Session, uid: UUID, run: int, *, lock: bool = True) -> Version:
    """The version while it waits or is on the shelf, and this run is its newest; raises Superseded."""
    version = db.get(Version, uid, with_for_update=lock)
    if version is None or version.check_run != run or version.state not in RECHECKED:
        raise Superseded
    return version


def _begin(services: Services, uid: UUID, run: int) -> tuple[Version, Subject]:
    with transaction(services.engine) as db:
        version = _current(db, uid, run)
        checks.clear(db, uid)  # rows of a run that was killed
        version.check_state, version.measured = CheckState.running, {}
        subject = subject_of(db, version)
        db.add(version)
        db.flush()
        db.refresh(version)
        db.expunge(version)
    notify(services, uid)
    return version, subject


def subject_of(db: Session, version: Version) -> Subject:
    """What a version says of itself; the market's own entries keep their words in the listing."""
    listing = db.get_one(Listing, version.listing_id)
    words = {name: getattr(listing, name) for name in review.WORDS} | version.offer
    return Subject(version.manifest, words, version.claims, publishing.licenses_of(version))


def _works(services: Services) -> Path:
    return services.settings.home / "cache" / "checks"


@contextmanager
def _examination(
    services: Services, folder: Path, subject: Subject, tick: Progress, *, linked: bool, strict: bool
) -> Iterator[Examination]:
    """The checks of a folder, with a work folder that is on the store's disk and gone afterwards."""
    settings = services.settings
    place = _works(services)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=WORK) as work:
        looked = Examination(folder, subject, Path(work), linked=linked, strict=strict)
        looked.run_dir = private_folder(settings.run_dir / "checks")
        looked.bounds = Bounds(largest=settings.check_memory)
        looked.tick, looked.scanner, looked.home = tick, settings.scanner, settings.home
        yield looked


def _check(services: Services, version: Version, subject: Subject) -> str:
    uid, run = version.id, version.check_run
    folder = publishing.staging(services, version)

    def still_wanted() -> None:
        with read_session(services.engine) as db:
            _current(db, uid, run, lock=False)

    tick = _Tick(services, uid, still_wanted)
    rows: list[Row] = []
    strict = bool(version.wanted)
    with _examination(services, folder, subject, tick, linked=False, strict=strict) as looked:
        for row in looked.rows():
            with transaction(services.engine) as db:
                _current(db, uid, run)
                checks.add_row(db, uid, len(rows), row)
            rows.append(row)
            services.hub.notify(topic(uid))
        measured = looked.measured
    if any(checks.refuses(row) for row in rows):
        return _refuse(services, uid, run, rows, measured)
    _keep(services, folder, version)
    return _pass(services, uid, run, rows, measured)


class _Tick:
    """Shows how far the check under way is, and ends it when nobody wants it any more."""

    def __init__(self, services: Services, uid: UUID, still_wanted: Callable[[], None]) -> None:
        self._services, self._uid, self._still_wanted = services, uid, still_wanted
        self._last = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if self._services.hub.closed:
            raise workflows.ShopCloses
        if time.monotonic() - self._last < PERIOD:
            return
        self._last = time.monotonic()
        self._still_wanted()
        name = topic(self._uid)
        fresh = StepProgress("checks", done, total, note)
        if self._services.progress.get(name) != fresh:
            self._services.progress[name] = fresh
            self._services.hub.notify(name)


def _refuse(services: Services, uid: UUID, run: int, rows: list[Row], measured: dict[str, Any]) -> str:
    """Nothing of what failed stays: neither in the store, which it never entered, nor in staging."""
    with transaction(services.engine) as db:
        version = _current(db, uid, run)
        checks.settle(version, rows, measured)
        version.wanted = ""
        db.add(version)
        imports.settle_version(db, version)
    publishing.remove_staging(services, uid)
    notify(services, uid)
    return "failed"


def _keep(services: Services, folder: Path, version: Version) -> None:
    """Put the files into the store, lay the version out and sign it; may run twice."""
    home = services.settings.home
    for artifact in version.manifest["artifacts"]:
        blobs.put(home, folder / artifact["path"], artifact["sha256"])
    laid_out = blobs.materialize(home, version.manifest, version.digest)
    if signing.signature_of(home, version.digest) is None:
        signing.sign(home, laid_out, version.digest)


def _pass(services: Services, uid: UUID, run: int, rows: list[Row], measured: dict[str, Any]) -> str:
    with transaction(services.engine) as db:
        version = _current(db, uid, run)
        checks.settle(version, rows, measured)
        wanted, version.wanted = version.wanted, ""
        db.add(version)
        db.flush()
        _apply(db, version, wanted)
        imports.settle_version(db, version)
    publishing.remove_staging(services, uid)
    notify(services, uid)
    return "passed"


def _apply(db: Session, version: Version, wanted: str) -> None:
    """Bring a version that passed to the state that was wanted, as far as its creator may."""
    if wanted not in (VersionState.submitted, VersionState.listed) or version.state != VersionState.draft:
        return
    creator = db.get(Account, version.created_by) if version.created_by else None
    try:
        with db.begin_nested():
            _move(db, version, creator, VersionState.submitted)
            if wanted == VersionState.listed and creator is not None and _decides(creator):
                _move(db, version, creator, VersionState.listed)
    except CatalogError as error:  # a name that is not proved: it stays a checked draft
        db.refresh(version)
        log.info("version stays a draft", extra={"version": str(version.id), "cause": error.code})


def _decides(account: Account) -> bool:
    return account.disabled is None and Permission.decide_reviews in permissions_of(account.roles)


def _move(db: Session, version: Version, creator: Account | None, after: VersionState) -> None:
    before = version.state
    if after == VersionState.listed and creator is not None:
        review.approve(db, version, by=creator.id)
    else:
        review.change(db, version, after, by=creator.id if creator else None)
    action = AuditAction.approve_version if after == VersionState.listed else AuditAction.change_version
    record(db, creator, action, name_of(db, version), before=before, after=str(after))


def name_of(db: Session, version: Version) -> str:
    """vendor/name@number."""
    return f"{db.get_one(Listing, version.listing_id).name}@{version.number}"


def _give_up(
    services: Services, uid: UUID, run: int, code: str, incident: str, *, facts: dict[str, Any] | None = None
) -> None:
    """A job that could not be done: what is not known counts as refused; the files stay for another try."""
    with contextlib.suppress(Superseded), transaction(services.engine) as db:
        version = _current(db, uid, run)
        row = Row("manifest", Verdict.failed, code, facts=workflows.plain(facts or {"incident": incident}))
        checks.add_row(db, uid, 1000, row)
        checks.settle(version, [row], {})
        version.wanted = ""
        db.add(version)
        imports.settle_version(db, version)
    notify(services, uid)


def _check_again(services: Services, uid: UUID, run: int) -> str:
    with read_session(services.engine) as db:
        version = _shown(db, uid, run, lock=False)
        subject, strict = subject_of(db, version), version.created_by is not None

    def still_wanted() -> None:
        with read_session(services.engine) as db:
            _shown(db, uid, run, lock=False)

    tick = _Tick(services, uid, still_wanted)
    rows, measured = _rows_again(services, version, subject, tick, strict=strict)
    refused = [row for row in rows if checks.refuses(row)]
    # A check that was not run says as little as what it was not run after.
    about_it = [row for row in refused if row.code not in (*NOT_ABOUT_IT, "check-not-run")]
    if refused and not about_it:
        codes = ", ".join(sorted({row.code for row in refused}))
        log.warning("version cannot be checked again here", extra={"version": str(uid), "cause": codes})
        return "stopped"
    with transaction(services.engine) as db:
        fresh = _shown(db, uid, run)
        before = fresh.check_state
        checks.clear(db, uid)
        for position, row in enumerate(rows):
            checks.add_row(db, uid, position, row)
        good = checks.settle(fresh, rows, measured)
        if before != fresh.check_state:
            _note(db, fresh, about_it[0] if about_it else None)
        db.add(fresh)
        db.flush()
        review.write_words(db, fresh.listing_id)  # what is offered, and was measured, may be another now
    notify(services, uid)
    return "passed" if good else "failed"


def _rows_again(
    services: Services, version: Version, subject: Subject, tick: Progress, *, strict: bool
) -> tuple[list[Row], dict[str, Any]]:
    try:
        folder = blobs.materialize(services.settings.home, version.manifest, version.digest)
    except (BlobMissing, BlobCorrupted) as error:
        facts = workflows.plain(error.facts)
        return [Row("digests", Verdict.failed, error.code, str(facts.get("path", "")), facts)], {}
    with _examination(services, folder, subject, tick, linked=True, strict=strict) as looked:
        return list(looked.rows()), looked.measured


def _note(db: Session, version: Version, refused: Row | None) -> None:
    """The event of a version that stays what it is, and is offered to nobody new while it fails."""
    why = f"recheck: {refused.code} {refused.path}".strip() if refused else "recheck: passed"
    db.add(VersionEvent(version_id=version.id, before=version.state, after=version.state, why=why))
    record(db, None, AuditAction.recheck_version, name_of(db, version), result=version.check_state, why=why)
