"""What is asked, always the same: one character to a phrase, both languages, mistyped, begun, filtered."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.benchmarks.catalogue.shelves import ACTS, KINDS, THINGS

FILTERS: tuple[dict[str, list[str]], ...] = (
    {"task": ["image-to-text"]},
    {"price": ["free"]},
    {"terms": ["commercial"]},
    {"language": ["zh"], "price": ["free"]},
    {"size": ["10MB", "50MB"]},
    {"licence": ["GPL-3.0-only"]},
    {"vertical": ["legal"], "terms": ["commercial"]},
    {"latency": ["5ms", "20ms"]},
)
FILTERED = 0.3  # of all questions; the other facets are counted for every one


@dataclass(frozen=True)
class Asked:
    """One question."""

    kind: str
    q: str
    filters: dict[str, list[str]] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """As it stands in an address of the API."""
        pairs = [("q", self.q), ("facets", "true"), ("limit", "24")]
        pairs += [(name, value) for name, values in self.filters.items() for value in values]
        return urlencode(pairs)


def questions(count: int, seed: int = 11) -> list[Asked]:
    """So many questions, different ones as far as words allow."""
    dice = random.Random(seed)
    kinds = list(KINDS_OF_QUESTIONS)
    found = []
    for _ in range(count):
        kind = dice.choice(kinds)
        filters = dice.choice(FILTERS) if dice.random() < FILTERED else {}
        found.append(Asked(kind, KINDS_OF_QUESTIONS[kind](dice), filters))
    return found


def _pair(dice: random.Random, words: list[str]) -> tuple[str, str]:
    zh, _, en = dice.choice(words).partition("/")
    return zh, en


def _mistyped(dice: random.Random, word: str) -> str:
    at = dice.randrange(1, len(word) - 1)
    return (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        if dice.random() < 0.5
        else word[:at] + word[at + 1 :]
    )


def _long(dice: random.Random) -> str:
    return dice.choice([en for word in (*THINGS, *ACTS) if len(en := word.partition("/")[2]) > 6])


KINDS_OF_QUESTIONS: dict[str, Callable[[random.Random], str]] = {
    "zh, two characters": lambda dice: _pair(dice, THINGS + ACTS)[0][:2],
    "zh, one character": lambda dice: dice.choice(_pair(dice, THINGS)[0]),
    "zh, a phrase": lambda dice: _pair(dice, THINGS)[0] + _pair(dice, ACTS)[0],
    "zh, two words": lambda dice: f"{_pair(dice, THINGS)[0]} {_pair(dice, KINDS)[0]}",
    "en, one word": lambda dice: _pair(dice, THINGS + ACTS)[1].replace("-", " "),
    "en, two words": lambda dice: f"{_pair(dice, THINGS)[1]} {_pair(dice, ACTS)[1]}",
    "both languages": lambda dice: f"{_pair(dice, THINGS)[0]} {_pair(dice, ACTS)[1]}",
    "run together": lambda dice: f"ocr{_pair(dice, THINGS)[0]}",
    "begun": lambda dice: _long(dice)[:4],
    "mistyped": lambda dice: _mistyped(dice, _long(dice)),
    "nothing typed": lambda dice: "",
}
