"""Environments that devices are played in: packages of their own below the home, built once and whole.

A folder holds what one device needs and `environment.json` with what it was made of. It is built aside and
appears under its name when it is complete; when what it is made of changes, the next use replaces it.
Wheels are unpacked by pip with nothing built and no dependency pulled in that is not listed here.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from deployer.optimizer.targets.errors import TargetUnavailable
from deployer.spec import Progress

FACTS = "environment.json"
SECONDS = 1800.0  # that one fetching command may take
TICK = 1.0  # seconds between two reports of progress
FORM = 1  # counts up when environments of the same packages are to be built anew


@dataclass(frozen=True)
class Environment:
    """A device's environment: what it is made of, and the function that makes it in an empty folder."""

    device: str
    packages: dict[str, str]
    build: Callable[[Path, "Fetch"], None]
    more: dict[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What the folder is made of; another one is built when this changes."""
        return {"form": FORM, "packages": self.packages, **self.more}


class Fetch:
    """Runs fetching commands with progress; what the watcher raises ends them."""

    def __init__(self, device: str, steps: int, progress: Progress) -> None:
        self.device, self.steps, self.progress = device, steps, progress
        self.done = 0

    def run(self, note: str, command: Sequence[str], cwd: Path, **environment: str) -> None:
        """Run one command to its end; raises TargetUnavailable with its last words when it fails."""
        self.progress(self.done, self.steps, note)
        until = time.monotonic() + SECONDS
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(  # noqa: S603 (package managers with arguments of our own)
                command,
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(TICK)
                        break
                    self.progress(self.done, self.steps, note)
                    if time.monotonic() > until:
                        raise self.failed(note, "it took too long", "")
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            if child.returncode:
                size = log.tell()
                log.seek(max(0, size - 2000))
                said = log.read().decode(errors="replace").strip()
                raise self.failed(note, f"exit code {child.returncode}", said)
        self.done += 1

    def failed(self, note: str, how: str, said: str) -> TargetUnavailable:
        """A refusal that says which step failed, how, and what was said last."""
        last = [line for line in said.splitlines() if line.strip()][-3:]
        return TargetUnavailable(
            device=self.device,
            why=": ".join([f"{note} failed", how, *last]),
            why_zh=": ".join([f"{note} 失败", how, *last]),
            next="Check that the package index can be reached (pip or npm of this machine), and try again.",
            next_zh="请检查本机的 pip 或 npm 能否访问软件包索引，然后重试。",
        )


def folder_of(home: Path, device: str) -> Path:
    """Where a device's environment lies."""
    return home / "environments" / device


def is_ready(home: Path, wanted: Environment) -> bool:
    """Whether the environment is there and made of what is wanted."""
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads((folder_of(home, wanted.device) / FACTS).read_text())
        return bool(facts == wanted.facts())
    return False


def prepare(home: Path, wanted: Environment, steps: int, progress: Progress) -> Path:
    """The environment's folder, built when it is not there yet; raises TargetUnavailable."""
    folder = folder_of(home, wanted.device)
    if is_ready(home, wanted):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.parent / f".{wanted.device}.lock")
    while True:  # somebody else may be building it
        try:
            lock.acquire(timeout=TICK)
            break
        except filelock.Timeout:
            progress(0, 0, wanted.device)
    try:
        if not is_ready(home, wanted):
            _build(folder, wanted, steps, progress)
    finally:
        lock.release()
    return folder


def _build(folder: Path, wanted: Environment, steps: int, progress: Progress) -> None:
    for left in folder.parent.glob(f".{wanted.device}-*"):  # of a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{wanted.device}-") as aside:
        half = Path(aside) / "new"
        half.mkdir()
        wanted.build(half, Fetch(wanted.device, steps, progress))
        (half / FACTS).write_text(json.dumps(wanted.facts(), indent=1) + "\n")
        with contextlib.suppress(FileNotFoundError):
            folder.replace(Path(aside) / "old")
        half.replace(folder)
    progress(steps, steps, wanted.device)


def pip_install(fetch: Fetch, packages: dict[str, str], folder: Path) -> None:
    """Put wheels of exactly these versions for our own interpreter into a folder."""
    fetch.run(
        f"pip: {', '.join(f'{name} {version}' for name, version in packages.items())}",
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--disable-pip-version-check", "--no-input", "--no-compile", "--target", str(folder)),
            *(f"{name}=={version}" for name, version in packages.items()),
        ],
        folder.parent,
    )
