"""What a mirror notes of the versions that it brings: same, other, passed, refused."""

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from catalog import imports, offer
from catalog.models import CheckState, ImportJob, JobState, Mirror, Version
from marketplace import import_work
from marketplace.db import transaction
from tests.marketplace import shelves

SOURCE = "hf://acme/reader@"
CARD = "从 `{source}` 导入。"


def offered(number: str, source: str, **changed: Any) -> offer.Offer:
    sheet = {
        "schema": 1,
        "name": "acme/reader",
        "version": number,
        "task": "tensors",
        "title": {"zh": "读", "en": "Reader"},
        "summary": {"zh": "读字", "en": "Reads"},
        "license": {"package": "MIT", "weights": "Apache-2.0"},
        "files": {"model": "model.onnx"},
        "artifacts": [{"path": "model.onnx", "sha256": "0" * 64, "size": 5}],
        "source": source,
    }
    return offer.parse({"sheet": sheet | changed, "cards": {"zh": CARD.format(source=source)}})


def brought(db: Session, mirror: Mirror, state: str = CheckState.passed) -> tuple[ImportJob, Version]:
    """An import of the mirror that became a version, with its checks that far."""
    _, version = shelves.listed(db)
    first = offered("1.0.0", f"{SOURCE}1")
    version.manifest, version.offer, version.claims = first.manifest(), first.words(), first.claims
    version.source, version.check_state = first.sheet.source, state
    job = ImportJob(source=SOURCE, name="acme/reader", owner=mirror.owner, mirror_id=mirror.id)
    job.options, job.version_id, job.state = {"identity": "two"}, version.id, JobState.running
    db.add_all((version, job))
    db.flush()
    return job, version


def mirror_of(db: Session) -> Mirror:
    return imports.create_mirror(
        db, name="acme/reader", source=SOURCE, options={}, owner=uuid4(), period=3600, pinned="one"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"license": {"package": "MIT", "weights": "CC-BY-NC-4.0"}},
        {"license": {"package": "MIT", "weights": "Apache-2.0", "base": "MIT"}},
        {"title": {"zh": "读票", "en": "Reader"}},
        {"options": {"labels": ["a"]}},
        {"artifacts": [{"path": "model.onnx", "sha256": "1" * 64, "size": 5}]},
    ],
)
def test_what_its_source_says_otherwise_is_another_version(engine: Engine, changed: dict[str, Any]) -> None:
    with transaction(engine) as db:
        job, version = brought(db, mirror_of(db))
        same = import_work._same(db, job, offered("1.0.1", f"{SOURCE}2"))
        assert same is not None and same.id == version.id  # only its revision is another
        assert import_work._same(db, job, offered("1.0.1", f"{SOURCE}2", **changed)) is None


def test_a_revision_is_had_when_its_checks_have_passed(engine: Engine) -> None:
    with transaction(engine) as db:
        mirror = mirror_of(db)
        job, version = brought(db, mirror, CheckState.running)
        imports.set_done(db, job, version.id, version.number)
        imports.settle_mirror(db, job)
        assert (mirror.pinned, mirror.error_code) == ("one", "") and mirror.looked
        version.check_state = CheckState.failed
        imports.settle_version(db, version)
        assert (mirror.pinned, mirror.error_code) == ("one", "mirror-version-refused")
        version.check_state = CheckState.passed
        imports.settle_version(db, version)
        assert (mirror.pinned, mirror.error_code) == ("two", "")


def test_checks_that_end_before_the_import_does_are_noted_by_it(engine: Engine) -> None:
    with transaction(engine) as db:
        mirror = mirror_of(db)
        job, version = brought(db, mirror)
        imports.settle_version(db, version)
        assert mirror.pinned == "one"
        imports.set_done(db, job, version.id, version.number)
        imports.settle_mirror(db, job)
        assert mirror.pinned == "two"
