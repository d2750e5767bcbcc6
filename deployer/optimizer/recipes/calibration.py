"""The range of every value that is to be quantised, from real inputs, in bounded memory.

ONNX Runtime's own calibrators keep all values of all inputs. Here the graph itself reduces each value to its
least, its largest, and a sample along a stride: one pass for all methods, a few megabytes whatever the size.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.guards import cause, session, session_options
from deployer.optimizer.recipes.protocol import Feeds, Refused, save

if TYPE_CHECKING:
    import onnxruntime

SAMPLES = 32 << 20  # bytes of samples over all values
MOST = 1 << 16  # samples of one value
BINS = 2048
LEVELS = 128
PERCENTILE = 99.99
FEEDS = 32  # that are looked at
SECONDS = 5.0  # of CPU, after which no more than FEW of them are
FEW = 4

Range = tuple[float, float]
Values = tuple[float, float, NDArray[np.float32]]
"""Least, largest, and a sample of a value."""


def observe(
    model: ModelProto, names: Sequence[str], feeds: Sequence[Feeds], folder: Path
) -> dict[str, Values]:
    """What the named fp32 values are on these inputs; values that were never a finite number are left out."""
    if not feeds:
        raise Refused(
            "no-calibration-data", "the recipe needs real inputs of the graph", "此配方需要该图的真实输入"
        )
    feeds = _spread(feeds)
    each = max(64, min(MOST, SAMPLES // 4 // max(len(names), 1)) // len(feeds))
    path = folder / "observed.onnx"
    save(_augmented(model, names, each), path)
    seen: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    least = dict.fromkeys(names, np.inf)
    largest = dict.fromkeys(names, -np.inf)
    wanted = [f"{name}{tail}" for name in names for tail in ("|min", "|max", "|some")]
    try:
        running = session(path, _eager())
        began = time.process_time()
        for count, feed in enumerate(feeds):
            if count >= FEW and time.process_time() - began > SECONDS:
                break
            results = running.run(wanted, feed)
            for index, name in enumerate(names):
                low, high, some = results[3 * index : 3 * index + 3]
                least[name] = min(least[name], float(low.min(initial=np.inf)))
                largest[name] = max(largest[name], float(high.max(initial=-np.inf)))
                seen[name].append(some)
    except Exception as error:
        raise Refused(
            "calibration-failed",
            f"the graph does not run on the calibration inputs: {cause(error)}",
            f"该图无法在校准输入上运行：{cause(error)}",
        ) from error
    finally:
        path.unlink(missing_ok=True)
        path.with_suffix(".bin").unlink(missing_ok=True)
    return {
        name: (least[name], largest[name], np.concatenate(seen[name]))
        for name in names
        if np.isfinite(least[name]) and np.isfinite(largest[name])
    }


def _eager() -> "onnxruntime.SessionOptions":
    """Settings under which a value is reduced as soon as it is there, not kept to the end of the run."""
    import onnxruntime as ort

    settings = session_options()
    settings.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    return settings


def _spread(feeds: Sequence[Feeds]) -> list[Feeds]:
    """Up to FEEDS inputs from all over the list, none beside its neighbour."""
    some = list(feeds[:: -(-len(feeds) // FEEDS)])
    return some[::2] + some[1::2]


def _augmented(model: ModelProto, names: Sequence[str], each: int) -> ModelProto:
    out = ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    del graph.output[:]
    integers = {"|flat": [-1], "|zero": [0], "|one": [1], "|each": [each], "|two": [2]}
    graph.initializer.extend(
        graphs.make_tensor(np.array(value, np.int64), name) for name, value in integers.items()
    )
    for name in names:
        graph.node.extend(_reduction(name))
        graph.output.extend(
            helper.make_tensor_value_info(f"{name}{tail}", TensorProto.FLOAT, None)
            for tail in ("|min", "|max", "|some")
        )
    return out


def _reduction(name: str) -> list[onnx.NodeProto]:
    """Nodes that reduce one value; the stride is odd, so as not to walk along one channel or column."""
    flat, step = f"{name}|all", f"{name}|step"
    node = helper.make_node
    return [
        node("Reshape", [name, "|flat"], [flat]),
        node("ReduceMin", [flat], [f"{name}|min"], keepdims=1),
        node("ReduceMax", [flat], [f"{name}|max"], keepdims=1),
        node("Shape", [flat], [f"{name}|size"]),
        node("Div", [f"{name}|size", "|each"], [f"{name}|ratio"]),
        node("Div", [f"{name}|ratio", "|two"], [f"{name}|half"]),
        node("Mul", [f"{name}|half", "|two"], [f"{name}|even"]),
        node("Add", [f"{name}|even", "|one"], [step]),
        node("Slice", [flat, "|zero", f"{name}|size", "|zero", step], [f"{name}|some"]),
    ]


def minmax(values: Values) -> Range:
    """From the least to the largest."""
    return values[0], values[1]


def percentile(values: Values) -> Range:
    """All but one in ten thousand at either end."""
    low, high = np.percentile(values[2], [100 - PERCENTILE, PERCENTILE])
    return float(low), float(high)


def least_error(values: Values) -> Range:
    """The range that costs the least squared error on the sample: outliers are cut off where it pays."""
    low, high, sample = values
    if high <= low:
        return low, high
    some = sample[:: max(1, len(sample) // 8192)].astype(np.float64)
    best, chosen = np.inf, (low, high)
    for share in np.linspace(1.0, 0.3, 29):
        start, end = min(low * share, 0.0), max(high * share, 0.0)
        scale = (end - start) / 255 or 1.0
        zero = np.rint(-start / scale)
        written = (np.clip(np.rint(some / scale) + zero, 0, 255) - zero) * scale
        error = float(np.square(written - some).sum())
        if error < best:
            best, chosen = error, (start, end)
    return chosen


def entropy(values: Values) -> Range:
    """The range whose histogram, in LEVELS steps, loses the least information (as TensorRT has it).

    ONNX Runtime's calibrator has as many bins as levels by default, and so always keeps the whole range.
    """
    low, high, sample = values
    if high <= low:
        return low, high
    end = max(abs(low), abs(high))
    counts = np.histogram(sample, BINS, range=(-end, end))[0].astype(np.float64)
    middle = BINS // 2
    # Zeros of a ReLU are exact in any range, and would drown the rest.
    counts[middle - 1 : middle + 1] = counts[[middle - 2, middle + 1]]
    best, chosen = np.inf, middle
    for half in range(LEVELS // 2, middle + 1, LEVELS // 16):
        loss = _divergence(counts, middle - half, middle + half)
        if loss < best:
            best, chosen = loss, half
    cut = end * chosen / middle
    return max(low, -cut), min(high, cut)


def _divergence(counts: NDArray[np.float64], start: int, stop: int) -> float:
    """What is lost when the bins from start to stop are told apart in LEVELS steps only."""
    inside = counts[start:stop]
    cut = inside.copy()
    cut[0] += counts[:start].sum()
    cut[-1] += counts[stop:].sum()
    starts = np.linspace(0, len(inside), LEVELS, endpoint=False).astype(int)
    there = (cut > 0).astype(np.float64)
    sums, bins = np.add.reduceat(inside, starts), np.add.reduceat(there, starts)
    widths = np.diff(np.append(starts, len(inside)))
    coarse = np.repeat(sums / np.maximum(bins, 1), widths) * there
    p, q = cut / max(cut.sum(), 1), coarse / max(coarse.sum(), 1)
    used = p > 0
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))).sum())


Method = Callable[[Values], Range]
METHODS: dict[str, Method] = {
    "minmax": minmax,
    "percentile": percentile,
    "entropy": entropy,
    "least-error": least_error,
}
