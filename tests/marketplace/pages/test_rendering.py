"""What templates are given: sizes, times, shares, and cards without live HTML."""

from datetime import UTC, datetime
from typing import get_args

import pytest

from catalog.models import CheckState, ShelfState, Verdict, VersionState
from catalog.taxonomy import TASKS
from deployer import packages
from deployer.devices import GRADES
from deployer.models import STEPS, DeploymentState, OptimizationState, PackageState, StepState
from deployer.optimizer.metrics import JUDGES
from deployer.optimizer.objective import KINDS
from deployer.optimizer.report import PHASES, TrialState
from marketplace.pages import rendering, words


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (21_040_000, "21.0 MB"), (5e12, "5000.0 GB")]
)
def test_sizes(count: float, shown: str) -> None:
    assert rendering.size(count) == shown.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (0.041, "0.04 s"), (1.84, "1.8 s"), (125.0, "2 min 05 s")]
)
def test_durations(value: float | None, shown: str) -> None:
    assert rendering.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.0%"),
        (0.00001, "<0.1%"),
        (0.982, "98.2%"),
        (0.9999, "99.9%"),
        (1, "100.0%"),
        (float("nan"), "–"),
    ],
)
def test_shares_are_not_rounded_to_certainty(value: float, shown: str) -> None:
    assert rendering.percent(value) == shown


def test_moments_are_in_utc() -> None:
    shown = rendering.when(datetime(2026, 11, 23, 7, 5, tzinfo=UTC))
    assert shown == '<time datetime="2026-11-23T07:05:00+00:00">2026-11-23 07:05 UTC</time>'


def test_cards_show_html_as_text() -> None:
    card = rendering.markdown("# Title\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![y](/y.png)")
    assert "<script" not in card
    assert 'href="javascript' not in card
    assert "<img" not in card
    assert "<h2>Title</h2>" in card


def test_every_state_step_and_field_has_its_words() -> None:
    ends = {"picked", "kept", "refused"}  # of an optimisation that is done
    jobs = {s.value for s in OptimizationState} - {"done"} | ends
    jobs |= {s.value for s in PackageState}
    goods = {s.value for s in VersionState} | {s.value for s in Verdict} | {"waiting"}
    assert {s.value for s in DeploymentState} | jobs | goods == set(words.STATES) == set(words.SHAPES)
    assert {s.value for s in CheckState} == set(words.CHECK_STATES)
    assert {*STEPS, *PHASES, *packages.STEPS} == set(words.STEPS)
    assert set(KINDS) == set(words.OBJECTIVES)
    assert set(GRADES) == set(words.GRADES)
    assert set(get_args(TrialState)) == set(words.TRIAL_STATES) == set(words.TRIAL_SHAPES)
    assert {judge.metric for judge in JUDGES.values()} <= set(words.METRICS)
    assert {s.value for s in StepState} == set(words.STEP_STATES) == set(words.STEP_SHAPES)
    assert {s.value for s in VersionState} == set(words.VERSION_STATES)
    assert {s.value for s in ShelfState} == set(words.SHELF_STATES)
    assert set(words.FIELDS) <= set(TASKS)
    assert {words.field_of(task) for task in TASKS} == set(words.FIELD_TITLES)


def test_code_keeps_quotes_of_the_text() -> None:
    assert rendering.shell_json({"text": "it's"}) == """'{"text": "it'"'"'s"}'"""
