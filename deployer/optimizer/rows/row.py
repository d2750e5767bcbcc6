"""A row of a person's data: a request, its label, and what tells it from others."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployer.optimizer.rows.contents import cost, described, mark, read_lazy, resolved

CHOOSING = 0.3
"""The share of the rows that variants are chosen by; the others judge the choice."""
FEWEST = 60
"""Different rows below which a file is refused."""


class Row:
    """One row. `number` is its place in the file from 1, `key` the digest of its canonical request.

    Pictures, sounds and arrays are read from the file when `request` or `label` is asked for, and given in
    JSON types; that raises DataChanged if a file is another by now.
    """

    __slots__ = ("_label", "_request", "key", "number", "together")

    def __init__(
        self, number: int, request: Mapping[str, Any], label: Any = None, key: str = "", together: str = ""
    ) -> None:
        self.number = number
        self._label = label
        self.key = key or key_of(request)
        self.together = together
        self._request = request

    @property
    def request(self) -> dict[str, Any]:
        """The body of `predict`."""
        return {name: read_lazy(value) for name, value in self._request.items()}

    @property
    def label(self) -> Any:
        """The right answer as the task's judge takes it; None where there is none."""
        return read_lazy(self._label)

    @property
    def label_mark(self) -> str:
        """A digest of the label."""
        told = orjson.dumps(_marked(self._label), default=str, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(told).hexdigest()

    def describe(self) -> dict[str, Any]:
        """{"request", "label"} in JSON types with files named instead of read: small; see `recalled`."""
        return {"request": described(dict(self._request)), "label": described(self._label)}

    @property
    def cost(self) -> int:
        """About how many bytes the row holds in memory."""
        return 300 + cost(dict(self._request)) + cost(self._label)

    def __repr__(self) -> str:
        return f"Row({self.number}, {self.key[:12]}, {str(self._label)[:40]!r})"


@dataclass(frozen=True)
class Rows:
    """Rows of a file, in the order of their keys, which is as good as chance: the first are a sample.

    `total` rows stood in the file; `duplicates` of those kept stood there again and were left out,
    `contradictions` counts requests with more than one label, `ignored` names columns that nothing needs.
    """

    rows: tuple[Row, ...]
    digest: str
    total: int
    labelled: bool
    name: str
    duplicates: int = 0
    contradictions: int = 0
    ignored: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)


def recalled(described: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Request and label of what `Row.describe` gave, with their files read; raises DataChanged."""
    return resolved(described["request"]), resolved(described["label"])


def key_of(request: Mapping[str, Any]) -> str:
    """sha256 of a request in canonical form: the same for the same content, wherever it stands."""
    marked = _marked(dict(request))
    return hashlib.sha256(orjson.dumps(marked, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _marked(value: Any) -> Any:
    """A value with digests for what is lazy in it."""
    if isinstance(value, dict):
        return {name: _marked(item) for name, item in value.items()}
    if isinstance(value, list) and any(not isinstance(item, int | float | str) for item in value):
        return [_marked(item) for item in value]
    return mark(value)


def split(rows: "Rows | Iterable[Row]") -> tuple[list[Row], list[Row]]:
    """The rows to choose by (30 %) and the rows to judge by (70 %), each in the order given.

    A row's content alone says where it belongs, so it stays on its side in any file; rows of one group
    (texts that are to be found by each other) stay together. The hash is not that by which rows of a large
    file are sampled: else all that were sampled would lie on one side.
    """
    given: Iterable[Row] = rows.rows if isinstance(rows, Rows) else rows
    sides: tuple[list[Row], list[Row]] = [], []
    for row in given:
        digest = hashlib.sha256(b"side\0" + (row.together or row.key).encode()).digest()
        sides[int.from_bytes(digest[:8], "big") >= CHOOSING * 2**64].append(row)
    return sides


def rows_in(requests: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows of requests that come from no file, such as a listing's examples."""
    return [Row(number, request) for number, request in enumerate(requests, 1)]
