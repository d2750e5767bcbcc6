"""What may be asked of an import, and what is written down of it."""

import pickle
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sqlmodel import select

from catalog.models import ImportJob
from deployer.errors import ConversionFailed
from marketplace import import_work
from marketplace.db import read_session
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
