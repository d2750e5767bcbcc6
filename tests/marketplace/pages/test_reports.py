"""What pages say of a report: the finding, the order of the table, the miss and what would settle it."""

import pytest

from deployer.optimizer import recipes
from deployer.optimizer.report import Interval, Quality, Reason, Trial
from marketplace.i18n import gettext
from marketplace.pages import reports, words
from tests.marketplace.pages import drafts


def test_a_finding_is_one_sentence_with_gain_and_cost() -> None:
    picked = drafts.picked()
    assert (
        reports.finding(picked, "en")
        == "2.31 times as fast, 26% of the size, at most 0.6 points of accuracy lost on 349 rows."
    )
    assert reports.finding(picked, "zh") == (
        "速度是原来的 2.31 倍，大小是原来的 26%，在 349 行上正确率最多损失 0.6 个百分点。"
    )


def test_no_speed_is_claimed_within_what_the_same_file_measures_against_itself() -> None:
    picked = drafts.picked()
    best = reports.picked(picked)
    assert best is not None
    best.speed = Interval(1.03, 1.01, 1.05)
    assert reports.finding(picked, "en").startswith("As fast as before,")


def test_the_pick_leads_and_the_refused_end_the_table() -> None:
    shown = reports.rows(drafts.picked(), "en")
    assert [row.state for row in shown[:2]] == ["picked", "passed"]
    assert {row.state for row in shown[2:]} == {"refused"}
    assert shown[0].title == "dynamic int8, per channel"
    assert all(row.why for row in shown[2:])


def test_a_missed_bound_says_by_how_much() -> None:
    refused = drafts.refused()
    row = next(row for row in reports.rows(refused, "en") if row.id.endswith("per-channel"))
    assert row.why == "may lose 0.3 points more than allowed"


@pytest.mark.parametrize(
    ("quality", "why", "advice"),
    [
        (drafts.labelled(-0.001, -0.02, 0.01), "bound-missed", "rows"),
        (drafts.labelled(-0.03, -0.05, -0.01), "bound-missed", "wider"),
        (drafts.agreeing(0.95, 0.92), "labels-needed", "labels"),
        (drafts.agreeing(0.4, 0.3), "disagrees", "wider"),
        (drafts.agreeing(0.99, 0.93, 40), "not-enough-rows", "rows"),
    ],
)
def test_the_next_step_follows_from_what_was_missed(quality: Quality, why: str, advice: str) -> None:
    report = drafts.begun()
    report.outcome = "refused"
    report.trials = [drafts.trial("dynamic-int8", judged=quality, why=Reason(why, "", ""))]
    miss = reports.nearest_miss(report, "en")
    assert miss is not None
    assert miss.advice == advice
    assert (miss.needed >= 90) == (advice == "rows")


def test_more_rows_are_asked_for_than_were_judged() -> None:
    report = drafts.refused()
    miss = reports.nearest_miss(report, "en")
    assert miss is not None
    assert miss.advice == "rows"
    assert miss.needed > miss.quality.rows
    assert miss.short == pytest.approx(0.0012)


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0057, "−0.6"), (0.0123, "+1.2"), (0.0, "0.0"), (-0.0004, "−0.04"), (0.00001, "0.0")],
)
def test_points(value: float, text: str) -> None:
    assert reports.points(value) == text


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert reports.share_text(0.9999) == "99.9%"
    assert reports.share_text(1.0) == "100%"


def test_several_graphs_are_named_with_their_own_recipe() -> None:
    trial = Trial("x", {"detector": "fp16", "recognizer": "static-int8-minmax"})
    assert reports.title_of(trial, "en") == "detector: fp16; recognizer: static int8, least to largest"


def test_every_recipe_is_called_by_its_own_title_in_both_languages() -> None:
    """The pages do without the recipes' libraries, so they have the titles of their own."""
    assert set(words.RECIPES) == set(recipes.RECIPES)
    for id, recipe in recipes.RECIPES.items():
        assert words.RECIPES[id] == recipe.title_en
        assert gettext("zh", words.RECIPES[id]) == recipe.title_zh


def test_a_certificate_is_read_again_and_another_form_is_none() -> None:
    said = reports.statement(drafts.picked().certificate)
    assert said is not None
    assert said.share == pytest.approx(23.4 / 90.9)
    assert said.quality.difference == Interval(-0.0009, -0.0057, 0.004)
    assert said.trials == 8
    assert said.target is not None
    assert reports.statement({"schema": "other"}) is None
