"""Answers of a model to rows, by the very pipeline that serves it; who runs the graphs may be another.

This is what makes an evaluation worth its name: tokenizers, pictures and decoders are those of the
deployment, so an answer here is the answer that a caller would get.
"""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from deployer.optimizer.errors import BaselineFailed
from deployer.server.errors import BadInput
from deployer.server.graph import Outputs, Run
from deployer.server.http import to_json
from deployer.server.predictor import Predictor, finish, load
from deployer.server.signature import Array

Execute = Callable[[Run], Outputs]
Answer = dict[str, Any]

RUNS_PER_ROW = 8  # that are recorded: a sound of a minute is two thousand runs of a VAD


def open_model(folder: Path) -> Predictor:
    """The predictor of a model folder, on one thread; what cannot be loaded is a BaselineFailed."""
    try:
        return load(folder, threads=1)
    except (
        Exception
    ) as error:  # a graph that is broken, an operator that nobody knows, files that are missing
        raise BaselineFailed(row=0, why=_first_line(error)) from error


def answer(predictor: Predictor, request: dict[str, Any], number: int, execute: Execute) -> Answer:
    """The answer to one row as plain JSON; a row that is refused is named."""
    try:
        found: Answer = orjson.loads(to_json(finish(predictor.predict(dict(request)), execute)))
    except BadInput as error:
        raise BaselineFailed(row=number, why=_first_line(error)) from error
    except Exception as error:  # its text may hold a part of the row
        raise BaselineFailed(row=number, why=type(error).__name__) from error
    return found


def alone(run: Run) -> Outputs:
    """Run a graph by itself, without finding out whether runs may be joined."""
    results = run.graph.session.run(list(run.outputs), run.feeds)
    return dict(zip(run.outputs, results, strict=True))


class Recorder:
    """Runs graphs, and keeps count of their CPU seconds by role and some of their inputs."""

    def __init__(self, *, most: int, room: int, seed: int) -> None:
        self.most, self.room = most, room
        self.cpu: dict[str, float] = {}
        self.runs: dict[str, int] = {}
        self.feeds: dict[str, list[dict[str, Array]]] = {}
        self._bytes: dict[str, int] = {}
        self._random = random.Random(seed)  # noqa: S311 (a sample, not a secret)
        self._row: dict[str, list[dict[str, Array]]] = {}
        self._seen: dict[str, int] = {}
        self.keeping = True

    def __call__(self, run: Run) -> Outputs:
        """One run."""
        role = run.graph.role
        began = time.process_time()
        outputs = alone(run)
        self.cpu[role] = self.cpu.get(role, 0.0) + time.process_time() - began
        self.runs[role] = self.runs.get(role, 0) + 1
        if self.keeping:
            self._sample(role, run.feeds)
        return outputs

    def _sample(self, role: str, feeds: dict[str, Array]) -> None:
        """Keep a fair sample of the runs of one row."""
        kept, seen = self._row.setdefault(role, []), self._seen.get(role, 0)
        self._seen[role] = seen + 1
        if len(kept) < RUNS_PER_ROW:
            kept.append(feeds)
        elif (place := self._random.randrange(seen + 1)) < RUNS_PER_ROW:
            kept[place] = feeds

    def end_row(self) -> None:
        """The row is over: its sample joins the others while there is room."""
        for role, kept in self._row.items():
            for feeds in kept:
                size = sum(array.nbytes for array in feeds.values())
                there = self.feeds.setdefault(role, [])
                if len(there) < self.most and self._bytes.get(role, 0) + size <= self.room:
                    there.append({name: array.copy() for name, array in feeds.items()})
                    self._bytes[role] = self._bytes.get(role, 0) + size
        self._row, self._seen = {}, {}


def save_feeds(feeds: dict[str, list[dict[str, Array]]], folder: Path) -> dict[str, int]:
    """Write recorded inputs as folder/<role>/<n>.npz; how many there are of each role."""
    for role, items in feeds.items():
        (folder / role).mkdir(parents=True, exist_ok=True)
        for number, item in enumerate(items):
            np.savez(folder / role / f"{number:04}.npz", **item)  # type: ignore[arg-type]
    return {role: len(items) for role, items in feeds.items()}


def load_feeds(folder: Path, role: str, count: int = 10_000) -> list[dict[str, Array]]:
    """Up to `count` recorded inputs of a role, spread over all that there are."""
    paths = sorted((folder / role).glob("*.npz"))
    step = max(1, len(paths) // count) if count else 1
    return [_load(path) for path in paths[::step][:count]]


def _load(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_lines(path: Path, items: Sequence[object]) -> None:
    """JSON, one item a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in items))


def read_lines(path: Path) -> list[Any]:
    """What `write_lines` wrote."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
