"""The packaging benchmark's report: rows with ratios, seconds with aims, and sizes."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.harness import Row, align, table

MB = 1_000_000


@dataclass(frozen=True)
class Figure:
    """One figure, and what it may be at most."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """False when it is more than its limit."""
        return self.limit is None or self.value <= self.limit


@dataclass(frozen=True)
class Report:
    """All of it."""

    rows: list[Row]
    figures: list[Figure]
    parts: str = ""
    """What the click in the shop is made of."""

    @property
    def kept(self) -> bool:
        """Whether every aim is reached."""
        return all(one.kept for one in self.rows) and all(one.kept for one in self.figures)

    def text(self) -> str:
        """As it is printed."""
        lines = [("figure", "value", "", "limit", "")]
        for one in self.figures:
            limit = "" if one.limit is None else f"{one.limit:g}"
            mark = "" if one.limit is None else "ok" if one.kept else "OVER"
            lines.append((one.name, f"{one.value:.2f}", one.unit, limit, mark))
        return "\n\n".join(filter(None, (table(self.rows), self.parts, align(lines, right=(1, 3)))))

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "rows": [dataclasses.asdict(one) for one in self.rows],
            "figures": [dataclasses.asdict(one) for one in self.figures],
        }
