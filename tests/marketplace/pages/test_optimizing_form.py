"""The form of an optimisation: what was typed becomes an objective, and what is wrong belongs to a field."""

from typing import Any

import pytest

from deployer.devices import DEVICES, DeviceNotServed
from deployer.errors import DeployerError
from deployer.models import Optimization
from deployer.optimizer.errors import ObjectiveRefused
from deployer.optimizer.objective import Objective
from deployer.optimizer.rows.errors import DataColumns
from deployer.optimizer.rows.forms import FORMS, LABEL
from marketplace.errors import InvalidRequest
from marketplace.pages import optimizing_form as form
from marketplace.pages import words
from marketplace.pages.optimizing_form import FieldRefused, Values
from marketplace.samples import SampleRefused


def test_what_was_typed_becomes_the_objective() -> None:
    typed = form.read({"kind": "smallest", "max_drop": " 0,5 ", "max_latency_ms": "12.5", "max_size": "30"})
    assert form.objective(typed, "en") == Objective("smallest", 0.005, 12.5, 0, 30_000_000)
    assert form.objective(Values(), "en") == Objective("fastest", 0.01)


@pytest.mark.parametrize(
    ("field", "text"), [("max_drop", ""), ("max_drop", "viel"), ("max_size", "nan"), ("max_memory", "9" * 60)]
)
def test_what_is_no_number_is_refused_at_its_field(field: str, text: str) -> None:
    with pytest.raises(FieldRefused) as refused:
        form.objective(form.read({field: text}), "en")
    assert form.field_of(refused.value) == field


@pytest.mark.parametrize("text", ["1e400", "inf", "9" * 39])
def test_numbers_without_measure_are_refused_or_bounded(text: str) -> None:
    typed = form.read({"max_memory": text})
    try:
        assert form.objective(typed, "en").max_memory <= 10**18
    except FieldRefused as refused:
        assert form.field_of(refused) == "max_memory"


def test_files_and_foreign_fields_are_not_taken_for_text() -> None:
    assert form.read({"data": object(), "kind": object(), "__class__": "x", "max_drop": "2"}) == Values(
        max_drop="2"
    )


def test_an_earlier_job_fills_the_form_as_it_was() -> None:
    wanted = {"kind": "cheapest", "max_drop": 0.0125, "max_memory": 512_000_000}
    values = form.values_of(Optimization(objective=wanted, sample="ab", device="openvino"))
    assert values == Values("cheapest", "1.25", "", "512", "", "ab", "openvino")
    assert form.objective(values, "en").max_memory == 512_000_000


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (ObjectiveRefused(bound="max_size", value=1, expected=""), "max_size"),
        (ObjectiveRefused(bound="objective", value="best", expected=""), "kind"),
        (DataColumns(name="a.csv"), "data"),
        (SampleRefused(name="a.exe", expected=".csv"), "data"),
        (DeviceNotServed(device="cuda", known=[]), "device"),
        (InvalidRequest(why="?"), "form"),
        (DeployerError(), "form"),
    ],
)
def test_a_refusal_is_shown_at_the_field_that_it_belongs_to(error: Exception, field: str) -> None:
    assert form.field_of(error) == field


def test_devices_that_cannot_run_here_say_why_and_come_last() -> None:
    shown = form.devices("zh")
    assert {each.id for each in shown} == {each.id for each in DEVICES}
    assert shown[0].id == "cpu" and shown[0].ok and not shown[0].why
    assert [each.ok for each in shown] == sorted((each.ok for each in shown), reverse=True)
    assert all(each.why for each in shown if not each.ok)


def test_the_columns_shown_are_those_that_are_read() -> None:
    assert set(FORMS) == set(words.DATA_COLUMNS)
    for task, columns in words.DATA_COLUMNS.items():
        known = {*FORMS[task].required, *FORMS[task].optional, LABEL}
        assert set(FORMS[task].required) <= set(columns) <= known


EXAMPLES = [
    ("text-classification", {"text": "好"}, {"results": [{"label": "positive", "score": {"$min": 0.8}}]},
     ["text", "label"], ["好", "positive"]),
    ("image-to-text", {"image": {"base64": "aaaa"}}, {"text": "发票"},
     ["image", "label"], ["photo-1.jpg", "发票"]),
    ("tabular-classification", {"rows": [{"age": 3, "sex": "f"}]}, {"results": [{"label": "yes"}]},
     ["age", "sex", "label"], ["3", "f", "yes"]),
    ("token-classification", {"text": "李娜"}, {"results": [{"entities": [{"start": 0, "label": "PER"}]}]},
     ["text", "label"], ["李娜", '[{"start": 0, "label": "PER"}]']),
    ("document-layout", {"image": {"base64": "a"}}, {"regions": {"$any": [{"label": "title", "score": 1}]}},
     ["image", "label"], ["photo-1.jpg", '[{"label": "title"}]']),
]  # fmt: skip


@pytest.mark.parametrize(("task", "request_", "expect", "columns", "cells"), EXAMPLES)
def test_the_sample_table_comes_from_the_versions_own_examples(
    task: str, request_: dict[str, Any], expect: dict[str, Any], columns: list[str], cells: list[str]
) -> None:
    table = form.expected(task, {"examples": [{"request": request_, "expect": expect}]}, "en")
    assert table.columns == columns
    assert table.rows == [cells]


def test_a_version_without_examples_still_shows_its_columns() -> None:
    assert form.expected("text-classification", {}, "en") == form.Expected(["text", "label"], [])
    assert form.expected("tensor-inference", {}, "en").columns == ["label"]
