"""How Whisper writes: its special tokens, which token may come next, and what a row of tokens says.

A timed transcript is text between times, <|0.00|> text<|2.40|><|2.40|> text<|5.00|>, in steps of 20 ms from
the window's begin. The rules are the published ones: times come in pairs and never go back, the first lies
within a second, and a time is taken when all times together are likelier than any single word. Two are
added: no time lies behind the window's end, and a transcript that goes round in circles is ended.
"""

import re
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.signature import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TICK = 0.02  # seconds of one time token
_FIRST = 50  # ticks within which the first time lies
_NEVER = np.float32(-np.inf)
_PERIOD = 60  # tokens of the longest circle that is looked for
_CIRCLES, _CIRCLING = 3, 24  # a circle is one when it is gone round so often and is that long in all
_UNSPACED = frozenset({"bo", "ja", "km", "lo", "my", "th", "yue", "zh"})


class Segment(NamedTuple):
    """What is said from one second of a recording to another."""

    start: float
    end: float
    text: str


class Vocabulary:
    """A tokenizer with the numbers that steer Whisper, and what is never written.

    `settings` may give suppress_ids and suppress_ids_begin, also under Hugging Face's names for them.
    """

    def __init__(self, tokenizer: "Tokenizer", size: int, settings: dict[str, Any]) -> None:
        self._tokenizer = tokenizer
        self.size = size
        self.end = self._special("endoftext")
        self.start = self._special("startoftranscript")
        self.translate, self.transcribe = self._special("translate"), self._special("transcribe")
        self.previous = self._special("startofprev")
        self.nothing = self._special("nospeech", "nocaptions")
        self.untimed = self._special("notimestamps")
        self.first_time = self.untimed + 1
        named = {text: id for text, id in tokenizer.get_vocab().items() if self.start < id < self.untimed}
        found = {re.fullmatch(r"<\|([a-z]{2,3})\|>", text): id for text, id in named.items()}
        self.languages = {match[1]: id for match, id in found.items() if match}
        if not self.languages or self.first_time >= size:
            raise BadModel(f"a vocabulary of {size} tokens without languages or times: not Whisper's")
        self.never = np.zeros(size, np.float32)
        self.never[self.start : self.first_time] = _NEVER
        self.never[_ids(settings, ("suppress_ids", "suppress_tokens"), size)] = _NEVER
        self.never[self.end] = 0.0  # or nothing could ever end
        self.never_first = self.never.copy()
        names = ("suppress_ids_begin", "begin_suppress_tokens")
        self.never_first[_ids(settings, names, size)] = _NEVER

    def ids(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, without times and without the halves of characters."""
        words = [id for id in ids if id < self.end]
        return str(self._tokenizer.decode(words)).replace("\ufffd", "")

    def language(self, logits: Array) -> str:
        """The likeliest language, by the logits [size] behind the start."""
        return max(self.languages, key=lambda code: float(logits[self.languages[code]]))

    def _special(self, *names: str) -> int:
        for name in names:
            id = self._tokenizer.token_to_id(f"<|{name}|>")
            if id is not None:
                return int(id)
        raise BadModel(f"the tokenizer has no <|{names[0]}|>: not Whisper's")


class Writing:
    """A transcript on its way: takes logits, gives the tokens that they and the rules make of it."""

    def __init__(self, vocabulary: Vocabulary, *, timed: bool, seconds: float, limit: int) -> None:
        self.vocabulary = vocabulary
        self.timed = timed
        self.last_time = min(vocabulary.first_time + round(seconds / TICK), vocabulary.size - 1)
        self.limit = limit
        self.tokens: list[int] = []
        self.circles = False
        self.full = limit < 1
        self.done = self.full
        self._score, self._count = 0.0, 0
        self._words: list[int] = []

    @property
    def score(self) -> float:
        """The mean logarithm of the likelihoods of all tokens, the end and forgotten ones included."""
        return self._score / max(self._count, 1)

    @property
    def text(self) -> str:
        """What is written so far."""
        return self.vocabulary.text(self._words)

    def add(self, logits: Array) -> int:
        """Take logits [size] and give the next token; `done` tells whether it was the last."""
        scores = logits + (self.vocabulary.never if self.tokens else self.vocabulary.never_first)
        if self.timed:
            self._keep_time(scores)
        else:
            scores[self.vocabulary.first_time :] = _NEVER
        top = float(scores.max())
        shares = np.exp(scores - top)
        first = self.vocabulary.first_time
        if self.timed and shares[first:].sum() > shares[:first].max():
            scores[:first] = _NEVER
            top = float(scores.max())
            shares = np.exp(scores - top)
        token = int(scores.argmax())
        self._score -= float(np.log(shares.sum()))
        self._count += 1
        if token == self.vocabulary.end:
            self.done = True
        else:
            self._take(token)
        return token

    def reached(self, least: float) -> float | None:
        """The second up to which the window is written, at least `least` of them; None for all of it.

        Where the room for words ended, or they went round in circles, those behind the last time are
        forgotten: they are to be heard again.
        """
        first = self.vocabulary.first_time
        soonest = first + max(round(least / TICK), 1)
        last = max((at for at, token in enumerate(self.tokens) if token >= soonest), default=-1)
        if last < 0:
            return None
        if last < len(self.tokens) - 1:
            if not (self.full or self.circles):
                return None
            self._drop(sum(token < first for token in self.tokens[last:]))
        return (self.tokens[last] - first) * TICK

    def segments(self, start: float, end: float) -> list[Segment]:
        """What is written, in pieces with seconds of the recording in which the window has these."""
        found: list[Segment] = []
        begun, words = start, list[int]()
        for token in self.tokens:
            if token < self.vocabulary.end:
                words.append(token)
                continue
            place = min(start + (token - self.vocabulary.first_time) * TICK, end)
            self._close(found, begun, place, words)
            begun, words = place, []
        self._close(found, begun, end, words)
        return found

    def _close(self, found: list[Segment], start: float, end: float, words: list[int]) -> None:
        if text := self.vocabulary.text(words).strip():
            found.append(Segment(round(start, 2), round(end, 2), text))

    def _take(self, token: int) -> None:
        self.tokens.append(token)
        if token < self.vocabulary.end:
            self._words.append(token)
            if surplus := circling(self._words):
                self._drop(surplus)
                self.circles = self.done = True
        self.full = not self.done and len(self.tokens) >= self.limit
        self.done = self.done or self.full

    def _drop(self, count: int) -> None:
        """Forget the last `count` words, and the times among them."""
        del self._words[-count:]
        while count:
            count -= self.tokens.pop() < self.vocabulary.end

    def _keep_time(self, scores: Array) -> None:
        """Rule out, in place, the tokens that are at odds with the times so far."""
        first, end = self.vocabulary.first_time, self.vocabulary.end
        scores[self.last_time + 1 :] = _NEVER
        if not self.tokens:
            scores[:first] = _NEVER
            scores[first + _FIRST + 1 :] = _NEVER
            return
        closed = len(self.tokens) < 2 or self.tokens[-2] >= first
        latest = next(token for token in reversed(self.tokens) if token >= first)
        if self.tokens[-1] < first:  # a word: a time may follow, behind the last one where there is room
            scores[first : min(latest + 1, self.last_time)] = _NEVER
        elif closed:  # a begin: a word has to follow
            scores[first:] = _NEVER
        else:  # an end: the next begin or the transcript's end has to follow
            scores[:end] = _NEVER
            scores[first : latest if latest < self.last_time else None] = _NEVER


def circling(words: Sequence[int]) -> int:
    """How many of the last tokens only say again what stands before them; 0 where they do not."""
    for period in range(1, min(_PERIOD, len(words) // _CIRCLES) + 1):
        times = max(_CIRCLES, -(-_CIRCLING // period))
        span = period * times
        if span <= len(words) and words[-period:] == words[-2 * period : -period]:
            tail = words[-span:]
            if all(tail[at] == tail[at - period] for at in range(period, span)):
                return span - period
    return 0


def density(text: str) -> float:
    """How many bytes of a text one byte of its compressed form stands for: much where it repeats itself."""
    plain = text.encode()
    return len(plain) / len(zlib.compress(plain)) if plain else 0.0


def joined(texts: Sequence[str], language: str) -> str:
    """Texts of windows in a row, with spaces between words as the language has them."""
    whole = ""
    for text in filter(None, map(str.strip, texts)):
        tight = language in _UNSPACED and not whole[-1:].isalnum()
        whole += text if tight or not whole else f" {text}"
    return whole


def _ids(settings: dict[str, Any], names: Sequence[str], size: int) -> list[int]:
    given: Any = next((settings[name] for name in names if name in settings), [])
    if not isinstance(given, list) or not all(isinstance(id, int) for id in given):
        raise BadModel(f"{names[0]} is not a list of tokens")
    return [id for id in given if 0 <= id < size]
