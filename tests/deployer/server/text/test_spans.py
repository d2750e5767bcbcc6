"""Entities out of tagged tokens, in every way of tagging."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.text.spans import Tag, Token, entities, read_tags, whole_words

SCHEMES = {
    "BIO": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "BILOU": ["O", *(f"{mark}-{kind}" for kind in ("PER", "LOC") for mark in "BILU")],
    "BIOES": ["O", *(f"{mark}_{kind}" for kind in ("PER", "LOC") for mark in "BIES")],
    "after": ["O", *(f"{kind}-{mark}" for kind in ("PER", "LOC") for mark in "BI")],
    "plain": ["O", "PER", "LOC"],
}


def found(labels: list[str], *told: str) -> list[tuple[str, int, int]]:
    """Label, first token and the one after the last of each entity of tokens that are one character long."""
    tokens = [Token(labels.index(label), 1.0, place, place + 1) for place, label in enumerate(told)]
    text = "x" * len(told)
    return [(one["label"], one["start"], one["end"]) for one in entities(text, tokens, read_tags(labels))]


@pytest.mark.parametrize(
    ("scheme", "told", "wanted"),
    [
        ("BIO", "O B-PER I-PER O", [("PER", 1, 3)]),
        ("BIO", "B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("BIO", "I-PER I-PER I-LOC", [("PER", 0, 2), ("LOC", 2, 3)]),  # as models err, and as IOB1 has it
        ("BIO", "B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("BILOU", "B-PER I-PER L-PER U-PER U-LOC O", [("PER", 0, 3), ("PER", 3, 4), ("LOC", 4, 5)]),
        ("BILOU", "U-PER I-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("BIOES", "B_LOC E_LOC B_LOC E_LOC S_LOC", [("LOC", 0, 2), ("LOC", 2, 4), ("LOC", 4, 5)]),
        ("after", "PER-B PER-I O LOC-B", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("plain", "PER PER LOC O LOC", [("PER", 0, 2), ("LOC", 2, 3), ("LOC", 4, 5)]),
        ("plain", "O O", []),
    ],
)
def test_what_belongs_together(scheme: str, told: str, wanted: list[tuple[str, int, int]]) -> None:
    assert found(SCHEMES[scheme], *told.split()) == wanted


def test_marks_are_marks_only_when_all_labels_have_them() -> None:
    assert read_tags(["O", "B-PER", "S-bahn", "tram"]) == [
        Tag("", ""),
        Tag("", "B-PER"),
        Tag("", "S-bahn"),
        Tag("", "tram"),
    ]
    assert read_tags(["L-A", "U-A", "M-B"]) == [Tag("E", "A"), Tag("S", "A"), Tag("I", "B")]
    assert read_tags(["none", "PER"], ["none"]) == [Tag("", ""), Tag("", "PER")]
    assert read_tags(["O"]) == [Tag("", "")]


def test_a_word_takes_the_tag_of_its_first_token() -> None:
    tokens = [
        Token(1, 0.9, 0, 2, 0),
        Token(0, 0.8, 2, 5, 0),
        Token(2, 0.7, 6, 8, 1),
        Token(1, 0.6, 8, 9, None),
    ]
    assert whole_words(tokens) == [Token(1, 0.9, 0, 5, 0), Token(2, 0.7, 6, 8, 1), Token(1, 0.6, 8, 9, None)]


def test_the_score_is_the_mean_and_the_text_has_its_blanks() -> None:
    tokens = [Token(1, 1.0, 1, 5), Token(2, 0.5, 7, 11)]
    (one,) = entities(" Hong  Kong", tokens, read_tags(SCHEMES["BIO"]))
    assert one == {"text": "Hong  Kong", "label": "PER", "score": 0.75, "start": 1, "end": 11}


@given(st.sampled_from(sorted(SCHEMES)), st.lists(st.integers(0, 8), max_size=20))
def test_entities_are_in_order_and_cover_what_is_tagged(scheme: str, drawn: list[int]) -> None:
    labels = SCHEMES[scheme]
    told = [labels[number % len(labels)] for number in drawn]
    spans = found(labels, *told)
    covered = [place for _, start, end in spans for place in range(start, end)]
    assert covered == [place for place, label in enumerate(told) if label != "O"]
    assert all(a[2] <= b[1] for a, b in itertools.pairwise(spans))


@given(st.lists(st.sampled_from(["PER", "LOC", "O"]), max_size=12), st.sampled_from(["BILOU", "BIOES"]))
def test_what_is_written_by_a_scheme_is_read_by_it(kinds: list[str], scheme: str) -> None:
    """Runs of one kind, written with marks, come back as those runs."""
    begin, inside, end, single, sign = (
        ("B", "I", "L", "U", "-") if scheme == "BILOU" else ("B", "I", "E", "S", "_")
    )
    told: list[str] = []
    wanted: list[tuple[str, int, int]] = []
    for kind, run in itertools.groupby(kinds):
        size, start = len(list(run)), len(told)
        if kind == "O":
            told += ["O"] * size
            continue
        marks = [single] if size == 1 else [begin, *[inside] * (size - 2), end]
        told += [f"{mark}{sign}{kind}" for mark in marks]
        wanted.append((kind, start, start + size))
    assert found(SCHEMES[scheme], *told) == wanted
