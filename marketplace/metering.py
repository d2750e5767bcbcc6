"""Usage as the gateway counts it, taken in batches that may come twice."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Engine, func
from sqlmodel import Session, SQLModel, col, select

from marketplace.db import transaction
from marketplace.models import UsageBatch, UsageEvent


class UsageItem(SQLModel):
    """Requests to one deployment with one key since the last batch."""

    deployment: str
    key_id: str
    requests: int = 0
    errors: int = 0
    tokens: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0


class UsageReport(SQLModel):
    """One batch from a gateway."""

    batch: UUID
    items: list[UsageItem]


@dataclass(frozen=True)
class Usage:
    """Totals of one deployment."""

    requests: int = 0
    errors: int = 0
    tokens: int = 0


def take(db: Session, report: UsageReport) -> bool:
    """Keep a batch; returns False when it was taken before."""
    if db.get(UsageBatch, report.batch) is not None:
        return False
    db.add(UsageBatch(id=report.batch))
    db.flush()
    for item in report.items:
        values = item.model_dump(exclude={"seconds"})
        db.add(UsageEvent(batch_id=report.batch, milliseconds=round(item.seconds * 1000), **values))
    return True


def totals(db: Session, deployment: str | None = None) -> dict[str, Usage]:
    """Usage of every deployment that was called, or of one."""
    query = select(
        UsageEvent.deployment,
        func.sum(UsageEvent.requests),
        func.sum(UsageEvent.errors),
        func.sum(UsageEvent.tokens),
    ).group_by(col(UsageEvent.deployment))
    rows = db.exec(query if deployment is None else query.where(UsageEvent.deployment == deployment))
    return {name: Usage(int(requests), int(errors), int(tokens)) for name, requests, errors, tokens in rows}


def usage_of(db: Session, deployment: str) -> Usage:
    """Usage of one deployment."""
    return totals(db, deployment).get(deployment, Usage())


def count_try(engine: Engine, deployment: str, status: int, size: int) -> None:
    """Count one request of the shop's own try-it box."""
    item = UsageItem(
        deployment=deployment, key_id="try", requests=1, errors=int(status >= 500), bytes_out=size
    )
    with transaction(engine) as db:
        take(db, UsageReport(batch=uuid4(), items=[item]))
