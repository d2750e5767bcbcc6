"""The recipes that people copy: ONNX Runtime's quantisers with the settings that they come with.

`python -m tests.benchmarks.optimizing.fixed` quantises one graph in a process of its own, since some crash.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from deployer.optimizer import driving, folders
from tests.benchmarks.optimizing.beside import Contender
from tests.benchmarks.optimizing.jobs import ROOT, Finished

RECIPES = {"quantize_dynamic": "dynamic", "quantize_static": "static"}
_LONGEST = 600.0


def contenders(job: Finished) -> list[Contender]:
    """Each recipe on every graph of a model, with the inputs that the job recorded."""
    return [_contender(job, name, way) for name, way in RECIPES.items()]


def _contender(job: Finished, name: str, way: str) -> Contender:
    began, made = time.monotonic(), {}
    for role, source in folders.graphs_of(job.base).items():
        out = job.work / "fixed" / way / f"{role}.onnx"
        out.parent.mkdir(parents=True, exist_ok=True)
        feeds = job.space / "feeds"
        command = [sys.executable, "-m", __name__, way, str(source), str(out), str(feeds), role]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            return Contender(name, {}, f"{role}: not done after {_LONGEST:.0f} s", _LONGEST)
        if done.returncode or not out.exists():
            said = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
            return Contender(name, {}, f"{role}: {said[-1]}"[:160], time.monotonic() - began)
        made[role] = out
    return Contender(name, made, seconds=time.monotonic() - began)


class _Inputs:
    """Recorded inputs, as onnxruntime.quantization asks for them."""

    def __init__(self, folder: Path, role: str) -> None:
        self._left = iter(driving.load_feeds(folder, role))

    def get_next(self) -> Any:
        """The next inputs, None after the last."""
        return next(self._left, None)


def quantise(way: str, source: Path, out: Path, feeds: Path, role: str) -> None:
    """Quantise a graph with defaults: `dynamic`, or `static` in QDQ form over recorded inputs."""
    from onnxruntime import quantization

    if way == "dynamic":
        quantization.quantize_dynamic(source, out)
    else:
        reader: Any = type("Reader", (_Inputs, quantization.CalibrationDataReader), {})(feeds, role)
        quantization.quantize_static(source, out, reader)


if __name__ == "__main__":
    quantise(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
