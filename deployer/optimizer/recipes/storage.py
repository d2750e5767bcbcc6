"""Weights written down in few bits and computed with in fp32: small files, no change of speed.

An int8 weight is followed by Cast and Mul, which every runtime folds into the fp32 weight when it loads the
graph. DequantizeLinear in their place would not be folded by ONNX Runtime, but done again in every run.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.protocol import Calibration, Refused

_AXES = {"Conv": 0, "ConvTranspose": 1, "Gather": 0}
MATRIX = ("MatMul", "Gemm")
SHORT = 16  # numbers in a row of a table


class Shrinker:
    """Rewrites a model's weights one by one; knows which are done."""

    def __init__(self, model: ModelProto, keep: tuple[str, ...]) -> None:
        self.model = model
        self.keep = set(keep)
        self.constants = graphs.initializers(model.graph)
        self.readers = graphs.consumers(model.graph)
        self.fixed = graphs.outer_reads(model.graph)
        self.done: dict[str, list[TensorProto]] = {}
        self.before: list[NodeProto] = []  # nodes that give the weights back, ahead of all others
        self.instead: dict[str, list[NodeProto]] = {}  # by the name of the node that they replace

    def free(self, weight: TensorProto) -> bool:
        """Whether the weight may be written down otherwise: fp32, large, and read by nodes that agree."""
        return (
            weight.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
            and graphs.elements(weight) >= graphs.BIG
            and weight.name not in self.fixed
            and weight.name not in self.done
            and not any(node.name in self.keep for node in self.readers[weight.name])
        )

    def result(self) -> ModelProto:
        """The model as rewritten; refuses when nothing was."""
        if not self.done:
            raise Refused("no-effect", "no weight could be made smaller", "没有可以缩小的权重")
        nodes = list(self.before)
        for node in self.model.graph.node:
            nodes += self.instead.get(node.name, [node])
        constants = [t for t in self.model.graph.initializer if t.name not in self.done]
        for parts in self.done.values():
            constants += parts
        return graphs.rewrite(self.model, nodes, constants)


def int8(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Weights of convolutions, products, recurrences and tables in int8, with a scale per channel."""
    work = Shrinker(model, calibration.keep)
    for node in model.graph.node:
        for weight, axes in weights(node, work.constants):
            if not work.free(weight):
                continue
            if node.op_type == "Gather" and len(work.readers[weight.name]) == 1 and not _axis(node):
                _table(work, node, weight)
            else:
                _folded(work, weight, axes)
    return work.result()


def fp16(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Weights in fp16, cast back to fp32 when the graph is loaded."""
    work = Shrinker(model, calibration.keep)
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or not work.free(weight):
            continue
        array = graphs.values(weight)
        if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
            continue
        stored = f"{weight.name}|half"
        work.done[weight.name] = [graphs.make_tensor(array.astype(np.float16), stored)]
        work.before.append(
            helper.make_node("Cast", [stored], [weight.name], f"{weight.name}|cast", to=TensorProto.FLOAT)
        )
    return work.result()


def shrink_tables(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Tables that Gather reads by row in int8; the model as it is when there is none."""
    work = Shrinker(model, calibration.keep)
    for node in model.graph.node:
        if node.op_type != "Gather" or _axis(node):
            continue
        weight = work.constants.get(node.input[0])
        if weight is not None and work.free(weight) and len(work.readers[weight.name]) == 1:
            _table(work, node, weight)
    return work.result() if work.done else model


def has_weights(model: ModelProto) -> Refused | None:
    """Refuse graphs whose weights are not in fp32 or too few to matter."""
    total = sum(graphs.elements(t) for t in model.graph.initializer if t.data_type in graphs.FLOATS)
    if total >= graphs.BIG or any(n.op_type == "Constant" for n in model.graph.node):
        return None
    return Refused("no-float-weights", "the graph has no float weights to shrink", "此图没有可缩小的浮点权重")


def _axis(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "axis"), 0)


def weights(node: NodeProto, constants: dict[str, TensorProto]) -> list[tuple[TensorProto, tuple[int, ...]]]:
    """The node's large weights, each with the axes along which one scale holds for all values."""
    if node.op_type in ("LSTM", "GRU", "RNN"):  # [directions, gates × hidden, inputs]
        found = [constants.get(name) for name in node.input[1:3]]
        return [(weight, (2,)) for weight in found if weight is not None]
    weight = graphs.weight_of(node, constants)
    if weight is None:
        return []
    rank = len(weight.dims)
    if node.op_type in _AXES:
        return [(weight, tuple(axis for axis in range(rank) if axis != _AXES[node.op_type]))]
    if node.op_type in MATRIX and rank >= 2:
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return [(weight, (rank - 1,) if transposed else (rank - 2,))]
    return []


def quantized(array: NDArray[Any], axes: tuple[int, ...]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 values and their scales in fp32, one for all values along `axes`."""
    wide = array.astype(np.float32)
    scale = np.abs(wide).max(axis=axes, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.clip(np.rint(wide / scale), -127, 127).astype(np.int8), scale


def _folded(work: Shrinker, weight: TensorProto, axes: tuple[int, ...]) -> None:
    name, kind = weight.name, helper.tensor_dtype_to_np_dtype(weight.data_type)
    stored, scale = quantized(graphs.values(weight), axes)
    work.done[name] = [
        graphs.make_tensor(stored, f"{name}|int8"),
        graphs.make_tensor(scale.astype(kind), f"{name}|scale"),
    ]
    work.before += [
        helper.make_node("Cast", [f"{name}|int8"], [f"{name}|wide"], f"{name}|cast", to=weight.data_type),
        helper.make_node("Mul", [f"{name}|wide", f"{name}|scale"], [name], f"{name}|scaling"),
    ]


def _table(work: Shrinker, node: NodeProto, weight: TensorProto) -> None:
    """Rows are taken from the int8 table and scaled one by one: the table stays small in memory too.

    Short rows share their scales, one for each column: a scale of their own would outweigh them.
    """
    name, indices, out = weight.name, node.input[1], node.output[0]
    kind = helper.tensor_dtype_to_np_dtype(weight.data_type)
    row = graphs.elements(weight) // max(weight.dims[0], 1)
    short = row < SHORT
    stored, scale = quantized(graphs.values(weight), (0,) if short else tuple(range(1, len(weight.dims))))
    work.done[name] = [
        graphs.make_tensor(stored, f"{name}|int8"),
        graphs.make_tensor((scale[0] if short else scale).astype(kind), f"{name}|scale"),
    ]
    factor = f"{name}|scale" if short else f"{out}|scale"
    work.instead[node.name] = [
        helper.make_node("Gather", [f"{name}|int8", indices], [f"{out}|int8"], node.name),
        helper.make_node("Cast", [f"{out}|int8"], [f"{out}|wide"], f"{node.name}|cast", to=weight.data_type),
        helper.make_node("Mul", [f"{out}|wide", factor], [out], f"{node.name}|scaling"),
    ]
    if not short:
        rows = helper.make_node("Gather", [f"{name}|scale", indices], [factor], f"{node.name}|scale")
        work.instead[node.name].insert(2, rows)
