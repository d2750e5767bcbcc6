"""Functions in child processes: shut in, bounded, ended with the work they do."""

import os
import time
from pathlib import Path

import psutil
import pytest

from deployer.errors import DeployerError
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed
from deployer.optimizer.worker import RefusedInChild
from deployer.runtimes.probe import probe

HERE = "tests.deployer.optimizer.errands"


def run(name: str, work: Path, **options: object) -> worker.Done:
    read = (Path(__file__).parents[3],)
    return worker.run(f"{HERE}:{name}", options.pop("arguments", {}), read=read, write=(work,), **options)  # type: ignore[arg-type]


def test_the_result_and_the_peak_come_back(tmp_path: Path) -> None:
    done = run("adds", tmp_path, arguments={"one": 2, "other": 3})
    assert done.result == {"sum": 5}
    assert 8 << 20 < done.peak < 4 << 30


def test_what_it_prints_does_not_disturb_the_answer(tmp_path: Path) -> None:
    assert run("chatters", tmp_path).result == "said enough"


def test_progress_is_passed_on(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    run("counts", tmp_path, tick=lambda *told: seen.append(told))
    assert seen[-1] == (3, 3, "rows")


def test_a_named_refusal_keeps_its_code_and_facts(tmp_path: Path) -> None:
    with pytest.raises(RefusedInChild) as refused:
        run("refuses", tmp_path)
    assert refused.value.code == "nothing-to-optimize"
    assert refused.value.facts == {"model": "m"}
    assert isinstance(refused.value, DeployerError)


def test_a_crash_names_the_step_and_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed) as failed:
        run("crashes", tmp_path)
    assert failed.value.facts["how"] == "signal 6"
    with pytest.raises(WorkerFailed) as failed:
        run("fails", tmp_path)
    assert failed.value.facts["log"].splitlines()[-1] == "ZeroDivisionError"
    assert "errands.py" in failed.value.facts["log"]


def test_what_an_error_says_stays_in_the_child(tmp_path: Path) -> None:
    """It may hold a part of somebody's rows."""
    with pytest.raises(WorkerFailed) as failed:
        run("blurts", tmp_path)
    assert failed.value.facts["log"].splitlines()[-1] == "ValueError"
    assert "private" not in str(failed.value.facts)


def test_a_long_answer_comes_whole_and_an_endless_one_not_at_all(tmp_path: Path) -> None:
    assert len(run("answers", tmp_path, arguments={"size": 20 << 20}).result) == 20 << 20
    with pytest.raises(WorkerFailed, match="too much"):
        run("answers", tmp_path, arguments={"size": 80 << 20})


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed, match="too long"):
        run("waits", tmp_path, seconds=1.5)
    assert time.monotonic() - began < 15


def test_memory_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed, match="memory"):
        run("grows", tmp_path, memory=256 << 20)


def test_a_watcher_that_raises_ends_the_child(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def tick(done: int, total: int, note: str) -> None:
        if (tmp_path / "pid").exists():
            raise Cancelled

    with pytest.raises(Cancelled):
        run("waits", tmp_path, tick=tick)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_can_neither_reach_out_nor_read_what_is_not_its_own(tmp_path: Path) -> None:
    if probe().grade != "full":
        pytest.skip("no full sandbox on this machine")
    work, private = tmp_path / "work", tmp_path / "private"
    work.mkdir()
    private.write_text("secret")
    told = run("looks_around", work, arguments={"private": str(private)}).result
    assert told == {"private": "PermissionError", "network": "PermissionError", "program": "PermissionError"}


def test_nothing_of_the_shop_is_in_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_KEY", "very-secret")
    names = run("environment", tmp_path).result
    assert "MARKET_KEY" not in names
    assert "ORT_DISABLE_TELEMETRY" in names
    assert os.environ["MARKET_KEY"] == "very-secret"
