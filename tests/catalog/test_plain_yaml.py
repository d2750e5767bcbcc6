from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import InvalidManifest
from catalog.plain_yaml import DEEPEST, LARGEST, dump, load

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(
        ["no", "1e5", "0o14", "1:30", "010", "~", "<<", "=", "2024-01-01", "0x1F", ".5", "1_0"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    found, _ = load(dump({"value": value}).encode())
    assert found == {"value": value}
    assert type(found["value"]) is type(value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | TEXT.map(str.encode))
def test_anything_is_read_or_refused(content: bytes) -> None:
    try:
        load(content)
    except InvalidManifest as refused:
        assert refused.facts["why"] and refused.facts["why_zh"]


def test_text_that_looks_like_something_else_in_older_yaml() -> None:
    found, lines = load(b"a: no\nb: 1:30\nc: 2024-01-01\nd: [on, 0x1F]\n")
    assert found == {"a": "no", "b": "1:30", "c": "2024-01-01", "d": ["on", "0x1F"]}
    assert lines["b",] == 2
    assert lines["d", 1] == 4


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "market.yaml:4 b.c", "occurs twice, first on line 3"),
        ("a: &x 1\n", "market.yaml:1", "anchors"),
        ("a: 1\nb: *x\n", "market.yaml:2", "aliases"),
        ("\n\na: !!python/object/apply:os.system [id]\n", "market.yaml:3", "tags"),
        ("a: !include other.yaml\n", "market.yaml:1", "tags"),
        ("<<: {a: 1}\n", "market.yaml:1", "merge keys"),
        ("a: 1\n---\nb: 2\n", "market.yaml:2", "another document"),
        ("a: .nan\n", "market.yaml:1 a", "NaN"),
        ("a: [1, -.inf]\n", "market.yaml:1 a.1", "NaN"),
        ("a: 1e999\n", "market.yaml:1 a", "too large"),
        ("a: " + "9" * 5000 + "\n", "market.yaml:1 a", "too large"),
        ("1: a\n", "market.yaml:1", "not text"),
        ("? [a]\n: b\n", "market.yaml:1", "not text"),
        ("a: " + "[" * (DEEPEST + 1), "market.yaml:1", "nested too deep"),
        ("a: {" * 300, "market.yaml:1", "nested too deep"),
        ('a: "\\ud83d"\n', "market.yaml:1 a", "surrogate"),
        ("a: [\n", "market.yaml:2", "expected"),
        ("a: \x07\n", "market.yaml", "special characters"),
    ],
)
def test_tricks_are_refused_with_their_line(text: str, place: str, why: str) -> None:
    with pytest.raises(InvalidManifest) as refused:
        load(text.encode())
    assert refused.value.facts["path"] == place
    assert why in str(refused.value.facts["why"])
    assert any(c >= "\u4e00" for c in str(refused.value.facts["why_zh"]))


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + last] * 9)}]"
        for last, name in zip("abcdef", "bcdefg", strict=True)
    ]
    with pytest.raises(InvalidManifest, match="anchors"):
        load("\n".join(lines).encode())


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(InvalidManifest, match="larger than 256 KiB"):
        load(b"a: " + b"x" * LARGEST)


def test_bytes_that_are_no_utf8_are_named_by_line() -> None:
    with pytest.raises(InvalidManifest) as refused:
        load(b"a: 1\nb: \xff\n")
    assert refused.value.facts["path"] == "market.yaml:2"
