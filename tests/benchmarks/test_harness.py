"""The benchmark's own arithmetic, and one real cold start."""

import json
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest

from deployer.optimizer.convert.linear_text import classifier
from deployer.server.text.features import NgramAnalyzer
from tests.benchmarks.harness import Row, Timing, first_answer, interleave, row, script, table


def test_rounds_take_turns_and_warm_ups_do_not_count() -> None:
    order: list[str] = []

    def case(name: str) -> Timing:
        order.append(name)
        return Timing(len(order), 0)

    found = interleave({name: lambda name=name: case(name) for name in "abc"}, rounds=3)
    assert "".join(order) == "cab" + "abc" + "bca" + "cab"
    assert [timing.wall for timing in found["a"]] == [4, 9, 11]


def test_ratios_are_taken_within_rounds() -> None:
    found = {
        "slow": [Timing(2, 1), Timing(20, 1), Timing(3, 1)],
        "fast": [Timing(1, 1), Timing(10, 1), Timing(1, 1)],
    }
    one = row(found, "slow", "fast", limit=1.5)
    assert (one.wall, one.ratio, one.kept) == (3, 2, False)
    assert row(found, "slow", "fast", limit=2).kept
    assert row(found, "slow").ratio is None


def test_the_table_lines_up_and_marks_what_is_over() -> None:
    text = table([Row("floor", 0.5, 0.25), Row("server", 1.0, 0.5, "floor", 2.0, 1.5)])
    lines = text.splitlines()
    assert lines[0].split() == ["case", "wall", "s", "cpu", "s", "ratio", "to", "limit"]
    assert lines[2].split() == ["server", "1.000", "0.500", "2.00", "floor", "1.50", "OVER"]
    assert lines[1].index("0.500") == lines[2].index("1.000")


def test_cpu_of_a_script_is_counted() -> None:
    timing = script("sum(n * n for n in range(2_000_000))")
    assert 0.02 < timing.cpu <= timing.wall + 0.5


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    analyzer = NgramAnalyzer(buckets=16)
    onnx.save(classifier(np.linspace(-1, 1, 17), 0.0, analyzer), tmp_path / "model.onnx")
    manifest = {
        "schema": 1,
        "name": "test/tiny",
        "version": "1.0.0",
        "task": "text-classification",
        "files": {"model": "model.onnx"},
        "options": {**analyzer.options(), "labels": ["negative", "positive"]},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_cold_start_is_measured_and_leaves_nothing(small_model: Path, tmp_path: Path) -> None:
    timing = first_answer(small_model, {"text": "好"}, tmp_path)
    assert timing.cpu > 0
    assert 0 < timing.wall < 60
    assert not psutil.Process().children(recursive=True)
    assert not (tmp_path / "cold.sock").exists()


def test_a_server_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no answer"):
        first_answer(tmp_path, {"text": "好"}, tmp_path)
