"""What a model is, told before anything runs: operators, weights, arithmetic, memory, what can be quantised.

`inspect` reads and never runs; what cannot be told is None, and lower bounds say so. Arithmetic and
activations are those of one request at the sizes that the report names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import onnx

from deployer.errors import DeployerError
from deployer.optimizer.architecture import findings, weighing, wiring
from deployer.optimizer.architecture.findings import Finding, every_node
from deployer.optimizer.architecture.graphs import GraphFile, OutsideData, item_bytes, read, subgraphs
from deployer.optimizer.architecture.inference import infer
from deployer.optimizer.architecture.rehearsal import Serving, rehearse
from deployer.optimizer.architecture.shapes import (
    Filling,
    Size,
    Type,
    axis_name,
    dims_of,
    free_inputs,
    inlined,
)
from deployer.optimizer.architecture.weighing import Kept, Parameters, Share, type_name

MANIFEST = "manifest.json"
_MOST_MANIFEST = 64 << 20
_CONTROL = ("If", "Loop", "Scan")
_STATE = re.compile(r"(^|[_.\W])(past|state|hidden|cache|mem|h|c|hn|cn|h0|c0)([_.\W\d]|$)", re.IGNORECASE)
_PAST = re.compile(r"past|cache", re.IGNORECASE)

# Sizes of graphs that a rehearsal does not reach, since an answer decides: task and role → inputs.
USUAL: Mapping[tuple[str, str], Mapping[str, tuple[int, ...]]] = {
    ("image-to-text", "recognizer"): {"x": (8, 3, 48, 480)},
    ("image-to-text", "classifier"): {"x": (16, 3, 48, 192)},
}
_FRAMES = 2.5  # of speech for each symbol that is spoken

Shapes = Mapping[str, Sequence[int]]


class NotAModelFolder(DeployerError):
    """The folder has no readable manifest.json, or names no graph. Facts: folder, why, why_zh."""

    code: ClassVar[str] = "not-a-model-folder"


@dataclass(frozen=True)
class Tensor:
    """An input or output: free axes by their symbol or `name[axis]`."""

    name: str
    type: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class Arithmetic:
    """Operations of one request, two for a multiplication with an addition.

    `total` is None when some operators' shapes are not known; `known` is a lower bound then.
    """

    total: int | None
    known: int
    by_operator: dict[str, int]
    unknown: int


@dataclass(frozen=True)
class Activations:
    """Bytes alive at once in one request, inputs and outputs included; `peak` None as with arithmetic."""

    peak: int | None
    known: int
    largest: int
    unknown: int
    fed: int
    """Bytes of the inputs, which the caller holds."""


@dataclass(frozen=True)
class GraphReport:
    """One graph of a model."""

    role: str
    file: str
    bytes: int
    ir_version: int
    opsets: dict[str, int]
    producer: str
    nodes: int
    live_nodes: int
    """Nodes that run with every request; the others are worked out when the graph is loaded."""
    operators: dict[str, int]
    functions: tuple[str, ...]
    subgraphs: int
    control_flow: dict[str, int]
    parameters: Parameters
    kept: Kept
    flops: Arithmetic
    activations: Activations
    quantisable: dict[str, Share]
    """By way: dynamic, static, blocks."""
    quantised: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dynamic_axes: dict[str, tuple[str, ...]]
    """Symbol → where it stands."""
    sizes: tuple[Size, ...]
    open_lengths: tuple[str, ...]
    """Tensors where lengths begin that depend on what is computed; give their shapes to know the rest."""
    stateful: tuple[str, ...]
    """Inputs that a caller takes from the outputs of the run before."""
    cache_bytes_per_token: int | None
    """What a decoder keeps of each token; None for a graph that keeps nothing so."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ArchitectureReport:
    """A model: its graphs by role, the bytes of its other files, and what is to be said of it."""

    name: str
    task: str
    graphs: tuple[GraphReport, ...]
    files: dict[str, int]
    """Role → bytes of what is no graph."""
    serving: Serving = field(default_factory=Serving)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(graph.bytes for graph in self.graphs) + sum(self.files.values())

    @property
    def findings(self) -> tuple[tuple[str, Finding], ...]:
        """What was found, with the graph's role."""
        return tuple((graph.role, finding) for graph in self.graphs for finding in graph.findings)

    def graph(self, role: str) -> GraphReport:
        """The graph of a role; raises KeyError."""
        for graph in self.graphs:
            if graph.role == role:
                return graph
        raise KeyError(role)

    def plain(self) -> dict[str, Any]:
        """JSON types."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "ArchitectureReport":
        """From JSON types; raises ValueError when they are of another form."""
        return msgspec.convert(plain, cls)


def inspect(
    path: Path, shapes: Mapping[str, Shapes] | None = None, *, examples: bool = True
) -> ArchitectureReport:
    """Report on a model folder or a bare .onnx file, read only.

    `shapes` gives for a role ("model" for a bare file) the shapes of inputs, or of tensors within. With
    `examples` the manifest's examples go through their pipeline for the sizes of those that are not given.
    Raises InspectionRefused and NotAModelFolder.
    """
    given = shapes or {}
    if not path.is_dir():
        return ArchitectureReport(path.stem, "", (look(path, "model", path.name, given.get("model")),), {})
    manifest = _manifest(path)
    roles = {role: name for role, name in manifest["files"].items() if name.endswith(".onnx")}
    files = {role: _inside(path, name) for role, name in manifest["files"].items()}
    if not roles:
        raise NotAModelFolder(
            folder=path.name, why="it names no .onnx graph", why_zh="清单里没有 .onnx 计算图"
        )
    task = str(manifest.get("task") or "tensors")
    seen, serving = rehearse(path) if examples else ({}, Serving())
    graphs = []
    for role, name in roles.items():
        told: Shapes | None = given.get(role)
        source = "given"
        if told is None:
            told, source = (seen[role], "example") if role in seen else (USUAL.get((task, role)), "usual")
        graphs.append(look(files[role], role, name, told, source, task))
    others = {
        role: file.stat().st_size for role, file in files.items() if role not in roles and file.is_file()
    }
    return ArchitectureReport(str(manifest.get("name") or path.name), task, tuple(graphs), others, serving)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        with (folder / MANIFEST).open("rb") as file:
            found = json.loads(file.read(_MOST_MANIFEST))
    except (OSError, ValueError, RecursionError) as error:
        why = f"{MANIFEST} cannot be read: {error}"
        raise NotAModelFolder(folder=folder.name, why=why, why_zh=f"{MANIFEST} 读不出来") from error
    files = found.get("files") if isinstance(found, dict) else None
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        why = f"{MANIFEST} names no files"
        raise NotAModelFolder(folder=folder.name, why=why, why_zh=f"{MANIFEST} 没有列出文件")
    return {**found, "files": files}


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if "\0" in name or ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise OutsideData(file=MANIFEST, data=name[:200])
    return path


def look(
    file: Path, role: str, name: str, shapes: Shapes | None = None, source: str = "given", task: str = ""
) -> GraphReport:
    """Report on one graph; see `inspect`."""
    found = read(file)
    model = inlined(found.model, name)
    wired = wiring.wire(model.graph, name)
    filling = Filling(model.graph, shapes, source)
    types = infer(model, filling, name)
    frames = next((one for one in _open_lengths(wired, types) if "Range" in one), "")
    if task == "text-to-speech" and frames:
        # The graph itself works out how long the speech is, when it runs.
        symbols = max((size.value for size in filling.sizes.values()), default=1)
        length = {frames: (round(symbols * _FRAMES),)}
        filling = Filling(model.graph, {**(shapes or {}), **length}, source)
        filling.sizes[frames] = replace(filling.sizes[frames], source="usual")
        types = infer(model, filling, name)
    alive = wiring.peak(model.graph, wired, types)
    shares, by_operator, unknown = weighing.quantisable(
        wired, types, sum(weight.count for weight in found.weights), found.weights
    )
    known = sum(by_operator.values())
    graph = found.model.graph
    inputs = free_inputs(graph)
    states, cache = _states(graph, inputs, types)
    return GraphReport(
        role=role,
        file=name,
        bytes=found.size,
        **_head(found),
        live_nodes=len(wired.live),
        parameters=weighing.parameters(found.weights),
        kept=weighing.kept(wired, types),
        flops=Arithmetic(None if unknown else known, known, by_operator, unknown),
        activations=Activations(
            None if alive.unknown else alive.bytes, alive.bytes, alive.largest, alive.unknown, alive.fed
        ),
        quantisable=shares,
        quantised=weighing.quantised(found.model, found.weights),
        inputs=tuple(map(_tensor, inputs)),
        outputs=tuple(map(_tensor, graph.output)),
        dynamic_axes=_dynamic_axes([*inputs, *graph.output]),
        sizes=tuple(filling.sizes.values()),
        open_lengths=_open_lengths(wired, types),
        stateful=states,
        cache_bytes_per_token=cache,
        findings=findings.look(found, alive.unknown),
    )


def _head(found: GraphFile) -> dict[str, Any]:
    model = found.model
    nodes = [*every_node(model.graph), *(node for function in model.functions for node in function.node)]
    operators: dict[str, int] = {}
    for node in nodes:
        name = f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        operators[name] = operators.get(name, 0) + 1
    inner = sum(len(subgraphs(attribute)) for node in nodes for attribute in node.attribute)
    return {
        "ir_version": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "producer": f"{model.producer_name} {model.producer_version}".strip()[:100],
        "nodes": len(nodes),
        "operators": dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        "functions": tuple(f"{one.domain}::{one.name}" for one in model.functions),
        "subgraphs": inner,
        "control_flow": {op: operators[op] for op in _CONTROL if op in operators},
    }


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    dims = dims_of(value)
    shape = None
    if dims is not None:
        shape = tuple(
            dim if isinstance(dim, int) else axis_name(value, axis, dim) for axis, dim in enumerate(dims)
        )
    return Tensor(value.name, type_name(value.type.tensor_type.elem_type), shape)


def _dynamic_axes(values: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for value in values:
        for axis, dim in enumerate(dims_of(value) or []):
            if isinstance(dim, str):
                name = axis_name(value, axis, dim)
                found[name] = (*found.get(name, ()), f"{value.name}[{axis}]")
    return found


def _open_lengths(wired: wiring.Wiring, types: Mapping[str, Type]) -> tuple[str, ...]:
    """The tensors of unknown size that are made of tensors of known sizes only."""
    sized = {name for name, kind in types.items() if kind.bytes is not None}
    return tuple(
        name
        for node in wired.live
        if all(taken in sized for taken in node.input if taken)
        for name in node.output
        if name and name not in sized
    )


def _states(
    graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto], types: Mapping[str, Type]
) -> tuple[tuple[str, ...], int | None]:
    """Inputs that outputs come back as, and the bytes that a decoder keeps of each token."""
    outputs = {(v.type.tensor_type.elem_type, len(dims_of(v) or ())) for v in graph.output}
    states = []
    cache = 0
    for value in inputs:
        dims = dims_of(value)
        kind = value.type.tensor_type.elem_type
        if dims is None or len(dims) < 2 or (kind, len(dims)) not in outputs:
            continue
        if not _STATE.search(value.name) and not _PAST.search(value.name):
            continue
        states.append(value.name)
        free = [axis for axis, dim in enumerate(dims) if isinstance(dim, str) and axis]
        if _PAST.search(value.name) and len(free) == 1:
            width = 1
            for axis, dim in enumerate(dims):
                width *= dim if isinstance(dim, int) and axis else 1
            cache += int(width * item_bytes(kind))
    return tuple(states), cache or None


def summary(report: ArchitectureReport) -> dict[str, Any]:
    """What a listing's page shows: size, parameters, types, arithmetic, memory, quantising, opset, problems.

    `flops` and `activations` are lower bounds where `at_least` is true.
    """
    graphs = report.graphs
    types: dict[str, int] = {}
    for graph in graphs:
        for name, amount in graph.parameters.by_type.items():
            types[name] = types.get(name, 0) + amount.bytes
    work = sum(graph.flops.known for graph in graphs)
    caches = [graph.cache_bytes_per_token for graph in graphs if graph.cache_bytes_per_token]
    return {
        "bytes": report.bytes,
        "parameters": sum(graph.parameters.total.count for graph in graphs),
        "types": dict(sorted(types.items(), key=lambda item: -item[1])),
        "flops": work,
        "activations": max(graph.activations.known for graph in graphs),
        "at_least": any(graph.flops.unknown or graph.activations.unknown for graph in graphs),
        "quantised": sorted({word for graph in graphs for word in graph.quantised}),
        "quantisable": {way: _share(graphs, way, work) for way in ("dynamic", "static", "blocks")},
        "opset": min(graph.opsets.get("ai.onnx", 0) for graph in graphs),
        "cache_bytes_per_token": sum(caches) or None,
        "dynamic_axes": sorted({name for graph in graphs for name in graph.dynamic_axes}),
        "problems": [finding.code for _, finding in report.findings if finding.level == "fail"],
    }


def _share(graphs: Sequence[GraphReport], way: str, work: int) -> float | None:
    """The part of all graphs' arithmetic that can be quantised so; None where it is not known."""
    shares = [graph.quantisable[way].flops for graph in graphs]
    if not work or any(
        share is None and graph.flops.known for share, graph in zip(shares, graphs, strict=True)
    ):
        return None
    done = sum((share or 0) * graph.flops.known for share, graph in zip(shares, graphs, strict=True))
    return round(done / work, 4)
