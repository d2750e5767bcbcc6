"""The front of an optimisation as a drawing: where everything goes, for a template to draw.

Across, positions are percent of the width, so that the drawing fits any window with its letters as large
as all others; down, they are pixels.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

from deployer.optimizer.report import Interval, Report
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import reports
from marketplace.pages.reports import Row

HEIGHT = 340
TOP, BOTTOM = 46, HEIGHT - 44
LEFT, RIGHT = 12.0, 96.0
TICKS = (0.1, 0.2, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
NEAR = 25.0  # percent of the width that a label may be long
STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Mark:
    """One variant; the whiskers are its 95 % intervals."""

    kind: str
    """baseline, pick, passed, open (not judged yet) or refused."""
    x: float
    y: float
    title: str
    below: bool = False
    """Further down than the drawing goes."""
    across: tuple[float, float] | None = None
    down: tuple[float, float] | None = None
    label: str = ""
    anchor: str = "start"
    lift: float = 24.0
    """Where its label stands, in pixels below it."""


@dataclass(frozen=True)
class Tick:
    """A line of the grid with its figure."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """The whole drawing; `front` joins the variants that nothing beats in both."""

    title: str
    x_title: str
    y_title: str
    marks: list[Mark]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    bound: float | None
    bound_text: str
    band: tuple[float, float] | None
    front: list[tuple[float, float, float, float]] = field(default_factory=list)
    open: int = 0
    """How many are not judged yet."""
    hidden: int = 0
    """How many lie further down than it goes."""


@dataclass(frozen=True)
class Scale:
    """From ratios (logarithmic) and changes to places."""

    lowest: float
    highest: float
    least: float
    most: float

    def across(self, ratio: float) -> float:
        """Percent of the width."""
        clipped = min(max(ratio, self.lowest), self.highest)
        part = math.log(clipped / self.lowest) / math.log(self.highest / self.lowest)
        return round(LEFT + part * (RIGHT - LEFT), 2)

    def down(self, change: float) -> float:
        """Pixels from the top."""
        clipped = min(max(change, self.least), self.most)
        return round(BOTTOM - (clipped - self.least) / (self.most - self.least) * (BOTTOM - TOP), 1)


def front(report: Report, lang: str) -> Plot | None:
    """The drawing of what was measured so far; None while there is nothing to draw."""
    smallest = report.objective.kind == "smallest"
    shown = [(row, gain, row.change) for row in reports.rows(report, lang) if (gain := _gain(row, smallest))]
    drawn = [(row, gain, change) for row, gain, change in shown if change is not None]
    if not drawn:
        return None
    limit = report.objective.max_drop if _labelled(drawn) else 1 - reports.ANSWERED_ALIKE
    scale = _scale([gain for _row, gain, _change in drawn], [change for *_rest, change in drawn], limit)
    marks = _clear([_baseline(scale, lang), *(_mark(scale, *item) for item in reversed(drawn))])
    return Plot(
        title=_title(report, drawn, lang),
        x_title=gettext(lang, _("Smaller by, times") if smallest else _("Faster by, times (CPU time)")),
        y_title=_y_title(drawn, lang),
        marks=marks,
        x_ticks=[Tick(scale.across(t), f"{t:g}") for t in TICKS if scale.lowest <= t <= scale.highest],
        y_ticks=_y_ticks(scale),
        bound=scale.down(-limit),
        bound_text=_bound_text(drawn, limit, lang),
        band=_band(scale, report.control) if not smallest else None,
        front=_front(scale, drawn),
        open=sum(mark.kind == "open" for mark in marks),
        hidden=sum(mark.below for mark in marks),
    )


def _band(scale: Scale, control: Interval | None) -> tuple[float, float] | None:
    """From where and how wide the same file lies against itself."""
    if control is None:
        return None
    left, right = scale.across(control.low), scale.across(control.high)
    return left, round(right - left, 2)


Drawn = tuple[Row, Interval, Interval]


def _gain(row: Row, smallest: bool) -> Interval | None:
    """What it gains, as a ratio above 1: speed, or for the smallest how many times smaller it is."""
    if not smallest:
        return row.speed
    return Interval(1 / row.share, 1 / row.share, 1 / row.share) if row.share else None


def _labelled(drawn: list[Drawn]) -> bool:
    return any(row.quality is not None and row.quality.basis == "labels" for row, *_rest in drawn)


def _scale(gains: list[Interval], costs: list[Interval], limit: float) -> Scale:
    low = min(0.9, *(gain.low for gain in gains)) * 0.93
    high = max(1.6, *(gain.high for gain in gains)) * 1.15
    near = [cost.low for cost in costs if cost.value >= -4 * limit]
    least = min(-2 * limit, -0.01, *near) * 1.15
    most = max(limit / 2, 0.004, *(cost.high for cost in costs)) * 1.15
    return Scale(max(low, 0.05), high, max(least, -1.0), min(most, 1.0))


def _baseline(scale: Scale, lang: str) -> Mark:
    text = gettext(lang, _("As it came"))
    return Mark("baseline", scale.across(1), scale.down(0), text, label=text)


def _mark(scale: Scale, row: Row, gain: Interval, change: Interval) -> Mark:
    kind = {"picked": "pick", "passed": "passed"}.get(row.state, "refused" if row.why else "open")
    below = change.value < scale.least
    x, y = scale.across(gain.value), scale.down(change.value)
    return Mark(
        kind,
        x,
        y,
        f"{row.title}: {reports.times(gain.value)} ×, {reports.points(change.value)}",
        below,
        (scale.across(gain.low), scale.across(gain.high)) if gain.high > gain.low else None,
        (scale.down(change.high), scale.down(change.low)) if change.high > change.low and not below else None,
        row.title if kind == "pick" else "",
        "end" if x > 55 else "start",
    )


def _clear(marks: list[Mark]) -> list[Mark]:
    """The pick's label goes above all intervals near it."""

    def raised(mark: Mark) -> Mark:
        tops = [near.down[0] if near.down else near.y for near in marks if abs(near.x - mark.x) < NEAR]
        return replace(mark, lift=round(min(tops) - 10 - mark.y, 1))

    return [raised(mark) if mark.kind == "pick" else mark for mark in marks]


def _front(scale: Scale, drawn: list[Drawn]) -> list[tuple[float, float, float, float]]:
    """Steps along the variants that hold the bound and that no other one beats in both."""
    held = [(1.0, 0.0)] + [(g.value, c.value) for row, g, c in drawn if row.state in ("passed", "picked")]
    best: list[tuple[float, float]] = []
    for gain, change in sorted(held, reverse=True):
        if not best or change > best[-1][1]:
            best.append((gain, change))
    places = [(scale.across(gain), scale.down(change)) for gain, change in best]
    return [(*a, *b) for a, b in pairwise(places)]


def _y_ticks(scale: Scale) -> list[Tick]:
    step = next((s for s in STEPS if (scale.most - scale.least) / s <= 6), STEPS[-1])
    first = math.ceil(scale.least / step)
    values = [n * step for n in range(first, math.floor(scale.most / step) + 1)]
    return [Tick(scale.down(v), f"{v * 100:+g}".replace("-", "−") if v else "0") for v in values]


def _y_title(drawn: list[Drawn], lang: str) -> str:
    labelled = next((r.quality for r, *_rest in drawn if r.quality and r.quality.basis == "labels"), None)
    if labelled is None:
        return gettext(lang, _("Answers that differ, in points"))
    metric = reports.metric_title(labelled.metric, lang)
    return gettext(lang, _("Change of {metric}, in points"), metric=metric)


def _bound_text(drawn: list[Drawn], limit: float, lang: str) -> str:
    if _labelled(drawn):
        return gettext(lang, _("allowed loss: {points}"), points=reports.amount(limit))
    return gettext(lang, _("same answers: {share}"), share=reports.share_text(1 - limit))


def _title(report: Report, drawn: list[Drawn], lang: str) -> str:
    """What the drawing shows, as a sentence."""
    held, n = reports.held(report), len(drawn)
    if report.outcome == "":
        if not held:
            return gettext(lang, _("{n} variants measured so far; which hold the bound is judged last"), n=n)
        return gettext(lang, _("{held} of {n} variants measured so far hold the bound"), held=held, n=n)
    best = reports.picked(report)
    if best is None:
        if report.outcome == "kept":
            return gettext(lang, _("None of {n} measured variants is a gain that holds"), n=n)
        return gettext(lang, _("None of {n} measured variants is shown to hold the bound"), n=n)
    kinds = {
        "fastest": _("The fastest that holds the bound: {title}"),
        "smallest": _("The smallest that holds the bound: {title}"),
        "cheapest": _("The cheapest that holds the bound: {title}"),
    }
    return gettext(lang, kinds[report.objective.kind], title=reports.title_of(best, lang))
