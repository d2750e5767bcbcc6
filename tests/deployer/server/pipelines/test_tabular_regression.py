"""Numbers for rows: models that scikit-learn trains here, held against its own predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge

from deployer.server.errors import BadModel
from deployer.server.pipelines.tabular_regression import shortest
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import Serve, graph, write_model
from tests.deployer.server.pipelines.sklearn_models import (
    as_rows,
    frame_model,
    matrix_model,
    mixed_pipeline,
    mixed_table,
)

TASK = "tabular-regression"
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
COLUMNS = load_diabetes().feature_names


def test_progress_of_diabetes(serve: Serve, tmp_path: Path) -> None:
    fitted = GradientBoostingRegressor(n_estimators=30, random_state=0).fit(
        PATIENTS.astype(np.float32), PROGRESS
    )
    server = serve(matrix_model(tmp_path / "m", TASK, fitted, 10, columns=COLUMNS))
    results = server.predict({"rows": PATIENTS.tolist()})["results"]
    wanted = fitted.predict(PATIENTS.astype(np.float32))
    assert np.allclose([result["value"] for result in results], wanted, rtol=1e-5)
    one = dict(zip(COLUMNS, PATIENTS[3].tolist(), strict=True))
    assert server.predict({"rows": one})["results"] == [results[3]]
    assert "rows[0].bmi: is missing" in server.refuse({"rows": {"age": 0, "sex": 0}})["detail"]
    assert "rows[1].s6：不是数" in server.refuse({"rows": [[0] * 10, [0] * 9 + ["?"]]}, "zh")["detail"]
    document = server.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert [column["name"] for column in schema["x-columns"]] == COLUMNS


def test_a_mixed_table(tmp_path: Path) -> None:
    table = mixed_table()
    spent = table[:, 2].astype(float) * 12.5 + (table[:, 1] == "Wuhan") * 100
    fitted = mixed_pipeline(Ridge()).fit(table, spent)
    columns = [{"name": "age", "default": None}, "city", "visits"]
    found = load(frame_model(tmp_path / "m", TASK, fitted, columns=columns))
    results = finish(found.predict({"rows": as_rows(table)}))["results"]
    assert np.allclose([result["value"] for result in results], fitted.predict(table), rtol=1e-4, atol=1e-3)


def test_several_numbers_for_a_row(tmp_path: Path) -> None:
    fitted = LinearRegression().fit(PATIENTS, np.stack([PROGRESS, -PROGRESS], axis=1))
    named = load(matrix_model(tmp_path / "1", TASK, fitted, 10, targets=["up", "down"]))
    (result,) = finish(named.predict({"rows": [PATIENTS[0].tolist()]}))["results"]
    up, down = fitted.predict(PATIENTS[:1])[0]
    assert result["values"] == {"up": pytest.approx(up, rel=1e-5), "down": pytest.approx(down, rel=1e-5)}
    unnamed = load(matrix_model(tmp_path / "2", TASK, fitted, 10))
    (result,) = finish(unnamed.predict({"rows": [PATIENTS[0].tolist()]}))["results"]
    assert list(result["values"]) == ["y0", "y1"]
    with pytest.raises(BadModel, match="2 numbers for 1"):
        load(matrix_model(tmp_path / "3", TASK, fitted, 10, targets=["up"]))


def test_numbers_have_no_more_digits_than_they_know() -> None:
    assert shortest(np.float32(0.1)) == 0.1
    assert shortest(np.float64(1 / 3)) == 1 / 3
    assert shortest(np.int64(7)) == 7.0


def test_which_output_is_answered(tmp_path: Path) -> None:
    kind, nodes = (
        TensorProto.FLOAT,
        [helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Sign", ["x"], ["z"])],
    )
    model = graph(nodes, [("x", kind, ["n", 1])], [("y", kind, ["n", 1]), ("z", kind, ["n", 1])])

    def value(**options: Any) -> float:
        name = options.get("output", "none")
        found = load(write_model(tmp_path / name, model, TASK, options=options))
        return finish(found.predict({"rows": [[-3]]}))["results"][0]["value"]

    assert (value(), value(output="z")) == (3.0, -1.0)
    with pytest.raises(BadModel, match=r"options\.output"):
        value(output="w")


def test_texts_are_no_numbers(tmp_path: Path) -> None:
    kind = TensorProto.STRING
    model = graph(
        [helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n", 1])], [("y", kind, ["n", 1])]
    )
    with pytest.raises(BadModel, match="no output of numbers"):
        load(write_model(tmp_path / "m", model, TASK))


def test_a_table_as_a_csv_file(serve: Serve, tmp_path: Path) -> None:
    fitted = LinearRegression().fit(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0, 3.0]))
    server = serve(matrix_model(tmp_path / "m", TASK, fitted, 2, columns=["面积", "楼层"]))
    wanted = server.predict({"rows": [[1, 2], [3, 4]]})
    text = "面积,楼层\n1,2\n3,4\n"
    for kind, body in (
        ("text/csv", text.encode()),
        ("text/csv; charset=gbk", text.encode("gbk")),
        ('text/csv; charset="GBK"', text.encode("gbk")),
    ):
        answer = server.client.post("/predict", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
        assert answer.json() == wanted
    for kind, body in (("text/csv", text.encode("gbk")), ("text/csv; charset=martian", text.encode())):
        answer = server.client.post("/predict", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-input")
