"""Durable work: bringing a deployment up and filling the starter shelf survive a kill of the shop.

Each step may run twice. A step never raises what a person caused or can mend: it writes the cause
into the deployment and says that the workflow is over.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlmodel import Session

import catalog.errors
import deployer.errors
from catalog import blobs, listings, shelf, signing
from catalog import manifest as manifests
from deployer import deployments, lifecycle, optimizations
from deployer.models import STEPS, Deployment, DeploymentState, StepState
from deployer.optimizer import certificate
from deployer.optimizer.convert import BUILDERS
from deployer.optimizer.errors import CertificateRefused
from deployer.spec import Limits, Replica, ReplicaSpec
from marketplace.db import read_session, transaction
from marketplace.services import Services, StepProgress

log = logging.getLogger(__name__)

# Raised only when steps change their order or meaning: workflows of another version are not resumed.
APPLICATION_VERSION = "1"
BOARD = "deployments"
BROKEN = frozenset({"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})  # DBOS's states

_bound: list[Services] = []
_closed = threading.Event()
_shelf_lock = threading.Lock()


class ShopCloses(Exception):
    """The shop ends while this step runs; the next start takes the workflow up here."""


class Superseded(Exception):
    """The deployment was stopped, removed or begun again while this step ran."""


def topic(deployment: str) -> str:
    """The hub's topic of one deployment."""
    return f"deployment:{deployment}"


def launch(services: Services) -> None:
    """Open the workflow database and take up what a killed shop left unfinished."""
    _bound[:] = [services]
    _closed.clear()
    config = DBOSConfig(
        name="opc-market",
        system_database_url=services.settings.workflow_database_url,
        application_version=APPLICATION_VERSION,
        executor_id="shop",
        log_level="ERROR",
        enable_otlp=False,
        max_executor_threads=16,
    )
    DBOS(config=config)
    DBOS.launch()


def bound() -> Services:
    """What the running workflows work with."""
    return _bound[0]


def close() -> None:
    """Let go of the workflow database; what runs is taken up at the next start."""
    DBOS.destroy(workflow_completion_timeout_sec=0)
    _closed.set()


# Deployments


def workflow_id(deployment: Deployment) -> str:
    """Id of the workflow of the present revision."""
    return f"deploy-{deployment.id}-{deployment.revision}"


def is_broken(deployment: Deployment) -> bool:
    """Whether the workflow of the present revision ended without settling the deployment."""
    status = DBOS.get_workflow_status(workflow_id(deployment))
    return status is not None and status.status in BROKEN


def start_deploy(deployment: Deployment) -> None:
    """Start the workflow of the present revision; starting it twice starts it once."""
    with SetWorkflowID(workflow_id(deployment)):
        DBOS.start_workflow(deploy_workflow, str(deployment.id), deployment.revision)


@DBOS.workflow(name="deploy")
def deploy_workflow(deployment_id: str, revision: int) -> str:
    """Bring one revision of a deployment up, step by step."""
    for step in STEPS:
        outcome = perform(deployment_id, revision, step)
        if outcome != "done":
            return outcome
    return go_live(deployment_id, revision)


@DBOS.step(name="perform")
def perform(deployment_id: str, revision: int, step: str) -> str:
    """Run one step; returns done, failed or superseded."""
    services, uid = bound(), UUID(deployment_id)
    deployment: Deployment | None = None
    try:
        deployment = _begin_step(services, uid, revision, step)
        detail = _ACTIONS[step](services, deployment)
        _end_step(services, uid, revision, step, detail)
    except Superseded:
        if deployment is not None:
            stop_replica(services, deployment.runtime, deployments.replica_id(deployment))
        return "superseded"
    except (catalog.errors.CatalogError, deployer.errors.DeployerError) as error:
        unless_closing(services)
        _fail(services, uid, revision, step, error.code, error.facts)
        return "failed"
    except Exception:
        unless_closing(services)
        log.exception("step failed", extra={"deployment": deployment_id, "step": step})
        _fail(services, uid, revision, step, "internal-error", {"incident": f"{step} {deployment_id}"})
        return "failed"
    return "done"


def unless_closing(services: Services) -> None:
    """Blame nobody for what fails because the shop ends and takes its servers with it.

    The workflow must stay unfinished, so this raises only after its database was let go.
    """
    if services.hub.closed:
        _closed.wait(timeout=10)
        raise ShopCloses


@DBOS.step(name="go-live")
def go_live(deployment_id: str, revision: int) -> str:
    """Say that the deployment is live, once the gateway routes to it."""
    services = bound()
    try:
        with transaction(services.engine) as db:
            deployment = _current(db, UUID(deployment_id), revision)
            name = deployment.name
            deployments.set_state(db, deployment, DeploymentState.live)
    except Superseded:
        return "superseded"
    services.routes.wait_in_force(services.routes.publish(), timeout=5)
    _tell(services, name)
    return "live"


def _current(db: Session, uid: UUID, revision: int, *, lock: bool = True) -> Deployment:
    deployment = db.get(Deployment, uid, with_for_update=lock)
    if deployment is None or deployment.revision != revision or deployment.desired != DeploymentState.live:
        raise Superseded
    return deployment


_STATE_OF_STEP = {
    "fetch": DeploymentState.building,
    "prepare": DeploymentState.building,
    "package": DeploymentState.building,
    "start": DeploymentState.starting,
    "health": DeploymentState.starting,
    "warm-up": DeploymentState.starting,
}


def _begin_step(services: Services, uid: UUID, revision: int, step: str) -> Deployment:
    with transaction(services.engine) as db:
        deployment = _current(db, uid, revision)
        if deployment.state != _STATE_OF_STEP[step]:
            deployments.set_state(db, deployment, _STATE_OF_STEP[step])
        deployments.record(db, deployment, "step", step, StepState.running)
        db.flush()
        db.refresh(deployment)
        db.expunge(deployment)
    _tell(services, deployment.name)
    return deployment


def _end_step(services: Services, uid: UUID, revision: int, step: str, detail: dict[str, Any]) -> None:
    with transaction(services.engine) as db:
        deployment = _current(db, uid, revision)
        deployments.record(db, deployment, "step", step, StepState.done, **detail)
        name = deployment.name
    services.progress.pop(name, None)
    _tell(services, name)


def give_up(services: Services, deployment: Deployment) -> None:
    """Call a deployment failed whose workflow broke."""
    facts = {"incident": workflow_id(deployment)}
    _fail(services, deployment.id, deployment.revision, STEPS[-1], "internal-error", facts)


def _fail(services: Services, uid: UUID, revision: int, step: str, code: str, facts: dict[str, Any]) -> None:
    """Write the cause down and leave nothing half-made behind."""
    try:
        with transaction(services.engine) as db:
            deployment = _current(db, uid, revision)
            deployments.record(db, deployment, "step", step, StepState.failed)
            deployments.set_failed(db, deployment, code, plain(facts), DeploymentState.failed)
            name, runtime, replica = deployment.name, deployment.runtime, deployments.replica_id(deployment)
    except Superseded:
        return
    services.progress.pop(name, None)
    stop_replica(services, runtime, replica)
    services.routes.publish()
    _tell(services, name)


def stop_replica(services: Services, runtime: str, replica: str, grace: float = 10.0) -> bool:
    """Stop a replica; False when its runtime does not answer now, and the reconciler must try again."""
    try:
        services.runtime(runtime).stop(replica, grace)
    except deployer.errors.DeployerError as error:
        log.warning("replica not stopped", extra={"replica": replica, "why": str(error)})
        return False
    return True


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts of an error as JSON keeps them."""
    return {k: v if isinstance(v, str | int | float | bool | list) else str(v) for k, v in facts.items()}


def _tell(services: Services, name: str) -> None:
    services.hub.notify(topic(name))
    services.hub.notify(BOARD)


def _progress(services: Services, deployment: Deployment, step: str) -> Callable[..., None]:
    """A Progress that shows at most four times a second, and gives up when nobody wants the work."""
    last = [0.0]

    def report(done: int, total: int, note: str = "") -> None:
        if time.monotonic() - last[0] < 0.25 and done != total:
            return
        last[0] = time.monotonic()
        _still_wanted(services, deployment)()
        services.progress[deployment.name] = StepProgress(step, done, total, note)
        services.hub.notify(topic(deployment.name))

    return report


def _still_wanted(services: Services, deployment: Deployment) -> Callable[[], None]:
    def check() -> None:
        with read_session(services.engine) as db:
            _current(db, deployment.id, deployment.revision, lock=False)

    return check


def replica_spec(services: Services, deployment: Deployment) -> ReplicaSpec:
    """What the deployment's runtime is asked to start."""
    replica = deployments.replica_id(deployment)
    settings = services.settings
    folder = blobs.model_dir(settings.home, deployment.variant or deployment.version_digest)
    return ReplicaSpec(
        id=replica,
        deployment=deployment.name,
        model_dir=folder,
        prepared=settings.home / "prepared" / folder.name,
        limits=Limits(memory=settings.replica_memory, threads=settings.replica_threads),
        key=services.replica_key(replica),
    )


@dataclass(frozen=True)
class Files:
    """What a deployment runs: a version as it came, or a variant of it."""

    listing: str
    digest: str
    manifest: dict[str, Any]
    certified: bool


def files_of(services: Services, deployment: Deployment) -> Files:
    """The files of a deployment; raises UnknownListing, UnknownVersion or UnknownVariant."""
    with read_session(services.engine) as db:
        if deployment.variant:
            variant = optimizations.get_variant(db, deployment.variant)
            return Files(variant.listing, variant.digest, variant.manifest, certified=True)
        _, version = listings.get_version(db, f"{deployment.listing}@{deployment.version}", all_states=True)
        return Files(deployment.listing, version.digest, version.manifest, certified=False)


def _fetch(services: Services, deployment: Deployment) -> dict[str, Any]:
    """Make sure that every file is in the store, fetching again what is missing."""
    files = files_of(services, deployment)
    missing = blobs.missing(services.settings.home, files.manifest)
    if missing:
        refill(services, files.listing, _progress(services, deployment, "fetch"))
    return {"bytes": manifests.size(files.manifest), "fetched": len(missing)}


def refill(services: Services, listing: str, progress: Callable[..., None]) -> None:
    """Fetch a starter listing's files again; raises BlobMissing when it did not come from the shelf."""
    entry = next((e for e in shelf.load_entries() if f"opc-market/{e.id}" == listing), None)
    if entry is None:
        raise catalog.errors.BlobMissing(sha256="", path=listing)
    with _shelf_lock:
        shelf.fetch_entry(entry, services.settings.home, shelf_cache(services), BUILDERS, progress)


def _prepare(services: Services, deployment: Deployment) -> dict[str, Any]:
    """Lay the model folder out of checked files; a variant must show that its certificate holds."""
    files = files_of(services, deployment)
    folder = lay_out(services, files, _progress(services, deployment, "prepare"))
    if files.certified:
        signing.verify(services.settings.home, folder, files.digest)
        certificate.check(folder)
    return {"files": len(list(folder.iterdir())), "certified": files.certified}


def lay_out(services: Services, files: Files, progress: Callable[..., None]) -> Path:
    """The model folder of checked files; one that is missing or rotted is fetched once more."""
    home = services.settings.home
    try:
        return blobs.materialize(home, files.manifest, files.digest)
    except (catalog.errors.BlobCorrupted, catalog.errors.BlobMissing):
        log.warning("file of a version is damaged; fetching it again", extra={"listing": files.listing})
        refill(services, files.listing, progress)
    try:
        return blobs.materialize(home, files.manifest, files.digest)
    except catalog.errors.BlobMissing as error:
        if not files.certified:
            raise
        path = error.facts["path"]  # made here: there is no source to fetch it from
        raise CertificateRefused(
            subject=files.digest, why=f"{path} is missing or damaged", why_zh=f"{path} 缺失或已损坏"
        ) from None


def _package(services: Services, deployment: Deployment) -> dict[str, Any]:
    runtime = services.runtime(deployment.runtime)
    spec = replica_spec(services, deployment)
    return lifecycle.package(runtime, spec, _progress(services, deployment, "package"))


def _start(services: Services, deployment: Deployment) -> dict[str, Any]:
    replica = _start_replica(services, deployment)
    return {"transport": replica.transport, "sandbox": str(replica.sandbox)}


def _start_replica(services: Services, deployment: Deployment) -> Replica:
    replica = lifecycle.start(services.runtime(deployment.runtime), replica_spec(services, deployment))
    with transaction(services.engine) as db:
        row = _current(db, deployment.id, deployment.revision)
        row.address, row.transport, row.sandbox = replica.address, replica.transport, replica.sandbox
    return replica


def _replica(services: Services, deployment: Deployment) -> Replica:
    """The replica of this revision, started again when nothing is known of it: its shop was killed.

    One that ended by itself is returned as it is: the health step says so, with its log.
    """
    runtime = services.runtime(deployment.runtime)
    seen = runtime.inspect(deployments.replica_id(deployment))
    return seen or _start_replica(services, deployment)


def _health(services: Services, deployment: Deployment) -> dict[str, Any]:
    return _wait_healthy(services, deployment, _replica(services, deployment))


def _wait_healthy(services: Services, deployment: Deployment, replica: Replica) -> dict[str, Any]:
    return lifecycle.wait_healthy(
        services.runtime(deployment.runtime),
        replica,
        key=services.replica_key(replica.id) if replica.transport == "tcp" else "",
        deadline=services.settings.start_timeout,
        go_on=_still_wanted(services, deployment),
    )


def _warm_up(services: Services, deployment: Deployment) -> dict[str, Any]:
    replica = _replica(services, deployment)
    _wait_healthy(services, deployment, replica)  # at once, but for one that had to be started again
    key = services.replica_key(replica.id) if replica.transport == "tcp" else ""
    return lifecycle.warm_up(replica, files_of(services, deployment).manifest, key=key)


_ACTIONS: dict[str, Callable[[Services, Deployment], dict[str, Any]]] = {
    "fetch": _fetch,
    "prepare": _prepare,
    "package": _package,
    "start": _start,
    "health": _health,
    "warm-up": _warm_up,
}


# The starter shelf


def shelf_cache(services: Services) -> shelf.DownloadCache:
    """Where archives are kept, and whether after use too."""
    settings = services.settings
    return shelf.DownloadCache(settings.download_cache, keep=settings.keep_downloads)


def start_shelf(attempt: str, ids: list[str]) -> None:
    """Start filling the shelf; `attempt` names this try, so that a later one is another workflow."""
    with SetWorkflowID(f"shelf-{attempt}"):
        DBOS.start_workflow(shelf_workflow, ids)


@DBOS.workflow(name="shelf")
def shelf_workflow(ids: list[str]) -> None:
    """Fill the shelf, one entry after the other, the smallest first."""
    for entry in ids:
        fill(entry)


@DBOS.step(name="fill")
def fill(entry_id: str) -> None:
    """Bring one entry on the shelf; a failure is written to the entry, and the next one follows."""
    services = bound()
    entry = next((e for e in shelf.load_entries() if e.id == entry_id), None)
    if entry is None:
        return  # a later release has it no more
    with _shelf_lock:
        # A killed shop's workflow is taken up beside the one of this start: what is there is done.
        if _is_over(services, entry_id):
            return
        try:
            shelf.fill_entry(
                services.engine,
                entry,
                services.settings.home,
                shelf_cache(services),
                BUILDERS,
                changed=lambda: _shelf_changed(services),
            )
        except Exception:  # the entry could not even be marked as failed; the others must not wait for it
            log.exception("shelf entry not filled", extra={"entry": entry_id})
    _shelf_changed(services)


def _is_over(services: Services, entry_id: str) -> bool:
    with read_session(services.engine) as db:
        return entry_id not in shelf.waiting(db)


def _shelf_changed(services: Services) -> None:
    services.hub.notify("shelf")
