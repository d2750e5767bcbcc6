"""Mirrors: listings that are kept in step with their source.

A look asks the source for its present revision, no more. Where that is another than the one that the listing
has, an import begins with the same wishes and the next number; where the source does not answer, the cause
and the time of the next look stand at the mirror. So does what did not pass its checks; the same revision is
tried again when somebody asks for it, or when the rules changed.
"""

import logging
import threading
from typing import Any
from uuid import UUID

from dbos import DBOS, SetWorkflowID
from sqlmodel import Session

from catalog import imports
from catalog.errors import CatalogError
from catalog.importers.plans import planned
from catalog.importers.sources import read_sources, shown
from catalog.imports import MirrorVersionRefused
from catalog.models import CheckState, ImportJob, Mirror, Version, utcnow
from catalog.scan import RULES
from deployer.errors import DeployerError
from marketplace import audit, checks, import_oci, importing, workflows
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.errors import InvalidRequest, MarketError
from marketplace.import_work import beside_the_step, gate_of
from marketplace.importing import Order
from marketplace.models import Account
from marketplace.services import Services

log = logging.getLogger(__name__)

BOARD = "mirrors"
PERIOD = 20.0  # seconds between two looks at what is due


def add(
    services: Services, db: Session, viewer: audit.Actor, account: Account, order: Order, period: int
) -> tuple[Mirror, ImportJob]:
    """Keep a listing in step from now on, and begin its first import.

    Raises MirrorTaken, MirrorPeriodWrong, InvalidRequest for uploaded files, and what `importing.ask` raises.
    """
    if order.files:
        raise InvalidRequest(why="files that were uploaded have no source to keep in step with")
    job = importing.prepare(db, account, order)
    mirror = imports.create_mirror(
        db,
        name=job.name,
        source=job.source,
        options={**order.options, "wanted": order.wanted},
        owner=account.id,
        period=period,
    )
    job.mirror_id = mirror.id
    db.add(job)
    subject = f"{mirror.name}"
    audit.record(db, viewer, AuditAction.create_mirror, subject, source=shown(mirror.source), period=period)
    db.commit()
    importing.notify(services, job.id)
    services.hub.notify(BOARD)
    importing.enqueue(job)
    return mirror, job


def remove(services: Services, db: Session, viewer: audit.Actor, owner: UUID | None, name: str) -> None:
    """Keep a listing in step no more, for this account or without one for anybody; what it has stays."""
    mirror = imports.get_mirror(db, name, owner, lock=True)
    audit.record(db, viewer, AuditAction.remove_mirror, mirror.name, source=shown(mirror.source))
    db.delete(mirror)
    db.commit()
    services.hub.notify(BOARD)


def run(services: Services, db: Session, viewer: audit.Actor, account: Account, name: str) -> Mirror:
    """Look at the source now; what did not pass its checks is tried once more."""
    mirror = imports.get_mirror(db, name, account.id, lock=True)
    mirror.due = utcnow()
    db.add(mirror)
    audit.record(db, viewer, AuditAction.run_mirror, mirror.name, source=shown(mirror.source))
    db.commit()
    enqueue(mirror, again=True)
    return mirror


def enqueue(mirror: Mirror, *, again: bool = False) -> None:
    """Put a look into the queue; the same look twice is one."""
    when = int(mirror.due.timestamp() * 1000)
    with SetWorkflowID(f"mirror-{mirror.id}-{when}"):
        DBOS.enqueue_workflow(importing.QUEUE, mirror_workflow, str(mirror.id), again)


@DBOS.workflow(name="mirror")
def mirror_workflow(identity: str, again: bool = False) -> str:
    """Look at the source of one mirror."""
    return look(identity, again)


@DBOS.step(name="look-at-source")
def look(identity: str, again: bool = False) -> str:
    """Compare revisions; returns same, changed, refused, failed or gone."""
    services, uid = workflows.bound(), UUID(identity)
    with read_session(services.engine) as db:
        mirror = db.get(Mirror, uid)
        if mirror is None or not mirror.enabled or _is_busy(db, mirror):
            return "gone"
        db.expunge(mirror)
    try:
        with read_session(services.engine) as db:
            wanted = str(mirror.options.get("wanted", ""))
            importing.require_standing(db, mirror.owner, mirror.name, wanted)
        found = identity_of(services, mirror.source, mirror.owner)
        outcome = _follow(services, mirror, found, again=again)
    except (CatalogError, DeployerError, MarketError) as error:
        workflows.unless_closing(services)
        _note(services, uid, error.code, workflows.plain(error.facts))
        return "failed"
    except Exception:
        workflows.unless_closing(services)
        log.exception("mirror failed", extra={"mirror": identity})
        _note(services, uid, "internal-error", {"incident": f"mirror {identity}"})
        return "failed"
    return outcome


def _is_busy(db: Session, mirror: Mirror) -> bool:
    rows = imports.of_account(db, mirror.owner)
    return any(row.mirror_id == mirror.id and row.state in imports.OPEN for row in rows)


def identity_of(services: Services, source: str, owner: UUID) -> str:
    """What changes when a source does; "" where it tells nothing that would."""
    sources = read_sources(source)
    gate = gate_of(services, owner)
    if sources[0].kind == "oci":
        return import_oci.pinned_of(source, gate)
    with planned(sources, gate) as plan:
        return plan.identity


def _follow(services: Services, mirror: Mirror, found: str, *, again: bool) -> str:
    """Begin an import where the source has moved on."""
    if found and found == mirror.pinned:
        _note(services, mirror.id)
        return "same"
    known = _known(services, mirror.id, found) if found else None
    if known is not None and known.check_state in checks.OPEN:
        _note(services, mirror.id)
        return "same"  # it came, and is being checked
    # Newer rules may let it through.
    refused = known is not None and known.check_state == CheckState.failed and known.rules == RULES
    if known is not None and refused and not again:
        _note(services, mirror.id, MirrorVersionRefused.code, imports.refusal_of(mirror, known))
        return "refused"
    options: dict[str, Any] = {k: v for k, v in mirror.options.items() if k not in ("wanted", "version")}
    order = Order(mirror.source, mirror.name, str(mirror.options.get("wanted", "")), options)
    with transaction(services.engine) as db:
        account = db.get_one(Account, mirror.owner)
        job = importing.prepare(db, account, order, mirror.id)
        audit.record(
            db, None, AuditAction.begin_import, job.name, source=shown(job.source), wanted=order.wanted
        )
        db.flush()
        db.refresh(job)
        db.expunge(job)
    importing.notify(services, job.id)
    beside_the_step(lambda: importing.enqueue(job))
    return "changed"


def _known(services: Services, uid: UUID, found: str) -> Version | None:
    """What the newest import became, where it was of this very revision."""
    with read_session(services.engine) as db:
        job = imports.last_done(db, uid)
        if job is None or job.version_id is None or job.options.get("identity") != found:
            return None
        version = db.get(Version, job.version_id)
        db.expunge_all()
    return version


def _note(services: Services, uid: UUID, code: str = "", facts: dict[str, Any] | None = None) -> None:
    with transaction(services.engine) as db:
        mirror = db.get(Mirror, uid, with_for_update=True)
        if mirror is not None:
            imports.looked(db, mirror, code, facts)
    services.hub.notify(BOARD)


class Watch:
    """The thread that sees which mirrors are due."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirrors", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the look under way."""
        self._end.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            try:
                self.look()
            except Exception:
                log.exception("mirrors")

    def look(self) -> None:
        """Enqueue what is due."""
        with read_session(self._services.engine) as db:
            found = list(imports.due(db))
            db.expunge_all()
        for mirror in found:
            enqueue(mirror)
