"""What people do with deployments: deploy, stop, retry, remove, read logs, call, and ask for a key."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import Session

from catalog import blobs, signing
from catalog.errors import CatalogError
from catalog.listings import get_version
from catalog.models import Listing, Version
from deployer import deployments, devices, health, optimizations
from deployer.errors import InvalidState, RuntimeUnavailable
from deployer.models import Deployment, DeploymentState
from deployer.optimizer import certificate
from deployer.runtimes import Availability
from deployer.spec import Sandbox
from marketplace import accounts, audit, metering, workflows
from marketplace.audit import AuditAction
from marketplace.db import transaction
from marketplace.having import require_may_have
from marketplace.models import Account
from marketplace.services import Services

if TYPE_CHECKING:
    import httpx

SERVING = frozenset({DeploymentState.live, DeploymentState.degraded})


@dataclass(frozen=True)
class Deployed:
    """A deployment on its way, and its key in plain text, which is shown once."""

    deployment: Deployment
    key: str


class SandboxNeeded(CatalogError):
    """A version that nobody reviewed runs in a full sandbox only. Facts: version, runtime, sandbox."""

    code = "sandbox-needed"


def deploy(
    services: Services,
    db: Session,
    account: Account,
    *,
    listing: str,
    name: str | None = None,
    runtime: str | None = None,
    device: str | None = None,
    variant: str | None = None,
    address: str = "",
) -> Deployed:
    """Begin to deploy vendor/name[@version], or a variant of it; the work goes on after this returns.

    A yanked version must be named by its number. Raises UnknownListing, UnknownVersion, VersionNotReady,
    VersionWithheld, SandboxNeeded, UnknownVariant, VariantMismatch, InvalidName, DeploymentExists,
    UnknownRuntime, UnknownDevice, DeviceNotServed and RuntimeUnavailable before anything is made.
    """
    chosen = services.runtime(runtime or services.settings.runtime)
    if device is not None:
        devices.require_serving(device)
    db.commit()  # an engine may hang: no transaction stays open while it is asked
    availability = chosen.available()
    if not availability.ok:
        raise RuntimeUnavailable(runtime=chosen.name, why=availability.why)
    offer, version, made_for = _choose(db, account, listing, variant, device)
    require_may_have(db, offer, version, account.id)
    _require_sandbox(chosen.name, availability, version)
    deployment = deployments.create_deployment(
        db,
        deployments.NewDeployment(
            name=name or offer.name.partition("/")[2],
            listing=offer.name,
            version=version.number,
            version_digest=version.digest,
            task=offer.task,
            runtime=chosen.name,
            device=made_for,
            variant=variant or "",
            owner=account.id,
        ),
    )
    accounts.revoke_keys(db, deployment.name)
    key = accounts.create_key(db, account, deployment.name)
    facts = {"listing": offer.name, "version": version.number, "runtime": chosen.name}
    audit.record(db, account, AuditAction.begin_deployment, deployment.name, address=address, **facts)
    _commit_and_start(services, db, deployment)
    return Deployed(deployment, key)


def _choose(
    db: Session, account: Account, listing: str, digest: str | None, device: str | None
) -> tuple[Listing, Version, str]:
    """Listing, version and device; a variant brings its own version and device where none is named."""
    if not digest:
        return *get_version(db, listing, account.id), device or devices.CPU.id
    variant = optimizations.get_variant(db, digest)
    named = f"{listing}@{variant.version}" if listing == variant.listing else listing
    offer, version = get_version(db, named, account.id)
    wanted = device or variant.device
    devices.require_serving(wanted)
    optimizations.require_match(variant, listing=offer.name, version_digest=version.digest, device=wanted)
    return offer, version, wanted


def _require_sandbox(runtime: str, availability: Availability, version: Version) -> None:
    """Refuse with SandboxNeeded to run what nobody reviewed where it would not be shut in wholly."""
    if version.reviewed:
        return
    # A container is always shut in; the process runtime tells what it found on this machine.
    grade = availability.detail.get("sandbox", Sandbox.full if runtime == "docker" else Sandbox.none)
    if grade != Sandbox.full:
        raise SandboxNeeded(runtime=runtime, sandbox=str(grade), version=version.number)


@dataclass(frozen=True)
class Verified:
    """Files whose signature holds, and their certificate where they have one."""

    digest: str
    signature: signing.Signature
    certificate: dict[str, Any] | None


def verify(services: Services, digest: str, *, certified: bool) -> Verified:
    """Check the laid out files of a version or variant; raises SignatureInvalid and CertificateRefused."""
    home = services.settings.home
    folder = blobs.model_dir(home, digest)
    signature = signing.verify(home, folder, digest)
    return Verified(digest, signature, certificate.check(folder) if certified else None)


def retry(services: Services, db: Session, name: str, *, by: audit.Actor | None = None) -> Deployment:
    """Begin a failed or stopped deployment again, with its keys; raises InvalidState for any other."""
    deployment = deployments.get_deployment(db, name, lock=True)
    if deployment.state not in deployments.RESTING:
        raise InvalidState(name=name, state=deployment.state, wanted="retry")
    deployment.restarts = 0
    deployments.begin_again(db, deployment)
    audit.record(db, by, AuditAction.begin_deployment, name, again=True)
    _commit_and_start(services, db, deployment)
    return deployment


def _commit_and_start(services: Services, db: Session, deployment: Deployment) -> None:
    db.commit()
    services.routes.publish()
    notify(services, deployment.name)
    workflows.start_deploy(deployment)


def stop(services: Services, db: Session, name: str, *, by: audit.Actor | None = None) -> Deployment:
    """Stop a deployment, or cancel one that is on its way; raises InvalidState when it is stopped.

    While its runtime does not answer it stays `stopping`; the reconciler finishes the work.
    """
    deployment = deployments.get_deployment(db, name, lock=True)
    deployments.ask_to_stop(db, deployment)
    audit.record(db, by, AuditAction.stop_deployment, name)
    db.commit()
    services.routes.wait_in_force(services.routes.publish(), timeout=2)
    notify(services, name)
    if workflows.stop_replica(services, deployment.runtime, deployments.replica_id(deployment)):
        call_stopped(services, name)
    db.expire(deployment)  # it was changed in another session
    return deployment


def call_stopped(services: Services, name: str) -> None:
    """Say that nothing of a deployment runs any more, when that is still what is wanted."""
    with transaction(services.engine) as db:
        row = deployments.get_deployment(db, name, lock=True)
        if row.desired == DeploymentState.stopped and row.state not in deployments.RESTING:
            row.address = row.transport = row.sandbox = ""
            deployments.set_state(db, row, DeploymentState.stopped)
    services.routes.publish()
    notify(services, name)


def remove(services: Services, db: Session, name: str, *, by: audit.Actor | None = None) -> None:
    """Stop a deployment when it runs, then forget it and revoke its keys.

    Raises InvalidState while its runtime does not confirm that it stopped.
    """
    deployment = deployments.get_deployment(db, name)
    if deployment.state not in deployments.RESTING:
        db.commit()
        stop(services, db, name, by=by)
        db.commit()
        db.expire_all()
        deployment = deployments.get_deployment(db, name, lock=True)
    accounts.revoke_keys(db, name)
    lived = deployments.has_lived(db, deployment)
    deployments.remove_deployment(db, deployment)
    audit.record(db, by, AuditAction.remove_deployment, name, lived=lived)
    db.commit()
    services.routes.publish()
    notify(services, name)


def logs(services: Services, db: Session, name: str, tail: int = 200) -> str:
    """The last lines that the deployment's server wrote."""
    deployment = deployments.get_deployment(db, name)
    return services.runtime(deployment.runtime).logs(deployments.replica_id(deployment), tail)


def new_key(services: Services, db: Session, account: Account, name: str, *, address: str = "") -> str:
    """One more key for a deployment; the plain text is shown once."""
    deployment = deployments.get_deployment(db, name)
    key = accounts.create_key(db, account, deployment.name)
    audit.record(db, account, AuditAction.create_key, name, address=address)
    db.commit()
    services.routes.wait_in_force(services.routes.publish(), timeout=2)
    return key


def predict(
    services: Services, db: Session, name: str, body: dict[str, Any], *, lang: str = "zh"
) -> "httpx.Response":
    """Send a body to the deployment's /predict, as its try-it box does; counted as usage of the shop.

    Raises InvalidState unless it serves, and ReplicaUnreachable when no answer comes.
    """
    deployment = deployments.get_deployment(db, name)
    if deployment.state not in SERVING or not deployment.address:
        raise InvalidState(name=name, state=deployment.state, wanted=DeploymentState.live)
    db.commit()  # a model may think for long: no transaction stays open meanwhile
    replica = deployments.replica_id(deployment)
    key = services.replica_key(replica) if deployment.transport == "tcp" else ""
    response = health.predict(replica, deployment.address, body, key=key, lang=lang)
    metering.count_try(services.engine, name, response.status_code, len(response.content))
    return response


def notify(services: Services, name: str) -> None:
    """Wake the pages that show this deployment or the board."""
    services.hub.notify(workflows.topic(name))
    services.hub.notify(workflows.BOARD)
