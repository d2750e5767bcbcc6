"""Labels for rows: models that scikit-learn trains here, held against its own predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from deployer.server.errors import BadInput, BadModel
from deployer.server.pipelines.tabular_classification import TabularClassification
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve, graph, write_model
from tests.deployer.server.pipelines.sklearn_models import (
    as_rows,
    frame_model,
    matrix_model,
    mixed_pipeline,
    mixed_table,
)

TASK = "tabular-classification"
IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
SIDES = ["sepal length", "sepal width", "petal length", "petal width"]


@pytest.fixture(scope="module")
def iris() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, SPECIES)


@pytest.fixture(scope="module")
def server(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory, iris: Any) -> RunningServer:
    folder = tmp_path_factory.mktemp("iris")
    return serve_module(matrix_model(folder, TASK, iris, 4, labels=NAMES.tolist(), columns=SIDES))


@pytest.fixture(scope="module")
def customers() -> tuple[np.ndarray, Any]:
    table = mixed_table()
    bought = np.where((table[:, 2] > 4) ^ (table[:, 1] == "Beijing"), "yes", "no")
    return table, mixed_pipeline(LogisticRegression()).fit(table, bought)


@pytest.fixture(scope="module")
def frame(
    tmp_path_factory: pytest.TempPathFactory, customers: tuple[np.ndarray, Any]
) -> TabularClassification:
    folder = frame_model(
        tmp_path_factory.mktemp("frame"),
        TASK,
        customers[1],
        labels=["no", "yes"],
        columns=[{"name": "age", "default": None}, {"name": "city", "type": "category"}, "visits"],
    )
    found = load(folder)
    assert isinstance(found, TabularClassification)
    return found


def test_iris_is_told_as_scikit_learn_tells_it(server: RunningServer, iris: Any) -> None:
    results = server.predict({"rows": IRIS.tolist()})["results"]
    assert [result["label"] for result in results] == NAMES[iris.predict(IRIS)].tolist()
    scores = np.array([[result["scores"][name] for name in NAMES] for result in results])
    assert np.abs(scores - iris.predict_proba(IRIS)).max() < 1e-5
    assert all(result["score"] == max(result["scores"].values()) for result in results)


def test_rows_may_come_as_objects_one_object_or_csv(server: RunningServer) -> None:
    one = dict(zip(SIDES, IRIS[60].tolist(), strict=True))
    wanted = server.predict({"rows": [IRIS[60].tolist()]})
    csv = ",".join(reversed(SIDES)) + "\n" + ",".join(map(str, reversed(IRIS[60].tolist())))
    for rows in (one, [one], csv):
        assert server.predict({"rows": rows}) == wanted
    sent = server.client.post("/predict", files={"rows": ("iris.csv", csv.encode("utf-16"), "text/csv")})
    assert sent.json() == wanted


def test_openapi_names_columns_and_labels(server: RunningServer) -> None:
    document = server.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["x-labels"] == NAMES.tolist()
    assert [column["name"] for column in schema["x-columns"]] == SIDES
    assert schema["properties"]["rows"]["anyOf"][1]["required"] == SIDES
    assert document["info"]["summary"] == TASK


@pytest.mark.parametrize(
    ("body", "said", "zh"),
    [
        ({}, "rows: is missing", "rows：缺失"),
        ({"rows": [[1, 2, 3]]}, "rows[0]: has 3 values", "rows[0]：有 3 个值"),
        ({"rows": [[1, 2, 3, "x"]]}, "rows[0].petal width: is not a number", "rows[0].petal width：不是数"),
        ({"rows": [{"sepal length": 1}]}, "rows[0].sepal width: is missing", "rows[0].sepal width：缺失"),
        ({"rows": "a,b\n1,2"}, "rows[0].a: is not a column", "rows[0].a：不是该模型的列"),
        ({"rows": "a,b\n1"}, "rows[0]: has 1 cells in line 2", "rows[0]：（第 2 行）有 1 个"),
        ({"table": []}, "table: is not a field", "table：不是该模型的字段"),
    ],
)
def test_bodies_that_are_refused(server: RunningServer, body: dict[str, Any], said: str, zh: str) -> None:
    assert said in server.refuse(body)["detail"]
    assert zh in server.refuse(body, "zh")["detail"]


def test_a_mixed_table(frame: TabularClassification, customers: tuple[np.ndarray, Any]) -> None:
    table, fitted = customers
    rows = as_rows(table)
    assert any("age" not in row for row in rows)
    results = finish(frame.predict({"rows": rows}))["results"]
    assert [result["label"] for result in results] == fitted.predict(table).tolist()
    scores = np.array([[result["scores"]["no"], result["scores"]["yes"]] for result in results])
    assert np.abs(scores - fitted.predict_proba(table)).max() < 1e-5
    unknown = finish(frame.predict({"rows": {"city": "Lhasa", "visits": 3}}))["results"]
    assert unknown[0]["label"] in ("no", "yes")
    csv = "city,visits,age\n" + "\n".join(f"{r['city']},{r['visits']},{r.get('age', '')}" for r in rows)
    assert finish(frame.predict(frame.read_csv(csv.encode("gbk"), "GBK")))["results"] == results


def test_more_rows_than_a_run_takes_keep_their_order(frame: TabularClassification) -> None:
    rows = [{"city": "Wuhan", "visits": number % 9, "age": 40} for number in range(2500)]
    results = finish(frame.predict({"rows": rows}))["results"]
    assert len(results) == 2500
    assert results == (results[:9] * 278)[:2500]
    with pytest.raises(BadInput) as refused:
        finish(frame.predict({"rows": [*rows, {"city": "Wuhan", "visits": 0.5}]}))
    assert refused.value.where == "rows[2500].visits"


def test_labels_that_are_texts_need_no_list(tmp_path: Path) -> None:
    forest = RandomForestClassifier(15, random_state=0).fit(IRIS, NAMES[SPECIES])
    found = load(matrix_model(tmp_path / "m", TASK, forest, 4))
    results = finish(found.predict({"rows": IRIS.tolist()}))["results"]
    single = IRIS.astype(np.float32)
    assert [result["label"] for result in results] == forest.predict(single).tolist()
    assert np.allclose([r["score"] for r in results], forest.predict_proba(single).max(axis=1), atol=1e-5)
    assert "scores" not in results[0] and "x-labels" not in found.schema


def test_numbers_of_classes_may_have_any_names(tmp_path: Path) -> None:
    fitted = LogisticRegression(max_iter=500).fit(IRIS, SPECIES * 10 + 5)
    named = {"5": "setosa", "15": "versicolor", "25": "virginica"}
    for number, labels, wanted in ((0, {"labels": named}, NAMES), (1, {}, np.array(["5", "15", "25"]))):
        found = load(matrix_model(tmp_path / str(number), TASK, fitted, 4, **labels))
        results = finish(found.predict({"rows": IRIS[::10].tolist()}))["results"]
        assert [result["label"] for result in results] == wanted[fitted.predict(IRIS[::10]) // 10].tolist()


def test_scores_that_are_no_probabilities(tmp_path: Path) -> None:
    fitted = LinearSVC().fit(IRIS, SPECIES)
    found = load(matrix_model(tmp_path / "m", TASK, fitted, 4, labels=NAMES.tolist()))
    results = finish(found.predict({"rows": IRIS.tolist()}))["results"]
    assert [result["label"] for result in results] == NAMES[fitted.predict(IRIS)].tolist()
    assert all(sum(result["scores"].values()) == pytest.approx(1, abs=1e-5) for result in results)


@pytest.mark.parametrize(
    ("width", "options", "row", "scores"),
    [
        (1, {"activation": "none"}, [0.25], {"a": 0.75, "b": 0.25}),
        (1, {}, [0.25], {"a": 0.75, "b": 0.25}),
        (1, {}, [2.0], {"a": 0.119203, "b": 0.880797}),
        (1, {"activation": "sigmoid"}, [0.0], {"a": 0.5, "b": 0.5}),
        (2, {}, [1.0, 1.0], {"a": 0.5, "b": 0.5}),
        (2, {"activation": "sigmoid"}, [0.0, 2.0], {"a": 0.5, "b": 0.880797}),
        (2, {"activation": "none"}, [3.0, 4.0], {"a": 3.0, "b": 4.0}),
    ],
)
def test_graphs_with_scores_alone(
    tmp_path: Path, width: int, options: dict[str, Any], row: list[float], scores: dict[str, float]
) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    kind = TensorProto.FLOAT
    model = graph([node], [("x", kind, ["n", width])], [("y", kind, ["n", width])])
    found = load(write_model(tmp_path / "m", model, TASK, options={"labels": ["a", "b"], **options}))
    (result,) = finish(found.predict({"rows": [row]}))["results"]
    assert result["scores"] == pytest.approx(scores, abs=1e-6)
    assert result["score"] == max(result["scores"].values()) == result["scores"][result["label"]]


def test_a_graph_of_one_row_at_a_time(tmp_path: Path) -> None:
    kind = TensorProto.FLOAT
    node = helper.make_node("Identity", ["x"], ["y"])
    model = graph([node], [("x", kind, [1, 2])], [("y", kind, [1, 2])])
    found = load(write_model(tmp_path / "m", model, TASK, options={"labels": ["a", "b"]}))
    results = finish(found.predict({"rows": [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]}))["results"]
    assert [result["label"] for result in results] == ["a", "b", "a"]


def test_a_graph_that_answers_with_maps_says_how_to_convert(tmp_path: Path, iris: Any) -> None:
    made = to_onnx(iris, np.zeros((1, 4), np.float32))
    with pytest.raises(BadModel, match="'zipmap': False"):
        load(write_model(tmp_path / "m", made, TASK))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"labels": ["a", "b"]}, "3 scores for 2 labels"),
        ({"activation": "relu"}, "options.activation"),
        ({"outputs": {"label": "nowhere"}}, "options.outputs.label"),
        ({"columns": ["a", "b"]}, "fill 2 columns"),
    ],
)
def test_options_that_cannot_be_are_named(
    tmp_path: Path, iris: Any, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(BadModel, match=named):
        load(matrix_model(tmp_path / "m", TASK, iris, 4, **options))


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.lists(st.dictionaries(st.sampled_from(["age", "city", "visits", "x"]), cells), max_size=3)
    | st.lists(st.lists(cells, max_size=4), max_size=3)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | cells
)
@settings(deadline=None)
def test_any_rows_are_answered_or_refused(frame: TabularClassification, rows: Any) -> None:
    try:
        answer = finish(frame.predict({"rows": rows}))
    except BadInput as refused:
        assert refused.where.startswith("rows")
        assert refused.why.en and refused.why.zh
    else:
        assert all(set(result) == {"label", "score", "scores"} for result in answer["results"])
