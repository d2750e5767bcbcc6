from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlmodel import Session, create_engine

from deployer import packages
from deployer.models import DeployerTable, Package, PackageState
from deployer.packages import NewPackage, PackageBusy, UnknownPackage

FILE = {
    "file_name": "x-1.0.0-image.tar",
    "media_type": "application/x-tar",
    "size": 5_000_000_000,
    "digest": f"sha256:{'ab' * 32}",
    "facts": {"root": "sha256:0"},
}


@pytest.fixture
def db() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    DeployerTable.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def add(db: Session, key: str = "a" * 64, **values: object) -> Package:
    plain = {
        "key": key,
        "listing": "opc-market/x",
        "version": "1.0.0",
        "version_digest": "sha256:0",
        "task": "tensors",
        "terminal": "image",
        "device": "cpu",
        "platforms": ["linux/amd64"],
        "owner": uuid4(),
    }
    return packages.create_package(db, NewPackage.model_validate(plain | values))[0]


def test_the_same_wish_is_the_same_package(db: Session) -> None:
    first = add(db)
    again, added = packages.create_package(
        db, NewPackage.model_validate({**first.model_dump(), "owner": uuid4()})
    )
    assert (again.id, added) == (first.id, False)
    assert add(db, "b" * 64, listing="opc-market/y").id != first.id
    assert [row.listing for row in packages.list_packages(db, "opc-market/y")] == ["opc-market/y"]
    assert len(packages.list_packages(db)) == 2


@pytest.mark.parametrize("identity", ["", "none", "'; drop table", str(uuid4())])
def test_unknown_ids(db: Session, identity: str) -> None:
    with pytest.raises(UnknownPackage):
        packages.get_package(db, identity)


def test_steps_end_when_the_next_begins(db: Session) -> None:
    row = add(db)
    packages.set_state(db, row, PackageState.building)
    packages.begin_step(db, row, "fetch")
    packages.begin_step(db, row, "prepare")
    assert [(s["name"], s["state"]) for s in row.steps] == [("fetch", "done"), ("prepare", "running")]
    assert row.steps[0]["seconds"] >= 0
    packages.set_ready(db, row, **FILE)
    assert [s["state"] for s in row.steps] == ["done", "done"]
    assert (row.state, row.size, row.facts) == ("ready", 5_000_000_000, {"root": "sha256:0"})
    assert packages.unfinished(db) == []


def test_a_failure_names_the_step_and_is_cleared_by_beginning_again(db: Session) -> None:
    row = add(db)
    packages.set_state(db, row, PackageState.building)
    packages.begin_step(db, row, "assemble")
    packages.set_failed(db, row, "packaging-disk-full", {"path": "/x"})
    assert (row.state, row.error_code, row.steps[0]["state"]) == ("failed", "packaging-disk-full", "failed")
    packages.begin_again(db, row)
    assert (row.state, row.revision, row.steps, row.error_code) == ("pending", 2, [], "")


def test_cancelling_at_once_or_by_asking(db: Session) -> None:
    waiting, building = add(db), add(db, "b" * 64)
    packages.set_state(db, building, PackageState.building)
    packages.begin_step(db, building, "fetch")
    packages.ask_to_cancel(db, waiting)
    packages.ask_to_cancel(db, building)
    assert (waiting.state, building.state, building.cancel) == ("cancelled", "building", True)
    packages.set_cancelled(db, building)
    assert building.steps == []
    with pytest.raises(PackageBusy):
        packages.ask_to_cancel(db, building)
    packages.begin_again(db, building)
    assert (building.state, building.cancel) == ("pending", False)


def test_only_what_ended_is_removed(db: Session) -> None:
    row = add(db)
    for refused in (packages.remove_package, packages.begin_again):
        with pytest.raises(PackageBusy):
            refused(db, row)
    packages.set_ready(db, row, **FILE)
    packages.remove_package(db, row)
    db.flush()
    assert packages.list_packages(db) == []
