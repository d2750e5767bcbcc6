"""The drawing: all of it inside, the bound and the band where they belong, a title that says what is seen."""

import itertools

import pytest

from deployer.optimizer.report import Interval, Report
from marketplace.pages import plots
from tests.marketplace.pages import drafts

REPORTS = {
    "running": drafts.running,
    "picked": drafts.picked,
    "kept": drafts.kept,
    "refused": drafts.refused,
    "unlabelled": drafts.unlabelled,
}


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("kind", ["fastest", "smallest", "cheapest"])
def test_everything_lies_inside(name: str, kind: str) -> None:
    report = REPORTS[name]()
    report.objective = type(report.objective)(kind=kind, max_drop=report.objective.max_drop)  # type: ignore[arg-type]
    plot = plots.front(report, "en")
    assert plot is not None
    assert plot.title
    for mark in plot.marks:
        across = [mark.x, *(mark.across or ())]
        down = [mark.y, *(mark.down or ())]
        assert all(plots.LEFT <= x <= plots.RIGHT for x in across)
        assert all(plots.TOP <= y <= plots.BOTTOM for y in down)
    assert plot.bound is not None and plots.TOP <= plot.bound <= plots.BOTTOM
    assert len(plot.x_ticks) >= 2 and len(plot.y_ticks) >= 2
    assert (plot.band is None) == (kind == "smallest")


def test_nothing_is_drawn_before_anything_was_measured() -> None:
    assert plots.front(drafts.begun(), "en") is None


def test_the_original_lies_in_the_band_above_the_bound() -> None:
    plot = plots.front(drafts.picked(), "en")
    assert plot is not None and plot.band is not None and plot.bound is not None
    base = next(mark for mark in plot.marks if mark.kind == "baseline")
    assert plot.band[0] <= base.x <= plot.band[0] + plot.band[1]
    assert base.y < plot.bound
    pick = next(mark for mark in plot.marks if mark.kind == "pick")
    assert pick.x > base.x and pick.label == "dynamic int8, per channel"
    assert plot.title == "The fastest that holds the bound: dynamic int8, per channel"


def test_what_loses_far_more_than_allowed_is_marked_at_the_edge() -> None:
    report = drafts.refused()
    report.trials[2].chosen = drafts.labelled(-0.6, -0.66, -0.55)
    plot = plots.front(report, "en")
    assert plot is not None
    assert plot.hidden == 1
    low = next(mark for mark in plot.marks if mark.below)
    assert low.y == plots.BOTTOM and low.down is None


def test_the_front_rises_as_it_gets_slower() -> None:
    report: Report = drafts.picked()
    report.trials[1].speed = Interval(2.0, 1.9, 2.1)
    plot = plots.front(report, "en")
    assert plot is not None and plot.front
    for x1, y1, x2, y2 in plot.front:
        assert x2 < x1 and y2 < y1
    for before, after in itertools.pairwise(plot.front):
        assert before[2:] == after[:2]
