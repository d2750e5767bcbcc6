"""Folders for the browser, made once for all tests of a run, and small models of every covered task."""

import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from deployer.packager.release import Release, Workshop, of_folder
from deployer.terminals import browser
from tests.shelf_files import cache_dir, model_dir

Value = onnx.ValueInfoProto
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@functools.cache
def _folders() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="packed-for-browser-")


def workshop() -> Workshop:
    """A workshop whose npm packages are kept between test runs."""
    return Workshop(cache_dir() / "packed")


def site(release: Release) -> Path:
    """The folder that is made of a release."""
    folder = Path(_folders().name) / release.digest[-16:]
    if not folder.exists():
        folder.mkdir(parents=True)
        browser.build(workshop(), release, folder)
    return folder


def shelf(name: str) -> Release:
    """A starter listing as a bare release."""
    return of_folder(model_dir(name))


def value(name: str, kind: int, *shape: int | str) -> Value:
    return helper.make_tensor_value_info(name, kind, shape)


def small(
    folder: Path,
    task: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    weights: Mapping[str, Any],
    options: Mapping[str, Any],
    tokenizer: Tokenizer | None = None,
) -> Release:
    """A release around a graph of a few nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(list(nodes), "small", list(inputs), list(outputs), kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    files = {"model": "model.onnx"}
    if tokenizer is not None:
        files["tokenizer"] = "tokenizer.json"
        tokenizer.save(str(folder / "tokenizer.json"))
    manifest = {
        "schema": 1,
        "name": f"test/small-{task}",
        "version": "1.0.0",
        "task": task,
        "files": files,
        "options": dict(options),
        "examples": [],
        "artifacts": [_entry(folder / name) for name in files.values()],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return of_folder(folder)


def _entry(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"path": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def segmenter(folder: Path, **options: Any) -> Release:
    """Three labels that exclude each other, by colour."""
    weights = {"w": np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1) * 4}
    return small(
        folder,
        "image-segmentation",
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        [value("x", FLOAT, 1, 3, 24, 32)],
        [value("y", FLOAT, 1, 3, 24, 32)],
        weights,
        {"labels": ["red", "green", "blue"], "background": ["blue"], **options},
    )


def detector(folder: Path, fit: str) -> Release:
    """Boxes whose scores hang on the picture's colours, two of them doubles."""
    boxes = np.float32([[2, 2, 20, 20], [3, 3, 21, 21], [10, 8, 30, 22], [0, 0, 6, 6], [12, 2, 18, 22]])
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["colours"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["colours", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["scores"]),
        helper.make_node("Identity", ["b"], ["boxes"]),
    ]
    spread = np.random.default_rng(5).uniform(0.1, 0.6, (3, 10)).astype(np.float32)
    return small(
        folder,
        "object-detection",
        nodes,
        [value("x", FLOAT, 1, 3, 24, 32)],
        [value("boxes", FLOAT, 5, 4), value("scores", FLOAT, 5, 2)],
        {"w": spread, "shape": np.int64([5, 2]), "b": boxes},
        {"labels": ["cup", "plate"], "fit": fit, "min_score": 0.2, "max_overlap": 0.5, "activation": "none"},
    )


def classifier_of_rows(folder: Path) -> Release:
    columns = [
        {"name": "age", "type": "number"},
        {"name": "city", "categories": ["北京", "上海", "深圳"], "encode": "one-hot", "default": None},
        {"name": "member", "type": "boolean", "default": False},
    ]
    return small(
        folder,
        "tabular-classification",
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        [value("x", FLOAT, "n", 5)],
        [value("scores", FLOAT, "n", 3)],
        {"w": np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32) / 10},
        {"columns": columns, "labels": ["low", "middle", "high"], "activation": "softmax"},
    )


def regression_of_rows(folder: Path) -> Release:
    return small(
        folder,
        "tabular-regression",
        [
            helper.make_node("Cast", ["n"], ["whole"], to=FLOAT),
            helper.make_node("Mul", ["whole", "x"], ["y"]),
        ],
        [value("n", INT64, "rows", 1), value("x", FLOAT, "rows", 1)],
        [value("y", FLOAT, "rows", 1)],
        {},
        {},
    )


def any_tensors(folder: Path) -> Release:
    return small(
        folder,
        "tensors",
        [
            helper.make_node("Add", ["a", "a"], ["twice"]),
            helper.make_node("Greater", ["b", "zero"], ["positive"]),
        ],
        [value("a", INT64, "n", 2), value("b", FLOAT, "m")],
        [value("twice", INT64, "n", 2), value("positive", TensorProto.BOOL, "m")],
        {"zero": np.float32(0)},
        {},
    )


def classifier_of_texts(folder: Path, model: Any = models.WordPiece) -> Release:
    """Two labels out of the sum of a text's tokens; the page knows no tokenizers of the kind WordLevel."""
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "very", "好", "坏", "-", "##ly", "##s"]
    tokenizer = Tokenizer(model({word: id for id, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["rows", "wide"], ["told"]),
        helper.make_node("ReduceSum", ["told", "one"], ["logits"], keepdims=0),
    ]
    return small(
        folder,
        "text-classification",
        nodes,
        [value("input_ids", INT64, "n", "t"), value("attention_mask", INT64, "n", "t")],
        [value("logits", FLOAT, "n", 2)],
        {
            "table": np.random.default_rng(3).normal(size=(len(known), 2)).astype(np.float32) / 4,
            "last": np.int64([-1]),
            "one": np.int64([1]),
        },
        {"labels": ["bad", "good"], "max_tokens": 12},
        tokenizer,
    )
