"""Who makes what and who takes it within a graph: order, what is constant, what lives at the same time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import onnx

from deployer.optimizer.architecture.graphs import broken, subgraphs
from deployer.optimizer.architecture.shapes import Types

# Not computed ahead by ONNX Runtime though all inputs are known.
_UNFOLDED = frozenset(
    (
        "DequantizeLinear",
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Bernoulli",
    )
)
# What an arena takes of the activations that live at once: a first run, and the plan for the next.
ARENA = 2.4
# Their output is their input, seen otherwise.
_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"))


@dataclass(frozen=True)
class Wiring:
    """A graph's nodes in an order in which they can run, and what is known before any runs."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: frozenset[str]
    """Tensors that are the same for every request: weights, and what is computed of weights alone."""
    live: tuple[onnx.NodeProto, ...]
    """The nodes that run with every request."""


def taken(node: onnx.NodeProto) -> Iterator[str]:
    """What a node takes, from within its subgraphs too."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in subgraphs(attribute):
            yield from outer(graph)


def outer(graph: onnx.GraphProto) -> set[str]:
    """What a subgraph takes from around it."""
    within = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    within |= {name for node in graph.node for name in node.output}
    wanted = {name for node in graph.node for name in taken(node)} | {value.name for value in graph.output}
    return wanted - within


def wire(graph: onnx.GraphProto, file: str, around: frozenset[str] = frozenset()) -> Wiring:
    """Order a graph; refuses names that nobody makes or two make, and cycles. `around` is known outside."""
    made = _makers(graph, file)
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {sparse.values.name for sparse in graph.sparse_initializer}
    given = weights | {value.name for value in graph.input} | around
    for value in graph.output:
        if value.name not in made and value.name not in given:
            raise broken(file, value.name, "no node makes this output", "没有节点产生这个输出")
    order = _order(graph.node, made, given, file)
    constants = set(weights)
    live = []
    for node in order:
        wants = [name for name in node.input if name]
        folds = node.op_type == "Constant" or (
            bool(wants)
            and all(name in constants for name in wants)
            and node.op_type not in _UNFOLDED
            and not any(subgraphs(attribute) for attribute in node.attribute)
        )
        if folds:
            constants |= set(node.output)
        else:
            live.append(node)
    return Wiring(tuple(order), frozenset(constants), tuple(live))


def _makers(graph: onnx.GraphProto, file: str) -> dict[str, int]:
    made: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in made:
                raise broken(file, name, "two nodes make this tensor", "两个节点产生同一个张量")
            made[name] = index
    return made


def _order(
    nodes: Sequence[onnx.NodeProto], made: dict[str, int], given: set[str] | frozenset[str], file: str
) -> list[onnx.NodeProto]:
    """The nodes as they come where that can be, else after those that they wait for."""
    waits: list[int] = []
    followers: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        before = set()
        for name in taken(node):
            if name in made:
                before.add(made[name])
            elif name not in given:
                what = f"{node.name or node.op_type}: {name}"
                raise broken(file, what, "no node makes this input", "没有节点产生这个输入")
        waits.append(len(before))
        for other in before:
            followers.setdefault(other, []).append(index)
    ready = [index for index, count in enumerate(waits) if not count]
    heapify(ready)
    order = []
    while ready:
        index = heappop(ready)
        order.append(nodes[index])
        for follower in followers.get(index, ()):
            waits[follower] -= 1
            if not waits[follower]:
                heappush(ready, follower)
    if len(order) < len(nodes):
        stuck = next(nodes[index] for index, count in enumerate(waits) if count)
        raise broken(file, stuck.name or stuck.op_type, "it waits for its own output", "它在等自己的输出")
    return order


@dataclass(frozen=True)
class Peak:
    """Bytes of activations that live at once, and how many tensors of unknown size are left out."""

    bytes: int
    unknown: int
    largest: int
    fed: int
    """Bytes of the graph's inputs, which the caller holds."""


def peak(graph: onnx.GraphProto, wiring: Wiring, types: Types) -> Peak:
    """The most bytes alive along the order, inputs and outputs included; views share a buffer.

    Nothing is taken to be written in place: what ONNX Runtime saves so, its blocked layouts cost again.
    """
    last = {name: place for place, node in enumerate(wiring.live) for name in taken(node)}
    # The caller holds the inputs to the end, and takes the outputs.
    last |= {value.name: len(wiring.live) for value in [*graph.input, *graph.output]}
    buffers = _Buffers(types, wiring.constants, last)
    for value in graph.input:
        if value.name not in wiring.constants:
            buffers.make(value.name)
    fed, inner_unknown = buffers.now, 0
    for place, node in enumerate(wiring.live):
        for name in filter(None, node.output):
            buffers.put(node, name)
        inner = _inside(node, wiring, types)
        inner_unknown += inner.unknown
        buffers.most = max(buffers.most, buffers.now + inner.bytes)
        buffers.release(node, place)
    return Peak(buffers.most, buffers.unknown + inner_unknown, buffers.largest, fed)


def _inside(node: onnx.NodeProto, wiring: Wiring, types: Types) -> Peak:
    """What the subgraphs of a node hold: those of If do not run together."""
    found = [
        peak(graph, wire(graph, "", frozenset(outer(graph)) | wiring.constants), types)
        for attribute in node.attribute
        for graph in subgraphs(attribute)
    ]
    if not found:
        return Peak(0, 0, 0, 0)
    most = max(one.bytes for one in found)
    return Peak(most, sum(one.unknown for one in found), max(one.largest for one in found), 0)


class _Buffers:
    """Buffers by tensor; one may be shared by several names, and is let go with the last of them."""

    def __init__(self, types: Types, constants: frozenset[str], last: dict[str, int]) -> None:
        self.types, self.constants, self.last = types, constants, last
        self.owner: dict[str, int] = {}
        self.sizes: list[int] = []
        self.holders: list[set[str]] = []
        self.now = self.most = self.unknown = self.largest = 0

    def make(self, name: str) -> None:
        kind = self.types.get(name)
        size = kind.bytes if kind else None
        self.unknown += size is None
        self.owner[name] = len(self.sizes)
        self.sizes.append(size or 0)
        self.holders.append({name})
        self.now += size or 0
        self.largest = max(self.largest, size or 0)
        self.most = max(self.most, self.now)

    def put(self, node: onnx.NodeProto, name: str) -> None:
        source = self._same_buffer(node, name)
        if source is None:
            self.make(name)
            return
        self.owner[name] = self.owner[source]
        self.holders[self.owner[source]].add(name)

    def _same_buffer(self, node: onnx.NodeProto, name: str) -> str | None:
        if node.op_type not in _VIEWS or node.output[0] != name or node.input[0] not in self.owner:
            return None
        return str(node.input[0])

    def release(self, node: onnx.NodeProto, place: int) -> None:
        for name in {*taken(node), *filter(None, node.output)}:
            owner = self.owner.get(name)
            if owner is None or self.last.get(name, place) > place:
                continue
            self.holders[owner].discard(name)
            if not self.holders[owner] and self.sizes[owner]:
                self.now -= self.sizes[owner]
                self.sizes[owner] = 0
