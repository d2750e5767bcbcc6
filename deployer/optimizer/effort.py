"""What an optimisation of a model will take, told before it starts: seconds and memory, as ranges.

Seconds are arithmetic by the rate of this machine, which a short product of matrices measures, and weights
by the rate at which memory is read. How far real graphs keep to that differs by a factor of some four, so a
range is told and no more.
"""

import time
from dataclasses import dataclass
from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from deployer.optimizer.architecture import ArchitectureReport, GraphReport
from deployer.optimizer.architecture.wiring import ARENA

_BANDWIDTH = 40e9, 10e9  # bytes a second that one thread reads of weights, at best and at worst
_NODE = 1e-6, 6e-6  # seconds of a node that does nothing
_FASTER, _SLOWER = 0.8, 0.18  # of the rate of a product, what graphs in float32 reach at best and at worst
_DYNAMIC = 0.025  # the same of convolutions in integers with scales of the moment
_WRITE = 30e6  # bytes of weights that a recipe takes in a second
_RECIPE = 1.5  # seconds of a recipe on the smallest graph: a process starts, libraries load
_ROUNDS = 40  # runs of a finalist that are timed
_CALIBRATED = 128  # rows at most
_CHILD = 130 << 20  # a process with onnx, ONNX Runtime and its quantiser


@dataclass(frozen=True)
class JobEstimate:
    """Seconds and bytes of an optimisation, at best and at worst; `rate` in operations a second."""

    seconds_low: float
    seconds_high: float
    memory_low: int
    memory_high: int
    rate: float
    run_seconds: float
    """Of one request on the graphs as they are, in the middle of the range."""


def job(
    report: ArchitectureReport,
    rows: int,
    *,
    candidates: int = 6,
    rate: float | None = None,
    budget: float | None = None,
) -> JobEstimate:
    """Predict an optimisation over `rows` examples with `candidates` recipes tried; a time budget caps it.

    `rate` is measured in some 20 ms when it is not given.
    """
    rate = rate or measured_rate()
    ranges = [run_seconds(graph, rate) for graph in report.graphs]
    fastest, slowest = (sum(ends) for ends in zip(*ranges, strict=True))
    weights = sum(_floats(graph) for graph in report.graphs)
    runs = rows * (1 + candidates) + min(rows, _CALIBRATED) * candidates / 2 + _ROUNDS * (1 + candidates / 2)
    recipes = candidates * (_RECIPE + weights / _WRITE)
    low, high = recipes / 2 + runs * fastest, recipes * 2 + runs * slowest
    largest = max((_floats(graph) for graph in report.graphs), default=0)
    live = max((round(ARENA * graph.activations.known) for graph in report.graphs), default=0)
    return JobEstimate(
        seconds_low=round(min(low, budget or low), 1),
        seconds_high=round(min(high, budget or high), 1),
        memory_low=_CHILD + largest + live // 2,
        memory_high=_CHILD + 3 * largest + 2 * live,
        rate=rate,
        run_seconds=round((fastest * slowest) ** 0.5, 6),
    )


def run_seconds(graph: GraphReport, rate: float) -> tuple[float, float]:
    """Seconds of one run at the report's sizes, at best and at worst."""
    read = graph.kept.packed + graph.kept.convolutions + graph.kept.other
    speeds = (_FASTER, _slowness(graph))
    low, high = (
        max(graph.flops.known / (rate * speed), read / bandwidth) + graph.live_nodes * node
        for speed, bandwidth, node in zip(speeds, _BANDWIDTH, _NODE, strict=True)
    )
    return low, high


def _slowness(graph: GraphReport) -> float:
    return _DYNAMIC if "ConvInteger" in graph.operators else _SLOWER


def _floats(graph: GraphReport) -> int:
    """Bytes of the weights in float32, in which recipes take them."""
    return 4 * graph.parameters.total.count


@cache
def measured_rate() -> float:
    """Operations a second of one thread of ONNX Runtime in a product of matrices, the best of some."""
    import onnxruntime as ort

    from deployer.server.model import session_options

    rows, width, out = 128, 384, 1536
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, out])],
        [numpy_helper.from_array(np.ones((width, out), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), session_options(1))
    feeds = {"x": np.ones((rows, width), np.float32)}
    best = float("inf")
    for _ in range(20):
        began = time.thread_time()
        session.run(None, feeds)
        best = min(best, max(time.thread_time() - began, 1e-6))
    return 2 * rows * width * out / best
