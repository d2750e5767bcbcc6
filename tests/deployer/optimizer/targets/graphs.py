"""Small graphs for tests of targets."""

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.shelf_files import cache_dir


def home() -> Path:
    """Where environments of devices are kept between test runs."""
    return cache_dir()


def need(program: str) -> None:
    """Skip where a program is missing, or fail where nothing may be skipped."""
    if shutil.which(program) is None:
        refuse = pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip
        refuse(f"this machine has no {program}")


def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray] | None = None,
    *,
    opset: int = 17,
    ir: int = 8,
    domains: tuple[str, ...] = (),
) -> Path:
    """Write a graph of these parts."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir), str(path))
    return path


def relu(path: Path, *, opset: int = 17, ir: int = 8, batch: int | str = 1) -> Path:
    """x → Relu → y, float32 [batch, 3]."""
    ends = [value("x", TensorProto.FLOAT, batch, 3)], [value("y", TensorProto.FLOAT, batch, 3)]
    return save(path, [helper.make_node("Relu", ["x"], ["y"])], *ends, opset=opset, ir=ir)


def network(path: Path) -> Path:
    """x [1, 3, 16, 16] → Conv, Relu, pool, MatMul → y [1, 5]."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "m": rng.normal(size=(8, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    ends = [value("x", TensorProto.FLOAT, 1, 3, 16, 16)], [value("y", TensorProto.FLOAT, 1, 5)]
    return save(path, nodes, *ends, weights)


def integer_product(path: Path, weight: int) -> Path:
    """a uint8 [1, 8] times int8 [8, 4] of one value → y int32 [1, 4]."""
    node = helper.make_node("MatMulInteger", ["a", "w"], ["y"])
    ends = [value("a", TensorProto.UINT8, 1, 8)], [value("y", TensorProto.INT32, 1, 4)]
    return save(path, [node], *ends, {"w": np.full((8, 4), weight, np.int8)})


def qdq(path: Path, *, zero_point: int = 0) -> Path:
    """x [1, 4] quantised and dequantised, times a weight kept as int8."""
    weights = {
        "s": np.float32(0.05),
        "z": np.int8(zero_point),
        "w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4),
        "ws": np.float32(0.1),
        "wz": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    ends = [value("x", TensorProto.FLOAT, 1, 4)], [value("y", TensorProto.FLOAT, 1, 4)]
    return save(path, nodes, *ends, weights)
