"""The doctor says what is there in both languages, changes nothing, and names a fix for what is not."""

from pathlib import Path

import pytest

from deployer.doctor import Check, examine

NAMES = [
    "python",
    "kernel",
    "sandbox",
    "landlock",
    "seccomp",
    "bubblewrap",
    "docker",
    "disk",
    "memory",
    "sockets",
    "npm",
    "chromium",
]


def found(home: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(home, home / "run")}


def test_everything_is_looked_at_and_said_in_both_languages(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there"
    checks = found(home)
    assert list(checks) == NAMES
    for check in checks.values():
        assert check.detail_zh and check.detail_en
        assert bool(check.fix_zh) == bool(check.fix_en)
        assert check.ok or check.fix_en, check
    assert checks["python"].ok
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_comes_with_a_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = found(tmp_path / ("long" * 30))
    assert not checks["docker"].ok and "docker.io" in checks["docker"].fix_en
    assert not checks["sockets"].ok and "MARKET_HOME" in checks["sockets"].fix_zh
    assert not checks["chromium"].ok and checks["chromium"].fix_zh
