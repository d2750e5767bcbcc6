"""Entities out of tagged tokens: BIO, BILOU or BIOES tags, or plain labels, to stretches of a text.

`simple` joins tokens as their tags say (neighbours of the same label where tags are plain); `first` gives a
word the tag of its first token beforehand, so that no word is cut; `none` leaves every tagged token alone.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

AGGREGATIONS = ("simple", "first", "none")
_BEFORE, _AFTER = re.compile(r"([BIMELSU])[-_](.+)"), re.compile(r"(.+)[-_]([BIMELSU])")
_MARKS = {"L": "E", "U": "S", "M": "I"}


class Tag(NamedTuple):
    """What a tag says: it begins (B), is inside (I), ends (E) or is all of (S) something of a kind.

    The mark is empty for plain labels, the kind for what is nothing.
    """

    mark: str
    kind: str


class Token(NamedTuple):
    """A token of a text: its tag's number with its score, its place, and the number of its word."""

    tag: int
    score: float
    start: int
    end: int
    word: int | None = None


def read_tags(labels: Sequence[str], outside: Sequence[str] = ("O",)) -> list[Tag]:
    """What each label says: marks stand before or after the kind if they do so in all labels."""
    inside = [label for label in labels if label not in outside]
    for pattern, mark, kind in ((_BEFORE, 1, 2), (_AFTER, 2, 1)):
        found = {label: pattern.fullmatch(label) for label in inside}
        if inside and all(found.values()):
            parts = {label: match for label, match in found.items() if match}
            return [
                Tag(_MARKS.get(parts[label][mark], parts[label][mark]), parts[label][kind])
                if label in parts
                else Tag("", "")
                for label in labels
            ]
    return [Tag("", "" if label in outside else label) for label in labels]


def whole_words(tokens: Sequence[Token]) -> list[Token]:
    """Tokens of one word made one, with the tag and score of the first."""
    words: list[Token] = []
    for token in tokens:
        if words and token.word is not None and token.word == words[-1].word:
            words[-1] = words[-1]._replace(end=max(token.end, words[-1].end))
        else:
            words.append(token)
    return words


def entities(text: str, tokens: Sequence[Token], tags: Sequence[Tag]) -> list[dict[str, Any]]:
    """Stretches of the text that are something, each with the mean score of its tokens."""
    groups: list[list[Token]] = []
    before = Tag("", "")
    for token in tokens:
        tag = tags[token.tag]
        if tag.kind:
            goes_on = tag.kind == before.kind and tag.mark not in ("B", "S") and before.mark not in ("E", "S")
            if goes_on:
                groups[-1].append(token)
            else:
                groups.append([token])
        before = tag
    return [
        {
            **_place(text, min(one.start for one in group), max(one.end for one in group)),
            "label": tags[group[0].tag].kind,
            "score": round(sum(one.score for one in group) / len(group), 6),
        }
        for group in groups
    ]


def described(text: str, tokens: Sequence[Token], labels: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Each token by itself, its label under `name`."""
    return [
        {**_place(text, one.start, one.end), name: labels[one.tag], "score": round(one.score, 6)}
        for one in tokens
    ]


def _place(text: str, start: int, end: int) -> dict[str, Any]:
    return {"text": text[start:end], "start": start, "end": end}
