"""What every pipeline is: load a model folder once, then answer bodies or tensors.

A pipeline module has one public function, `load(model: Model) -> Predictor`. It builds on one of two
bases: `GraphPredictor` for a single ONNX graph whose raw tensors are also served over the Open Inference
Protocol, and `JsonPredictor` for everything else (several graphs, sound), which the protocol then sees as
BYTES in, JSON out.

An answer is a *work*: a generator that yields each run of a graph that it needs and is sent its outputs,
and returns the answer. Whoever drives it may so join runs of many works, and may drop one half-way.
Works of many requests are under way at once, on several threads: keep no state of a request on self.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from deployer.server import machine
from deployer.server.errors import BadModel
from deployer.server.fields import Body, utf8
from deployer.server.graph import Outputs, Run
from deployer.server.http import to_json
from deployer.server.model import Model
from deployer.server.moderation import Moderation
from deployer.server.providers import Device
from deployer.server.signature import Array, TensorSpec

T = TypeVar("T")
Work = Generator[Run, Outputs, T]


class Predictor(Protocol):
    """One loaded model: people's bodies through `predict`, raw tensors through `infer`."""

    task: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    schema: dict[str, Any]
    """JSON schema of the body of `predict`; its "x-field" names the main field."""

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Answer what a person sends, with JSON types and arrays only; raises BadInput."""

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str]) -> Work[Outputs]:
        """Run checked tensors by name; `outputs` names those that are wanted."""

    def close(self) -> None:
        """Let go of what the model holds."""


@runtime_checkable
class ReadsCsv(Protocol):
    """A predictor that also takes its body as a CSV file."""

    def read_csv(self, data: bytes, charset: str) -> Body:
        """The file as a body of `predict`; raises BadInput."""


class GraphPredictor:
    """Base of predictors over one ONNX graph; serves its raw tensors. Subclasses write `predict`."""

    task = "tensors"
    schema: dict[str, Any]

    def __init__(self, model: Model, role: str = "model") -> None:
        self.model = model
        self.graph = model.graph(role)
        self.moderation = Moderation.of(model.options)
        self.inputs = self.graph.inputs
        self.outputs = self.graph.outputs

    def run(
        self,
        feeds: dict[str, Array],
        outputs: Sequence[str] = (),
        pads: Mapping[str, float] | None = None,
    ) -> Work[Outputs]:
        """One run of the graph; all outputs when none are named."""
        return (yield Run(self.graph, feeds, tuple(outputs) or self.graph.all_outputs, pads or {}))

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str]) -> Work[Outputs]:
        """The protocol's tensors are the graph's own."""
        return (yield Run(self.graph, tensors, tuple(outputs)))

    def close(self) -> None:
        """Drop the session."""
        self.graph.close()


class JsonPredictor(ABC):
    """Base of predictors that the protocol sees as one BYTES in and the JSON answer as BYTES out.

    A subclass gives `task`, `field` (its main field), `schema` and `predict`. With `raw` the field takes
    bytes (a picture, a sound, a file), which reach `predict` as {field: bytes}; otherwise it takes text.
    """

    task: str
    field: str
    raw: bool = True
    schema: dict[str, Any]

    @property
    def inputs(self) -> list[TensorSpec]:
        """The main field as one BYTES element."""
        return [TensorSpec(self.field, "BYTES", (1,))]

    @property
    def outputs(self) -> list[TensorSpec]:
        """The JSON answer as one BYTES element."""
        return [TensorSpec("result", "BYTES", (1,))]

    @abstractmethod
    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Answer a body."""

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str]) -> Work[Outputs]:
        """The same answer by way of the protocol."""
        value = tensors[self.field].reshape(-1)[0]  # bytes from a binary body, text (base64 if raw) from JSON
        if isinstance(value, bytes) and not self.raw:
            value = utf8(value, self.field)
        answer = yield from self.predict({self.field: value})
        result = np.empty(1, dtype=object)
        result[0] = to_json(answer)
        return {"result": result}

    def close(self) -> None:  # noqa: B027 (most hold nothing beyond the object itself)
        """Let go of what is held."""


def load(
    model_dir: Path, threads: int = 1, prepared: Path | None = None, device: Device | None = None
) -> Predictor:
    """Load a model folder by its manifest's task; a task without a pipeline is served as tensors.

    Below `prepared` lie the graphs in the forms of the machines that they were prepared on.
    """
    if prepared is not None:
        import onnxruntime

        prepared = prepared / machine.name(onnxruntime.__version__)
    return of_model(Model.open(model_dir, threads, prepared, device))


def of_model(model: Model) -> Predictor:
    """Load an opened model folder."""
    name = model.task.replace("-", "_")
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise BadModel(f"not a task: {model.task!r}")
    if not (Path(__file__).parent / "pipelines" / f"{name}.py").is_file():
        name = "tensors"
    pipeline = importlib.import_module(f"deployer.server.pipelines.{name}")
    predictor: Predictor = pipeline.load(model)
    return predictor


def _alone(run: Run) -> Outputs:
    return run.graph.run(run)


def finish(work: Work[T], execute: Callable[[Run], Outputs] = _alone) -> T:
    """Do a whole work here and now; `execute` does each run, by default alone and in its own session."""
    try:
        run = next(work)
        while True:
            try:
                outputs = execute(run)
            except Exception as error:
                run = work.throw(error)
            else:
                run = work.send(outputs)
    except StopIteration as end:
        value: T = end.value
        return value
