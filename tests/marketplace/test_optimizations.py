"""Optimisations and variants as rows, on each kind of database."""

from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from deployer import deployments, optimizations
from deployer.models import Optimization, OptimizationState, Variant
from deployer.optimizations import (
    NewOptimization,
    OptimizationBusy,
    UnknownOptimization,
    UnknownVariant,
    VariantMismatch,
)
from marketplace.db import read_session, transaction

DIGEST = "sha256:" + "ab" * 32


def add(db: Session, **values: object) -> Optimization:
    plain = {
        "listing": "opc-market/x",
        "version": "1.0.0",
        "version_digest": DIGEST,
        "task": "tensors",
        "device": "cpu",
        "objective": {"kind": "fastest"},
        "owner": uuid4(),
    }
    return optimizations.create_optimization(db, NewOptimization.model_validate(plain | values))


def variant_of(row: Optimization) -> Variant:
    return Variant(
        digest="sha256:" + "cd" * 32,
        optimization_id=row.id,
        listing=row.listing,
        version=row.version,
        version_digest=row.version_digest,
        device=row.device,
        size=5_000_000_000,
    )


def test_jobs_wait_in_the_order_in_which_they_came(engine: Engine) -> None:
    with transaction(engine) as db:
        first, second, other = add(db), add(db), add(db, listing="opc-market/y")
        assert [optimizations.ahead(db, row) for row in (first, second, other)] == [0, 1, 2]
        optimizations.set_state(db, first, OptimizationState.running)
        assert [optimizations.ahead(db, row) for row in (first, second)] == [0, 1]
        optimizations.set_state(db, first, OptimizationState.done)
        assert optimizations.ahead(db, second) == 0
    with read_session(engine) as db:
        assert [row.id for row in optimizations.unfinished(db)] == [second.id, other.id]
        assert [row.id for row in optimizations.list_optimizations(db, "opc-market/y")] == [other.id]
        assert optimizations.list_optimizations(db)[0].id == other.id


def test_cancelling_at_once_or_by_asking(engine: Engine) -> None:
    with transaction(engine) as db:
        waiting, running = add(db), add(db)
        optimizations.set_state(db, running, OptimizationState.running)
        optimizations.ask_to_cancel(db, waiting)
        optimizations.ask_to_cancel(db, running)
        assert (waiting.state, running.state, running.cancel) == ("cancelled", "running", True)
        with pytest.raises(OptimizationBusy):
            optimizations.ask_to_cancel(db, waiting)
        with pytest.raises(OptimizationBusy):
            optimizations.begin_again(db, running)
        optimizations.begin_again(db, waiting)
        assert (waiting.state, waiting.cancel, waiting.revision) == ("pending", False, 2)


def test_a_failure_is_kept_and_cleared(engine: Engine) -> None:
    with transaction(engine) as db:
        row = add(db)
        optimizations.set_failed(db, row, "data-empty", {"name": "a.csv"})
        identity = row.id
    with transaction(engine) as db:
        row = optimizations.get_optimization(db, str(identity), lock=True)
        assert (row.state, row.error_code, row.error_facts) == ("failed", "data-empty", {"name": "a.csv"})
        optimizations.begin_again(db, row)
        assert (row.error_code, row.error_facts) == ("", {})


@pytest.mark.parametrize("identity", ["", "none", "'; drop table", str(uuid4())])
def test_unknown_ids(engine: Engine, identity: str) -> None:
    with read_session(engine) as db:
        with pytest.raises(UnknownOptimization):
            optimizations.get_optimization(db, identity)
        with pytest.raises(UnknownVariant):
            optimizations.get_variant(db, identity)


def test_a_variant_goes_with_its_job_unless_a_deployment_names_it(engine: Engine) -> None:
    with transaction(engine) as db:
        row = add(db)
        with pytest.raises(OptimizationBusy):
            optimizations.remove_optimization(db, row)
        variant = variant_of(row)
        db.add(variant)
        row.variant = variant.digest
        optimizations.set_state(db, row, OptimizationState.done)
        made = deployments.create_deployment(
            db,
            deployments.NewDeployment(
                name="x",
                listing=row.listing,
                version=row.version,
                version_digest=row.version_digest,
                task=row.task,
                runtime="process",
                variant=variant.digest,
                owner=uuid4(),
            ),
        )
        assert optimizations.remove_optimization(db, row) is None
        assert optimizations.list_variants(db, row.listing)[0].size == 5_000_000_000
        deployments.ask_to_stop(db, made)
        deployments.set_state(db, made, "stopped")
        deployments.remove_deployment(db, made)
        again = add(db)
        again.variant, variant.optimization_id = variant.digest, again.id
        optimizations.set_state(db, again, OptimizationState.done)
        db.flush()
        assert optimizations.remove_optimization(db, again) is not None
        assert optimizations.list_variants(db) == []


@pytest.mark.parametrize("what", ["listing", "version_digest", "device"])
def test_a_variant_runs_as_what_it_was_made_for(what: str) -> None:
    row = Optimization(id=uuid4(), listing="a/b", version="1.0.0", version_digest=DIGEST, device="cpu")
    made_for = {"listing": "a/b", "version_digest": DIGEST, "device": "cpu"}
    optimizations.require_match(variant_of(row), **made_for)
    with pytest.raises(VariantMismatch) as refused:
        optimizations.require_match(variant_of(row), **(made_for | {what: "other"}))
    assert refused.value.facts["asked"] == "other"
