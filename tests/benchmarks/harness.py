"""Measures things side by side: rounds that take turns, medians, and ratios within a round.

A machine that is busy for a while slows every case of a round alike, so a ratio taken within each round
says more than two times taken apart.
"""

import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil


@dataclass(frozen=True)
class Timing:
    """One run: seconds by the clock, and CPU seconds of what was started."""

    wall: float
    cpu: float


T = TypeVar("T")
Case = Callable[[], Timing]


@dataclass(frozen=True)
class Row:
    """One line of the table: medians of a case, and its ratio to the base case within each round."""

    name: str
    wall: float
    cpu: float
    base: str = ""
    ratio: float | None = None
    limit: float | None = None

    @property
    def kept(self) -> bool:
        """False when the ratio is above its limit."""
        return self.limit is None or (self.ratio is not None and self.ratio <= self.limit)


def interleave(cases: Mapping[str, Callable[[], T]], rounds: int, warm_ups: int = 1) -> dict[str, list[T]]:
    """Run every case once a round, each round starting with another one; warm-up rounds do not count."""
    names = list(cases)
    found: dict[str, list[T]] = {name: [] for name in names}
    for turn in range(-warm_ups, rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            measured = cases[name]()
            if turn >= 0:
                found[name].append(measured)
    return found


def row(
    found: dict[str, list[Timing]], name: str, base: str | None = None, limit: float | None = None
) -> Row:
    """The medians of a case, with the median of its ratios to `base` and the limit for that."""
    wall = statistics.median(timing.wall for timing in found[name])
    cpu = statistics.median(timing.cpu for timing in found[name])
    if base is None:
        return Row(name, wall, cpu)
    pairs = zip(found[name], found[base], strict=True)
    return Row(name, wall, cpu, base, statistics.median(one.wall / two.wall for one, two in pairs), limit)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, ready to print."""
    lines = [("case", "wall s", "cpu s", "ratio", "to", "limit", "")]
    for one in rows:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        limit = "" if one.limit is None else f"{one.limit:.2f}"
        mark = "" if one.limit is None else "ok" if one.kept else "OVER"
        lines.append((one.name, f"{one.wall:.3f}", f"{one.cpu:.3f}", ratio, one.base, limit, mark))
    return align(lines, right=(1, 2, 3, 5))


def align(lines: Sequence[Sequence[str]], right: Collection[int]) -> str:
    """Cells in columns; those of `right` end together, the others begin together."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def ask(path: Path, route: str, body: object | None = None) -> object:
    """The JSON answer of a server on a unix socket; raises OSError while nobody listens."""
    connection = UnixConnection(path)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(
            "GET" if body is None else "POST", route, data, {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{route}: {response.status} {answer[:300]!r}")
        return json.loads(answer)
    finally:
        connection.close()


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and the children that still run."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def first_answer(model_dir: Path, body: object, sockets: Path, seconds: float = 60) -> Timing:
    """Start a server on a model folder and ask until it answers `body` well: the server's cold start."""
    path = sockets / "cold.sock"
    command = [sys.executable, "-m", "deployer.server", str(model_dir), "--uds", str(path), "--name", "bench"]
    started = time.perf_counter()
    with _running(command) as child:
        while True:
            try:
                ask(path, "/predict", body)
                break
            except (ConnectionRefusedError, FileNotFoundError):
                if child.poll() is not None or time.perf_counter() - started > seconds:
                    raise RuntimeError(f"no answer from a server on {model_dir.name}") from None
                time.sleep(0.002)
        return Timing(time.perf_counter() - started, cpu_seconds(psutil.Process(child.pid)))


def script(code: str, *arguments: str) -> Timing:
    """Run Python code in a process of its own to its end."""
    started = time.perf_counter()
    before = _children_cpu()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    return Timing(time.perf_counter() - started, _children_cpu() - before)


def graph_opened(graph: Path) -> Timing:
    """The floor of a server's start: a bare process that imports ONNX Runtime, opens a graph and ends."""
    return script(_FLOOR, str(graph))


_FLOOR = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options)
"""


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
