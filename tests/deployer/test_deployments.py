from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlmodel import Session, create_engine

from deployer import deployments
from deployer.errors import DeploymentExists, InvalidName, InvalidState, UnknownDeployment
from deployer.models import DeployerTable, Deployment, DeploymentState, StepState


@pytest.fixture
def db() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    DeployerTable.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def make(db: Session, name: str = "reader") -> Deployment:
    new = deployments.NewDeployment(
        name=name,
        listing="opc-market/x",
        version="1.0.0",
        version_digest="sha256:0",
        task="tensors",
        runtime="process",
        owner=uuid4(),
    )
    return deployments.create_deployment(db, new)


@pytest.mark.parametrize("name", ["a", "reader-2", "0", "a" * 48])
def test_good_names(db: Session, name: str) -> None:
    assert make(db, name).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "..", "a" * 49, "发票", "new"])
def test_bad_names(db: Session, name: str) -> None:
    with pytest.raises(InvalidName):
        make(db, name)


def test_a_wanted_name_is_taken_and_a_resting_one_begins_again(db: Session) -> None:
    row = make(db)
    with pytest.raises(DeploymentExists):
        make(db)
    deployments.set_failed(db, row, "start-failed", {"exit": "signal 9"}, DeploymentState.failed)
    again = make(db)
    assert again.id == row.id
    assert again.revision == 2
    assert (again.state, again.error_code) == (DeploymentState.pending, "")


def test_steps_tell_the_present_revision_only(db: Session) -> None:
    row = make(db)
    deployments.record(db, row, "step", "fetch", StepState.running)
    deployments.record(db, row, "step", "fetch", StepState.done, bytes=3)
    deployments.record(db, row, "step", "prepare", StepState.running)
    fetch, prepare, package, *_ = deployments.steps_of(db, row)
    assert (fetch.state, fetch.detail) == ("done", {"bytes": 3})
    assert fetch.seconds is not None and fetch.seconds >= 0
    assert (prepare.state, package.state) == ("running", "waiting")
    deployments.begin_again(db, row)
    assert {step.state for step in deployments.steps_of(db, row)} == {"waiting"}


def test_history_is_read_on_from_where_it_was_left(db: Session) -> None:
    row = make(db)
    seen = deployments.events_after(db, row.id)
    deployments.set_state(db, row, DeploymentState.building)
    news = deployments.events_after(db, row.id, seen[-1].id or 0)
    assert [event.name for event in news] == ["building"]


def test_only_what_rests_can_be_removed(db: Session) -> None:
    row = make(db)
    with pytest.raises(InvalidState):
        deployments.remove_deployment(db, row)
    deployments.ask_to_stop(db, row)
    deployments.set_state(db, row, DeploymentState.stopped)
    with pytest.raises(InvalidState):
        deployments.ask_to_stop(db, row)
    deployments.remove_deployment(db, row)
    with pytest.raises(UnknownDeployment):
        deployments.get_deployment(db, "reader")
