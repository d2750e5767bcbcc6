"""Packages as rows: asked for once, moved through their states and steps, and removed."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, col, select

from deployer.errors import DeployerError
from deployer.models import Package, PackageState, StepState, utcnow

OPEN = frozenset({PackageState.pending, PackageState.building})
STEPS = ("fetch", "prepare", "assemble", "prove", "write")
"""Bring the files; check them and lay them out; put the package together; sign it; write its file."""


class UnknownPackage(DeployerError):
    """No package has this id. Facts: id."""

    code = "unknown-package"


class PackageBusy(DeployerError):
    """The package's state does not allow this. Facts: id, state, wanted."""

    code = "package-busy"


class PackageGone(DeployerError):
    """The package's file is not there. Facts: id, state."""

    code = "package-gone"


class PackagingCancelled(DeployerError):
    """Somebody asked the job to stop. Facts: id."""

    code = "packaging-cancelled"


class NewPackage(SQLModel):
    """What a package is made from and for; `key` stands for all that decides about its bytes."""

    key: str
    listing: str
    version: str
    version_digest: str
    variant: str = ""
    task: str
    terminal: str
    device: str
    platforms: list[str] = []
    owner: UUID


def create_package(db: Session, new: NewPackage) -> tuple[Package, bool]:
    """The package of this key, and whether it was added now, in state pending."""
    if found := _of_key(db, new.key):
        return found, False
    row = Package.model_validate(new)
    try:
        with db.begin_nested():
            db.add(row)
    except IntegrityError:  # somebody asked for the same at the same moment
        found = _of_key(db, new.key)
        if found is None:
            raise
        return found, False
    return row, True


def _of_key(db: Session, key: str) -> Package | None:
    return db.exec(select(Package).where(Package.key == key).with_for_update()).first()


def get_package(db: Session, identity: str | UUID, *, lock: bool = False) -> Package:
    """The package of this id; raises UnknownPackage. `lock` keeps other writers away."""
    try:
        uid = identity if isinstance(identity, UUID) else UUID(identity)
    except ValueError:
        raise UnknownPackage(id=identity) from None
    row = db.get(Package, uid, with_for_update=lock)
    if row is None:
        raise UnknownPackage(id=str(identity))
    return row


def list_packages(db: Session, listing: str = "") -> list[Package]:
    """All packages, or those of one listing, the newest first."""
    query = select(Package).order_by(col(Package.created).desc(), col(Package.id))
    return list(db.exec(query.where(Package.listing == listing) if listing else query))


def unfinished(db: Session) -> list[Package]:
    """Those that wait or are built, the oldest first."""
    query = select(Package).where(col(Package.state).in_(OPEN))
    return list(db.exec(query.order_by(col(Package.created), col(Package.id))))


def set_state(db: Session, row: Package, state: PackageState) -> None:
    """Move to `state`, clearing an earlier failure."""
    row.state = state
    row.error_code, row.error_facts = "", {}
    row.updated = utcnow()
    db.add(row)


def set_failed(db: Session, row: Package, code: str, facts: dict[str, Any]) -> None:
    """Move to failed with the cause; the step under way is the one that failed."""
    set_state(db, row, PackageState.failed)
    _end_step(row, StepState.failed)
    row.error_code, row.error_facts = code, facts


def set_cancelled(db: Session, row: Package) -> None:
    """Move to cancelled; the step under way is as if it had not begun."""
    set_state(db, row, PackageState.cancelled)
    row.steps = [step for step in row.steps if step["state"] != StepState.running]


def begin_step(db: Session, row: Package, name: str) -> None:
    """The step under way is done, and this one runs."""
    _end_step(row, StepState.done)
    row.steps = [*row.steps, {"name": name, "state": StepState.running, "begun": utcnow().isoformat()}]
    row.updated = utcnow()
    db.add(row)


def _end_step(row: Package, state: StepState) -> None:
    now = utcnow()
    row.steps = [
        step if step["state"] != StepState.running else _ended(step, state, now) for step in row.steps
    ]


def _ended(step: dict[str, Any], state: StepState, now: datetime) -> dict[str, Any]:
    took = now - datetime.fromisoformat(step["begun"])
    return {"name": step["name"], "state": state, "seconds": round(took.total_seconds(), 3)}


def set_ready(
    db: Session,
    row: Package,
    *,
    file_name: str,
    media_type: str,
    size: int,
    digest: str,
    facts: dict[str, Any],
) -> None:
    """Move to ready; the file lies where the key says."""
    set_state(db, row, PackageState.ready)
    _end_step(row, StepState.done)
    row.file_name, row.media_type, row.size = file_name, media_type, size
    row.digest, row.facts = digest, facts


def ask_to_cancel(db: Session, row: Package) -> None:
    """Cancel one that waits at once, and ask one that is built to stop; raises PackageBusy for others."""
    if row.state not in OPEN:
        raise PackageBusy(id=str(row.id), state=row.state, wanted=PackageState.building)
    row.cancel = True
    row.updated = utcnow()
    db.add(row)
    if row.state == PackageState.pending:
        set_cancelled(db, row)


def begin_again(db: Session, row: Package) -> None:
    """Take up one that ended, from its start; raises PackageBusy while it waits or is built."""
    if row.state in OPEN:
        raise PackageBusy(id=str(row.id), state=row.state, wanted=PackageState.failed)
    row.revision += 1
    row.cancel = False
    row.steps = []
    row.file_name, row.media_type, row.size, row.digest, row.facts = "", "", 0, "", {}
    set_state(db, row, PackageState.pending)


def remove_package(db: Session, row: Package) -> None:
    """Forget one that ended; raises PackageBusy while it waits or is built."""
    if row.state in OPEN:
        raise PackageBusy(id=str(row.id), state=row.state, wanted=PackageState.ready)
    db.delete(row)
