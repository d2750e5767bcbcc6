"""What people do with optimisations: ask for one, watch it, cancel it; and the job behind it.

A job is one durable step around `deployer.optimizer.search`, whose work lies in optimizations/<id>/ of the
home: a killed shop takes it up where it was. Jobs measure speed, so one runs at a time; the others wait.
"""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from dbos import DBOS, SetWorkflowID
from sqlmodel import Session

from catalog import blobs, signing
from catalog import manifest as manifests
from catalog.errors import CatalogError
from catalog.listings import get_version
from catalog.storage import only_one
from deployer import devices, optimizations
from deployer.errors import DeployerError
from deployer.models import Optimization, OptimizationState, Variant
from deployer.optimizer import objective as objectives
from deployer.optimizer import report as reports
from deployer.optimizer.errors import ObjectiveRefused, OptimizationCancelled
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Report
from marketplace import audit, samples, workflows
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.errors import MarketError
from marketplace.having import require_may_have
from marketplace.models import Account
from marketplace.services import Services

log = logging.getLogger(__name__)

BOARD = "optimizations"
QUEUE = "optimizations"
LARGEST_SEED = 2**31 - 1
WRITE_PERIOD = 0.5  # seconds between two reports in the database
LEAST_SHARE = 10  # no recipe makes graphs smaller than a tenth: four bits of 32, and their scales


class Superseded(Exception):
    """The optimisation was cancelled, removed or begun again before this step ran."""


def topic(identity: UUID | str) -> str:
    """The hub's topic of one optimisation."""
    return f"optimization:{identity}"


def folder_of(services: Services, identity: UUID | str) -> Path:
    """Where a job's work lies while it runs, and its report afterwards."""
    return services.settings.home / "optimizations" / str(identity)


# What people ask for


def ask(
    services: Services,
    db: Session,
    account: Account,
    *,
    listing: str,
    device: str | None = None,
    objective: Objective | None = None,
    sample: str = "",
    seed: int = 0,
    address: str = "",
) -> Optimization:
    """Begin to search the best variant of vendor/name[@version]; the work goes on after this returns.

    Raises UnknownListing, UnknownVersion, UnknownDevice, UnknownSample and ObjectiveRefused before anything
    is made.
    """
    target = devices.profile(device or devices.CPU.id)
    wanted = objective or Objective()
    objectives.check_for(target.id, wanted, confirmed=True)
    if not 0 <= seed <= LARGEST_SEED:
        raise ObjectiveRefused(bound="seed", value=seed, expected=f"0 – {LARGEST_SEED}")
    brought = samples.get_sample(services.settings.home, str(account.id), sample) if sample else None
    offer, version = get_version(db, listing, account.id)
    require_may_have(db, offer, version, account.id)
    objectives.check(wanted, smallest_size=_graph_bytes(version.manifest) // LEAST_SHARE)
    row = optimizations.create_optimization(
        db,
        optimizations.NewOptimization(
            listing=offer.name,
            version=version.number,
            version_digest=version.digest,
            task=offer.task,
            device=target.id,
            objective=msgspec.to_builtins(wanted),
            seed=seed,
            sample=brought.id if brought else "",
            sample_name=brought.name if brought else "",
            owner=account.id,
        ),
    )
    facts = {"device": target.id, "id": str(row.id)}
    audit.record(db, account, AuditAction.begin_optimization, offer.name, address=address, **facts)
    _commit_and_start(services, db, row)
    return row


def _graph_bytes(manifest: dict[str, object]) -> int:
    artifacts = manifest["artifacts"]
    assert isinstance(artifacts, list)
    return sum(int(a["size"]) for a in artifacts if str(a["path"]).endswith(".onnx"))


def look(services: Services, db: Session, listing: str, asker: UUID | None = None) -> dict[str, Any]:
    """What is known of vendor/name[@version] before anything runs; kept, since versions do not change.

    See deployer.optimizer.preview. Raises UnknownListing, UnknownVersion and what refuses a graph.
    """
    from deployer.optimizer import preview, worker

    offer, version = get_version(db, listing, asker)
    db.commit()
    files = workflows.Files(offer.name, version.digest, version.manifest, certified=False)
    home = services.settings.home
    kept = home / "reports" / f"{files.digest.removeprefix('sha256:')}.json"
    with only_one(home / "reports" / ".lock"):
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(kept.read_bytes())
            if found.get("schema") == preview.SCHEMA:
                return found
        folder = workflows.lay_out(services, files, lambda *_: None)
        found = worker.run("deployer.optimizer.preview:look", {"folder": folder}, read=(folder,)).result
        half = kept.with_suffix(".half")
        half.write_text(json.dumps(found), encoding="utf-8")
        half.replace(kept)
    return found


def cancel(services: Services, db: Session, identity: str) -> Optimization:
    """Stop one that waits or runs; raises OptimizationBusy for one that ended."""
    row = optimizations.get_optimization(db, identity, lock=True)
    optimizations.ask_to_cancel(db, row)
    db.commit()
    notify(services, row.id)
    return row


def retry(services: Services, db: Session, identity: str) -> Optimization:
    """Begin one that was cancelled or failed again, from its start."""
    row = optimizations.get_optimization(db, identity, lock=True)
    if row.sample:
        samples.get_sample(services.settings.home, str(row.owner), row.sample)
    optimizations.begin_again(db, row)
    _commit_and_start(services, db, row)
    return row


def remove(services: Services, db: Session, identity: str) -> None:
    """Forget one that ended, with its report, and with its variant unless a deployment names that."""
    row = optimizations.get_optimization(db, identity, lock=True)
    gone = optimizations.remove_optimization(db, row)
    db.commit()
    shutil.rmtree(folder_of(services, row.id), ignore_errors=True)
    if gone is not None:
        home, laid_out = services.settings.home, blobs.model_dir(services.settings.home, gone.digest)
        shutil.rmtree(laid_out, ignore_errors=True)
        shutil.rmtree(home / "prepared" / laid_out.name, ignore_errors=True)
        signing.signature_path(home, gone.digest).unlink(missing_ok=True)
    notify(services, row.id)


def remove_sample(services: Services, db: Session, account: Account, identity: str) -> None:
    """Forget a sample; raises SampleInUse while an optimisation reads it."""
    sample = samples.get_sample(services.settings.home, str(account.id), identity)
    for row in optimizations.unfinished(db):
        if row.sample == sample.id:
            raise samples.SampleInUse(sample=sample.name, id=str(row.id))
    samples.remove_sample(services.settings.home, str(account.id), sample.id)


def _commit_and_start(services: Services, db: Session, row: Optimization) -> None:
    db.commit()
    notify(services, row.id)
    _enqueue(row)


def notify(services: Services, identity: UUID) -> None:
    """Wake the pages that show this optimisation or the list."""
    services.hub.notify(topic(identity))
    services.hub.notify(BOARD)


# The job


def workflow_id(row: Optimization) -> str:
    """Id of the workflow of the present revision."""
    return f"optimize-{row.id}-{row.revision}"


def _enqueue(row: Optimization) -> None:
    """Put the workflow of the present revision into the queue; doing it twice does it once."""
    with SetWorkflowID(workflow_id(row)):
        DBOS.enqueue_workflow(QUEUE, optimize_workflow, str(row.id), row.revision)


def launch(services: Services) -> None:
    """Open the queue, and take up what a killed shop left; call it after `workflows.launch`."""
    DBOS.register_queue(QUEUE, worker_concurrency=1)
    with read_session(services.engine) as db:
        rows = optimizations.unfinished(db)
    for row in rows:
        status = DBOS.get_workflow_status(workflow_id(row))
        if status is not None and status.status in workflows.BROKEN:
            _fail(services, row.id, row.revision, "internal-error", {"incident": workflow_id(row)})
        else:
            _enqueue(row)


@DBOS.workflow(name="optimize")
def optimize_workflow(identity: str, revision: int) -> str:
    """Search the best variant for one optimisation."""
    return search(identity, revision)


@DBOS.step(name="search")
def search(identity: str, revision: int) -> str:
    """The whole search; returns done, failed, cancelled or superseded."""
    services, uid = workflows.bound(), UUID(identity)
    try:
        row = _begin(services, uid, revision)
        _finish(services, row, *_search(services, row))
    except Superseded:
        return "superseded"
    except OptimizationCancelled:
        _end_cancelled(services, uid, revision)
        return "cancelled"
    except (CatalogError, DeployerError, MarketError) as error:
        workflows.unless_closing(services)
        _fail(services, uid, revision, error.code, error.facts)
        return "failed"
    except Exception:
        workflows.unless_closing(services)
        log.exception("optimisation failed", extra={"optimization": identity})
        _fail(services, uid, revision, "internal-error", {"incident": f"optimize {identity}"})
        return "failed"
    return "done"


def _current(db: Session, uid: UUID, revision: int) -> Optimization:
    row = db.get(Optimization, uid, with_for_update=True)
    if row is None or row.revision != revision or row.state not in optimizations.OPEN:
        raise Superseded
    if row.cancel:
        raise OptimizationCancelled(job=str(uid))
    return row


def _begin(services: Services, uid: UUID, revision: int) -> Optimization:
    with transaction(services.engine) as db:
        row = _current(db, uid, revision)
        optimizations.set_state(db, row, OptimizationState.running)
        db.flush()
        db.refresh(row)
        db.expunge(row)
    notify(services, uid)
    return row


def _search(services: Services, row: Optimization) -> tuple[Report, Variant | None]:
    """Run the engine; what it picked is put into the store, signed and checked."""
    from deployer.optimizer.search import Job, optimize

    with read_session(services.engine) as db:
        _, version = get_version(db, f"{row.listing}@{row.version}", all_states=True)
    files = workflows.Files(row.listing, version.digest, version.manifest, certified=False)
    folder = folder_of(services, row.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    runtime = services.trial_runtime()
    if runtime is not None:
        for left in runtime.list():  # by a shop that was killed: jobs run one at a time
            runtime.stop(left.id, grace=1.0)
    model_dir = workflows.lay_out(services, files, lambda *_: None)
    own = _data(services, row, folder)
    job = Job(
        model_dir=model_dir,
        data=own or _samples_of(model_dir, version.manifest),
        source="own" if own else "listing",
        device=row.device,
        objective=msgspec.convert(row.objective, Objective),
        work=folder,
        out=folder / "out",
        seed=row.seed,
        model={"name": row.listing, "version": row.version, "digest": row.version_digest},
        runtime=runtime,
        home=services.settings.home,
    )
    report = optimize(job, _watch(services, row))
    if report.outcome != "picked":
        return report, None
    return report, _keep_variant(services, row, version.manifest, report, job.out)


def _data(services: Services, row: Optimization, folder: Path) -> Path | None:
    """The person's rows under their own name: its ending tells their form."""
    if not row.sample:
        return None
    home = services.settings.home
    samples.get_sample(home, str(row.owner), row.sample)
    named = folder / "data" / row.sample_name
    named.parent.mkdir(mode=0o700, exist_ok=True)
    if not named.exists():
        try:
            os.link(samples.path_of(home, row.sample), named)
        except OSError:
            shutil.copyfile(samples.path_of(home, row.sample), named)
    return named


def _samples_of(model_dir: Path, manifest: dict[str, Any]) -> Path | None:
    """Labelled rows that the listing itself brings along, for whoever has none."""
    name = manifest["files"].get("samples")
    return model_dir / name if name else None


def _watch(services: Services, row: Optimization) -> Callable[[Report], None]:
    """Writes the report down twice a second at most, and raises when nobody wants it any more."""
    last = [0.0]

    def watch(report: Report) -> None:
        if services.hub.closed:
            raise workflows.ShopCloses
        if time.monotonic() - last[0] < WRITE_PERIOD:
            return
        last[0] = time.monotonic()
        with transaction(services.engine) as db:
            optimizations.write_report(db, _current(db, row.id, row.revision), shown(report))
        services.hub.notify(topic(row.id))

    return watch


def shown(report: Report) -> dict[str, object]:
    """A report as JSON types, without folders of this machine."""
    plain = reports.to_plain(report)
    if plain.get("pick"):
        plain["pick"]["folder"] = ""
    return plain


def _keep_variant(
    services: Services, row: Optimization, base: dict[str, object], report: Report, out: Path
) -> Variant:
    """Put the picked files into the store, lay the variant out, check and sign it."""
    from deployer.optimizer import certificate

    home = services.settings.home
    assert report.pick is not None
    manifest = manifests.validate(certificate.variant_manifest(base, report))
    for path, sha256 in report.pick.files.items():
        blobs.put(home, out / path, sha256)
    digest = manifests.digest(manifest)
    folder = blobs.materialize(home, manifest, digest)
    checked = certificate.check(folder)
    signing.sign(home, folder, digest)
    return Variant(
        digest=digest,
        optimization_id=row.id,
        listing=row.listing,
        version=row.version,
        version_digest=row.version_digest,
        device=row.device,
        manifest=manifest,
        certificate=checked,
        size=manifests.size(manifest),
    )


def _finish(services: Services, row: Optimization, report: Report, variant: Variant | None) -> None:
    folder = folder_of(services, row.id)
    with transaction(services.engine) as db:
        fresh = _current(db, row.id, row.revision)
        if variant is not None:
            db.merge(variant)
            fresh.variant = variant.digest
        optimizations.write_report(db, fresh, shown(report))
        optimizations.set_state(db, fresh, OptimizationState.done)
    _clear(folder)
    reports.save(reports.from_plain(shown(report)), folder / "report.json")
    notify(services, row.id)


def _end_cancelled(services: Services, uid: UUID, revision: int) -> None:
    with transaction(services.engine) as db:
        row = db.get(Optimization, uid, with_for_update=True)
        if row is not None and row.revision == revision and row.state in optimizations.OPEN:
            optimizations.set_state(db, row, OptimizationState.cancelled)
    _clear(folder_of(services, uid))
    notify(services, uid)


def _fail(services: Services, uid: UUID, revision: int, code: str, facts: dict[str, object]) -> None:
    """Write the cause down; the work goes, since what failed in it would fail a retry in the same way."""
    try:
        with transaction(services.engine) as db:
            optimizations.set_failed(db, _current(db, uid, revision), code, workflows.plain(facts))
    except Superseded:
        return
    except OptimizationCancelled:
        _end_cancelled(services, uid, revision)
        return
    _clear(folder_of(services, uid))
    notify(services, uid)


def _clear(folder: Path) -> None:
    """Remove a job's work: recorded inputs and answers are as private as the rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
