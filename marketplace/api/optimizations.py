"""/api/optimizations, /api/variants and /api/samples: the best variant for a device, on one's own rows."""

from dataclasses import dataclass
from typing import Any

from litestar import Router, delete, get, post
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import ServerSentEvent
from msgspec.json import encode
from sqlmodel import Session

from catalog import signing
from deployer import optimizations
from deployer.models import Variant
from deployer.optimizer.objective import Objective
from marketplace import optimizing, samples
from marketplace.api.optimization_schemas import (
    OptimizationOut,
    OptimizationPage,
    SampleOut,
    SamplePage,
    VariantOut,
    VariantPage,
    VerificationOut,
    optimization_out,
    variant_out,
    verification_out,
)
from marketplace.api.streams import changes
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.permissions import Permission
from marketplace.services import Services


@dataclass(frozen=True)
class OptimizeRequest:
    """What to optimise: vendor/name[@version]; a bound of 0 is none, but for `max_drop`."""

    listing: str
    device: str | None = None
    objective: str = "fastest"  # fastest | smallest | cheapest
    max_drop: float = 0.01  # of the task's metric, as a share
    max_latency_ms: float = 0.0
    max_memory: int = 0  # bytes
    max_size: int = 0  # bytes
    sample: str = ""  # id of an uploaded sample; "" takes the version's own examples
    seed: int = 0


@post("/optimizations", permission=Permission.manage_optimizations, status_code=202, sync_to_thread=True)
def create(
    data: JSONBody[OptimizeRequest],
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
) -> OptimizationOut:
    """Begin an optimisation; the answer comes at once."""
    row = optimizing.ask(
        services,
        db,
        viewer.account(db),
        listing=data.listing,
        device=data.device,
        objective=Objective(
            kind=data.objective,  # type: ignore[arg-type]  # objective.check refuses what it is not
            max_drop=data.max_drop,
            max_latency_ms=data.max_latency_ms,
            max_memory=data.max_memory,
            max_size=data.max_size,
        ),
        sample=data.sample,
        seed=data.seed,
        address=viewer.address,
    )
    return optimization_out(db, row, viewer.lang)


@get(
    "/listings/{vendor:str}/{name:str}/architecture",
    permission=Permission.manage_optimizations,
    sync_to_thread=True,
)
def architecture(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> dict[str, Any]:
    """What a listing's newest version is made of, and the recipes that an optimisation would try."""
    return optimizing.look(services, db, f"{vendor}/{name}", viewer.account_id)


@get("/optimizations", permission=Permission.manage_optimizations, sync_to_thread=True)
def index(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], listing: FromQuery[str] = ""
) -> OptimizationPage:
    """All optimisations, or those of one listing, the newest first."""
    rows = optimizations.list_optimizations(db, listing)
    return OptimizationPage([optimization_out(db, row, viewer.lang, whole=False) for row in rows], len(rows))


@get("/optimizations/{identity:str}", permission=Permission.manage_optimizations, sync_to_thread=True)
def show(
    db: NamedDependency[Session], viewer: NamedDependency[Viewer], identity: FromPath[str]
) -> OptimizationOut:
    """One optimisation with its report."""
    return optimization_out(db, optimizations.get_optimization(db, identity), viewer.lang)


@post(
    "/optimizations/{identity:str}/cancel",
    permission=Permission.manage_optimizations,
    status_code=200,
    sync_to_thread=True,
)
def cancel(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> OptimizationOut:
    """Stop an optimisation that waits or runs."""
    return optimization_out(db, optimizing.cancel(services, db, identity), viewer.lang)


@post(
    "/optimizations/{identity:str}/retry",
    permission=Permission.manage_optimizations,
    status_code=202,
    sync_to_thread=True,
)
def retry(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> OptimizationOut:
    """Begin an optimisation that was cancelled or failed again."""
    return optimization_out(db, optimizing.retry(services, db, identity), viewer.lang)


@delete("/optimizations/{identity:str}", permission=Permission.manage_optimizations, sync_to_thread=True)
def remove(
    services: NamedDependency[Services], db: NamedDependency[Session], identity: FromPath[str]
) -> None:
    """Forget an optimisation that ended, and its variant unless a deployment uses it."""
    optimizing.remove(services, db, identity)


@get("/optimizations/{identity:str}/events", permission=Permission.manage_optimizations, sync_to_thread=True)
def events(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> ServerSentEvent:
    """The optimisation whenever it changes, until it ends."""
    found = str(optimizations.get_optimization(db, identity).id)

    def read() -> tuple[str, bool]:
        with read_session(services.engine) as later:
            row = optimizations.get_optimization(later, found)
            told = optimization_out(later, row, viewer.lang)
            return encode(told).decode(), row.state not in optimizations.OPEN

    gone = optimizations.UnknownOptimization
    return ServerSentEvent(changes(services, optimizing.topic(found), "optimization", read, gone))


@get("/variants", permission=Permission.manage_optimizations, sync_to_thread=True)
def variants(db: NamedDependency[Session], listing: FromQuery[str] = "") -> VariantPage:
    """All variants, or those of one listing, the newest first."""
    rows = optimizations.list_variants(db, listing)
    return VariantPage([variant_out(row, whole=False) for row in rows], len(rows))


@get("/variants/{digest:str}", permission=Permission.manage_optimizations, sync_to_thread=True)
def variant(
    services: NamedDependency[Services], db: NamedDependency[Session], digest: FromPath[str]
) -> VariantOut:
    """One variant with its certificate and manifest."""
    return signed_variant(services, optimizations.get_variant(db, digest))


@get("/variants/{digest:str}/verification", permission=Permission.manage_optimizations, sync_to_thread=True)
def verification(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    digest: FromPath[str],
) -> VerificationOut:
    """Whether a variant's signature and certificate hold, found out now."""
    row = optimizations.get_variant(db, digest)
    db.commit()
    return verification_out(services, row.digest, viewer.lang, certified=True)


def signed_variant(services: Services, row: Variant) -> VariantOut:
    """A variant with the fingerprint of the key that signed it; does not verify it."""
    signature = signing.signature_of(services.settings.home, row.digest)
    return variant_out(row, signature=signature.fingerprint if signature else "")


@post("/samples", permission=Permission.manage_optimizations)
async def upload(
    request: AnyRequest,
    services: NamedDependency[Services],
    viewer: NamedDependency[Viewer],
    name: FromQuery[str],
) -> SampleOut:
    """Take a file of rows as the body: CSV, JSONL, .npz, or a .zip of a table and the files that it names."""
    intake = await sync_to_thread(samples.Intake, services.settings.home, name)
    try:
        async for chunk in request.stream():
            await sync_to_thread(intake.write, chunk)
        return sample_out(await sync_to_thread(intake.keep, str(viewer.account_id)))
    finally:
        await sync_to_thread(intake.close)


def sample_out(sample: samples.Sample) -> SampleOut:
    """A sample as the API tells it."""
    return SampleOut(
        sample.id,
        sample.name,
        sample.size,
        sample.rows,
        list(sample.columns),
        sample.labelled,
        sample.created,
    )


@get("/samples", permission=Permission.manage_optimizations, sync_to_thread=True)
def list_samples(services: NamedDependency[Services], viewer: NamedDependency[Viewer]) -> SamplePage:
    """The asker's samples, the newest first."""
    found = samples.list_samples(services.settings.home, str(viewer.account_id))
    return SamplePage([sample_out(sample) for sample in found], len(found))


@delete("/samples/{identity:str}", permission=Permission.manage_optimizations, sync_to_thread=True)
def remove_sample(
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    identity: FromPath[str],
) -> None:
    """Forget a sample."""
    optimizing.remove_sample(services, db, viewer.account(db), identity)


router = Router(
    "/api",
    route_handlers=[
        architecture,
        create,
        index,
        show,
        cancel,
        retry,
        remove,
        events,
        variants,
        variant,
        verification,
        upload,
        list_samples,
        remove_sample,
    ],
    tags=["optimisations"],
)
