"""Optimisations as rows: asked for, moved through their states, and the variants that they found."""

from typing import Any
from uuid import UUID

from sqlmodel import Session, SQLModel, col, func, select

from deployer.errors import DeployerError
from deployer.models import Deployment, Optimization, OptimizationState, Variant, utcnow

OPEN = frozenset({OptimizationState.pending, OptimizationState.running})


class UnknownOptimization(DeployerError):
    """No optimisation has this id. Facts: id."""

    code = "unknown-optimization"


class OptimizationBusy(DeployerError):
    """The optimisation's state does not allow this. Facts: id, state, wanted."""

    code = "optimization-busy"


class UnknownVariant(DeployerError):
    """No variant has this digest. Facts: variant."""

    code = "unknown-variant"


class VariantMismatch(DeployerError):
    """A variant was made for something else. Facts: variant, what, has, asked."""

    code = "variant-mismatch"


class NewOptimization(SQLModel):
    """What an optimisation is made from."""

    listing: str
    version: str
    version_digest: str
    task: str
    device: str
    objective: dict[str, Any]
    seed: int = 0
    sample: str = ""
    sample_name: str = ""
    owner: UUID


def create_optimization(db: Session, new: NewOptimization) -> Optimization:
    """Add an optimisation in state pending."""
    row = Optimization.model_validate(new)
    db.add(row)
    db.flush()
    return row


def get_optimization(db: Session, identity: str | UUID, *, lock: bool = False) -> Optimization:
    """The optimisation of this id; raises UnknownOptimization. `lock` keeps other writers away."""
    try:
        uid = identity if isinstance(identity, UUID) else UUID(identity)
    except ValueError:
        raise UnknownOptimization(id=identity) from None
    row = db.get(Optimization, uid, with_for_update=lock)
    if row is None:
        raise UnknownOptimization(id=str(identity))
    return row


def list_optimizations(db: Session, listing: str = "") -> list[Optimization]:
    """All optimisations, or those of one listing, the newest first."""
    query = select(Optimization).order_by(col(Optimization.created).desc(), col(Optimization.id))
    return list(db.exec(query.where(Optimization.listing == listing) if listing else query))


def unfinished(db: Session) -> list[Optimization]:
    """Those that wait or run, the oldest first."""
    return list(
        db.exec(
            select(Optimization)
            .where(col(Optimization.state).in_(OPEN))
            .order_by(col(Optimization.created), col(Optimization.id))
        )
    )


def ahead(db: Session, row: Optimization) -> int:
    """How many optimisations come before this one that waits; 0 for any that does not."""
    if row.state != OptimizationState.pending:
        return 0
    before = (
        select(func.count())
        .select_from(Optimization)
        .where(col(Optimization.state).in_(OPEN), col(Optimization.created) < row.created)
    )
    return db.exec(before).one()


def set_state(db: Session, row: Optimization, state: OptimizationState) -> None:
    """Move to `state`, clearing an earlier failure."""
    row.state = state
    row.error_code, row.error_facts = "", {}
    row.updated = utcnow()
    db.add(row)


def set_failed(db: Session, row: Optimization, code: str, facts: dict[str, Any]) -> None:
    """Move to failed with the cause."""
    set_state(db, row, OptimizationState.failed)
    row.error_code, row.error_facts = code, facts


def write_report(db: Session, row: Optimization, report: dict[str, Any]) -> None:
    """Keep what is known so far, as JSON types."""
    row.report = report
    row.updated = utcnow()
    db.add(row)


def ask_to_cancel(db: Session, row: Optimization) -> None:
    """Cancel one that waits at once, and ask one that runs to stop; raises OptimizationBusy for others."""
    if row.state not in OPEN:
        raise OptimizationBusy(id=str(row.id), state=row.state, wanted=OptimizationState.running)
    row.cancel = True
    row.updated = utcnow()
    db.add(row)
    if row.state == OptimizationState.pending:
        set_state(db, row, OptimizationState.cancelled)


def begin_again(db: Session, row: Optimization) -> None:
    """Take up one that was cancelled or failed; raises OptimizationBusy for any other."""
    if row.state not in (OptimizationState.cancelled, OptimizationState.failed):
        raise OptimizationBusy(id=str(row.id), state=row.state, wanted=OptimizationState.failed)
    row.revision += 1
    row.cancel = False
    row.report = {}
    set_state(db, row, OptimizationState.pending)


def remove_optimization(db: Session, row: Optimization) -> Variant | None:
    """Forget one that ended, and its variant unless a deployment names it; the variant that went.

    Raises OptimizationBusy while it waits or runs.
    """
    if row.state in OPEN:
        raise OptimizationBusy(id=str(row.id), state=row.state, wanted=OptimizationState.done)
    db.delete(row)
    variant = db.get(Variant, row.variant) if row.variant else None
    if variant is None or variant.optimization_id != row.id:
        return None
    if db.exec(select(Deployment).where(Deployment.variant == variant.digest)).first() is not None:
        return None
    db.delete(variant)
    return variant


def get_variant(db: Session, digest: str) -> Variant:
    """The variant of this digest; raises UnknownVariant."""
    row = db.get(Variant, digest)
    if row is None:
        raise UnknownVariant(variant=digest)
    return row


def list_variants(db: Session, listing: str = "") -> list[Variant]:
    """All variants, or those of one listing, the newest first."""
    query = select(Variant).order_by(col(Variant.created).desc(), col(Variant.digest))
    return list(db.exec(query.where(Variant.listing == listing) if listing else query))


def require_match(variant: Variant, *, listing: str, version_digest: str, device: str) -> None:
    """Refuse to run a variant as something else than it was made for; raises VariantMismatch."""
    for what, has, asked in (
        ("listing", variant.listing, listing),
        ("version", variant.version_digest, version_digest),
        ("device", variant.device, device),
    ):
        if has != asked:
            raise VariantMismatch(variant=variant.digest, what=what, has=has, asked=asked)
