"""The hashed n-grams: known hashes, and features that training and serving agree on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.text.features import NgramAnalyzer, fnv1a

OPTIONS = {"analyzer": "char-ngram-hash", "ngrams": [1, 2], "buckets": 262144, "normalize": "NFKC"}


@pytest.mark.parametrize(("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_hash_is_the_published_one(text: str, value: int) -> None:
    assert fnv1a(text) == value


def test_grams_are_counted_dampened_and_scaled() -> None:
    ids, weights = NgramAnalyzer.from_options(OPTIONS | {"ngrams": [1, 1]}).features("aab")
    by_id = dict(zip(ids, weights, strict=True))
    a, b = (fnv1a(letter) % 262144 + 1 for letter in "ab")
    assert set(by_id) == {a, b}
    assert by_id[a] / by_id[b] == pytest.approx(1 + np.log(2))
    assert sum(weight**2 for weight in weights) == pytest.approx(1)


def test_width_case_and_blanks_do_not_matter() -> None:
    analyzer = NgramAnalyzer.from_options(OPTIONS)
    assert analyzer.features("ＡＢ c\n") == analyzer.features("ab  C")


def test_batch_is_padded_with_nought() -> None:
    ids, weights = NgramAnalyzer.from_options(OPTIONS).batch(["很好", "", "a"])
    assert ids.shape == weights.shape == (3, 3)
    assert ids[1].tolist() == [0, 0, 0]
    assert weights[2].tolist() == [1, 0, 0]


@given(st.lists(st.text(), max_size=4))
def test_any_text_has_features(texts: list[str]) -> None:
    ids, weights = NgramAnalyzer.from_options(OPTIONS).batch(texts)
    assert ids.shape[0] == len(texts)
    assert ((ids >= 0) & (ids <= 262144)).all()
    assert ((ids == 0) == (weights == 0)).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"analyzer": "words"},
        OPTIONS | {"ngrams": [2, 1]},
        OPTIONS | {"buckets": 0},
        OPTIONS | {"normalize": "no"},
    ],
)
def test_other_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        NgramAnalyzer.from_options(options)


def test_options_come_back() -> None:
    analyzer = NgramAnalyzer.from_options(OPTIONS)
    assert NgramAnalyzer.from_options(analyzer.options()) == analyzer
