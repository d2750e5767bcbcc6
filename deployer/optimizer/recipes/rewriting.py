"""Rewrites that compute the same with fewer operators, where ONNX Runtime's own fusions do not reach.

Exporters write activations and normalisations out in their parts. Each part is a pass over memory, and keeps
the convolutions around it from sharing the CPU's blocked layout: one net spent half of its time there.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.protocol import Calibration, Refused

HARD_SWISH = 14  # the opset that has it
LESS = 12  # the opset whose Min takes integers
CLOSE = 1e-3  # how far a written-out constant may be from the one that is meant


class Graph:
    """The main graph with who makes and who reads each value; changes take effect in `result`."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.opset = graphs.opset(model)
        self.constants = graphs.initializers(model.graph)
        self.types = graphs.types(model)
        self.shapes = graphs.shapes(model)
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.readers = graphs.consumers(model.graph)
        self.outer = graphs.outer_reads(model.graph)
        self.gone: set[str] = set()  # first outputs of nodes that are left out
        self.instead: dict[str, list[NodeProto]] = {}  # nodes in the place of one, by its first output
        self.added: dict[str, TensorProto] = {}

    def value(self, name: str) -> NDArray[np.generic] | None:
        """A constant's value."""
        tensor = self.added.get(name) or self.constants.get(name)
        return None if tensor is None else graphs.values(tensor)

    def scalar(self, name: str) -> float | None:
        """A constant of one float."""
        tensor = self.constants.get(name)
        if tensor is None or graphs.elements(tensor) != 1 or tensor.data_type != TensorProto.FLOAT:
            return None
        return float(graphs.values(tensor).reshape(-1)[0])

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """The node that makes a value, if it is of this operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def only(self, name: str) -> NodeProto | None:
        """The one node that reads a value, if there is one and nobody outside wants the value."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outer else None

    def with_scalar(self, node: NodeProto, wanted: float) -> str | None:
        """The other input of a node of two inputs, one of which is this scalar."""
        for index in (0, 1):
            found = self.scalar(node.input[index])
            if found is not None and abs(found - wanted) <= CLOSE * abs(wanted):
                return str(node.input[1 - index])
        return None

    def replace(self, last: NodeProto, nodes: list[NodeProto], inner: list[NodeProto]) -> bool:
        """Put nodes in the place of `last`; those inside the pattern go, if nobody else reads them."""
        inside = {node.output[0] for node in [last, *inner]}
        for node in inner:
            name = node.output[0]
            if name in self.outer or any(r.output[0] not in inside for r in self.readers.get(name, [])):
                return False
        if any(name in self.gone or name in self.instead for name in inside):
            return False
        self.gone.update(node.output[0] for node in inner)
        self.instead[last.output[0]] = nodes
        return True

    def result(self) -> ModelProto:
        """The model as rewritten."""
        nodes: list[NodeProto] = []
        for node in self.model.graph.node:
            name = node.output[0] if node.output else ""
            if name in self.instead:
                nodes += self.instead[name]
            elif name not in self.gone or not name:
                nodes.append(node)
        constants = [t for t in self.model.graph.initializer if t.name not in self.added]
        return graphs.rewrite(self.model, nodes, [*constants, *self.added.values()])


Pass = Callable[[Graph, NodeProto], bool]


def rewrite(model: ModelProto) -> tuple[ModelProto, int]:
    """The model after all rewrites that its opset allows, and how many there were."""
    total = 0
    for one in PASSES:
        graph = Graph(model)
        done = sum(one(graph, node) for node in list(model.graph.node))
        if done:
            model = graph.result()
            total += done
    return model, total


def fuse(model: ModelProto, calibration: Calibration) -> ModelProto:
    """The rewrites as a recipe of their own; refuses where there are none."""
    fused, count = rewrite(model)
    if not count:
        raise Refused("no-effect", "nothing in this graph can be fused", "此图中没有可融合的部分")
    return fused


def hard_swish(graph: Graph, node: NodeProto) -> bool:
    """x · clip(x + 3, 0, 6) / 6, and x · HardSigmoid(x), as HardSwish."""
    if graph.opset < HARD_SWISH:
        return False
    found = _divided(graph, node) or _gated(graph, node)
    if found is None:
        return False
    value, inner = found
    new = helper.make_node("HardSwish", [value], list(node.output), node.name)
    return graph.replace(node, [new], inner)


def _divided(graph: Graph, node: NodeProto) -> tuple[str, list[NodeProto]] | None:
    """Mul(x, Clip(Add(x, 3), 0, 6)) divided by 6 at the end, or the clipped part divided first."""
    scaled = _sixth(graph, node)
    if scaled is not None and (product := graph.maker(scaled, "Mul")) is not None:
        for index in (0, 1):
            clip = graph.maker(product.input[1 - index], "Clip")
            add = _shifted(graph, clip, product.input[index])
            if clip is not None and add is not None:
                return product.input[index], [product, clip, add]
    if node.op_type == "Mul":
        for index in (0, 1):
            part = graph.makers.get(node.input[1 - index])
            inner = _sixth(graph, part) if part is not None else None
            clip = graph.maker(inner, "Clip") if inner is not None else None
            add = _shifted(graph, clip, node.input[index])
            if part is not None and clip is not None and add is not None:
                return node.input[index], [part, clip, add]
    return None


def _sixth(graph: Graph, node: NodeProto) -> str | None:
    """What a node divides by 6."""
    if node.op_type == "Div":
        divisor = graph.scalar(node.input[1])
        return str(node.input[0]) if divisor is not None and abs(divisor - 6) < 6 * CLOSE else None
    return graph.with_scalar(node, 1 / 6) if node.op_type == "Mul" else None


def _shifted(graph: Graph, clip: NodeProto | None, value: str) -> NodeProto | None:
    """The node that adds 3 to `value`, if `clip` cuts its result at 0 and 6."""
    if clip is None or len(clip.input) != 3:
        return None
    if graph.scalar(clip.input[1]) != 0 or graph.scalar(clip.input[2]) != 6:
        return None
    add = graph.maker(clip.input[0], "Add")
    return add if add is not None and graph.with_scalar(add, 3) == value else None


def _gated(graph: Graph, node: NodeProto) -> tuple[str, list[NodeProto]] | None:
    if node.op_type != "Mul":
        return None
    for index in (0, 1):
        gate = graph.maker(node.input[1 - index], "HardSigmoid")
        if gate is None or gate.input[0] != node.input[index]:
            continue
        slope = {a.name: a.f for a in gate.attribute}
        if abs(slope.get("alpha", 0.2) - 1 / 6) < CLOSE and abs(slope.get("beta", 0.5) - 0.5) < CLOSE:
            return node.input[index], [gate]
    return None


def affine(graph: Graph, node: NodeProto) -> bool:
    """Add, Sub, Mul and Div by a constant per channel after a convolution, into its weight and bias."""
    if node.op_type != "Conv" or any(name in graph.added for name in node.input[1:]):
        return False
    weight, bias = _parameters(graph, node)
    if weight is None or bias is None or len(graph.readers[node.input[1]]) != 1:
        return False
    scale = np.ones(len(bias))
    shift = np.array(bias, np.float64)
    last, inner = node, []
    while (after := graph.only(last.output[0])) is not None:
        step = _step(graph, after, last.output[0], weight.ndim, len(bias))
        if step is None:
            break
        scale, shift = scale * step[0], shift * step[0] + step[1]
        inner.append(last)
        last = after
    if not inner or not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return False
    names = [node.input[1], f"{node.name}|bias"]
    shaped = scale.reshape(-1, *[1] * (weight.ndim - 1))
    folded = helper.make_node("Conv", [node.input[0], *names], list(last.output), node.name)
    folded.attribute.extend(node.attribute)
    if not graph.replace(last, [folded], inner):
        return False
    graph.added[names[0]] = graphs.make_tensor((weight * shaped).astype(np.float32), names[0])
    graph.added[names[1]] = graphs.make_tensor(shift.astype(np.float32), names[1])
    return True


def _parameters(
    graph: Graph, node: NodeProto
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Weight and bias of a convolution, in fp32 and constant; (None, None) if they are not."""
    weight = graph.constants.get(node.input[1])
    if weight is None or weight.data_type != TensorProto.FLOAT or node.input[1] in graph.outer:
        return None, None
    array = graphs.values(weight).astype(np.float32)
    if len(node.input) < 3 or not node.input[2]:
        return array, np.zeros(array.shape[0], np.float32)
    bias = graph.constants.get(node.input[2])
    return (array, graphs.values(bias).astype(np.float32)) if bias is not None else (None, None)


def _step(
    graph: Graph, node: NodeProto, value: str, rank: int, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What the node multiplies by and adds to each channel; None when it does something else."""
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    left = node.input[0] == value
    constant = graph.value(node.input[1 if left else 0])
    if constant is None or constant.dtype != np.float32 or node.input[0] == node.input[1]:
        return None
    each = _per_channel(constant, rank, channels)
    if each is None:
        return None
    one, none = np.ones(channels), np.zeros(channels)
    if node.op_type == "Add":
        return one, each
    if node.op_type == "Sub":
        return (one, -each) if left else (-one, each)
    if node.op_type == "Mul":
        return each, none
    return (1 / each, none) if left and (each != 0).all() else None


def _per_channel(constant: NDArray[np.generic], rank: int, channels: int) -> NDArray[np.float64] | None:
    if constant.size == 1 and constant.ndim <= rank:
        return np.full(channels, float(constant.reshape(-1)[0]))
    shape = (1,) * (rank - constant.ndim) + constant.shape
    wanted = (1, channels) + (1,) * (rank - 2)
    return constant.reshape(-1).astype(np.float64) if shape == wanted else None


def one_hot(graph: Graph, node: NodeProto) -> bool:
    """A product of a one-hot code with a table, as the rows of the table."""
    if node.op_type != "MatMul" or node.input[1] not in graph.constants:
        return False
    cast = graph.maker(node.input[0], "Cast")
    equal = graph.maker(cast.input[0], "Equal") if cast is not None else None
    if cast is None or equal is None:
        return False
    table = graph.value(node.input[1])
    numbers = graph.value(equal.input[1])
    if table is None or numbers is None or table.ndim != 2 or numbers.size != len(table):
        return False
    if numbers.shape[-1] != numbers.size or not np.array_equal(numbers.reshape(-1), np.arange(len(table))):
        return False
    return _rows(graph, node, [cast, equal], numbers.ndim)


def _rows(graph: Graph, node: NodeProto, inner: list[NodeProto], axes: int) -> bool:
    """Take rows by the numbers that were compared, whose last axis is 1, or was before an Expand."""
    name = inner[-1].input[0]
    expand = graph.maker(name, "Expand")
    shape = graph.shapes.get(expand.input[0] if expand is not None else name)
    if graph.types.get(name) not in (TensorProto.INT32, TensorProto.INT64) or graph.opset < LESS:
        return False
    if shape is None or len(shape) < axes or shape[-1] != 1:
        return False
    table = graphs.values(graph.constants[node.input[1]])
    kind = np.int32 if graph.types[name] == TensorProto.INT32 else np.int64
    # A number beyond the table has a code of zeros, so the table gets a row of zeros for it.
    constants = {
        "first": np.array(0, np.int64),
        "none": np.array(0, kind),
        "end": np.array(len(table), kind),
        "table": np.concatenate([table, np.zeros((1, table.shape[1]), table.dtype)]),
    }
    own = {part: f"{node.name}|{part}" for part in (*constants, "id", "low", "up", "row")}
    steps = [
        ("Gather", [name, own["first"]], own["id"]),
        ("Less", [own["id"], own["none"]], own["low"]),
        ("Where", [own["low"], own["end"], own["id"]], own["up"]),
        ("Min", [own["up"], own["end"]], own["row"]),
    ]
    new = [helper.make_node(step, given, [made], f"{made}_{step}") for step, given, made in steps]
    new[0].attribute.append(helper.make_attribute("axis", -1))
    new.append(helper.make_node("Gather", [own["table"], own["row"]], list(node.output), node.name))
    if not graph.replace(node, new, inner):
        return False
    for part, array in constants.items():
        graph.added[own[part]] = graphs.make_tensor(array, own[part])
    return True


def gelu(graph: Graph, node: NodeProto) -> bool:
    """x · (1 + erf(x / √2)) / 2 as ONNX Runtime's Gelu, which it makes itself of parts that stay together."""
    found = _gelu(graph, node) if node.op_type == "Mul" else None
    if found is None:
        return False
    value, inner = found
    new = helper.make_node("Gelu", [value], list(node.output), node.name, domain="com.microsoft")
    return graph.replace(node, [new], inner)


def _gelu(graph: Graph, node: NodeProto) -> tuple[str, list[NodeProto]] | None:
    """The half may be taken of the product, of x, or of the bracket."""
    product = graph.with_scalar(node, 0.5)
    if product is not None:
        whole = graph.maker(product, "Mul")
        sides = [(i, whole) for i in (0, 1)] if whole is not None else []
    else:
        sides = [(i, node) for i in (0, 1)]
    for index, mul in sides:
        value, bracket = mul.input[index], mul.input[1 - index]
        extra = [mul] if mul is not node else []
        if product is None:
            half = graph.maker(value, "Mul")
            other = graph.maker(bracket, "Mul")
            if half is not None and (x := graph.with_scalar(half, 0.5)) is not None:
                value, extra = x, [half]
            elif other is not None and (x := graph.with_scalar(other, 0.5)) is not None:
                bracket, extra = x, [other]
            else:
                continue
        parts = _bracket(graph, bracket, value)
        if parts is not None:
            return value, [*extra, *parts]
    return None


def _bracket(graph: Graph, name: str, value: str) -> list[NodeProto] | None:
    """The nodes of 1 + erf(value / √2)."""
    add = graph.maker(name, "Add")
    inside = graph.with_scalar(add, 1) if add is not None else None
    erf = graph.maker(inside, "Erf") if inside is not None else None
    root = graph.makers.get(erf.input[0]) if erf is not None else None
    if add is None or erf is None or root is None or len(root.input) != 2:
        return None
    if root.op_type == "Div":
        divisor = graph.scalar(root.input[1])
        fits = root.input[0] == value and divisor is not None and abs(divisor - 2**0.5) < CLOSE
    else:
        fits = root.op_type == "Mul" and graph.with_scalar(root, 0.5**0.5) == value
    return [add, erf, root] if fits else None


PASSES: tuple[Pass, ...] = (affine, hard_swish, one_hot)
