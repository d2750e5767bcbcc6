"""scikit-learn's models: converted and held against their source, pickles only when somebody vouches."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import scikit
from deployer.optimizer.convert.checking import runner
from deployer.spec import silent
from tests.deployer.server.pipelines.sklearn_models import mixed_pipeline, mixed_table

TRUSTED = {"allow_pickle": True}
TEXTS = ["good soup", "bad soup", "good bread and cheese", "bad bread", "good", "bad cheese"]


def kept(folder: Path, fitted: Any) -> Path:
    (folder / "m.pkl").write_bytes(pickle.dumps(fitted))
    return folder / "m.pkl"


def convert(folder: Path, fitted: Any, options: dict[str, Any] = TRUSTED, **inputs: Path) -> Any:
    scikit.convert({"model": kept(folder, fitted), **inputs}, folder / "out", options, silent)
    return runner(folder / "out" / "model.onnx")


def test_a_classifier_says_what_its_source_says_on_real_flowers(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=10)).fit(x, y)
    np.savez(tmp_path / "examples.npz", X=x.astype(np.float32))
    run = convert(tmp_path, fitted, examples=tmp_path / "examples.npz")
    labels, shares = run({"X": x.astype(np.float32)}).values()
    assert (labels == y).mean() > 0.95
    np.testing.assert_allclose(shares, fitted.predict_proba(x), atol=1e-4)


def test_a_regression_and_a_transform(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    run = convert(tmp_path, RandomForestRegressor(n_estimators=5, max_depth=4, random_state=0).fit(x, y))
    (values,) = run({"X": x[:5].astype(np.float32)}).values()
    assert values.shape == (5, 1)
    run = convert(tmp_path, StandardScaler().fit(x))
    assert next(iter(run({"X": x.astype(np.float32)}).values())).std() == pytest.approx(1, abs=1e-3)


def test_texts_go_in_as_they_are(tmp_path: Path) -> None:
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100)).fit(TEXTS, [1, 0, 1, 0, 1, 0])
    run = convert(tmp_path, fitted)
    labels, _shares = run({"text": np.array([["good cheese"], ["bad"]], object)}).values()
    assert labels.tolist() == [1, 0]


def test_a_table_of_mixed_columns_wants_examples(tmp_path: Path) -> None:
    table = mixed_table()
    table = table[[row[0] == row[0] for row in table]]
    fitted = mixed_pipeline(LogisticRegression()).fit(table, np.arange(len(table)) % 2)
    options = {**TRUSTED, "columns": {"age": "float", "city": "text", "visits": "integer"}}
    with pytest.raises(ConversionFailed, match="columns of text need `examples`"):
        convert(tmp_path, fitted, options)
    columns = {
        "age": table[:, 0].astype(float),
        "city": table[:, 1].astype(str),
        "visits": table[:, 2].astype(int),
    }
    np.savez(tmp_path / "examples.npz", **columns)
    run = convert(tmp_path, fitted, options, examples=tmp_path / "examples.npz")
    feeds = {"age": np.array([[30]], np.float32), "city": np.array([["深圳"]], object)}
    assert len(run({**feeds, "visits": np.array([[2]])})) == 2
    np.savez(tmp_path / "examples.npz", age=columns["age"])
    with pytest.raises(ConversionFailed, match="not"):
        convert(tmp_path, fitted, options, examples=tmp_path / "examples.npz")


def test_a_pickle_is_not_read_unless_somebody_vouches(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "m.pkl"
    path.write_bytes(b"cposix\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(ConversionFailed, match="a pickle runs code while it is read") as refused:
        scikit.convert({"model": path}, tmp_path / "out", {}, silent)
    assert "skops" in str(refused.value.facts["why_zh"])
    assert not mark.exists()


class Stranger(LogisticRegression):
    """A kind that is not scikit-learn's."""


def always_the_first(rows: Any) -> Any:
    return np.zeros(len(rows), int)


@pytest.mark.parametrize(
    ("fitted", "options", "said"),
    [
        (StandardScaler(), TRUSTED, "has not been fitted"),
        ({"a": 1}, TRUSTED, "a dict, which neither predicts nor transforms"),
        (Ridge().fit([[1], [2]], [1, 2]), {**TRUSTED, "more": 1}, "unknown options"),
        (Ridge().fit([[1], [2]], [1, 2]), {**TRUSTED, "columns": {"a": "date"}}, "columns: name"),
    ],
)
def test_what_cannot_be_converted_says_why(
    tmp_path: Path, fitted: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConversionFailed, match=said) as refused:
        convert(tmp_path, fitted, options)
    assert re.search("[\u4e00-\u9fff]", str(refused.value.facts["why_zh"]))


def test_a_graph_that_says_something_else_is_refused(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    fitted = LogisticRegression().fit(x[:100], y[:100])
    fitted.predict = always_the_first  # type: ignore[method-assign]
    np.savez(tmp_path / "examples.npz", X=x[:100].astype(np.float32))
    with pytest.raises(ConversionFailed, match=r"chooses as scikit-learn does in 50\.0%"):
        convert(tmp_path, fitted, examples=tmp_path / "examples.npz")
    fitted = Ridge().fit(x, y)
    fitted.predict = always_the_first  # type: ignore[method-assign]
    with pytest.raises(ConversionFailed, match="differs from scikit-learn by"):
        convert(tmp_path, fitted)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(ConversionFailed, match="cannot be read"):
        scikit.convert({"model": tmp_path / "m.pkl"}, tmp_path / "out", TRUSTED, silent)


def test_skops_files_are_read_without_a_pickle(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    x, y = load_iris(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    skops.dump(fitted, tmp_path / "m.skops")
    scikit.convert({"model": tmp_path / "m.skops"}, tmp_path / "out", {}, silent)
    labels, _shares = runner(tmp_path / "out" / "model.onnx")({"X": x.astype(np.float32)}).values()
    assert (labels == fitted.predict(x)).mean() > 0.98
    skops.dump(Stranger().fit(x[:100], y[:100]), tmp_path / "m.skops")
    with pytest.raises(ConversionFailed, match=r"not scikit-learn's: .*Stranger"):
        scikit.convert({"model": tmp_path / "m.skops"}, tmp_path / "out", {}, silent)


def test_a_skops_file_that_names_an_executing_builtin_is_refused(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    skops.dump(FunctionTransformer(eval), tmp_path / "m.skops")
    with pytest.raises(ConversionFailed, match=r"not scikit-learn's: .*eval"):
        scikit.convert({"model": tmp_path / "m.skops"}, tmp_path / "out", {}, silent)
