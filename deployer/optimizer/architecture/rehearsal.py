"""The sizes of a model's real requests: its examples go through their pipeline, and no graph runs.

Each run that a pipeline asks for is noted and answered with zeros of the inferred shapes. Where an answer
decides what comes next (no box in a picture, no speech in a sound), later graphs may stay unseen; for those
the usual sizes hold.
"""

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper

from deployer.optimizer.architecture import graphs, inference, shapes
from deployer.optimizer.architecture.shapes import dims_of, free_inputs
from deployer.server.fields import Body
from deployer.server.graph import Graph, Outputs, Run
from deployer.server.model import Model
from deployer.server.predictor import Predictor

MOST_RUNS = 4  # of one example; what follows repeats itself
_MOST_BYTES = 256 << 20  # of the zeros of an answer
_PIPELINES = "deployer.server.pipelines"

_WORDS = {".dic", ".txt", ".vocab", ".tsv", ".csv"}  # a line is an entry
_MOST_READ = 64 << 20

Seen = dict[str, dict[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Serving:
    """What a server of ours makes of a model beside its graphs.

    `exclusive` graphs run one at a time and give memory back; `entries` are the words of the roles in
    `dictionaries`, held one by one; `reads` is a request's main field (text, image, audio …); `rehearsed` are
    the roles that the examples reached.
    """

    exclusive: tuple[str, ...] = ()
    entries: int = 0
    dictionaries: tuple[str, ...] = ()
    reads: str = ""
    tokenizer: bool = False
    rehearsed: tuple[str, ...] = ()


class Unseen(Exception):
    """The answer of a run cannot be made up."""


@dataclass(frozen=True)
class _Node:
    """An input or output, as ONNX Runtime's sessions tell it."""

    name: str
    type: str
    shape: list[int | str]


@dataclass(frozen=True)
class _Notes:
    custom_metadata_map: dict[str, str]


class _Unrun:
    """What a Graph asks of a session, without one."""

    def __init__(self, path: Path) -> None:
        self.file = path.name
        self.model = shapes.inlined(graphs.read(path, search=False).model, path.name)

    def get_inputs(self) -> list[_Node]:
        return [_node(value) for value in free_inputs(self.model.graph)]

    def get_outputs(self) -> list[_Node]:
        return [_node(value) for value in self.model.graph.output]

    def get_modelmeta(self) -> _Notes:
        return _Notes({entry.key: entry.value for entry in self.model.metadata_props})

    def answer(self, run: Run) -> Outputs:
        filling = shapes.Filling(
            self.model.graph, {name: feed.shape for name, feed in run.feeds.items()}, "example"
        )
        types = inference.infer(self.model, filling, self.file)
        answers: Outputs = {}
        for name in run.outputs:
            kind = types.get(name)
            if kind is None or kind.shape is None or kind.count is None or (kind.bytes or 0) > _MOST_BYTES:
                raise Unseen
            answers[name] = np.zeros(cast(Any, kind.shape), helper.tensor_dtype_to_np_dtype(kind.dtype))
        return answers


def _node(value: onnx.ValueInfoProto) -> _Node:
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return _Node(value.name, f"tensor({kind})", list(dims_of(value) or []))


class _Dry(Model):
    """A model folder whose graphs are looked at only."""

    @cached_property
    def exclusive(self) -> set[str]:
        """The roles of graphs that are opened to run one at a time."""
        return set()

    @cached_property
    def opened(self) -> set[str]:
        """The roles of all graphs that are opened."""
        return set()

    def graph(self, role: str = "model", *, exclusive: bool = False) -> Graph:
        self.opened.add(role)
        if exclusive:
            self.exclusive.add(role)
        return Graph(cast(Any, _Unrun(self.path(role))), exclusive=exclusive, role=role)


def rehearse(folder: Path, examples: int = 8) -> tuple[Seen, Serving]:
    """For each graph's role the largest feeds that the examples bring it, by input; and what serving takes.

    Nothing raises: a role that no example reaches, a folder that cannot be loaded and examples that are
    refused are left out.
    """
    seen: Seen = {}
    try:
        model = cast(_Dry, _Dry.open(folder))
        predictor = _load(model)
        bodies = [dict(one["request"]) for one in model.manifest.get("examples") or ()][:examples]
    except Exception:  # a vendor's files may be wrong in any way; then the usual sizes hold
        return seen, Serving()
    for body in bodies:
        try:
            _drive(predictor, cast(Body, body), seen, model.opened)
        except Exception:  # noqa: S112 (one example that is refused says nothing of the others)
            continue
    entries = _entries(model)
    serving = Serving(
        tuple(sorted(model.exclusive)),
        sum(entries.values()),
        tuple(sorted(entries)),
        str(predictor.schema.get("x-field", "")),
        model.has("tokenizer"),
        tuple(sorted(seen)),
    )
    return seen, serving


def _entries(model: Model) -> dict[str, int]:
    """Role → words of the tokenizer, lines of dictionaries."""
    found: dict[str, int] = {}
    for role, name in model.manifest.get("files", {}).items():
        path = model.path(role)
        if path.stat().st_size > _MOST_READ:
            continue
        if role == "tokenizer":
            found[role] = len(json.loads(path.read_bytes()).get("model", {}).get("vocab", ()))
        elif Path(name).suffix in _WORDS:
            found[role] = path.read_bytes().count(b"\n")
    return found


def _load(model: Model) -> Predictor:
    name = model.task.replace("-", "_")
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise Unseen
    try:
        pipeline = importlib.import_module(f"{_PIPELINES}.{name}")
    except ModuleNotFoundError:
        pipeline = importlib.import_module(f"{_PIPELINES}.tensors")
    return cast(Predictor, pipeline.load(model))


def _drive(predictor: Predictor, body: Body, seen: Seen, roles: set[str]) -> None:
    work = predictor.predict(json.loads(json.dumps(body)))
    run = next(work)
    reached = set()
    for _ in range(MOST_RUNS):
        _note(seen, run)
        reached.add(run.graph.role)
        if reached >= roles:
            return
        run = work.send(cast(_Unrun, run.graph.session).answer(run))


def _note(seen: Seen, run: Run) -> None:
    fed = {name: tuple(feed.shape) for name, feed in run.feeds.items()}
    before = seen.get(run.graph.role)
    if before is None or _values(fed) > _values(before):
        seen[run.graph.role] = fed


def _values(fed: Mapping[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape, dtype=np.float64)) for shape in fed.values())
