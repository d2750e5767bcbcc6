"""Deployments as rows: made, moved through their states, and their history told step by step."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlmodel import Session, SQLModel, col, select

from deployer.errors import DeploymentExists, InvalidName, InvalidState, UnknownDeployment
from deployer.models import STEPS, Deployment, DeploymentEvent, DeploymentState, StepState, utcnow

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
RESERVED = frozenset({"new", "all"})  # would read as a page of the board
RESTING = frozenset({DeploymentState.stopped, DeploymentState.failed})
ON_THE_WAY = frozenset({DeploymentState.pending, DeploymentState.building, DeploymentState.starting})


class NewDeployment(SQLModel):
    """What a deployment is made from."""

    name: str
    listing: str
    version: str
    version_digest: str
    task: str
    runtime: str
    device: str = "cpu"
    variant: str = ""
    owner: UUID


@dataclass(frozen=True)
class StepView:
    """One step as people see it: its state, when it began and how many seconds it took so far."""

    name: str
    state: str
    started: datetime | None = None
    seconds: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def get_deployment(db: Session, name: str, *, lock: bool = False) -> Deployment:
    """The deployment of this name; raises UnknownDeployment. `lock` keeps other writers away from the row."""
    query = select(Deployment).where(Deployment.name == name)
    row = db.exec(query.with_for_update() if lock else query).first()
    if row is None:
        raise UnknownDeployment(name=name)
    return row


def list_deployments(db: Session) -> list[Deployment]:
    """All deployments, the newest first."""
    return list(db.exec(select(Deployment).order_by(col(Deployment.created).desc(), col(Deployment.name))))


def create_deployment(db: Session, new: NewDeployment) -> Deployment:
    """Add a deployment in state pending, or begin again one of the same name that rests.

    Raises InvalidName, and DeploymentExists while one of this name is wanted or still stopping.
    """
    if not NAME.fullmatch(new.name) or new.name in RESERVED:
        raise InvalidName(name=new.name)
    row = db.exec(select(Deployment).where(Deployment.name == new.name)).first()
    if row is None:
        row = Deployment.model_validate(new)
        db.add(row)
        db.flush()
        record(db, row, "state", DeploymentState.pending)
        return row
    if row.state not in RESTING:
        raise DeploymentExists(name=new.name, state=row.state)
    for key, value in new.model_dump(exclude={"name"}).items():
        setattr(row, key, value)
    row.restarts = 0
    begin_again(db, row)
    return row


def begin_again(db: Session, deployment: Deployment) -> None:
    """Raise the revision and go back to pending; what ran before no longer counts."""
    deployment.revision += 1
    deployment.desired = DeploymentState.live
    deployment.address = deployment.transport = deployment.sandbox = ""
    set_state(db, deployment, DeploymentState.pending)


def ask_to_stop(db: Session, deployment: Deployment) -> None:
    """Want the deployment stopped; raises InvalidState when it is stopped already."""
    if deployment.state == DeploymentState.stopped:
        raise InvalidState(name=deployment.name, state=deployment.state, wanted=DeploymentState.stopped)
    deployment.desired = DeploymentState.stopped
    set_state(db, deployment, DeploymentState.stopping)


def set_state(db: Session, deployment: Deployment, state: DeploymentState) -> None:
    """Move to `state`, clearing an earlier failure, and write it into the history."""
    deployment.state = state
    deployment.error_code = ""
    deployment.error_facts = {}
    deployment.updated = utcnow()
    db.add(deployment)
    record(db, deployment, "state", state)


def set_failed(
    db: Session, deployment: Deployment, code: str, facts: dict[str, Any], state: DeploymentState
) -> None:
    """Move to failed or degraded with the cause."""
    set_state(db, deployment, state)
    deployment.error_code = code
    deployment.error_facts = facts


def record(
    db: Session, deployment: Deployment, kind: str, name: str, state: str = "", **detail: Any
) -> DeploymentEvent:
    """Add a line to the history of the deployment's present revision."""
    event = DeploymentEvent(
        deployment_id=deployment.id,
        revision=deployment.revision,
        kind=kind,
        name=name,
        state=state,
        detail=detail,
    )
    db.add(event)
    db.flush()
    return event


def events_after(db: Session, deployment_id: UUID, after: int = 0, limit: int = 500) -> list[DeploymentEvent]:
    """The history's lines whose id is above `after`, in order."""
    return list(
        db.exec(
            select(DeploymentEvent)
            .where(DeploymentEvent.deployment_id == deployment_id, col(DeploymentEvent.id) > after)
            .order_by(col(DeploymentEvent.id))
            .limit(limit)
        )
    )


def steps_of(db: Session, deployment: Deployment) -> list[StepView]:
    """The steps of the present revision, those not begun as waiting."""
    events = db.exec(
        select(DeploymentEvent)
        .where(
            DeploymentEvent.deployment_id == deployment.id,
            DeploymentEvent.revision == deployment.revision,
            DeploymentEvent.kind == "step",
        )
        .order_by(col(DeploymentEvent.id))
    )
    views = {name: StepView(name, StepState.waiting) for name in STEPS}
    for event in events:
        views[event.name] = _advance(views[event.name], event)
    return list(views.values())


def _advance(view: StepView, event: DeploymentEvent) -> StepView:
    if event.state == StepState.running:
        return StepView(event.name, event.state, event.at, None, event.detail)
    seconds = (event.at - view.started).total_seconds() if view.started else None
    return StepView(event.name, event.state, view.started, seconds, event.detail)


def has_lived(db: Session, deployment: Deployment) -> bool:
    """Whether it ever served."""
    lived = select(DeploymentEvent.id).where(
        DeploymentEvent.deployment_id == deployment.id,
        DeploymentEvent.kind == "state",
        DeploymentEvent.name == DeploymentState.live,
    )
    return db.exec(lived).first() is not None


def remove_deployment(db: Session, deployment: Deployment) -> None:
    """Forget a deployment that rests, with its history; raises InvalidState for any other."""
    if deployment.state not in RESTING:
        raise InvalidState(name=deployment.name, state=deployment.state, wanted=DeploymentState.stopped)
    db.exec(delete(DeploymentEvent).where(col(DeploymentEvent.deployment_id) == deployment.id))
    db.delete(deployment)


def replica_id(deployment: Deployment) -> str:
    """Id of the replica that the present revision runs; no other deployment of this name ever has it."""
    return f"{deployment.name}-{deployment.id.hex[:8]}-{deployment.revision}"
