"""One optimisation in a process of its own: its report, how long it took, and the memory that it held.

`python -m tests.benchmarks.optimizing.jobs` is that process; a job whose result lies in its folder already
is not run again.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from deployer.errors import DeployerError
from deployer.optimizer import report as reports
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Report, Trial
from deployer.optimizer.search import Job, optimize
from deployer.runtimes.process import ProcessRuntime
from tests.benchmarks.optimizing.subjects import Subject

ROOT = Path(__file__).parents[3]
MAX_DROP = 0.01
_LOOK_EVERY = 0.1


@dataclass(frozen=True)
class Finished:
    """A job that is over; memory in bytes, of all its processes together and of the largest one."""

    subject: str
    kind: str
    seed: int
    work: Path
    report: Report
    seconds: float
    peak: int
    largest: int

    @property
    def picked(self) -> Trial | None:
        """The trial that was picked; None when the model stays as it came."""
        if self.report.pick is None:
            return None
        return next(trial for trial in self.report.trials if trial.id == self.report.pick.trial)

    @property
    def base(self) -> Path:
        """The model as it came, laid out by the job."""
        return self.work / "work" / "base"

    @property
    def space(self) -> Path:
        """Where the job's steps left the rows, the model's answers and recorded inputs."""
        return self.work / "work" / "space"

    @property
    def graphs(self) -> dict[str, Path]:
        """The picked graphs by role."""
        pick = self.report.pick
        return {role: self.work / "out" / name for role, name in pick.graphs.items()} if pick else {}


class JobFailed(Exception):
    """The optimiser refused or crashed; the message says why."""


def run(
    subject: Subject, kind: str, folder: Path, *, seed: int = 0, seconds: float = 240.0, confirm: bool = True
) -> Finished:
    """Optimise a model for `kind` below `folder`, or read what an earlier run left there."""
    work = folder / f"{subject.name}-{kind}-{seed}"
    done = work / "finished.json"
    if not done.exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        asked = {
            "model_dir": str(subject.folder()),
            "data": str(subject.data()),
            "kind": kind,
            "seed": seed,
            "seconds": seconds,
            "confirm": confirm,
        }
        told = _watched([sys.executable, "-m", __name__, json.dumps(asked), str(work)], work / "log")
        if not (work / "report.json").exists():
            raise JobFailed((work / "log").read_text("utf-8").strip().rpartition("\n")[2])
        done.write_text(json.dumps(told))
    told = json.loads(done.read_text())
    report = reports.load(work / "report.json")
    if report is None:
        raise JobFailed(f"no report in {work}")
    return Finished(subject.name, kind, seed, work, report, told["seconds"], told["peak"], told["largest"])


def _watched(command: list[str], log: Path) -> dict[str, Any]:
    """Run to the end; seconds, and the most memory that its processes held together and alone."""
    began, peak, largest = time.monotonic(), list[int](), 0
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        with child:
            try:
                while child.poll() is None:
                    held = _memory(child.pid)
                    peak, largest = max(peak, held, key=sum), max(largest, *held, 0)
                    time.sleep(_LOOK_EVERY)
            finally:
                child.terminate()
    seconds = round(time.monotonic() - began, 2)
    return {"seconds": seconds, "peak": sum(peak), "largest": largest, "held": sorted(peak, reverse=True)}


def _memory(pid: int) -> list[int]:
    """Bytes of a process and each of its descendants; what several share is shared out among them."""
    try:
        family = [psutil.Process(pid)]
        family += family[0].children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [_own(process) for process in family]


def _own(process: psutil.Process) -> int:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0


def _main(asked: dict[str, Any], work: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
        runtime = ProcessRuntime(work / "home", Path(sockets)) if asked["confirm"] else None
        job = Job(
            model_dir=Path(asked["model_dir"]),
            work=work / "work",
            out=work / "out",
            data=Path(asked["data"]),
            objective=Objective(asked["kind"], MAX_DROP),
            seed=asked["seed"],
            seconds=asked["seconds"],
            runtime=runtime,
        )
        try:
            report = optimize(job)
        except DeployerError as error:
            print(error.code, msgspec.json.encode(error.facts, enc_hook=str).decode())
            return 1
    reports.save(report, work / "report.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(_main(json.loads(sys.argv[1]), Path(sys.argv[2])))
