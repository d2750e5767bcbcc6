"""The matcher of expected answers: what it lets pass, what it tells, and that it never raises."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.examples import check

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5).filter(lambda key: not key.startswith("$")), inner, max_size=4)
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["$near", "$abs", "$min", "$max", "$contains", "$len", "$start", "$any", "$odd", "a", "b"]
)
EXPECTATIONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
ANSWER = {
    "results": [{"label": "positive", "score": 0.97}, {"label": "negative", "score": 0.6}],
    "text": "合计 ¥128.00",
    "count": 2,
    "ok": True,
}

RIGHT = [
    {},
    {"count": 2},
    {"count": 2.0},
    {"ok": True},
    {"results": [{"label": "positive"}, {"label": "negative"}]},
    {"results": [{"score": {"$near": 0.95, "$abs": 0.03}}, {}]},
    {"results": [{"score": {"$min": 0.8, "$max": 1}}, {"score": {"$max": 0.6}}]},
    {"results": {"$len": 2}},
    {"results": {"$len": {"$min": 1}}},
    {"results": {"$any": [{"label": "negative", "score": {"$min": 0.5}}]}},
    {"results": {"$any": [{"label": "negative"}, {"label": "positive"}]}},
    {"text": {"$contains": "128.00"}},
    {"text": {"$contains": "合计", "$len": 10}},
    {"count": {"$any": [1, 2]}},
    {"results": {"$start": [{"label": "positive"}], "$len": 2}},
]
WRONG = [
    ({"count": 3}, "count: 2 ≠ 3"),
    ({"count": "2"}, 'count: 2 ≠ "2"'),
    ({"ok": 1}, "ok: true ≠ 1"),
    ({"count": {"$min": 1, "$max": 1.5}}, "count: 2 > 1.5"),
    ({"ok": {"$min": 0}}, "ok: true < 0"),
    (
        {"nothing": 1, "other": 2},
        'nothing, other: ∅, {"results": [{"label": "positive", "score": 0.97}, '
        '{"label": "negative", "score": 0.6}], "text": "合计 ¥128.00", "count": …',
    ),
    ({"results": [{"lable": 1}, {}]}, 'results[0].lable: ∅, {"label": "positive", "score": 0.97}'),
    (
        {"results": [{"score": 0.9704}, {}]},
        'results[0].score: 0.97 ≠ 0.9704 → {"$near": 0.9704, "$abs": 0.001}',
    ),
    ({"results": [{"score": 0.5}, {}]}, "results[0].score: 0.97 ≠ 0.5"),
    ({"results": [{}]}, "results: |2| ≠ |1|"),
    (
        {"results": {"a": 1}},
        'results: [{"label": "positive", "score": 0.97}, {"label": "negative", "score": 0.6}] ≠ {"a": 1}',
    ),
    ({"results": [{"score": {"$min": 0.98}}, {}]}, "results[0].score: 0.97 < 0.98"),
    ({"results": [{"score": {"$near": 0.95}}, {}]}, "results[0].score: 0.97 ≉ 0.95 ± 1e-06"),
    ({"results": {"$len": 3}}, "|results|: 2 ≠ 3"),
    ({"count": {"$len": 1}}, "count: |2| ≠ 1"),
    ({"count": {"$any": [1, 3]}}, "count: 2 ∉ [1, 3]"),
    ({"text": {"$contains": "合計"}}, 'text: "合计 ¥128.00" ∌ "合計"'),
    ({"text": {"$like": "合"}}, 'text: ? "$like"'),
    ({"results": {"$start": [{"score": {"$max": 0.5}}]}}, "results[0].score: 0.97 > 0.5"),
    ({"results": {"$start": [{}, {}, {}]}}, "results: |2| ≠ |3|"),
    ({"count": {"$start": [2]}}, "count: 2 ≠ [2]"),
    ({"count": {"$start": 2}}, "count: ? $start 2"),
    ({"text": {"$any": []}}, "text: ? $any []"),
    ({"text": ["合"]}, 'text: "合计 ¥128.00" ≠ ["合"]'),
]


@pytest.mark.parametrize("expect", RIGHT, ids=json.dumps)
def test_right_answers_leave_nothing_to_say(expect: object) -> None:
    assert check(ANSWER, expect) == []


@pytest.mark.parametrize(("expect", "told"), WRONG, ids=[told for _, told in WRONG])
def test_wrong_answers_are_told_with_their_place(expect: object, told: str) -> None:
    assert check(ANSWER, expect) == [told]


def test_each_mismatch_is_told() -> None:
    assert check({"a": 1, "b": [1, 2]}, {"a": 2, "b": [0, {"$min": 3}]}, "body") == [
        "body.a: 1 ≠ 2",
        "body.b[0]: 1 ≠ 0",
        "body.b[1]: 2 < 3",
    ]


def test_each_expectation_of_any_needs_its_item() -> None:
    assert check(["a", "b"], {"$any": ["b", "c", "d"]}) == ['["a", "b"] ∌ "c"', '["a", "b"] ∌ "d"']
    assert check([], {"$any": [{}]}) != []


@pytest.mark.parametrize(
    ("answer", "rounded"), [(0.48529395, 0.4853), (-12.000001, -12.0), (1e-9, 1.001e-9), (123456.4, 123456)]
)
def test_the_matcher_that_a_close_number_is_told_holds(answer: float, rounded: float) -> None:
    (told,) = check(answer, rounded)
    assert check(answer, json.loads(told.partition(" → ")[2])) == []


def test_numbers_beyond_all_measure_are_told_apart() -> None:
    assert check(10**400, 10**400 + 1) != [] and check(10**400, 0.5) != []


def test_lists_contain_equal_items_only() -> None:
    assert check([1, [True]], {"$contains": [True]}) == []
    assert check([1, [True]], {"$contains": [1]}) != []


def test_nan_is_never_near() -> None:
    assert check(math.nan, {"$near": math.nan, "$abs": 1}) != []
    assert check(math.nan, {"$min": 0}) != []


def test_long_values_are_cut() -> None:
    assert len(check("x" * 10_000, "y")[0]) < 200


@given(PLAIN)
def test_an_answer_matches_itself(value: object) -> None:
    assert check(value, copy.deepcopy(value)) == []


@given(st.dictionaries(st.text(min_size=1, max_size=5).map("k{}".format), PLAIN, min_size=1))
def test_further_keys_do_not_matter_and_missing_ones_do(value: dict[str, object]) -> None:
    key = next(iter(value))
    part = {key: value[key]}
    assert check(value, part) == []
    rest = {name: item for name, item in value.items() if name != key}
    assert len(check(rest, part)) == 1


@given(PLAIN, EXPECTATIONS)
def test_any_expectation_is_answered(answer: object, expect: object) -> None:
    assert all(isinstance(text, str) and text for text in check(answer, expect))


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(0, 100))
def test_near_is_both_bounds(answer: int, wanted: int, slack: int) -> None:
    near = check(answer, {"$near": wanted, "$abs": slack}) == []
    assert near == (check(answer, {"$min": wanted - slack, "$max": wanted + slack}) == [])
