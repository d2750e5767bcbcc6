"""Small real models and their rows, made here: what a search needs in a few seconds."""

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

INPUTS, HIDDEN, CLASSES = 48, 768, 8
SCATTER = 0.6  # of inputs around the middle of their class


def perceptron(folder: Path, *, seed: int = 0, spoil: float = 0.0) -> Path:
    """A model folder for the task tensors: three matrix products, 2.5 MB; returns its graph.

    Two layers of random features with a last one fitted to tell CLASSES clouds of points apart. `spoil`
    makes a few weights so much larger that int8 loses the others.
    """
    random = np.random.default_rng(seed)
    weights = [_random(random, INPUTS, HIDDEN), _random(random, HIDDEN, HIDDEN)]
    for weight in weights if spoil else []:
        weight.reshape(-1)[:: weight.size // 40] *= spoil
    known, truth = points(2000, seed=100)
    features: Floats = known
    for weight in weights:
        features = np.maximum(features @ weight, 0)
    squares = features.T @ features + 0.1 * np.trace(features.T @ features) / HIDDEN * np.eye(HIDDEN)
    wanted = features.T @ np.eye(CLASSES)[truth]
    weights.append(np.linalg.solve(squares, wanted).astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(weights), folder / "model.onnx")
    example = {"request": {"inputs": {"x": points(1)[0].tolist()}}, "expect": {}}
    files = {"model": "model.onnx"}
    manifest = {"task": "tensors", "files": files, "options": {}, "examples": [example]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder / "model.onnx"


def _random(random: np.random.Generator, wide: int, high: int) -> Floats:
    return (random.standard_normal((wide, high)) / np.sqrt(wide / 2)).astype(np.float32)


def _graph(weights: list[Floats]) -> onnx.ModelProto:
    nodes, last = [], "x"
    for number in range(len(weights)):
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"], f"matmul{number}"))
        last = f"m{number}"
        if number < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{number}"], f"relu{number}"))
            last = f"r{number}"
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", INPUTS])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(weight, f"w{number}") for number, weight in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def points(count: int, seed: int = 1) -> tuple[Floats, NDArray[np.int64]]:
    """Points [count, 48] of CLASSES clouds, and the cloud of each."""
    middles = np.random.default_rng(9).standard_normal((CLASSES, INPUTS))
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, count)
    scattered = middles[truth] + SCATTER * random.standard_normal((count, INPUTS))
    return scattered.astype(np.float32), truth


def data(path: Path, count: int = 400, *, labels: bool = True) -> Path:
    """A file of rows for the perceptron."""
    inputs, truth = points(count, seed=7)
    np.savez(path, x=inputs, **({"label": truth} if labels else {}))
    return path
