"""The turns of a round: the graph in this process, and one server after the other, each started anew.

Only one server runs at a time, so that nobody pays for a neighbour that polls. A turn gives its figures by
name: seconds, bytes, answers a second; CPU always for one row.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import onnxruntime

from tests.benchmarks.serving.load import Load, drive
from tests.benchmarks.serving.models import BATCH, TOKENS, Array, Feed, Graph, stack
from tests.benchmarks.serving.servers import THREADS, Contender, Server, serving
from tests.benchmarks.serving.wires import Check, Wire

Figures = dict[str, float]
DISTINCT = 64  # different requests, sent in turn
WARM = 0.5  # seconds of load before what counts
_SAMPLE = 64  # answers of a run that are checked


@dataclass(frozen=True)
class Level:
    """One way to ask, so many at once."""

    wire: Wire
    concurrency: int

    @property
    def name(self) -> str:
        """As in `json 32`."""
        return f"{self.wire.name} {self.concurrency}"


@dataclass(frozen=True)
class Work:
    """A graph with what is sent to it and what must come back."""

    graph: Graph
    feeds: list[Feed]
    expected: list[Array]
    seconds: float
    """How long one run is to take, about."""

    @classmethod
    def of(cls, graph: Graph, seconds: float) -> "Work":
        """Single rows, all different."""
        feeds = graph.feeds([(1, TOKENS)] * DISTINCT, seed=1)
        return cls(graph, feeds, graph.answers(feeds), seconds)


def in_process(work: Work) -> Figures:
    """ONNX Runtime alone, one thread: one row at a time, and batches."""
    session = work.graph.session()
    figures: Figures = {}
    for size in (1, BATCH):
        batches = [stack(work.feeds[n : n + size]) for n in range(0, DISTINCT, size)]
        rows, wall, cpu = _repeat(session, batches, work.seconds)
        figures |= {f"batch {size} cpu": cpu / rows, f"batch {size} wall": wall / rows}
    return figures


def side_by_side(work: Work) -> Figures:
    """ONNX Runtime alone in as many threads as our server has, each with batches of its own."""
    session = work.graph.session()
    batches = [stack(work.feeds[n : n + BATCH]) for n in range(0, DISTINCT, BATCH)]
    found: list[tuple[int, float, float]] = []
    ready = threading.Barrier(THREADS)

    def run() -> None:
        ready.wait()
        found.append(_repeat(session, batches, work.seconds))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = sum(count for count, _, _ in found)
    return {
        f"batch {BATCH} side by side rate": sum(count / wall for count, wall, _ in found),
        f"batch {BATCH} side by side cpu": sum(cpu for _, _, cpu in found) / rows,
    }


def _repeat(
    session: onnxruntime.InferenceSession, batches: Sequence[Feed], seconds: float
) -> tuple[int, float, float]:
    """Rows, wall seconds and CPU seconds of this thread; one run of each batch beforehand is not counted."""
    for batch in batches:
        session.run(None, batch)
    wall, cpu, rows = time.perf_counter(), time.thread_time(), 0
    while time.perf_counter() - wall < seconds:
        for batch in batches:
            session.run(None, batch)
            rows += len(next(iter(batch.values())))
    return rows, time.perf_counter() - wall, time.thread_time() - cpu


def turn(contender: Contender, work: Work, levels: Sequence[Level]) -> Figures:
    """Start a server, load it at each level, and stop it; raises RuntimeError at an answer that is wrong."""
    with serving(contender, work.graph, contender.wire.request(work.feeds[0])) as server:
        figures = {
            "start cpu": server.first.cpu,
            "start wall": server.first.wall,
            "loaded memory": server.memory(),
            "loaded pss": server.pss(),
        }
        server.settle()
        for level in levels:
            for name, value in _at(server, work, level).items():
                figures[f"{level.name} {name}"] = value
        figures["used memory"] = server.memory()
        return figures


def _at(server: Server, work: Work, level: Level) -> Figures:
    requests = [level.wire.request(feed) for feed in work.feeds]
    rate = warm_up(server, requests, level.concurrency)
    count = full_turns(rate * work.seconds, level.concurrency)
    before = server.cpu()
    # An odd step, so that a sample meets all the different requests.
    load = drive(server.address, requests, count, level.concurrency, count // _SAMPLE | 1).checked()
    cpu = server.cpu() - before
    check = Check.of(load.answers, work.expected, work.graph)
    if check.wrong:
        raise server.ended(f"{check.wrong} of {check.seen} answers are wrong by up to {check.worst:.1e}")
    return _figures(load, cpu) | {"error": check.worst}


def _figures(load: Load, cpu: float) -> Figures:
    count = len(load.moments)
    p50, p99 = load.latency(50), load.latency(99)
    return {
        "cpu": cpu / count,
        "client": load.client / count,
        "rate": load.rate,
        "p50": p50,
        "p99": p99,
        "tail": p99 / p50,
    }


def full_turns(count: float, concurrency: int) -> int:
    """About so many requests, but some for every connection, and the same number for each."""
    return max(round(count / concurrency), 6) * concurrency


def warm_up(server: Server, requests: Sequence[bytes], concurrency: int) -> float:
    """Load that does not count, for half a second at least; gives the rate of its last part."""
    began, count = time.monotonic(), 4 * concurrency
    while True:
        load = drive(server.address, requests, count, concurrency).checked()
        if time.monotonic() - began > WARM:
            return load.rate
        count *= 2
