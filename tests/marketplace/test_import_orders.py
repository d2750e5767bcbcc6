"""What may be asked of an import, and what is written down of it."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sqlmodel import Session, select

from catalog import imports
from catalog.errors import CatalogError
from catalog.importers.hints import Hints
from catalog.models import ImportJob, VendorMember, utcnow
from catalog.vendors import NotMember
from deployer.dry_run import DryRunUnsafe
from deployer.errors import ConversionFailed
from deployer.runtimes.process import ProcessRuntime
from marketplace import import_work, importing
from marketplace.db import read_session, transaction
from marketplace.errors import MarketError, NotAllowed
from marketplace.models import Account
from marketplace.people_errors import AccountDisabled
from tests import tiny_models
from tests.marketplace.inside import Inside
from tests.marketplace.test_publishing import Importing, prove, vendor_of


def ask(inside: Inside, source: str, **options: Any) -> Any:
    maker = vendor_of(inside, "maker", "acme")
    prove(inside)
    body = {"source": source, "name": "acme/m", "options": options}
    return inside.ask("POST", "/api/imports", cookie=inside.cookie(maker), json=body)


@pytest.mark.parametrize("convert", [{"allow_pickle": True}, {"examples": "/"}, {"path": "../x"}])
def test_a_conversion_is_told_no_path_and_trusts_nobody(inside: Inside, convert: dict[str, Any]) -> None:
    answer = ask(inside, "https://example.com/m.pkl", convert=convert)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")
    assert next(iter(convert)) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("https://bob:hunter2@example.com/m.onnx", "url-refused"),
        ("oci://bob:hunter2@registry.example.com/m", "invalid-reference"),
    ],
)
def test_a_password_in_an_address_is_written_down_nowhere(inside: Inside, source: str, code: str) -> None:
    answer = ask(inside, source)
    assert answer.json()["code"] == code and "hunter2" not in answer.text
    with read_session(inside.engine) as db:
        assert not db.exec(select(ImportJob)).all()


def test_an_import_asked_for_earlier_is_held_to_the_same_rule(inside: Inside, tmp_path: Path) -> None:
    """Rows outlive the rules under which they were written."""
    skops = pytest.importorskip("skops.io")
    x, y = load_iris(return_X_y=True)
    skops.dump(LogisticRegression(max_iter=1000).fit(x, y), tmp_path / "m.skops")
    job = ImportJob(source="m.skops", name="acme/m", owner=uuid4())
    job.options = {"convert": {"examples": str(tmp_path / "none.npz"), "allow_pickle": True, "bound": 1e-3}}
    assert import_work._converted(Importing(job), tmp_path, "m.skops", tmp_path / "out") == "model.onnx"
    assert (tmp_path / "model.onnx").exists() and not (tmp_path / "m.skops").exists()
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(ConversionFailed, match="a pickle runs code"):
        import_work._converted(Importing(job), tmp_path, "m.pkl", tmp_path / "out")


def fall(db: Session, account: UUID, vendor: str) -> None:
    """The account is a member of the vendor no more."""
    rows = select(VendorMember).where(VendorMember.account_id == account)
    db.delete(db.exec(rows).one())


def shut(db: Session, account: UUID, vendor: str) -> None:
    db.get_one(Account, account).disabled = utcnow()


def demote(db: Session, account: UUID, vendor: str) -> None:
    db.get_one(Account, account).roles = ["opc"]


def dismiss(db: Session, account: UUID, vendor: str) -> None:
    db.get_one(Account, account).roles = []


@pytest.mark.parametrize(
    ("change", "wanted", "code"),
    [
        (shut, "", AccountDisabled.code),
        (dismiss, "", NotAllowed.code),
        (demote, "submitted", NotAllowed.code),
        (demote, "", ""),
        (fall, "", NotMember.code),
    ],
)
def test_an_import_and_a_mirror_end_with_the_right_to_them(
    inside: Inside, change: Any, wanted: str, code: str
) -> None:
    maker = vendor_of(inside, "maker", "acme")
    with transaction(inside.engine) as db:
        job = imports.create(db, source="hf://a/b", name="acme/m", options={"wanted": wanted}, owner=maker.id)
        work = importing.Task(inside.services, job.id, job.revision)
    assert work.job().name == "acme/m"
    with transaction(inside.engine) as db:
        change(db, maker.id, "acme")
    if not code:
        assert work.job().name == "acme/m"
        return
    for ask_again in (work.job, lambda: work.progress(1, 2)):
        with pytest.raises((CatalogError, MarketError)) as refused:
            ask_again()
        assert refused.value.code == code


def test_a_listing_at_once_needs_the_right_to_decide(inside: Inside) -> None:
    maker = vendor_of(inside, "maker", "acme")
    with transaction(inside.engine) as db, pytest.raises(NotAllowed) as refused:
        importing.require_standing(db, maker.id, "acme/m", "listed")
    assert refused.value.facts["permission"] == "reviews:decide"


def test_one_import_of_an_account_runs_at_a_time(inside: Inside) -> None:
    makers = [vendor_of(inside, name, f"{name}-co").id for name in ("wei", "mei")]
    with transaction(inside.engine) as db:
        first, second, other = (
            imports.create(db, source="hf://a/b", name="x/m", options={}, owner=owner)
            for owner in (makers[0], makers[0], makers[1])
        )
        assert imports.may_run(db, first) and imports.may_run(db, other)
        assert imports.may_run(db, first)  # the same one, after a crash
        assert not imports.may_run(db, second)
        assert (second.state, second.revision, first.revision) == ("pending", 2, 1)
        assert imports.next_of(db, makers[0]) == second and imports.next_of(db, makers[1]) is None
        imports.set_failed(db, first, "x", {})
        assert imports.may_run(db, second)


def test_without_a_full_sandbox_nothing_is_converted(inside: Inside, tmp_path: Path) -> None:
    """Its readers are libraries of many; a graph is taken as it is, and scanned."""
    bare = {"process": ProcessRuntime(tmp_path / "servers", sandbox=False)}
    services = replace(inside.services, runtimes=bare)
    work = Importing(ImportJob(source="m", name="acme/m", owner=uuid4(), options={}))
    source = tiny_models.write(
        {"m.pkl": pickle.dumps({}), "m.onnx": tiny_models.plain_graph()}, tmp_path / "in"
    )

    def lay_out(name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes((source / name).read_bytes())
        material = import_work.Material(tmp_path / name, name, Hints())
        return import_work._lay_out(services, work, material, tmp_path / f"made-{name}", tmp_path)

    assert lay_out("m.onnx") == "m.onnx"
    with pytest.raises(DryRunUnsafe):
        lay_out("m.pkl")
