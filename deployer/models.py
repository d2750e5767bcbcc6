"""The deployer's tables. Times are aware and in UTC."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import JSON, BigInteger, MetaData
from sqlmodel import Field, SQLModel


def utcnow() -> datetime:
    """Now, as an aware time in UTC."""
    return datetime.now(UTC)


class DeployerTable(SQLModel):
    """Base of the deployer's tables; constraint names are fixed so that migrations can name them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )


class DeploymentState(StrEnum):
    """States of a deployment; `desired` is either live or stopped."""

    pending = "pending"
    building = "building"
    starting = "starting"
    live = "live"
    degraded = "degraded"
    updating = "updating"
    sleeping = "sleeping"
    stopping = "stopping"
    stopped = "stopped"
    failed = "failed"


class StepState(StrEnum):
    """States of one step of a deployment."""

    waiting = "waiting"
    running = "running"
    done = "done"
    failed = "failed"


class OptimizationState(StrEnum):
    """States of an optimisation; done says that it ended by itself, whatever it found."""

    pending = "pending"
    running = "running"
    done = "done"
    cancelled = "cancelled"
    failed = "failed"


class PackageState(StrEnum):
    """States of a package; a ready one has its file."""

    pending = "pending"
    building = "building"
    ready = "ready"
    failed = "failed"
    cancelled = "cancelled"


STEPS = ("fetch", "prepare", "package", "start", "health", "warm-up")


class Deployment(DeployerTable, table=True):
    """One running offer: what is wanted (`desired`) and what is seen (`state`)."""

    __tablename__ = "deployment"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    name: str = Field(unique=True, max_length=48)
    listing: str = Field(index=True)  # vendor/name
    version: str  # 1.0.0
    version_digest: str  # sha256:… of the version's manifest
    task: str
    runtime: str
    variant: str = Field(default="", index=True)  # digest of a Variant; "" runs the version as it came
    device: str = "cpu"
    owner: UUID = Field(index=True)
    revision: int = 1  # counts starts of the workflow: retry and redeploy raise it
    desired: str = DeploymentState.live
    state: str = Field(default=DeploymentState.pending, index=True)
    address: str = ""  # unix:/path or tcp:host:port of the replica
    transport: str = ""  # unix | tcp
    sandbox: str = ""  # full | partial | none
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    restarts: int = 0
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)


class DeploymentEvent(DeployerTable, table=True):
    """One line of a deployment's history; `id` orders them and is the SSE event id."""

    __tablename__ = "deployment_event"
    id: int | None = Field(default=None, primary_key=True)
    deployment_id: UUID = Field(foreign_key="deployment.id", index=True)
    revision: int = 1
    kind: str = "step"  # step | state
    name: str  # the step's name, or the state's
    state: str = ""  # of a step: running | done | failed
    detail: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    at: datetime = Field(default_factory=utcnow)


class Optimization(DeployerTable, table=True):
    """One search for the best variant of a version on a device; what it found is in `report`."""

    __tablename__ = "optimization"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    listing: str = Field(index=True)  # vendor/name
    version: str
    version_digest: str  # sha256:… of the version's manifest
    task: str
    device: str
    objective: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    seed: int = 0
    sample: str = ""  # sha256 of the person's data; "" takes the version's own examples
    sample_name: str = ""
    owner: UUID = Field(index=True)
    revision: int = 1  # counts starts of the workflow: retry raises it
    state: str = Field(default=OptimizationState.pending, index=True)
    cancel: bool = False  # somebody asked to stop; the job looks here
    report: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # deployer.optimizer.report
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    variant: str = ""  # digest of the Variant that was picked
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)


class Variant(DeployerTable, table=True):
    """A picked variant of a version, which may be deployed instead of it."""

    __tablename__ = "variant"
    digest: str = Field(primary_key=True)  # sha256:… of the variant's manifest
    optimization_id: UUID = Field(index=True)  # no foreign key: a variant outlives the job's record
    listing: str = Field(index=True)
    version: str
    version_digest: str = Field(index=True)
    device: str
    manifest: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    certificate: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    size: int = Field(sa_type=BigInteger)  # bytes of all its files
    created: datetime = Field(default_factory=utcnow)


class Package(DeployerTable, table=True):
    """One package of a version or variant for a terminal; the same wish again is the same row."""

    __tablename__ = "package"
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    key: str = Field(unique=True, max_length=64)  # of all that decides about its bytes; names its folder
    listing: str = Field(index=True)  # vendor/name
    version: str
    version_digest: str  # sha256:… of the version's manifest
    variant: str = Field(default="", index=True)  # digest of a Variant; "" takes the version as it came
    task: str
    terminal: str  # an id of deployer.terminals
    device: str
    platforms: list[str] = Field(default_factory=list, sa_type=JSON)  # linux/amd64 …; of images only
    owner: UUID = Field(index=True)
    revision: int = 1  # counts starts of the workflow: asking again for one that failed raises it
    state: str = Field(default=PackageState.pending, index=True)
    cancel: bool = False  # somebody asked to stop; the job looks here
    steps: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)  # name, state, seconds
    error_code: str = ""
    error_facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    file_name: str = ""
    media_type: str = ""
    size: int = Field(default=0, sa_type=BigInteger)  # bytes of the file
    digest: str = ""  # sha256:… of the file
    facts: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)  # what its maker says of it
    created: datetime = Field(default_factory=utcnow)
    updated: datetime = Field(default_factory=utcnow)
