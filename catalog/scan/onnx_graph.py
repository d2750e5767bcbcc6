"""What an ONNX graph would do: operators of the runtime only, values that exist, loops and calls that end.

Graphs within graphs are followed with a list of what is still to do, never by recursion.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from catalog.scan import onnx_tensors
from catalog.scan.findings import Refused, Report, shown
from catalog.scan.onnx_operators import OPERATORS, REFUSED
from catalog.scan.onnx_wire import Attribute, Extent, Graph, Node, Tensor, Wire

DEEPEST = 16
MOST_TRIPS = 10_000_000
"""Rounds of a loop, those of loops around it counted in, that a graph may ask for by a fixed number."""
MOST_ELEMENTS = 1 << 30
"""Numbers of a tensor that a graph makes out of a fixed shape."""
MOST_CALLS = 16
MOST_EXPANDED = 500_000
Key = tuple[str, str, str]
_WITH_GRAPHS = {
    "If",
    "Loop",
    "Scan",
    "SequenceMap",
    "BeamSearch",
    "GreedySearch",
    "Sampling",
    "WhisperBeamSearch",
}
_PASSES_ON = {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape"}


@dataclass
class Scope:
    """A graph that is being looked at, with what is known around it."""

    graph: Graph
    outer: "Scope | None" = None
    depth: int = 0
    trips: int = 1
    names: set[str] = field(default_factory=set)
    makers: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a value of this name can be seen from here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return True
            scope = scope.outer
        return False

    def constant(self, name: str) -> Tensor | None:
        """The tensor that a name stands for whatever comes in; None when that depends."""
        scope: Scope | None = self
        for _ in range(64):
            if scope is None:
                return None
            if name in scope.tensors:
                return scope.tensors[name]
            maker = scope.makers.get(name)
            if maker is None:
                if name in scope.names:
                    return None
                scope = scope.outer
            elif maker.kind in _PASSES_ON and maker.inputs and maker.inputs[0]:
                name = maker.inputs[0]
            else:
                return _made_constant(maker)
        return None

    def varies(self, name: str) -> bool:
        """Whether a value may depend on what comes in; one that is too far from anything known may."""
        left, seen = [name], set[str]()
        while left:
            name = left.pop()
            if name in seen or not name:
                continue
            seen.add(name)
            maker, fixed = self._maker(name)
            if maker is not None and (maker.inputs or maker.kind == "Constant"):
                left += maker.inputs
            elif not fixed:
                return True
            if len(seen) > 512:
                return True
        return False

    def _maker(self, name: str) -> tuple[Node | None, bool]:
        """The node that makes a value, or whether it is a tensor of a graph around here."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.tensors or name in scope.makers:
                return scope.makers.get(name), name in scope.tensors
            if name in scope.names:
                break
            scope = scope.outer
        return None, False


def _made_constant(maker: Node) -> Tensor | None:
    if maker.kind != "Constant":
        return None
    for name in ("value", "value_int", "value_ints"):
        attribute = maker.attributes.get(name)
        if attribute is None:
            continue
        if attribute.tensors:
            return attribute.tensors[0]
        numbers = attribute.numbers if attribute.number is None else [attribute.number]
        return Tensor(dims=[len(numbers)], kind=7, first=numbers)
    return None


class Walk:
    """One pass over the main graph, the functions and all graphs in them."""

    def __init__(self, wire: Wire, report: Report, functions: dict[Key, Graph]) -> None:
        self.wire, self.report, self.functions = wire, report, functions
        self.counts: dict[Key, dict[Key, int]] = defaultdict(lambda: defaultdict(int))
        self.sizes: dict[Key, int] = defaultdict(int)
        self.tensors = 0

    def run(self, main: Graph) -> None:
        """Look at everything; raises Refused."""
        for key, graph in self.functions.items():
            self._all(graph, key)
        self._all(main, ("", "", ""))
        self._expand()

    def _all(self, graph: Graph, owner: Key) -> None:
        left = deque([Scope(graph)])
        while left:
            scope = left.popleft()
            self._open(scope)
            self._attributes(scope.graph.defaults, "")
            for node in scope.graph.nodes:
                self.sizes[owner] += 1
                self._operator(node, owner)
                left.extend(self._inner(node, scope))
                self._work(node, scope)

    def _open(self, scope: Scope) -> None:
        """Collect the values of a graph: each is made once, and what a node takes is made somewhere."""
        graph = scope.graph
        for tensor in graph.tensors:
            onnx_tensors.check(self.wire, tensor, self.report, weight=True)
            if not tensor.name or tensor.name in scope.tensors:
                raise Refused("onnx-name-twice", name=shown(tensor.name))
            scope.tensors[tensor.name] = tensor
            self.tensors += 1
        if len(set(graph.inputs)) != len(graph.inputs):
            raise Refused("onnx-name-twice", name=shown(graph.name))
        scope.names = {*graph.inputs, *scope.tensors}
        ordered = self._collect(scope)
        for name in graph.outputs:
            if name and not scope.has(name):
                raise Refused("onnx-value-missing", name=shown(name))
        if not ordered:
            self._refuse_cycle(scope)
        for name in graph.inputs:
            dims = graph.shapes.get(name, [])
            if math.prod(abs(d) or 1 for d in dims) > MOST_ELEMENTS * 8:
                raise Refused("onnx-shape", name=shown(name))

    def _collect(self, scope: Scope) -> bool:
        """Whether every node stands behind those that it takes values from."""
        before, ordered = set(scope.names), True
        for node in scope.graph.nodes:
            for name in node.outputs:
                if name and (name in scope.makers or name in scope.names):
                    raise Refused("onnx-name-twice", name=shown(name))
                if name:
                    scope.makers[name] = node
        scope.names |= set(scope.makers)
        for node in scope.graph.nodes:
            for name in node.inputs:
                if not name or name in before:
                    continue
                if not scope.has(name):
                    raise Refused("onnx-value-missing", name=shown(name))
                ordered = ordered and name not in scope.makers
            before.update(node.outputs)
        return ordered

    def _refuse_cycle(self, scope: Scope) -> None:
        makers = scope.makers
        users: dict[int, list[int]] = defaultdict(list)
        places = {id(node): place for place, node in enumerate(scope.graph.nodes)}
        waits = [0] * len(places)
        for place, node in enumerate(scope.graph.nodes):
            for name in set(node.inputs):
                if name in makers:
                    users[places[id(makers[name])]].append(place)
                    waits[place] += 1
        ready = deque(place for place, count in enumerate(waits) if not count)
        done = 0
        while ready:
            done += 1
            for user in users[ready.popleft()]:
                waits[user] -= 1
                if not waits[user]:
                    ready.append(user)
        if done < len(waits):
            raise Refused("onnx-cycle")

    def _operator(self, node: Node, owner: Key) -> None:
        domain = "" if node.domain == "ai.onnx" else node.domain
        key = (domain, node.kind, node.overload)
        if node.kind in REFUSED:
            raise Refused("onnx-program", operator=shown(node.kind))
        if key in self.functions:
            self.counts[owner][key] += 1
        elif domain not in OPERATORS:
            raise Refused("onnx-domain", domain=shown(domain), operator=shown(node.kind))
        elif node.kind not in OPERATORS[domain]:
            raise Refused("onnx-operator", operator=shown(node.kind), domain=shown(domain or "ai.onnx"))
        self._attributes(node.attributes.values(), node.kind)

    def _attributes(self, attributes: Iterable[Attribute], kind: str) -> None:
        for attribute in attributes:
            for tensor in attribute.tensors:
                onnx_tensors.check(self.wire, tensor, self.report, weight=False)
            if attribute.graphs and kind not in _WITH_GRAPHS:
                raise Refused("onnx-malformed", place=attribute.graphs[0][0])

    def _inner(self, node: Node, scope: Scope) -> list[Scope]:
        extents: list[Extent] = [e for a in node.attributes.values() for e in a.graphs]
        if not extents:
            return []
        if scope.depth + 1 > DEEPEST:
            raise Refused("onnx-too-deep", limit=DEEPEST)
        inner = [Scope(self.wire.graph(*e), scope, scope.depth + 1, scope.trips) for e in extents]
        if node.kind == "Loop":
            for each in inner:
                each.trips = self._loop(node, scope, each.graph)
        return inner

    def _loop(self, node: Node, scope: Scope, body: Graph) -> int:
        """Rounds of a loop by its fixed number; refuses one that nothing ends."""
        count_name, going = (*node.inputs, "", "")[:2]
        fixed = self._number(scope, count_name)
        bounded = bool(count_name) and (scope.varies(count_name) if fixed is None else fixed <= MOST_TRIPS)
        trips = scope.trips * max(1, fixed if fixed is not None and bounded else 1)
        if bounded and trips > MOST_TRIPS:
            raise Refused("onnx-loop-long", rounds=trips, limit=MOST_TRIPS)
        if not bounded:
            if self._always(scope, going) and self._goes_on(scope, body):
                raise Refused("onnx-loop-endless")
            self.report.warn("onnx-loop-open")
        return trips

    def _always(self, scope: Scope, going: str) -> bool:
        """Whether a loop's first condition cannot be false."""
        return not going or self._number(scope, going) != 0

    def _goes_on(self, scope: Scope, body: Graph) -> bool:
        """Whether the condition that a body hands on is fixed, or the one that came in."""
        if not body.outputs:
            return True
        inner = Scope(body, scope, names={*body.inputs}, tensors={t.name: t for t in body.tensors})
        inner.makers = {name: n for n in body.nodes for name in n.outputs}
        inner.names |= {*inner.makers, *inner.tensors}
        name = body.outputs[0]
        for _ in range(64):
            maker = inner.makers.get(name)
            if maker is None or maker.kind not in _PASSES_ON or not maker.inputs:
                break
            name = maker.inputs[0]
        if len(body.inputs) > 1 and name == body.inputs[1]:
            return True
        tensor = inner.constant(name)
        if tensor is not None:
            return self._value(tensor) != 0
        return name not in inner.makers and name not in inner.names  # comes unchanged from around the loop

    def _number(self, scope: Scope, name: str) -> int | None:
        tensor = scope.constant(name) if name else None
        return None if tensor is None else self._value(tensor)

    def _value(self, tensor: Tensor) -> int | None:
        found = onnx_tensors.values(self.wire, tensor)
        return found[0] if found else None

    def _work(self, node: Node, scope: Scope) -> None:
        """Refuse operators that make a huge tensor out of a fixed shape."""
        place = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(node.kind)
        numbers: list[int] | None = None
        if place is not None and len(node.inputs) > place:
            tensor = scope.constant(node.inputs[place])
            numbers = onnx_tensors.values(self.wire, tensor) if tensor else None
        elif node.kind in ("RandomNormal", "RandomUniform") and "shape" in node.attributes:
            numbers = node.attributes["shape"].numbers
        elif node.kind == "Range" and len(node.inputs) == 3:
            start, limit, step = (self._number(scope, name) for name in node.inputs)
            if start is not None and limit is not None and step:
                numbers = [abs((limit - start) // step)]
        if numbers and math.prod(abs(n) or 1 for n in numbers) > MOST_ELEMENTS:
            raise Refused("onnx-shape", name=shown((node.outputs or [""])[0]))

    def _expand(self) -> None:
        """What is left when functions stand in place of their calls: none calls itself, none explodes."""
        waits = {key: len(self.counts[key]) for key in (*self.functions, ("", "", ""))}
        users: dict[Key, list[Key]] = defaultdict(list)
        for key in waits:
            for called in self.counts[key]:
                users[called].append(key)
        ready = deque(key for key, count in waits.items() if not count)
        depths: dict[Key, int] = {}
        done = 0
        while ready:
            key = ready.popleft()
            done += 1
            depths[key] = 1 + max((depths[called] for called in self.counts[key]), default=0)
            self.sizes[key] += sum(n * self.sizes[called] for called, n in self.counts[key].items())
            if self.sizes[key] > MOST_EXPANDED or depths[key] > MOST_CALLS:
                raise Refused("onnx-functions", limit=MOST_EXPANDED)
            for user in users[key]:
                waits[user] -= 1
                if not waits[user]:
                    ready.append(user)
        if done < len(waits):
            raise Refused("onnx-recursion")
