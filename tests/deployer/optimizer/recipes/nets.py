"""Small graphs to try the recipes on; weights are random and the same in every run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from deployer.optimizer.recipes.guards import session

Feeds = dict[str, np.ndarray]
node = helper.make_node


class Net:
    """Builds a graph node by node; `weight` adds a random constant and gives its name."""

    def __init__(self, opset: int = 17, *, constant_nodes: bool = False, seed: int = 0) -> None:
        self.opset = opset
        self.constant_nodes = constant_nodes
        self.random = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.domains = {"": opset}

    def weight(self, *shape: int, scale: float | None = None) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        return self.constant(self.random.normal(0, scale or fan**-0.5, shape).astype(np.float32))

    def constant(self, array: Any, name: str = "") -> str:
        name = name or f"w{len(self.constants) + len(self.nodes)}"
        tensor = numpy_helper.from_array(np.asarray(array), name)
        if self.constant_nodes:
            self.nodes.append(node("Constant", [], [name], value=tensor))
        else:
            self.constants.append(tensor)
        return name

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        made = list(outputs) or [f"v{len(self.nodes)}"]
        self.nodes.append(node(operator, list(inputs), made, f"{operator}_{made[0]}", **attributes))
        return made[0]

    def conv(self, value: str, out: int, into: int, kernel: int = 3, group: int = 1) -> str:
        weight, bias = self.weight(out, into // group, kernel, kernel), self.weight(out, scale=0.1)
        pads = [kernel // 2] * 4
        return self.add("Conv", value, weight, bias, pads=pads, group=group, kernel_shape=[kernel, kernel])

    def model(
        self, inputs: dict[str, tuple[int, Sequence[int | str]]], outputs: dict[str, Sequence[int | str]]
    ) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(n, kind, list(shape)) for n, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in outputs.items()],
            self.constants,
        )
        imports = [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        made = helper.make_model(graph, opset_imports=imports)
        made.ir_version = 8
        return made


def conv_net(opset: int = 17, *, constant_nodes: bool = False) -> ModelProto:
    """Two convolutions with ReLU, an average, a product: [n, 3, 16, 16] → [n, 10]."""
    net = Net(opset, constant_nodes=constant_nodes)
    value = net.add("Relu", net.conv("x", 32, 3))
    value = net.add("Relu", net.conv(value, 64, 32))
    value = net.add("GlobalAveragePool", value)
    value = net.add("Flatten", value)
    net.add("Gemm", value, net.weight(64, 10), net.weight(10), outputs=["y"])
    return net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 10]})


def written_out(opset: int = 11, *, order: str = "div-last") -> ModelProto:
    """Convolutions with HardSwish and normalisation in their parts: [n, 3, 16, 16] → [n, 48, 16, 16]."""
    net = Net(opset)
    value = net.conv("x", 48, 3)
    for _ in range(2):
        value = _hard_swish(net, value, order)
        value = net.conv(value, 48, 48)
        value = net.add("Sub", value, net.weight(1, 48, 1, 1))
        value = net.add("Mul", value, net.weight(48, 1, 1))
        value = net.add("Add", net.weight(1, 48, 1, 1), value)
    net.add("Identity", value, outputs=["y"])
    return net.model({"x": (TensorProto.FLOAT, ["n", 3, 16, 16])}, {"y": ["n", 48, 16, 16]})


def _hard_swish(net: Net, value: str, order: str) -> str:
    three, six = net.constant(np.float32(3)), net.constant(np.array([6], np.float32))
    none, top = net.constant(np.float32(0)), net.constant(np.float32(6))
    if order == "gate":
        gate = net.add("HardSigmoid", value, alpha=1 / 6, beta=0.5)
        return net.add("Mul", gate, value)
    cut = net.add("Clip", net.add("Add", value, three), none, top)
    if order == "div-first":
        return net.add("Mul", value, net.add("Div", cut, six))
    return net.add("Div", net.add("Mul", cut, value), six)


def product_net(opset: int = 17, *, width: int = 64, constant_nodes: bool = False) -> ModelProto:
    """Two products and a table of 500 words: ids [n, t] → [n, t, 10]."""
    net = Net(opset, constant_nodes=constant_nodes)
    value = net.add("Gather", net.weight(500, width, scale=1), "ids")
    value = net.add("Relu", net.add("Add", net.add("MatMul", value, net.weight(width, 128)), net.weight(128)))
    net.add("MatMul", value, net.weight(128, 10), outputs=["y"])
    return net.model({"ids": (TensorProto.INT64, ["n", "t"])}, {"y": ["n", "t", 10]})


def pictures(count: int = 6, channels: int = 3, size: int = 16) -> list[Feeds]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(0, 1, (2, channels, size, size)).astype(np.float32)} for _ in range(count)]


def sentences(count: int = 4) -> list[Feeds]:
    random = np.random.default_rng(1)
    return [{"ids": random.integers(0, 500, (2, 7))} for _ in range(count)]


def write(model: ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


def error(source: Path, out: Path, feeds: Sequence[Feeds]) -> float:
    """Root of the squared difference of all outputs over the squared outputs of the source."""
    one, other = session(source), session(out)
    difference = total = 0.0
    for feed in feeds:
        for wanted, got in zip(one.run(None, feed), other.run(None, feed), strict=True):
            difference += float(np.square(wanted.astype(float) - got.astype(float)).sum())
            total += float(np.square(wanted.astype(float)).sum())
    return (difference / total) ** 0.5


def kinds(path: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for made in onnx.load(str(path)).graph.node:
        counts[made.op_type] = counts.get(made.op_type, 0) + 1
    return counts
