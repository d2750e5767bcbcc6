"""Tables: how columns are laid into inputs, and what a cell may hold."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.errors import BadInput, BadModel
from deployer.server.signature import TensorSpec
from deployer.server.tables.rows import MOST_ROWS, Table

MATRIX = [TensorSpec("X", "FP32", (-1, 3))]
FRAME = [
    TensorSpec("age", "FP32", (-1, 1)),
    TensorSpec("city", "BYTES", (-1, 1)),
    TensorSpec("visits", "INT64", (-1, 1)),
    TensorSpec("vip", "BOOL", (-1,)),
]
ROW = {"age": 41.5, "city": "北京", "visits": 3, "vip": True}


def table(inputs: list[TensorSpec], *columns: Any) -> Table:
    return Table({"columns": list(columns)} if columns else {}, inputs)


def feeds(made: Table, rows: Any) -> dict[str, list[Any]]:
    return {name: array.tolist() for name, array in made.feeds(made.rows(rows)).items()}


def test_columns_of_a_data_frame_come_from_the_graph() -> None:
    made = table(FRAME)
    wanted = {"age": [[41.5]], "city": [["北京"]], "visits": [[3]], "vip": [True]}
    assert [(column.name, column.type) for column in made.columns] == [
        ("age", "number"),
        ("city", "text"),
        ("visits", "number"),
        ("vip", "boolean"),
    ]
    csv = "vip,age,visits,city\ntrue, 41.5 ,3,北京\n"
    for rows in (ROW, [ROW], [[41.5, "北京", 3, True]], csv, csv.encode("utf-16")):
        assert feeds(made, rows) == wanted


def test_columns_of_a_matrix_have_no_names_of_their_own() -> None:
    made = table(MATRIX)
    assert made.names == ["x0", "x1", "x2"]
    assert feeds(made, [[1, 2, 3], {"x2": 6, "x1": 5, "x0": "4"}]) == {"X": [[1, 2, 3], [4, 5, 6]]}


def test_categories_in_a_matrix() -> None:
    colour = {"name": "colour", "categories": ["red", "green"]}
    size = {"name": "size", "type": "category", "categories": [35, 36.5]}
    made = table(MATRIX, colour, size, {"name": "new", "type": "boolean"})
    assert feeds(made, [["green", 36.5, False], ["red", "35", "true"]]) == {"X": [[1, 36.5, 0], [0, 35, 1]]}
    hot = table(MATRIX, colour | {"encode": "one-hot", "default": None}, "weight")
    assert feeds(hot, [["green", 2.5], {"weight": 1}]) == {"X": [[0, 1, 2.5], [0, 0, 1]]}
    placed = table(MATRIX, size | {"encode": "index"}, "a", "b")
    assert feeds(placed, [[36.5, 0, 0]]) == {"X": [[1, 0, 0]]}


def test_columns_fill_several_inputs_in_order() -> None:
    inputs = [TensorSpec("numbers", "FP64", (-1, 2)), TensorSpec("texts", "BYTES", (-1, -1))]
    made = table(inputs, "a", "b", "c", {"name": "d", "type": "category", "categories": ["x", "1"]})
    assert feeds(made, [[1, 2, "three", 1]]) == {"numbers": [[1, 2]], "texts": [["three", "1"]]}
    swapped = table(FRAME, "vip", "visits", {"name": "city", "title": {"zh": "城市"}}, "age")
    assert feeds(swapped, [[True, 3, "北京", 41.5]])["city"] == [["北京"]]
    assert swapped.columns[2].describe() == {"name": "city", "type": "text", "title": {"zh": "城市"}}


def test_cells_that_are_missing() -> None:
    made = table(
        FRAME,
        {"name": "age", "default": None},
        {"name": "city", "default": None},
        {"name": "visits", "default": 7},
        {"name": "vip", "default": "no"},
    )
    for row in ({}, [None] * 4, dict.fromkeys(ROW)):
        found = feeds(made, [row])
        assert math.isnan(found["age"][0][0])
        assert (found["city"], found["visits"], found["vip"]) == ([[""]], [[7]], [False])
    assert feeds(made, "age,city\n,Wuhan\n")["city"] == [["Wuhan"]]


@pytest.mark.parametrize(
    ("change", "where", "why", "expected"),
    [
        ({"age": None}, "rows[0].age", "is missing", "a number"),
        ({"age": "old"}, "rows[0].age", "is not a number", "a number"),
        ({"age": "nan"}, "rows[0].age", "is not a number", "a number"),
        ({"age": "1_0"}, "rows[0].age", "is not a number", "a number"),
        ({"age": True}, "rows[0].age", "is not a number", "a number"),
        ({"age": [1]}, "rows[0].age", "is not a number", "a number"),
        ({"age": 1e39}, "rows[0].age", "is out of range", "a number"),
        ({"age": 10**400}, "rows[0].age", "is out of range", "a number"),
        ({"city": 5}, "rows[0].city", "is not a text", "a text"),
        ({"city": "x" * 10_001}, "rows[0].city", "has 10001 characters", "a text"),
        ({"visits": 2.5}, "rows[0].visits", "is not a whole number", "a number"),
        ({"visits": 2**63}, "rows[0].visits", "is out of range", "a number"),
        ({"vip": "maybe"}, "rows[0].vip", "is neither true nor false", "true | false"),
        ({"vip": {}}, "rows[0].vip", "is neither true nor false", "true | false"),
        ({"cityy": "x"}, "rows[0].cityy", "is not a column", "age, city, visits, vip"),
    ],
)
def test_cells_that_are_refused(change: dict[str, Any], where: str, why: str, expected: str) -> None:
    made = table(FRAME)
    with pytest.raises(BadInput) as refused:
        feeds(made, [ROW | change])
    assert (refused.value.where, refused.value.expected.en) == (where, expected)
    assert why in refused.value.why.en
    assert refused.value.why.zh != refused.value.why.en


def test_a_refusal_names_the_row_and_lists_categories() -> None:
    many = {"name": "colour", "categories": [f"c{number}" for number in range(30)]}
    made = table([TensorSpec("x", "BYTES", (-1, 1))], many)
    with pytest.raises(BadInput) as refused:
        made.feeds(made.rows([["c1"], ["c2"], ["mauve"]]), first=1024)
    assert refused.value.where == "rows[1026].colour"
    assert refused.value.expected.en.startswith("one of c0, c1,")
    assert refused.value.expected.zh.endswith("…之一") or refused.value.expected.zh.endswith("… 之一")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (None, "neither a row nor"),
        ([], "neither a row nor"),
        (5, "neither a row nor"),
        ([5], "neither an object nor a list"),
        ([[1, 2]], "has 2 values"),
        ("", "no row"),
        (b"\xff", "is not UTF-8"),
        ([[0, 0, 0]] * (MOST_ROWS + 1), "has 10001 rows"),
    ],
)
def test_rows_that_are_refused(rows: Any, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        feeds(table(MATRIX), rows)
    assert why in refused.value.why.en


def test_many_columns_leave_room_for_fewer_rows() -> None:
    wide = table([TensorSpec("X", "FP32", (-1, 2000))])
    with pytest.raises(BadInput) as refused:
        wide.rows([[0.0] * 2000] * 501)
    assert refused.value.expected.en == "at most 500 rows"


@pytest.mark.parametrize(
    ("inputs", "columns", "named"),
    [
        ([TensorSpec("X", "FP32", (-1, -1))], None, "give options.columns"),
        ([TensorSpec("X", "FP32", (-1, 2, 2))], None, "not rows of a table"),
        ([TensorSpec("X", "FP32", (7, 3))], None, "7 rows at once"),
        ([TensorSpec("X", "BF16", (-1, 3))], None, "does not fit"),
        (MATRIX, [], "not a list of columns"),
        (MATRIX, "abc", "not a list of columns"),
        (MATRIX, ["a", "b"], "fill 2 columns"),
        (MATRIX, ["a", "b", "c", "d"], "more columns than the graph takes, from 'd'"),
        (MATRIX, ["a", "b", "a"], "a column twice"),
        (MATRIX, ["a", "b", 3], "without a name"),
        (MATRIX, ["a", "b", {"name": "c", "type": "date"}], "'c' has no such type"),
        (MATRIX, ["a", "b", {"name": "c", "type": "text"}], "a text, does not fit"),
        (MATRIX, ["a", "b", {"name": "c", "type": "category"}], "a category, does not fit"),
        (MATRIX, ["a", "b", {"name": "c", "categories": ["x", "x"]}], "a category twice"),
        (MATRIX, ["a", "b", {"name": "c", "categories": [[]]}], "'c' has no such"),
        (MATRIX, ["a", "b", {"name": "c", "categories": [1e300]}], "is out of range"),
        (MATRIX, ["a", "b", {"name": "c", "encode": "one-hot"}], "without the other"),
        (MATRIX, ["a", "b", {"name": "c", "type": "number", "categories": ["x"]}], "without the other"),
        (MATRIX, ["a", "b", {"name": "c", "default": "x"}], "default of column 'c' is not a number"),
        (FRAME, ["age", "city", {"name": "visits", "default": None}, "vip"], "'visits' cannot be missing"),
    ],
)
def test_columns_that_cannot_be_are_named(inputs: list[TensorSpec], columns: Any, named: str) -> None:
    with pytest.raises(BadModel, match=named):
        Table({} if columns is None else {"columns": columns}, inputs)


def test_the_schema_says_what_rows_are() -> None:
    made = table(MATRIX, "a", {"name": "b", "default": None}, {"name": "c", "categories": ["x", "y"]})
    row = made.schema()["anyOf"][1]
    assert row["required"] == ["a", "c"]
    assert row["properties"] == {
        "a": {"type": ["number"]},
        "b": {"type": ["number", "null"], "default": None},
        "c": {"type": ["string", "number"], "enum": ["x", "y"]},
    }


cells = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["1", "-2.5", "1e3", "true", "０１", "x"])
    | st.lists(st.integers(), max_size=2)
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*ROW, "other"]), cells) | st.lists(cells, max_size=5), max_size=4
    )
)
@settings(deadline=None)
def test_any_rows_fit_or_are_refused(rows: list[Any]) -> None:
    made = table(FRAME, {"name": "age", "default": None}, "city", "visits", "vip")
    try:
        found = made.feeds(made.rows(rows))
    except BadInput as refused:
        assert refused.where.startswith("rows")
        assert refused.why.en and refused.why.zh
    else:
        assert {name: array.shape for name, array in found.items()} == {
            "age": (len(rows), 1),
            "city": (len(rows), 1),
            "visits": (len(rows), 1),
            "vip": (len(rows),),
        }
        assert found["visits"].dtype == np.int64 and found["vip"].dtype == np.bool_
        assert not np.isinf(found["age"]).any()
