"""A long run of requests of mixed size, in pieces, with the memory of the server after each.

What grows is told from the end of the warm-up, a tenth of all requests, to the end of the run. Every piece
sends other requests than the one before, small ones mostly and some of a thousand rows.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from tests.benchmarks.serving.load import drive
from tests.benchmarks.serving.models import MAKERS, Graph
from tests.benchmarks.serving.servers import Server, ours, prepare, serving
from tests.benchmarks.serving.wires import BINARY, JSON, Check

PIECES = 20
WARM_UP = 2  # pieces
CONCURRENCY = 32
GROWTH = 0.03  # at most
_DISTINCT = 2000  # requests of a piece, in turn
_SAMPLE = 97  # one answer in so many is checked
_ROWS = {"tiny": (1, 4, 16, 64, 1024), "minilm": (1, 2, 4, 8, 16)}
_ODDS = (0.7, 0.15, 0.1, 0.045, 0.005)
_TOKENS = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Piece:
    """One piece: requests so far, memory after them in bytes, and what went wrong in it."""

    requests: int
    memory: float
    rate: float
    errors: int
    wrong: int
    complaint: str = ""

    def text(self) -> str:
        """In one line."""
        said = f"{self.requests:>10,} requests  {self.memory / 1e6:7.1f} MB  {self.rate:8,.0f}/s"
        bad = (
            f"  {self.errors} errors, {self.wrong} wrong {self.complaint}"
            if self.errors or self.wrong
            else ""
        )
        return said + bad


@dataclass
class Soak:
    """All pieces so far."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """The share by which memory grew between the end of the warm-up and the end."""
        warm = self.pieces[min(WARM_UP, len(self.pieces)) - 1]
        return self.pieces[-1].memory / warm.memory - 1

    @property
    def bad(self) -> int:
        """Requests without an answer, and answers that were wrong."""
        return sum(piece.errors + piece.wrong for piece in self.pieces)

    @property
    def kept(self) -> bool:
        """Whether memory was flat and nothing went wrong."""
        return self.growth <= GROWTH and not self.bad

    def text(self) -> str:
        """The end of it in one line."""
        mark = "ok" if self.kept else "MISSED"
        return (
            f"memory grew by {self.growth:.1%} (≤ {GROWTH:.0%}), {self.bad} errors in"
            f" {self.pieces[-1].requests:,} requests: {mark}"
        )

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {"pieces": [asdict(piece) for piece in self.pieces], "growth": self.growth, "bad": self.bad}


def run(requests: int, graph: str = "tiny") -> Iterator[Soak]:
    """The soak after each of its pieces, so that one that is broken off has told what it saw."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = prepare(MAKERS[graph](Path(folder) / graph))
        with serving(ours(), made, JSON.request(made.feeds([(1, 8)], seed=0)[0])) as server:
            soak, done = Soak(), 0
            for number in range(1, PIECES + 1):
                count = requests * number // PIECES - done
                done += count
                soak.pieces.append(_piece(server, made, count, number, done))
                yield soak


def _piece(server: Server, graph: Graph, count: int, seed: int, done: int) -> Piece:
    random = np.random.default_rng(seed)
    distinct = min(_DISTINCT, count)
    rows = random.choice(_ROWS[graph.name], distinct, p=_ODDS)
    feeds = graph.feeds(zip(rows, random.choice(_TOKENS, distinct), strict=True), seed)
    requests = [(BINARY if number % 4 == 3 else JSON).request(feed) for number, feed in enumerate(feeds)]
    load = drive(server.address, requests, count, CONCURRENCY, _SAMPLE)
    memory = server.memory()
    expected = graph.answers(feeds)
    wrong = Check.of(load.answers, expected, graph).wrong
    return Piece(done, memory, load.rate, load.errors, wrong, load.complaint)
