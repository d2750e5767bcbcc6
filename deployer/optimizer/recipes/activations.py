"""Activation functions around quantised convolutions: kept whole, their flat ends cut off, in integers.

An activation that is flat below some value does not need what lies below: the range given to its input
ends there, which leaves more of the 256 steps for the rest. HardSwish gains more, see `in_integers`.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from deployer.optimizer.recipes import graphs, rewriting
from deployer.optimizer.recipes.calibration import Range

INFINITE = float("inf")
FLAT: dict[str, Range] = {
    "Relu": (0.0, INFINITE),
    "HardSwish": (-3.0, INFINITE),
    "Gelu": (-4.0, INFINITE),
    "Sigmoid": (-8.0, 8.0),
    "HardSigmoid": (-3.0, 3.0),
    "Tanh": (-4.0, 4.0),
}
"""Where an activation still changes, to within a step of its quantised output."""


def whole(model: ModelProto) -> ModelProto:
    """GELU as one operator: its parts would each get a DequantizeLinear of their own, and stay apart."""
    graph = rewriting.Graph(model)
    if not sum(rewriting.gelu(graph, node) for node in list(model.graph.node)):
        return model
    result = graph.result()
    graphs.add_opset(result, "com.microsoft", 1)
    return result


def narrowed(model: ModelProto, ranges: dict[str, Range]) -> dict[str, Range]:
    """The ranges without the parts in which all readers of a value are flat."""
    readers = graphs.consumers(model.graph)
    outputs = graphs.outer_reads(model.graph)
    result = dict(ranges)
    for name, (low, high) in ranges.items():
        followers = readers.get(name, [])
        bounds = [_bounds(node) for node in followers]
        if not followers or name in outputs or any(bound is None for bound in bounds):
            continue
        least = min(bound[0] for bound in bounds if bound is not None)
        most = max(bound[1] for bound in bounds if bound is not None)
        start, end = max(low, least), min(high, most)
        if all(node.op_type == "HardSwish" for node in followers) and low < end:
            result[name] = aligned((low, end))
        elif start < end:
            result[name] = (start, end)
    return result


def _bounds(node: NodeProto) -> Range | None:
    if node.op_type == "HardSigmoid":
        slope = {a.name: a.f for a in node.attribute}
        alpha, beta = slope.get("alpha", 0.2), slope.get("beta", 0.5)
        return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else None
    if node.op_type == "Mul" and node.input[0] == node.input[1]:
        return None
    return FLAT.get(node.op_type)


def in_integers(model: ModelProto) -> ModelProto:
    """HardSwish between two quantisations as a product of integers.

    x · clip(x + 3, 0, 6) / 6: the input's steps are placed so that -3 is the integer 0 and its zero point is
    k = 3 / scale. Then x + 3 is the integer itself times the scale, the lower cut is that of the range, the
    upper one a Clip of integers at 2k, and one product is left, which ONNX Runtime does on bytes. In floats
    the four passes over memory took as long as the convolutions around them.
    """
    constants = graphs.initializers(model.graph)
    makers = {name: node for node in model.graph.node for name in node.output}
    nodes: list[NodeProto] = []
    added: dict[str, TensorProto] = {}
    for node in model.graph.node:
        given = makers.get(node.input[0]) if node.op_type == "HardSwish" else None
        if given is None or given.op_type != "DequantizeLinear" or len(given.input) < 3:
            nodes.append(node)
            continue
        scale, zero = (constants.get(name) for name in given.input[1:3])
        if scale is None or zero is None or not _fits(scale, zero):
            nodes.append(node)
            continue
        nodes += _product(node, given, float(graphs.values(scale)), int(graphs.values(zero)), added)
    return graphs.rewrite(model, nodes, [*model.graph.initializer, *added.values()]) if added else model


def _fits(scale: TensorProto, zero: TensorProto) -> bool:
    """Whether the integer 0 stands for -3."""
    step = float(graphs.values(scale))
    return zero.data_type == TensorProto.UINT8 and abs(step * int(graphs.values(zero)) - 3) < step / 100


def aligned(bounds: Range) -> Range:
    """The range, moved a little so that it starts at -3 and 0 falls on a step."""
    high = max(bounds[1], 0.1)
    steps = max(1, min(254, int(np.floor(3 * 255 / (high + 3)))))
    return -3.0, 3.0 / steps * 255 - 3.0


def _product(
    node: NodeProto, given: NodeProto, scale: float, zero: int, added: dict[str, TensorProto]
) -> list[NodeProto]:
    name, integers = node.name, given.input[0]
    result: list[NodeProto] = []
    if 2 * zero < 255:
        for key, value in (("least", 0), ("most", 2 * zero)):
            added[f"{name}|{key}"] = graphs.make_tensor(np.array(value, np.uint8), f"{name}|{key}")
        cut = f"{name}|cut"
        result.append(
            helper.make_node("Clip", [integers, f"{name}|least", f"{name}|most"], [cut], f"{name}_clip")
        )
        integers = cut
    added[f"{name}|sixth"] = graphs.make_tensor(np.array(scale / 6, np.float32), f"{name}|sixth")
    added[f"{name}|none"] = graphs.make_tensor(np.array(0, np.uint8), f"{name}|none")
    gate = f"{name}|gate"
    result += [
        helper.make_node(
            "DequantizeLinear", [integers, f"{name}|sixth", f"{name}|none"], [gate], f"{name}_gate"
        ),
        helper.make_node("Mul", [node.input[0], gate], list(node.output), name),
    ]
    return result
