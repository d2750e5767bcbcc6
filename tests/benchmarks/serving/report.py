"""From the figures of turns to lines with a ratio and an aim, and to text."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.benchmarks.harness import align
from tests.benchmarks.serving.measure import Figures

Found = Mapping[str, Sequence[Figures]]
"""The figures of each case, one set a round."""


class Unit(NamedTuple):
    """How a figure is told: its name, what it is multiplied with, and the digits behind the point."""

    name: str
    factor: float
    digits: int

    def tell(self, value: float) -> str:
        """As in `7.41 ms CPU`."""
        return f"{value * self.factor:,.{self.digits}f} {self.name}".rstrip()


CPU_MS = Unit("ms CPU", 1e3, 2)
CPU_US = Unit("µs CPU", 1e6, 1)
CPU_S = Unit("s CPU", 1, 2)
MS = Unit("ms", 1e3, 2)
RATE = Unit("/s", 1, 0)
MB = Unit("MB", 1e-6, 0)
TIMES = Unit("", 1, 2)


class Key(NamedTuple):
    """A figure of a case, as in ("minilm ours", "json 32 cpu")."""

    case: str
    figure: str


class Aim(NamedTuple):
    """A limit that a ratio, or a value in the unit of its line, keeps."""

    limit: float
    at_least: bool = False

    def kept(self, value: float) -> bool:
        """Whether it does."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        """As in `≤ 1.30`."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


@dataclass(frozen=True)
class Line:
    """What one line of the report tells: a figure, what it is compared with, and what is aimed at.

    The aim is for the ratio where there is one, else for the value. Inverse is `to` ÷ `of`.
    """

    name: str
    of: Key
    unit: Unit
    to: Key | None = None
    aim: Aim | None = None
    inverse: bool = False


@dataclass(frozen=True)
class Row:
    """A line as it was measured; `kept` is None where nothing is aimed at, or nothing was measured."""

    name: str
    value: float | None
    unit: str
    told: str
    ratio: float | None
    to: str
    aim: str
    kept: bool | None


def ratio(found: Found, of: Key, to: Key) -> float:
    """The median of the ratios within each round."""
    pairs = zip(found[of.case], found[to.case], strict=True)
    return statistics.median(one[of.figure] / two[to.figure] for one, two in pairs)


def median(found: Found, of: Key) -> float:
    """The median over the rounds."""
    return statistics.median(one[of.figure] for one in found[of.case])


def measured(found: Found, line: Line) -> Row:
    """A line with its figures."""
    aim, to = str(line.aim or ""), _named(line)
    if not _has(found, line.of):
        return Row(line.name, None, line.unit.name, "not measured", None, to, aim, None)
    value = median(found, line.of)
    times = None
    if line.to is not None and _has(found, line.to):
        times = ratio(found, line.to, line.of) if line.inverse else ratio(found, line.of, line.to)
    told = line.unit.tell(value)
    scaled = value * line.unit.factor
    subject = scaled if line.to is None else times
    kept = None if line.aim is None or subject is None else line.aim.kept(subject)
    return Row(line.name, scaled, line.unit.name, told, times, to, aim, kept)


def _has(found: Found, key: Key) -> bool:
    return key.case in found and all(key.figure in figures for figures in found[key.case])


def _named(line: Line) -> str:
    if line.to is None:
        return ""
    case, figure = line.to
    same = case if case != line.of.case else ""
    what = figure if figure != line.of.figure else ""
    to = ": ".join(filter(None, (same, what)))
    return f"{to} ÷ it" if line.inverse else f"÷ {to}"


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [("figure", "measured", "ratio", "", "aim", "")]
    for one in rows:
        times = "" if one.ratio is None else f"{one.ratio:.2f}"
        mark = {True: "ok", False: "MISSED", None: ""}[one.kept]
        lines.append((one.name, one.told, times, one.to, one.aim, mark))
    return align(lines, right=(1, 2))


COLUMNS = {
    "minilm": (
        ("CPU a request", "{wire} 32 cpu", CPU_MS),
        ("at 32 at once", "{wire} 32 rate", RATE),
        ("p50", "{wire} 32 p50", MS),
        ("p99", "{wire} 32 p99", MS),
        ("p50 alone", "{wire} 1 p50", MS),
        ("first answer", "start cpu", CPU_S),
        ("memory", "used memory", MB),
    ),
    "tiny": (
        ("CPU a request", "{wire} 32 cpu", CPU_US),
        ("at 32 at once", "{wire} 32 rate", RATE),
        ("p50", "{wire} 32 p50", MS),
        ("p99", "{wire} 32 p99", MS),
        ("p50 alone", "{wire} 1 p50", MS),
        ("its client", "{wire} 32 client", CPU_US),
        ("memory", "used memory", MB),
    ),
}


def beside(found: Found, graph: str, wires: Mapping[str, str]) -> str:
    """All servers of a graph beside each other, the medians of what was measured of them."""
    columns = COLUMNS[graph]
    lines = [(graph, *(title for title, _, _ in columns))]
    for name, wire in wires.items():
        if f"{graph} {name}" not in found:
            continue
        keys = [(Key(f"{graph} {name}", figure.format(wire=wire)), unit) for _, figure, unit in columns]
        lines.append((name, *(unit.tell(median(found, k)) if _has(found, k) else "" for k, unit in keys)))
    return align(lines, right=range(1, len(columns) + 1))
