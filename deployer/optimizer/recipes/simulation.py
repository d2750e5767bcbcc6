"""Which nodes suffer from being quantised: each is quantised alone, and the graph's outputs are compared.

A node's quantisation is simulated in the float graph: its weight is rounded, its input and output go through
QuantizeLinear and back. Nodes are taken in groups; the group that hurts most is halved while there is time.
"""

import heapq
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from deployer.optimizer.recipes import activations, dynamic, graphs, static, storage
from deployer.optimizer.recipes import calibration as calibrations
from deployer.optimizer.recipes.application import prepared, refusing, workplace
from deployer.optimizer.recipes.guards import guarded, session
from deployer.optimizer.recipes.protocol import Calibration, Feeds, Recipe, Refused, save

SECONDS = 15.0
GROUPS = 12  # to begin with
FEEDS = 2

Outputs = list[NDArray[np.generic]]


def measure(
    recipe: Recipe, source: Path, feeds: Sequence[Feeds], folder: Path, seconds: float = SECONDS
) -> list[tuple[str, float]]:
    """Names of the nodes that the recipe would quantise with the squared error each adds, the worst first.

    The error is that of all outputs, relative to their squares; nodes that were only seen together share it.
    """
    with refusing(recipe), workplace(folder) as scratch, guarded(scratch):
        if not feeds:
            raise Refused("no-calibration-data", "sensitivity needs real inputs", "测量敏感度需要真实输入")
        model = prepared(recipe, source, Calibration(feeds, (), scratch))
        return _Search(recipe, model, feeds, scratch).run(seconds)


class _Search:
    def __init__(self, recipe: Recipe, model: ModelProto, feeds: Sequence[Feeds], folder: Path) -> None:
        self.model = model
        self.constants = graphs.initializers(model.graph)
        self.feeds = sorted(feeds, key=lambda feed: sum(array.size for array in feed.values()))[:FEEDS]
        self.folder = folder
        self.activations = recipe.activations
        self.nodes = [node for node in graphs.weighted(model) if node.op_type in recipe.touches]
        if not self.nodes:
            raise Refused("no-effect", "no node is left to quantise", "没有可量化的节点")
        self.ranges: dict[str, calibrations.Range] = {}
        if recipe.calibrates:
            seen = calibrations.observe(model, static.values_of(model, self.nodes), feeds, folder)
            method = calibrations.METHODS[recipe.activations]
            found = {name: method(values) for name, values in seen.items()}
            self.ranges = activations.narrowed(model, found)
        self.expected = self._answers([])

    def run(self, seconds: float) -> list[tuple[str, float]]:
        """Split the worst groups until they are single nodes or time is up."""
        until = time.monotonic() + seconds
        size = -(-len(self.nodes) // GROUPS)
        groups = [self.nodes[at : at + size] for at in range(0, len(self.nodes), size)]
        heap: list[tuple[float, int, list[NodeProto]]] = []
        for number, group in enumerate(groups):
            heapq.heappush(heap, (-self._error(group) / len(group), number, group))
        done: list[tuple[str, float]] = []
        number = len(groups)
        while heap:
            error, _, group = heapq.heappop(heap)
            if len(group) == 1 or time.monotonic() > until:
                done += [(node.name, -error) for node in group]
                continue
            half = len(group) // 2
            for part in (group[:half], group[half:]):
                number += 1
                heapq.heappush(heap, (-self._error(part) / len(part), number, part))
        return sorted(done, key=lambda item: -item[1])

    def _error(self, group: list[NodeProto]) -> float:
        total = 0.0
        for ours, theirs in zip(self._answers(group), self.expected, strict=True):
            for got, wanted in zip(ours, theirs, strict=True):
                if wanted.dtype.kind == "f":
                    finite = np.isfinite(wanted) & np.isfinite(got)
                    reference = np.where(finite, wanted, 0).astype(np.float64)
                    difference = np.where(finite, got, 0).astype(np.float64) - reference
                    total += float(np.square(difference).sum() / max(np.square(reference).sum(), 1e-30))
        return total / len(self.feeds)

    def _answers(self, group: list[NodeProto]) -> list[Outputs]:
        path = self.folder / "simulated.onnx"
        save(self._simulated({node.name for node in group}), path)
        running = session(path)
        return [running.run(None, feed) for feed in self.feeds]

    def _simulated(self, names: set[str]) -> ModelProto:
        """The float graph with the named nodes as if they were quantised."""
        nodes: list[NodeProto] = []
        extra: dict[str, TensorProto] = {}
        for node in self.model.graph.node:
            if node.name not in names:
                nodes.append(node)
                continue
            changed = NodeProto()
            changed.CopyFrom(node)
            self._round_weight(changed, extra)
            before, after = self._round_activations(changed, extra)
            nodes += [*before, changed, *after]
        return graphs.rewrite(self.model, nodes, [*self.model.graph.initializer, *extra.values()])

    def _round_weight(self, node: NodeProto, extra: dict[str, TensorProto]) -> None:
        for weight, axes in storage.weights(node, self.constants):
            name = f"{weight.name}|rounded"
            if name not in extra:
                stored, scale = storage.quantized(graphs.values(weight), axes)
                extra[name] = graphs.make_tensor(stored.astype(np.float32) * scale, name)
            for index, given in enumerate(node.input):
                if given == weight.name:
                    node.input[index] = name

    def _round_activations(
        self, node: NodeProto, extra: dict[str, TensorProto]
    ) -> tuple[list[NodeProto], list[NodeProto]]:
        if self.activations == "dynamic" and node.op_type in dynamic.PRODUCTS:
            given, node.input[0] = node.input[0], f"{node.name}|in"
            return _dynamic(given, node.input[0], node.name), []
        before: list[NodeProto] = []
        after: list[NodeProto] = []
        given, made = node.input[0], node.output[0]
        if given in self.ranges:
            node.input[0] = f"{node.name}|in"
            before = _there_and_back(given, node.input[0], f"{node.name}|in", self.ranges[given], extra)
        if made in self.ranges:
            node.output[0] = f"{node.name}|out"
            after = _there_and_back(node.output[0], made, f"{node.name}|out", self.ranges[made], extra)
        return before, after


def _there_and_back(
    given: str, made: str, name: str, bounds: calibrations.Range, extra: dict[str, TensorProto]
) -> list[NodeProto]:
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (high - low) / 255 or 1.0
    extra[f"{name}|scale"] = graphs.make_tensor(np.array(scale, np.float32), f"{name}|scale")
    zero = np.array(round(-low / scale), np.uint8)
    extra[f"{name}|zero"] = graphs.make_tensor(zero, f"{name}|zero")
    parameters = [f"{name}|scale", f"{name}|zero"]
    return [
        helper.make_node("QuantizeLinear", [given, *parameters], [f"{name}|8bit"], f"{name}|q"),
        helper.make_node("DequantizeLinear", [f"{name}|8bit", *parameters], [made], f"{name}|dq"),
    ]


def _dynamic(given: str, made: str, name: str) -> list[NodeProto]:
    parts = [f"{name}|8bit", f"{name}|scale", f"{name}|zero"]
    return [
        helper.make_node("DynamicQuantizeLinear", [given], parts, f"{name}|q"),
        helper.make_node("DequantizeLinear", parts, [made], f"{name}|dq"),
    ]
