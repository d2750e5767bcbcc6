"""Environments are built once and whole: what fails or is stopped leaves the former one."""

import sys
import threading
from pathlib import Path

import pytest

from deployer.optimizer.targets import TargetUnavailable, environments
from deployer.optimizer.targets.environments import Environment, Fetch
from deployer.spec import silent


def made_of(version: str, built: list[str] | None = None) -> Environment:
    def build(folder: Path, fetch: Fetch) -> None:
        if built is not None:
            built.append(version)
        fetch.run("fetching", [sys.executable, "-c", f"open('made', 'w').write('{version}')"], folder)

    return Environment("toy", {"toy": version}, build)


def test_it_is_built_once_and_again_when_its_packages_change(tmp_path: Path) -> None:
    built: list[str] = []
    told: list[tuple[int, int, str]] = []
    for version in ("1", "1", "2"):
        wanted = made_of(version, built)
        folder = environments.prepare(tmp_path, wanted, 1, lambda *a: told.append(a))
        assert (folder / "made").read_text() == version
        assert environments.is_ready(tmp_path, wanted)
    assert built == ["1", "2"]
    assert (0, 1, "fetching") in told and (1, 1, "toy") in told
    assert sorted(path.name for path in folder.parent.iterdir()) == [".toy.lock", "toy"]


def test_two_at_once_build_it_once(tmp_path: Path) -> None:
    built: list[str] = []
    wanted = made_of("1", built)
    threads = [
        threading.Thread(target=environments.prepare, args=[tmp_path, wanted, 1, silent]) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == ["1"]


def test_a_failed_build_says_why_and_leaves_the_former_one(tmp_path: Path) -> None:
    folder = environments.prepare(tmp_path, made_of("1"), 1, silent)

    def build(half: Path, fetch: Fetch) -> None:
        (half / "half").touch()
        program = "import sys; print('no such wheel'); sys.exit(7)"
        fetch.run("pip: toy 2", [sys.executable, "-c", program], half)

    with pytest.raises(TargetUnavailable) as refused:
        environments.prepare(tmp_path, Environment("toy", {"toy": "2"}, build), 1, silent)
    facts = refused.value.facts
    assert facts["why"] == "pip: toy 2 failed: exit code 7: no such wheel"
    assert "失败" in str(facts["why_zh"]) and facts["next"] and facts["next_zh"]
    assert (folder / "made").read_text() == "1"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".toy.lock", "toy"]


def test_what_the_watcher_raises_stops_the_build(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def watch(done: int, total: int, note: str = "") -> None:
        if note == "waiting":
            raise Stopped

    def build(folder: Path, fetch: Fetch) -> None:
        fetch.run("waiting", [sys.executable, "-c", "import signal; signal.pause()"], folder)

    with pytest.raises(Stopped):
        environments.prepare(tmp_path, Environment("toy", {}, build), 1, watch)
    assert not environments.folder_of(tmp_path, "toy").exists()


def test_left_overs_of_a_killed_build_are_removed(tmp_path: Path) -> None:
    left = environments.folder_of(tmp_path, "toy").parent / ".toy-abandoned"
    left.mkdir(parents=True)
    environments.prepare(tmp_path, made_of("1"), 1, silent)
    assert not left.exists()
