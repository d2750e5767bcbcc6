"""Predictions held against real servers, and what they say of devices and of jobs."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployer.optimizer import effort, estimate
from deployer.optimizer.architecture import ArchitectureReport, inspect
from tests.benchmarks.optimizing.memory import WITHIN, compare, table
from tests.deployer.optimizer.test_architecture import folder_of, one, value, weight
from tests.shelf_files import model_dir


@dataclass(frozen=True)
class Device:
    id: str
    memory: int | None


@pytest.fixture
def small(tmp_path: Path) -> ArchitectureReport:
    folder = folder_of(tmp_path / "m", {"task": "tensors", "files": {"model": "model.onnx"}})
    model = one("Conv", [value("x", ["n", 3, 64, 64])], [weight("w", 16, 3, 3, 3)], pads=[1] * 4)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return inspect(folder)


@pytest.mark.network
@pytest.mark.parametrize("listing", ["zh-sentiment", "doc-orientation", "en-minilm-l6-int8"])
def test_a_server_takes_what_was_predicted(listing: str) -> None:
    row = compare(listing)
    assert abs(row.ratio - 1) <= WITHIN, table([row])
    assert row.predicted.peak >= row.predicted.busy >= row.predicted.resident
    assert not row.predicted.at_least


def test_a_prediction_is_the_sum_of_its_parts(small: ArchitectureReport) -> None:
    found = estimate.memory(small)
    parts = ("base", "libraries", "dictionaries", "files", "graphs", "weights", "tables", "activations")
    assert found.resident == sum(getattr(found, part) for part in parts)
    assert estimate.memory(ArchitectureReport.of(json.loads(json.dumps(small.plain())))) == found
    two = estimate.memory(small, 2)
    assert two.resident == found.resident and two.busy == found.busy + found.activations
    assert estimate.memory(small, prepared=False).mapped == 0


def test_pages_of_tables_follow_how_often_words_are_asked_for(tmp_path: Path) -> None:
    ids = value("ids", ["n", "length"], 7)
    model = one("Gather", [ids], [weight("table", 40_000, 16)])
    model.graph.node[0].input[:] = ["table", "ids"]
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    whole = 40_000 * 16 * 4
    few, many = (
        estimate.memory(inspect(path, {"model": {"ids": (1, n)}}), pages=65_536).tables for n in (1, 500)
    )
    assert 0 < few <= 65_536 < many < whole
    assert estimate.memory(inspect(path), pages=1 << 30).tables <= whole
    assert estimate.memory(inspect(path), prepared=False).tables == whole


def test_a_touch_maps_a_page_or_more() -> None:
    assert 4096 <= estimate.mapping_step() <= 8 << 20


def test_devices_are_told_apart(small: ArchitectureReport) -> None:
    needed = estimate.fit(small, [Device("cpu", 1 << 40)])[0].needed
    devices = [
        Device("cpu", 2 * needed),
        Device("cpu", int(needed / 0.8)),
        Device("cpu", needed // 2),
        Device("browser-wasm", None),
    ]
    found = estimate.fit(small, devices)
    assert [one.verdict for one in found] == ["fits", "tight", "too-large", "fits"]
    assert found[3].available > 1 << 30 and found[3].overhead < found[0].overhead
    assert all(one.needed == one.weights + one.activations + one.cache + one.overhead for one in found)


@pytest.mark.network
def test_a_cache_grows_with_the_context() -> None:
    report = inspect(model_dir("asr-whisper-base"))
    short, long = (estimate.fit(report, [Device("cpu", None)], context=tokens)[0] for tokens in (0, 448))
    assert short.cache == 0 and long.cache == 448 * 12 * 512 * 4
    assert long.needed - short.needed == long.cache


def test_a_job_takes_longer_with_more_to_do(small: ArchitectureReport) -> None:
    few, many = estimate.job(small, 100, rate=1e10), estimate.job(small, 1000, rate=1e10)
    assert 0 < few.seconds_low < few.seconds_high and few.seconds_high < many.seconds_high
    assert 0 < few.memory_low < few.memory_high
    assert estimate.job(small, 100, rate=1e10, candidates=12).seconds_high > few.seconds_high
    assert estimate.job(small, 10**9, rate=1e10, budget=240).seconds_high == 240
    assert 1e8 < effort.measured_rate() < 1e13
