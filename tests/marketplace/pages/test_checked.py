"""Checks, badges, figures and licences as people read them: unknown is never fine, nothing is filled in."""

import pytest
from sqlalchemy import Engine

from catalog.models import Check, CheckState, Version, VersionState
from catalog.scan import CHECKS
from marketplace.db import transaction
from marketplace.pages import changes, checked, version_page
from marketplace.pages.columns import columns
from tests.marketplace import shelves
from tests.marketplace.pages import goods


def test_every_check_has_a_row_also_before_it_ran(engine: Engine) -> None:
    with transaction(engine) as db:
        _, version = shelves.listed(db)
        version.check_state = CheckState.running
        db.add(Check(version_id=version.id, check="manifest", verdict="pass"))
        db.flush()
        found = checked.table(db, version, "en")
        assert [each.id for each in found] == list(CHECKS)
        assert [each.verdict for each in found][:3] == ["pass", "running", "waiting"]
        assert checked.counts(found) == {"pass": 1, "running": 1, "waiting": len(CHECKS) - 2}


def test_the_gravest_row_is_the_check_s_verdict_and_has_words(engine: Engine) -> None:
    with transaction(engine) as db:
        _, version = shelves.listed(db)
        for path, verdict, code in (("a", "pass", ""), ("b", "fail", "onnx-malformed"), ("c", "warn", "")):
            facts = {"path": path, "byte": 3, "code": "x", "lang": "y"}
            db.add(
                Check(
                    version_id=version.id, check="format", path=path, verdict=verdict, code=code, facts=facts
                )
            )
        db.flush()
        row = next(each for each in checked.table(db, version, "zh") if each.id == "format")
        assert row.verdict == "fail"
        assert [each.path for each in row.passed] == ["a"]
        assert {each.path for each in row.rows} == {"b", "c"}
        said = next(each for each in row.rows if each.path == "b")
        assert said.title and said.next


@pytest.mark.parametrize(("code", "look"), [("scanner-none", False), ("scanner-incomplete", True)])
def test_a_shop_without_a_second_scanner_asks_nothing_of_the_vendor(
    engine: Engine, code: str, look: bool
) -> None:
    with transaction(engine) as db:
        _, version = shelves.listed(db)
        version.check_state, version.state = CheckState.passed, VersionState.draft
        for check in CHECKS:
            unknown = check == "scanner"
            verdict, told = ("unknown", code) if unknown else ("pass", "")
            db.add(Check(version_id=version.id, check=check, verdict=verdict, code=told))
        db.flush()
        found = checked.table(db, version, "en")
        assert [each.verdict for each in found if each.id == "scanner"] == ["unknown"]
        said = version_page.finding(version, found, "en").detail
        assert ("something to look at" in said) == look


def test_unknown_weighs_more_than_a_warning() -> None:
    assert checked.gravest(["pass", "warn", "unknown"]) == "unknown"
    assert checked.gravest(["unknown", "fail"]) == "fail"
    assert checked.gravest([]) == "unknown"


def test_a_file_that_nobody_looked_at_is_unknown(engine: Engine) -> None:
    with transaction(engine) as db:
        _, version = shelves.listed(db)
        (badge,) = checked.badges(db, version, "en")
        assert (badge.path, badge.verdict, badge.looks) == ("model.onnx", "unknown", [])


def test_figures_say_what_is_claimed_beside_what_was_measured() -> None:
    version = Version(claims=goods.CLAIMS, measured=goods.MEASURED)
    found = {figure.title: figure for figure in checked.figures(version, "en")}
    assert (found["Latency"].claimed, found["Latency"].measured) == ("4 ms", "3.12 ms")
    assert found["Latency"].more == "p95 18.4 ms" and not found["Latency"].worse
    assert found["accuracy"].worse and found["Memory"].worse
    only = Version(claims={"latency_ms": 4}, measured={})
    (figure,) = checked.figures(only, "en")
    assert figure.measured == "" and not figure.worse
    assert checked.figures(Version(claims={}, measured={}), "en") == []


@pytest.mark.parametrize(
    ("weights", "commercial"),
    [
        ("Apache-2.0", "yes"),
        ("CC-BY-NC-4.0", "no"),
        ("LicenseRef-not-stated", "unknown"),
        ("no such licence at all", "unknown"),
        ("CC-BY-SA-4.0", "yes"),
    ],
)
def test_a_licence_that_is_not_clear_is_not_commercial(weights: str, commercial: str) -> None:
    said = checked.licence_said(Version(license_package="MIT", license_weights=weights), "en")
    assert said.commercial == commercial
    if weights == "CC-BY-SA-4.0":
        assert "shared alike" in said.text


def test_what_a_version_changes(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, before = shelves.listed(db)
        more = [
            {"path": "model.onnx", "sha256": "1" * 64, "size": 50},
            {"path": "run.onnx", "sha256": "2" * 64, "size": 5},
        ]
        _, version = shelves.listed(db, number="1.1.0", artifacts=more)
        version.license_weights = "CC-BY-NC-4.0"
        version.offer = {"title_en": "Reader", "summary_en": "Reads more"}
        found = {each.title: each for each in changes.changes(listing, version, before, "en")}
        assert found["Licence of the weights"].grave and found["New files"].after == "run.onnx"
        assert found["Size"].grave and "model.onnx" in found["Files with another content"].after
        assert found["Summary in English"].before == "Reads"
        assert "Title in English" not in found and "Task" not in found
        assert changes.changes(listing, before, before, "en") == []
        assert changes.listed_before(db, listing, version) is None


@pytest.mark.parametrize("most", [0, 1, 4, 37, 900, 12_345, 4_000_000])
def test_columns_stay_inside_their_drawing(most: int) -> None:
    days = [f"2026-11-{n:02d}" for n in range(1, 31)]
    plot = columns("…", days, [most * n // 29 for n in range(30)])
    assert 2 <= len(plot.ticks) <= 6
    assert all(8 <= bar.x <= 100 and bar.x + bar.width <= 100.01 for bar in plot.bars)
    assert all(bar.y >= 0 and bar.y + bar.height <= plot.bottom + 0.11 for bar in plot.bars)
    assert [label.text for label in plot.labels] == ["11-01", "11-16", "11-30"]
