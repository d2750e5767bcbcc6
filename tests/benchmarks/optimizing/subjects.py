"""The models that are optimised, each with its data."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import samples
from tests.shelf_files import model_dir


@dataclass(frozen=True)
class Subject:
    """A model folder and a data file, made when they are asked for."""

    name: str
    folder: Callable[[], Path]
    data: Callable[[], Path]
    quick: bool = False
    """Small enough to be searched again with other seeds."""
    limit: float = 0.0
    """Seconds that the job may take by the aims; 0 is none."""


def _shelf(name: str, *, rows: int = 0, quick: bool = False, limit: float = 0.0) -> Subject:
    return Subject(name, partial(model_dir, name), partial(samples.cached, name, rows=rows), quick, limit)


SHELF = {
    subject.name: subject
    for subject in (
        _shelf("zh-sentiment", quick=True),
        _shelf("vad-silero-6", quick=True),
        _shelf("filetype-magika", quick=True),
        _shelf("doc-orientation", quick=True, limit=180),
        _shelf("doc-layout-cdla", limit=180),
        _shelf("selfie-segmentation", quick=True),
        _shelf("nsfw-open"),
        _shelf("img-efficientnet-lite0"),
        _shelf("zh-lac-ner"),
        _shelf("en-minilm-l6-fp32", rows=500, limit=300),
        _shelf("ocr-ppocrv6-small"),
    )
}
"""Every model of the starter shelf that is not in int8 as it comes."""


def tiny(folder: Path) -> Subject:
    """A perceptron of three layers over bare tensors, with 400 rows that it mostly gets right."""
    chance = np.random.default_rng(0)
    sides = (32, 512, 512, 8)
    weights = [
        chance.normal(0, 1 / np.sqrt(a), (a, b)).astype(np.float32) for a, b in itertools.pairwise(sides)
    ]
    model, data = folder / "tiny", folder / "tiny.npz"
    model.mkdir(parents=True)
    onnx.save(_perceptron(weights), model / "model.onnx")
    (model / "manifest.json").write_text(
        '{"schema": 1, "name": "bench/tiny", "version": "1.0.0", "task": "tensors",'
        ' "files": {"model": "model.onnx"}, "options": {}, "examples": []}'
    )
    rows = chance.normal(0, 1, (4000, sides[0])).astype(np.float32)
    hidden = np.maximum(np.maximum(rows @ weights[0], 0) @ weights[1], 0) @ weights[2]
    best = np.sort(hidden, axis=1)
    sure = np.argsort(best[:, -2] - best[:, -1], kind="stable")[:400]  # no rounding moves these
    rows, hidden = rows[sure], hidden[sure]
    label = hidden.argmax(axis=1)
    wrong = chance.random(len(label)) < 0.1
    label[wrong] = chance.integers(0, sides[-1], wrong.sum())
    np.savez(data, x=rows, label=label.astype(np.int64))
    return Subject("tiny", lambda: model, lambda: data, quick=True)


def _perceptron(weights: list[np.ndarray]) -> onnx.ModelProto:
    nodes, name, last = [], "x", len(weights) - 1
    for place in range(len(weights)):
        out = "y" if place == last else f"m{place}"
        nodes.append(helper.make_node("MatMul", [name, f"w{place}"], [out], f"MatMul_{place}"))
        if place < last:
            name = f"r{place}"
            nodes.append(helper.make_node("Relu", [out], [name], f"Relu_{place}"))
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weights[0].shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", weights[-1].shape[1]])],
        [numpy_helper.from_array(array, f"w{place}") for place, array in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
