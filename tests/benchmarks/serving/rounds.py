"""The serving benchmark: everybody once a round, in turns, and the report of it."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.harness import graph_opened, interleave
from tests.benchmarks.serving import mixup
from tests.benchmarks.serving.aims import LINES
from tests.benchmarks.serving.measure import Figures, Level, Work, in_process, side_by_side, turn
from tests.benchmarks.serving.models import MAKERS
from tests.benchmarks.serving.peers import PEERS, Unavailable
from tests.benchmarks.serving.report import Found, Row, beside, measured, table
from tests.benchmarks.serving.servers import Contender, ours, prepare, serving
from tests.benchmarks.serving.wires import BINARY, JSON

Case = Callable[[], Figures]
UNIX, AS_IT_CAME = "ours, unix socket", "ours, graph as it came"


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of one run at one level, about."""
    mixed: int
    """Requests of the mix-up test."""
    peers: Sequence[str] = tuple(PEERS)
    brief: bool = False
    """Only what has an aim."""


@dataclass(frozen=True)
class Report:
    """What came out."""

    rows: list[Row]
    beside: str
    mixed: mixup.Mixed
    notes: list[str]

    @property
    def kept(self) -> bool:
        """False when an aim was missed or an answer was wrong."""
        return self.mixed.good and all(row.kept is not False for row in self.rows)

    def text(self) -> str:
        """Ready to print."""
        parts = [table(self.rows), self.beside, self.mixed.text(), *self.notes]
        return "\n\n".join(filter(None, parts))

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "mixed": dataclasses.asdict(self.mixed),
            "notes": self.notes,
        }


def run(effort: Effort) -> Report:
    """Measure, and report."""
    contenders, notes = installed(effort.peers)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        graphs = {name: prepare(make(Path(folder) / name)) for name, make in MAKERS.items()}
        works = {name: Work.of(graph, effort.seconds) for name, graph in graphs.items()}
        notes += _try(contenders, works["minilm"])
        cases: dict[str, Case] = {}
        for work in works.values():
            cases |= _cases(work, contenders.values(), effort.brief)
        found: Found = interleave(cases, effort.rounds, warm_ups=0)
        mixed = mixup.run(graphs["tiny"], graphs["minilm"], effort.mixed)
    rows = [measured(found, line) for line in LINES if line.aim is not None or not effort.brief]
    return Report(rows, "" if effort.brief else _beside(found, contenders), mixed, notes)


def installed(names: Iterable[str]) -> tuple[dict[str, Contender], list[str]]:
    """The peers that can be started, by name, and why the others cannot."""
    contenders, notes = {}, []
    for name in names:
        try:
            PEERS[name].install()
        except Unavailable as error:
            notes.append(f"{name}: not measured: {error}")
        else:
            contenders[name] = PEERS[name].contender()
    return contenders, notes


def _try(contenders: dict[str, Contender], work: Work) -> list[str]:
    """Start everybody once, so that bytecode and files are at hand; takes out the peers that do not start."""
    with serving(ours(), work.graph, JSON.request(work.feeds[0])):
        pass
    notes = []
    for name, contender in list(contenders.items()):
        try:
            with serving(contender, work.graph, contender.wire.request(work.feeds[0])):
                pass
        except RuntimeError as error:
            notes.append(f"{name}: not measured: {error}")
            del contenders[name]
    return notes


def _cases(work: Work, peers: Iterable[Contender], brief: bool) -> dict[str, Case]:
    """The turns of a round on one graph."""
    name = work.graph.name
    small = name == "tiny"
    mine = [Level(JSON, 1), Level(JSON, 32), *([Level(BINARY, 32)] if small or not brief else [])]
    if not small:
        mine.append(Level(JSON, 64))
    cases: dict[str, Case] = {
        f"{name} in process": partial(_alone, work),
        f"{name} ours": partial(turn, ours(), work, mine),
    }
    if not small and not brief:
        cases[f"{name} opened in a bare process"] = partial(_opened, work)
        cases[f"{name} {AS_IT_CAME}"] = partial(turn, ours(prepared=False), work, [Level(JSON, 32)])
    if small and not brief:
        cases[f"{name} {UNIX}"] = partial(turn, ours(UNIX, unix=True), work, [Level(JSON, 32)])
    for peer in peers:
        if brief and small and peer.name not in ("fastapi", "mosec"):
            continue
        both = small or not brief
        levels = [*([Level(peer.wire, 1)] if both else []), Level(peer.wire, 32)]
        cases[f"{name} {peer.name}"] = partial(turn, peer, work, levels)
    return cases


def _alone(work: Work) -> Figures:
    """The graph without a server; the large one also in several threads."""
    return in_process(work) | ({} if work.graph.name == "tiny" else side_by_side(work))


def _opened(work: Work) -> Figures:
    return {"start cpu": graph_opened(work.graph.path).cpu}


def _beside(found: Found, contenders: Mapping[str, Contender]) -> str:
    wires = {"ours": "json", UNIX: "json", AS_IT_CAME: "json"} | {
        peer.name: peer.wire.name for peer in contenders.values()
    }
    return "\n\n".join(beside(found, graph, wires) for graph in MAKERS)
