"""The packaging benchmark's own arithmetic and its models."""

import time
from pathlib import Path

from deployer.packager.layout import Layout
from deployer.packager.parts import parts
from tests.benchmarks.harness import Timing, row
from tests.benchmarks.packaging.report import Figure, Report
from tests.benchmarks.packaging.rounds import timed
from tests.deployer.packager.releases import Fresh


def test_a_fresh_model_is_another_one_each_time(tmp_path: Path) -> None:
    """New weights by their bytes, which the manifest tells truly; the rest stays."""
    fresh, layout = Fresh("filetype-magika", tmp_path / "models"), Layout(tmp_path / "layout")
    one, two = (parts(layout, fresh.renew()) for _ in range(2))
    assert one.weights != two.weights
    assert one.weights.size == two.weights.size
    assert fresh.renew().digest != fresh.renew().digest


def test_what_follows_a_run_does_not_count() -> None:
    def spin(seconds: float) -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    taken = timed(lambda: spin(0.01), lambda: spin(0.2))
    assert 0.01 <= taken.wall < 0.2


def test_the_report_tells_what_is_over_its_aim() -> None:
    found = {"base": [Timing(1.0, 0.1)], "ours": [Timing(2.0, 0.1)]}
    rows = [row(found, "base"), row(found, "ours", "base", 1.5)]
    report = Report(rows, [Figure("size", 3.0, "MB", 2.0), Figure("other", 1.0, "s")], "steps")
    assert not report.kept
    assert report.text().count("OVER") == 2
    assert "steps" in report.text()
    assert Report(rows[:1], [Figure("size", 1.0, "MB", 2.0)]).kept
    assert report.plain()["figures"][0]["limit"] == 2.0
