"""Words that somebody may have meant: what begins like it, and what is one or two letters away.

Each word of the vocabulary is kept under every string that it becomes without one of its first seven
letters (two for long words). A mistyped word shares one of those with the right one, so that few rows are
looked at however many words there are.
"""

import itertools
import zlib

from sqlalchemy import bindparam, text
from sqlmodel import Session

SHORTEST, LONG, HEAD = 4, 8, 7
COMPLETIONS = 16
CORRECTIONS = 3
_SCANNED = 4000  # words that begin alike, of which the most frequent are taken
_LAST = "\U0010ffff"


def keys(word: str) -> set[int]:
    """The numbers that a word is kept under; none for a short one or one with digits."""
    if len(word) < SHORTEST or not word.isalpha():
        return set()
    head = word[:HEAD]
    found = {head}
    for left_out in range(1, allowed(word) + 1):
        for places in itertools.combinations(range(len(head)), left_out):
            found.add("".join(letter for at, letter in enumerate(head) if at not in places))
    return {zlib.crc32(each.encode()) for each in found}


def allowed(word: str) -> int:
    """How many letters may be wrong."""
    return 2 if len(word) >= LONG else 1


_COMPLETE = text(
    "SELECT word, n FROM (SELECT word, n FROM search_word WHERE word >= :low AND word < :high LIMIT :scanned)"
    " AS begun ORDER BY n DESC, word LIMIT :limit"
)


def completions(db: Session, begun: str, limit: int = COMPLETIONS) -> list[str]:
    """Words of the vocabulary that begin so, the most frequent first; itself among them when it is one."""
    if len(begun) < 2:
        return []
    asked = {"low": begun, "high": begun + _LAST, "scanned": _SCANNED, "limit": limit}
    return [word for word, _ in db.execute(_COMPLETE, asked)]


_CLOSE = text(
    "SELECT w.word, w.n FROM search_word w WHERE w.word IN "
    "(SELECT d.word FROM search_deletion d WHERE d.key IN :keys) ORDER BY w.n DESC, w.word LIMIT 500"
).bindparams(bindparam("keys", expanding=True))


def corrections(db: Session, word: str, limit: int = CORRECTIONS) -> list[str]:
    """Words of the vocabulary that differ by one letter, or two in a long word: the closest first."""
    asked = keys(word)
    if not asked:
        return []
    most = allowed(word)
    found = []
    for known, n in db.execute(_CLOSE, {"keys": sorted(asked)}):
        if abs(len(known) - len(word)) <= most and (away := distance(word, known)) <= most:
            found.append((away, -n, known))
    return [known for _, _, known in sorted(found)[:limit]]


def distance(one: str, two: str) -> int:
    """Letters to insert, leave out, change or swap with their neighbour."""
    before: list[int] = []
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, b in enumerate(two, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and one[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
