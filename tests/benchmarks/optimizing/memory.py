"""Predicted against measured memory of servers: `python -m tests.benchmarks.optimizing.memory [LISTING …]`.

Each server is started by the process runtime as the shop starts it, with prepared graphs, answers the
examples of its manifest one after another, and is then read from /proc: resident (RSS), its share where
pages belong to several processes (PSS), and the most that it ever had.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.optimizer import architecture, estimate
from deployer.runtimes import records
from deployer.runtimes.process import ProcessRuntime
from deployer.spec import Limits, ReplicaSpec, silent
from tests.benchmarks.harness import align, ask
from tests.shelf_files import model_dir

WITHIN = 0.2
STARTERS = (
    "asr-whisper-base",
    "doc-layout-cdla",
    "doc-orientation",
    "en-minilm-l6-fp32",
    "en-minilm-l6-int8",
    "filetype-magika",
    "nsfw-open",
    "ocr-ppocrv6-small",
    "selfie-segmentation",
    "tts-kokoro-82m-int8",
    "vad-silero-6",
    "zh-lac-ner",
    "zh-sentiment",
)


@dataclass(frozen=True)
class Measured:
    """Bytes of a server after its examples."""

    rss: int
    pss: int
    most: int


@dataclass(frozen=True)
class Row:
    """One model: predicted and measured, and how long the prediction took."""

    listing: str
    predicted: estimate.MemoryEstimate
    measured: Measured
    seconds: float

    @property
    def ratio(self) -> float:
        """Predicted to measured resident memory."""
        return self.predicted.resident / self.measured.rss

    @property
    def kept(self) -> bool:
        """Whether it lies within the aim."""
        return abs(self.ratio - 1) <= WITHIN


def measure(folder: Path, work: Path, threads: int = 1) -> Measured:
    """Memory of a server on a model folder after it answered all examples; `work` has a short path."""
    runtime = ProcessRuntime(work)
    limits = Limits(memory=8 << 30, threads=threads, cpus=float(threads))
    spec = ReplicaSpec("memory-1-0", "memory", folder, limits, prepared=work / "prepared" / "model")
    try:
        runtime.prepare(spec, silent)
        socket = Path(runtime.start(spec).address.removeprefix("unix:"))
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        _until_ready(socket)
        for example in manifest["examples"]:
            ask(socket, "/predict", example["request"])
        record = records.load(runtime.run_dir / f"{spec.id}.json")
        assert record
        return _read(record.pid)
    finally:
        runtime.close()


def _until_ready(socket: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(socket, "/v2")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _read(pid: int) -> Measured:
    status = _sizes(Path(f"/proc/{pid}/status"))
    rollup = _sizes(Path(f"/proc/{pid}/smaps_rollup"))
    return Measured(rollup["Rss"], rollup["Pss"], status["VmHWM"])


def _sizes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines if len(line) == 3 and line[2] == "kB"}


def compare(listing: str) -> Row:
    """Predict, then measure."""
    folder = model_dir(listing)
    began = time.perf_counter()
    predicted = estimate.memory(architecture.inspect(folder))
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory(prefix="mem-") as work:
        return Row(listing, predicted, measure(folder, Path(work)), seconds)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with the median ratio and how far off the worst is."""
    lines = [("model", "predicted MB", "RSS MB", "PSS MB", "most MB", "ratio", "s", "")]
    for row in rows:
        sizes = (row.predicted.resident, row.measured.rss, row.measured.pss, row.measured.most)
        megabytes = tuple(f"{size / 1e6:.1f}" for size in sizes)
        told = "" if row.kept else "OFF"
        lines.append((row.listing, *megabytes, f"{row.ratio:.3f}", f"{row.seconds:.2f}", told))  # type: ignore[arg-type]
    ratios = [row.ratio for row in rows]
    worst = max(abs(ratio - 1) for ratio in ratios)
    close = sum(row.kept for row in rows)
    text = (
        f"median ratio {statistics.median(ratios):.3f}, worst {worst:.1%} off, {close} of {len(rows)} within"
    )
    return f"{align(lines, right=range(1, 7))}\n{text} {WITHIN:.0%}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 when a prediction is off."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.optimizing.memory", description=__doc__)
    parser.add_argument("listings", nargs="*", default=STARTERS)
    rows = [compare(listing) for listing in parser.parse_args(argv).listings]
    print(table(rows))
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
