"""What somebody typed as an expression over the index's tokens: words, what they may mean, and filters.

Every chunk between two spaces must be found; a stretch of it is found as typed, by words that begin like it,
by the tasks and verticals that go by that name, or, where nobody uses the word, by words that are close.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlmodel import Session

from catalog import search_facets, search_index, search_typos, search_words, taxonomy
from catalog.search_engine import Every, Expression, every, some
from catalog.search_words import Chunk, Run

LIMIT_OF_WORDS = 12
_LONGEST_NAME = 8  # characters of a name that a stretch is looked through for


@dataclass(frozen=True)
class Question:
    """A question ready to be matched; None matches everything."""

    words: Expression | None  # anywhere
    titled: Expression | None  # all in a title or a name
    filters: Mapping[str, Expression] = field(default_factory=dict)
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # codes that are filtered by
    corrected: Mapping[str, str] = field(default_factory=dict)  # typed: taken instead
    pointless: bool = False  # something was typed that holds no word

    def expression(self, *, but: str = "", only: frozenset[str] | None = None) -> Expression | None:
        """All of it, or without one facet's filter, or with some filters only."""
        return self._with(self.words, but, only)

    def in_titles(self, *, only: frozenset[str] | None = None) -> Expression | None:
        """The same with the words in a title."""
        return self._with(self.titled, "", only)

    def _with(self, words: Expression | None, but: str, only: frozenset[str] | None) -> Expression | None:
        taken = [
            each for name, each in self.filters.items() if name != but and (only is None or name in only)
        ]
        return every([*([] if words is None else [words]), *taken])


def read(
    db: Session, q: str, filters: Mapping[str, Sequence[str]], vendor: str = "", *, loose: bool = False
) -> Question:
    """The question; `loose` takes long stretches apart, for when nothing has them whole.

    Raises UnknownTask for a task that is none.
    """
    chunks = search_words.asked(q, LIMIT_OF_WORDS)
    reader = _Reader(db, loose)
    words = [each for chunk in chunks if (each := reader.chunk(chunk)) is not None]
    titled = [each for chunk in chunks if (each := reader.titled(chunk)) is not None]
    chosen = {name: found for name, values in filters.items() if (found := _codes(name, values))}
    narrowed = {name: some(map(search_facets.token, codes)) for name, codes in chosen.items()}
    if vendor:
        narrowed["vendor"] = search_index.vendor_mark(vendor)
    return Question(
        every(words),
        every(titled),
        {name: found for name, found in narrowed.items() if found is not None},
        chosen,
        reader.corrected,
        pointless=bool(q.strip()) and not words,
    )


def _codes(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if name == "task":
        values = [taxonomy.task(value).id for value in values if value]
    if name == "vertical":
        values = [taxonomy.vertical(value) for value in values]
    return tuple(search_facets.code(name, value) for value in values if value)


class _Reader:
    """Reads chunks; remembers what it looked up, for titles ask the same again."""

    def __init__(self, db: Session, loose: bool) -> None:
        self._db = db
        self._loose = loose
        self._found: dict[str, list[str]] = {}
        self.corrected: dict[str, str] = {}

    def chunk(self, chunk: Chunk) -> Expression | None:
        """A chunk anywhere: all of its stretches, or what the whole of it means."""
        parts = every([each for run in self._apart(chunk) if (each := self._run(run)) is not None])
        whole = meanings(chunk.text) if len(chunk.runs) > 1 else ()
        return some([each for each in (parts, *whole) if each is not None])

    def titled(self, chunk: Chunk) -> Expression | None:
        """A chunk in a title."""
        return every(
            each
            for run in self._apart(chunk)
            if (each := self._typed(run, search_index.title_token)) is not None
        )

    def _apart(self, chunk: Chunk) -> list[Run]:
        if not self._loose:
            return list(chunk.runs)
        return [
            Run(part, True) if run.unspaced else run
            for run in chunk.runs
            for part in (apart(run.text) if run.unspaced else [run.text])
        ]

    def _run(self, run: Run) -> Expression | None:
        typed = self._typed(run, str)
        return some([each for each in (typed, *meanings(run.text)) if each is not None])

    def _typed(self, run: Run, as_token: Callable[[str], str]) -> Expression | None:
        if run.unspaced:
            return every(map(as_token, search_words.pairs(run.text)))
        return some(map(as_token, [run.text, *self._words_like(run.text)]))

    def _words_like(self, word: str) -> list[str]:
        """Words that begin like it, or else words that are close to it."""
        if word not in self._found:
            found = search_typos.completions(self._db, word)
            if not found and not meanings(word):
                found = search_typos.corrections(self._db, word)
                if found:
                    self.corrected[word] = found[0]
            self._found[word] = found
        return self._found[word]


@functools.lru_cache(maxsize=4096)
def meanings(word: str) -> tuple[str, ...]:
    """Tokens of the tasks and verticals that go by this name, or by one that holds it."""
    tasks = [term.id for term in taxonomy.TASKS.values() if _means(term, word)]
    verticals = [term.id for term in taxonomy.VERTICALS.values() if _means(term, word)]
    codes = [search_facets.code("task", id) for id in tasks]
    codes += [search_facets.code("vertical", id) for id in verticals]
    return tuple(map(search_facets.token, codes))


def _means(term: taxonomy.Term, word: str) -> bool:
    if search_words.is_unspaced(word):
        return term.mentions(word)
    wanted = _spaced(word)
    if len(wanted) < 3:  # too short to be the beginning of something
        return any(wanted == name.casefold() for name in term.aliases)
    return any(f" {wanted}" in f" {_spaced(name)}" for name in term.names)


def _spaced(name: str) -> str:
    return name.casefold().replace("-", " ").replace("_", " ").strip()


@functools.lru_cache(maxsize=1)
def _whole_names() -> frozenset[str]:
    terms = [*taxonomy.TASKS.values(), *taxonomy.VERTICALS.values()]
    return frozenset(name for term in terms for name in term.names if search_words.is_unspaced(name))


def apart(text: str) -> list[str]:
    """A long stretch as names that the taxonomy knows, and pairs of what lies between them."""
    found, at = [], 0
    while at < len(text):
        lengths = range(min(_LONGEST_NAME, len(text) - at), 1, -1)
        length = next((n for n in lengths if text[at : at + n] in _whole_names()), 2)
        found.append(text[at : at + length])
        at += length
    return found


def like(db: Session, name: str) -> Expression | None:
    """Titles with a word of this name, or one that is close, whatever else they hold."""
    runs = [run for chunk in search_words.asked(name.replace("/", " "), LIMIT_OF_WORDS) for run in chunk.runs]
    reader = _Reader(db, False)
    found = [reader._typed(run, search_index.title_token) for run in runs[-4:]]
    return some(each for each in found if each is not None)


def about(title: str, task: str) -> Expression | None:
    """Listings of a task that share a word of a title."""
    words = [
        search_index.title_token(token) for token in sorted(search_words.tokens(title)) if len(token) > 1
    ]
    shared = some(words[:24])
    of_task = search_facets.token(search_facets.code("task", task))
    return of_task if shared is None else Every((of_task, shared))
