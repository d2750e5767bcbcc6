"""Texts: characters and words that are right, over the whole corpus, by edit distance.

Before they are held against each other both texts are normalised: full-width forms to plain ones (NFKC) and
white space to single blanks. Of what was heard, case and punctuation do not count either, since no sound
tells them, nor do blanks between Chinese or Japanese characters.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Ratio, Tally

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0003ffff"
_UNITS = re.compile(f"[{_CJK}]|[^\\s{_CJK}]+")
_BETWEEN = re.compile(f"(?<=[{_CJK}])\\s+|\\s+(?=[{_CJK}])")


class ReadingJudge:
    """Judges answers of the form {"text": …} that were read off a picture: 1 − character error rate."""

    metric = "character-accuracy"
    other = "word-accuracy"
    form = "text"
    expected = Expected("the right text", "正确的文本")

    def normal(self, text: str) -> str:
        """A text as it is compared."""
        return " ".join(_BETWEEN.sub("", unicodedata.normalize("NFKC", text)).split())

    def check(self, label: Any) -> str | None:
        """A label is a text; it may be empty where nothing is to be found."""
        return None if isinstance(label, str) else "is not a text"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """What of the right texts was found, with the other unit's measure beside it."""
        paired(answers, labels)
        found = [self.normal(_text(answer)) for answer in answers]
        right = [self.normal(label) for label in labels]
        by_characters, by_words = (
            _accuracy("character-accuracy", found, right, list),
            _accuracy("word-accuracy", found, right, units),
        )
        first, second = (
            (by_characters, by_words) if self.metric == by_characters.metric else (by_words, by_characters)
        )
        return Ratio(first.metric, first.rows, first.top, first.bottom, {second.metric: second})

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """1 − edit distance in characters / length of the longer text; 1 for the same, also for none."""
        return each(self._same, answers, reference)

    def _same(self, one: Answer, other: Answer) -> float:
        if "text" not in one:
            return 0.0
        mine, theirs = self.normal(_text(one)), self.normal(_text(other))
        longer = max(len(mine), len(theirs))
        return 1.0 if not longer else 1.0 - distance(mine, theirs) / longer


class TranscriptJudge(ReadingJudge):
    """Judges answers of the form {"text": …} that were heard: 1 − word error rate.

    Every Chinese, Japanese or Korean character counts as a word, so for Chinese this is the character error
    rate, and a text of both is counted in one way.
    """

    metric = "word-accuracy"
    expected = Expected("what is said, as a text", "所说的内容（文本）")

    def normal(self, text: str) -> str:
        """A text without case and punctuation."""
        folded = unicodedata.normalize("NFKC", text).casefold()
        kept = (
            "" if one in "'’" else " " if unicodedata.category(one)[0] in "PSZC" else one for one in folded
        )
        return " ".join(_BETWEEN.sub("", "".join(kept)).split())


def units(text: str) -> list[str]:
    """A text's words; each Chinese, Japanese or Korean character is one."""
    return _UNITS.findall(text)


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """The least number of items to be put in, left out or replaced to make one sequence the other."""
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    one, other = one[start : len(one) - end], other[start : len(other) - end]
    if not one or not other:
        return len(one) + len(other)
    return _bits(one, other)


def _bits(one: Sequence[str], other: Sequence[str]) -> int:
    """Edit distance by Myers' bit vectors (1999): a column of the table in two whole numbers.

    Bit i of `up` says that the cost grows by one from row i to row i + 1, of `down` that it falls.
    """
    places: dict[str, int] = {}
    for index, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << index
    full, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    up, down, cost = full, 0, len(one)
    for item in other:
        equal = places.get(item, 0)
        right = (((equal & up) + up) ^ up) | equal
        grows, falls = down | ~(right | up), up & right
        cost += bool(grows & last) - bool(falls & last)
        grows, falls = grows << 1 | 1, falls << 1
        up, down = (falls | ~(equal | down | grows)) & full, grows & (equal | down) & full
    return cost


def _text(answer: Answer) -> str:
    return str(answer.get("text", ""))


def _accuracy(metric: str, found: list[str], right: list[str], parts: Any) -> Ratio:
    """1 − errors / length, over all rows together."""
    lengths = floats([len(parts(text)) for text in right])
    errors = floats([distance(parts(one), parts(other)) for one, other in zip(found, right, strict=True)])
    rows = np.where(lengths > 0, 1 - errors / np.maximum(lengths, 1), errors == 0)
    # Words where nothing is said count as errors of a text of one word.
    bottom = np.where(lengths > 0, lengths, errors > 0).astype(np.float64)
    return Ratio(metric, np.clip(rows, 0, 1), bottom - errors, bottom)
