"""Texts as tokens, the same for what is indexed and for what is asked.

Chinese, and other scripts that put no space between words, give each character and each pair of neighbours:
a word of two characters is found wherever it stands, and one character alone too. Other scripts give words:
NFKC, without case, and without the plural s of English.
"""

import re
import unicodedata
from typing import NamedTuple

LONGEST = 64  # characters of a token
# Kana, ideographs and their extensions, Hangul, Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "々-〇\u3040-ヿ\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U000323af"
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
)
_RUNS = re.compile(rf"([{_UNSPACED}]+)|([^\W_{_UNSPACED}]+)")
_WORD = re.compile(rf"[^\W\d_{_UNSPACED}]{{2,24}}\d{{0,3}}")
_FIRST = re.compile(f"[{_UNSPACED}]")
_JOINTS = re.compile("的")
STOP_WORDS = frozenset(["a", "an", "and", "for", "in", "of", "on", "or", "the", "to", "with"])


class Run(NamedTuple):
    """A stretch of one script: characters without spaces, or one word."""

    text: str
    unspaced: bool


def normal(text: str) -> str:
    """The text as tokens are made of it."""
    return unicodedata.normalize("NFKC", text).casefold()


def runs(text: str) -> list[Run]:
    """The stretches of a normal text, in their order."""
    return [
        Run(unspaced, True) if unspaced else Run(fold(word), False) for unspaced, word in _RUNS.findall(text)
    ]


def fold(word: str) -> str:
    """A word without the plural s, and not longer than a token may be."""
    if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" and word.isascii():
        return word[:-1]
    return word[:LONGEST]


def pairs(text: str) -> list[str]:
    """Every two neighbours of a stretch of characters; the character itself when it is alone."""
    if len(text) == 1:
        return [text]
    return [text[at : at + 2] for at in range(len(text) - 1)]


def tokens(text: str) -> set[str]:
    """All tokens of a text that is indexed."""
    found: set[str] = set()
    for run in runs(normal(text)):
        if run.unspaced:
            found.update(run.text)
            found.update(pairs(run.text))
        else:
            found.add(run.text)
    return found


def known_words(found: set[str]) -> set[str]:
    """Those tokens that belong in the vocabulary: words of letters, at most a short number behind them."""
    return {token for token in found if len(token) > 1 and _WORD.fullmatch(token)}


def is_unspaced(token: str) -> bool:
    """Whether a token is of a script without spaces."""
    return _FIRST.match(token) is not None


class Chunk(NamedTuple):
    """What somebody typed between two spaces, and its stretches."""

    text: str
    runs: tuple[Run, ...]


def asked(text: str, limit: int) -> list[Chunk]:
    """What somebody typed, without the words that say nothing as long as others remain."""
    chunks = []
    for piece in dict.fromkeys(normal(text[:1000]).split()):
        found = [run for part in _JOINTS.split(piece) for run in runs(part)] or runs(piece)
        if found:
            chunks.append(Chunk(piece, tuple(Run(run.text[:24], run.unspaced) for run in found[:limit])))
    telling = [chunk for chunk in chunks if not all(run.text in STOP_WORDS for run in chunk.runs)]
    return (telling or chunks)[:limit]
