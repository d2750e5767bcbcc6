"""The mix-up test: many different requests at once, and every caller must get its own answer.

Rows, lengths and the two ways of saying tensors are mixed, so that batches are made, cut and not made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.serving.load import drive
from tests.benchmarks.serving.models import Graph
from tests.benchmarks.serving.servers import Server, ours, serving
from tests.benchmarks.serving.wires import BINARY, JSON, Check

CONCURRENCY = 64
PIECE = 20_000
MINILM_SHARE = 25  # one in so many goes to MiniLM
LENGTHS = (8, 16, 32)  # tokens
_ROWS = (1, 1, 1, 1, 1, 1, 2, 3)


@dataclass(frozen=True)
class Mixed:
    """How it went; `unanswered` requests were refused or dropped."""

    requests: int
    concurrency: int
    check: Check
    unanswered: int
    complaint: str = ""

    @property
    def good(self) -> bool:
        """Whether each answer came and was right."""
        return self.check.seen == self.requests and not self.check.wrong and not self.unanswered

    def text(self) -> str:
        """In one line."""
        said = (
            f"mix-up: {self.requests:,} different requests, {self.concurrency} at once:"
            f" {self.check.wrong} wrong, {self.unanswered} unanswered, greatest error {self.check.worst:.1e}"
        )
        return f"{said}: {self.complaint}" if self.complaint else said


def run(tiny: Graph, minilm: Graph, requests: int) -> Mixed:
    """Send so many requests to our servers of both graphs."""
    check, unanswered, complaint = Check(0, 0, 0.0), 0, ""
    few = requests // MINILM_SHARE
    for graph, count in ((tiny, requests - few), (minilm, few)):
        with serving(ours(), graph, JSON.request(graph.feeds([(1, 8)], seed=0)[0])) as server:
            for seed, size in enumerate(_pieces(count), 1):
                seen, failed, why = _piece(server, graph, size, seed)
                check, unanswered, complaint = check + seen, unanswered + failed, complaint or why
    return Mixed(requests, CONCURRENCY, check, unanswered, complaint)


def _pieces(count: int) -> Iterator[int]:
    while count > 0:
        yield min(count, PIECE)
        count -= PIECE


def _piece(server: Server, graph: Graph, count: int, seed: int) -> tuple[Check, int, str]:
    random = np.random.default_rng(seed)
    shapes = list(zip(random.choice(_ROWS, count), random.choice(LENGTHS, count), strict=True))
    feeds = graph.feeds(shapes, seed)
    expected = graph.answers(feeds)
    requests = [(BINARY if number % 4 == 3 else JSON).request(feed) for number, feed in enumerate(feeds)]
    load = drive(server.address, requests, count, CONCURRENCY, keep_every=1)
    return Check.of(load.answers, expected, graph), load.errors, load.complaint
