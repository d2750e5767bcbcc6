"""A lexicon: words with frequency and sounds in one file, searched where it lies.

Half a million words as Python objects take 110 MB and half a second; sorted bytes in a mapped file take
neither. A lexicon cuts text that is written without spaces into words, as jieba does: of all ways, that of
the greatest probability; what is left as single characters is cut by a hidden Markov model, where the file
has one. A word without sounds of its own is read by the longest listed parts in it.

A vendor may give plain text instead, `word TAB frequency TAB sounds` a line, which is packed when it is read.
"""

import math
import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deployer.server.errors import BadModel

MAGIC = b"LEXICON1"
STATES = "BEMS"  # a character begins, ends, is inside of a word, or is one by itself
_BEFORE = ((1, 3), (0, 2), (0, 2), (1, 3))  # the states that may stand before each
_NEVER = -3.14e100
_HEAD = struct.Struct("<8sII")
_MOST_BYTES = 256 << 20


class Entry(NamedTuple):
    """A word; frequency 0 keeps it out of the cutting, no sounds mean that its parts are read."""

    word: str
    frequency: int
    sounds: str


class Guesses(NamedTuple):
    """A hidden Markov model of words, in natural logarithms, states by their letters in STATES."""

    start: Mapping[str, float]
    chain: Mapping[str, Mapping[str, float]]
    emissions: Mapping[str, Mapping[str, float]]


class Lexicon:
    """A packed lexicon; see `pack` for the layout."""

    def __init__(self, data: "bytes | mmap.mmap") -> None:
        head = data[: _HEAD.size]
        if len(head) < _HEAD.size or not head.startswith(MAGIC):
            raise BadModel("the lexicon does not begin with its mark")
        _, self.count, signs = _HEAD.unpack(head)
        sizes = [8 * 20 if signs else 0, 8 * 4 * signs, 4 * (self.count + 1), 4 * self.count, 4 * signs]
        starts = [_HEAD.size + sum(sizes[:place]) for place in range(6)]
        self._data, self._start = data, starts[5]
        if len(data) < self._start or not self.count:
            raise BadModel("the lexicon is cut off")
        parts = [memoryview(data)[a:b] for a, b in pairwise(starts)]
        self._places, self._frequencies = parts[2].cast("I"), parts[3].cast("I")
        places = np.asarray(self._places)
        if places[-1] != len(data) - self._start or places[0] != 0 or (places[1:] < places[:-1]).any():
            raise BadModel("the lexicon's places do not match its length")
        total = int(np.asarray(self._frequencies).sum(dtype=np.int64))
        self._log_total = math.log(max(total, 1))
        self._guesser = (
            _Guesser(parts[0].cast("d"), parts[1].cast("d"), parts[4].cast("I")) if signs else None
        )

    @classmethod
    def open(cls, path: Path) -> "Lexicon":
        """Map a packed lexicon, or pack one in plain text; refuses what is neither."""
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if path.stat().st_size > _MOST_BYTES:
            raise BadModel(f"{path.name} is too large for a lexicon in plain text")
        return cls(pack(_lines(path)))

    def sounds(self, word: str) -> str:
        """The sounds that the word has of its own; empty when there are none."""
        key = word.encode() + b"\0"
        record = self._record_at(bisect_left(range(self.count), key, key=self._record))
        return record[len(key) :].decode() if record.startswith(key) else ""

    def read(self, word: str) -> tuple[str, str]:
        """The sounds of a word by its longest listed parts from the left, and the characters without any."""
        sounds, silent, start = [], [], 0
        while start < len(word):
            end, part = start + 1, ""
            for stop, place, length in self._from(word, start):
                if spoken := self._record(place)[length + 1 :]:
                    end, part = stop, spoken.decode()
            if not part:
                silent.append(word[start])
            sounds.append(part)
            start = end
        return "".join(sounds), "".join(silent)

    def cut(self, run: str) -> list[str]:
        """The words of a run that is written without spaces."""
        words: list[str] = []
        single = ""
        for word in self._likeliest(run):
            if len(word) == 1:
                single += word
            else:
                words += [*self._divide(single), word]
                single = ""
        return words + self._divide(single)

    def _divide(self, single: str) -> list[str]:
        """Words in a row of characters that the lexicon took one by one; a listed word is left in pieces."""
        if len(single) < 2 or self._guesser is None or self._frequency(single):
            return list(single)
        return self._guesser.cut(single)

    def _likeliest(self, run: str) -> list[str]:
        """The words of the greatest product of probabilities, found from the end."""
        best, ends = [0.0] * (len(run) + 1), [0] * len(run)
        for start in range(len(run) - 1, -1, -1):
            listed = [(end, self._frequencies[place]) for end, place, _ in self._from(run, start)]
            choices = [(end, count) for end, count in listed if count] or [(start + 1, 1)]
            best[start], ends[start] = max(
                (math.log(count) - self._log_total + best[end], end) for end, count in choices
            )
        words, start = [], 0
        while start < len(run):
            words.append(run[start : ends[start]])
            start = ends[start]
        return words

    def _frequency(self, word: str) -> int:
        key = word.encode() + b"\0"
        place = bisect_left(range(self.count), key, key=self._record)
        return self._frequencies[place] if self._record_at(place).startswith(key) else 0

    def _from(self, text: str, start: int) -> "list[tuple[int, int, int]]":
        """Listed words that begin at `start`, shortest first: end, place in the lexicon, bytes."""
        found, key, place = [], b"", 0
        for end in range(start, len(text)):
            key += text[end].encode()
            place = bisect_left(range(self.count), key, place, key=self._record)
            record = self._record_at(place)
            if not record.startswith(key):
                break
            if record[len(key)] == 0:
                found.append((end + 1, place, len(key)))
        return found

    def _record(self, place: int) -> bytes:
        start = self._start
        return self._data[start + self._places[place] : start + self._places[place + 1]]

    def _record_at(self, place: int) -> bytes:
        return self._record(place) if place < self.count else b""


class _Guesser:
    """Viterbi's way through the four states; ties go to the later letter, as in jieba."""

    def __init__(
        self, chain: "memoryview[float]", emissions: "memoryview[float]", signs: "memoryview[int]"
    ) -> None:
        self._start, self._chain = list(chain[:4]), [list(chain[4 * s : 4 * s + 4]) for s in range(1, 5)]
        self._emissions, self._signs = emissions, signs

    def cut(self, run: str) -> list[str]:
        """The likeliest words of a run of at least one character."""
        scores = [first + held for first, held in zip(self._start, self._emitted(run[0]), strict=True)]
        steps: list[list[int]] = []
        for sign in run[1:]:
            emitted = self._emitted(sign)
            chosen = [
                max((scores[b] + self._chain[b][state] + emitted[state], b) for b in _BEFORE[state])
                for state in range(4)
            ]
            scores = [score for score, _ in chosen]
            steps.append([before for _, before in chosen])
        state = max((scores[s], s) for s in (1, 3))[1]
        states = [state]
        for step in reversed(steps):
            state = step[state]
            states.append(state)
        words, word = [], ""
        for sign, state in zip(run, reversed(states), strict=True):
            word += sign
            if state in (1, 3):
                words.append(word)
                word = ""
        return words

    def _emitted(self, sign: str) -> list[float]:
        place = bisect_left(self._signs, ord(sign))
        if place < len(self._signs) and self._signs[place] == ord(sign):
            return list(self._emissions[4 * place : 4 * place + 4])
        return [_NEVER] * 4


def pack(entries: Iterable[Entry], guesses: Guesses | None = None) -> bytes:
    """The bytes of a lexicon; of entries with the same word the last counts.

    Mark, number of words, number of characters of the model; then, little-endian: float64 start [4] and chain
    [4, 4], float64 emissions [characters, 4], uint32 places [words + 1], uint32 frequencies [words], uint32
    code points; then the records, word NUL sounds, sorted.
    """
    kept = {entry.word: entry for entry in entries if entry.word and "\0" not in entry.word + entry.sounds}
    if not kept:
        raise BadModel("the lexicon has no words")
    order = sorted(kept.values(), key=lambda entry: entry.word.encode())
    records = [entry.word.encode() + b"\0" + entry.sounds.encode() for entry in order]
    places = np.zeros(len(records) + 1, "<u4")
    places[1:] = np.cumsum([len(record) for record in records])
    frequencies = np.array([min(max(entry.frequency, 0), 0xFFFFFFFF) for entry in order], "<u4")
    signs = sorted({sign for table in guesses.emissions.values() for sign in table}) if guesses else []
    parts = [_HEAD.pack(MAGIC, len(order), len(signs))]
    if guesses:
        chain = [guesses.start.get(state, _NEVER) for state in STATES]
        chain += [guesses.chain.get(s, {}).get(then, _NEVER) for s in STATES for then in STATES]
        emissions = [guesses.emissions.get(s, {}).get(sign, _NEVER) for sign in signs for s in STATES]
        parts.append(np.array([*chain, *emissions], "<f8").tobytes())
    parts += [places.tobytes(), frequencies.tobytes(), np.array(list(map(ord, signs)), "<u4").tobytes()]
    return b"".join([*parts, *records])


def _lines(path: Path) -> Iterable[Entry]:
    """Entries of a lexicon in plain text; refuses lines of another form."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        word, _, rest = line.partition("\t")
        count, tab, sounds = rest.partition("\t")
        if not (word and tab and count.isascii() and count.isdigit()):
            raise BadModel(f"{path.name}, line {number}: not `word TAB frequency TAB sounds`")
        yield Entry(word, int(count), sounds)
