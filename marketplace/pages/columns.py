"""Columns over days as a drawing: where everything goes, for a template to draw; across in percent."""

import math
from dataclasses import dataclass

HEIGHT, TOP, BOTTOM, LEFT = 200, 12, 168, 8.0
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True)
class Bar:
    """One day."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A line of the grid with its figure."""

    at: float
    text: str


@dataclass(frozen=True)
class Label:
    """A day under the axis."""

    at: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Columns:
    """The whole drawing; `title` says what it shows."""

    title: str
    bars: list[Bar]
    ticks: list[Tick]
    labels: list[Label]
    height: int = HEIGHT
    bottom: int = BOTTOM
    left: float = LEFT


def columns(title: str, days: list[str], counts: list[int]) -> Columns:
    """One column for each day, with whole figures on the grid."""
    step = _step(max(counts, default=0))
    most = max(step, step * math.ceil(max(counts, default=0) / step))
    width = (100 - LEFT) / max(1, len(days))

    def down(count: float) -> float:
        return round(BOTTOM - count / most * (BOTTOM - TOP), 1)

    bars = [
        Bar(
            round(LEFT + n * width + width * 0.12, 2),
            down(count),
            round(width * 0.76, 2),
            round(BOTTOM - down(count), 1),
            f"{day}: {count}",
        )
        for n, (day, count) in enumerate(zip(days, counts, strict=True))
        if count
    ]
    ticks = [Tick(down(value), f"{value:,}") for value in range(0, most + 1, step)]
    return Columns(title, bars, ticks, _labels(days, width))


def _step(most: int) -> int:
    """How far the lines of the grid are apart: at most five of them."""
    scale = 1
    while most > 5 * STEPS[-1] * scale:
        scale *= 1000
    return next(step * scale for step in STEPS if most <= 5 * step * scale)


def _labels(days: list[str], width: float) -> list[Label]:
    """The first, the middle and the last day."""
    if not days:
        return []
    places = sorted({0, len(days) // 2, len(days) - 1})
    anchors = {0: "start", len(days) - 1: "end"}
    return [
        Label(
            round(LEFT + n * width + {"start": 0, "end": width}.get(anchors.get(n, ""), width / 2), 2),
            days[n][5:],
            anchors.get(n, "middle"),
        )
        for n in places
    ]
