"""What a phone is given of a model: its graph in .ort form, constants for the sample's code, further files.

Runs in a child that is shut in (see `deployer.optimizer.worker`), since it opens the model. All is read off
the very pipeline that serves the model, so that the phone prepares its inputs as the server does.

Constants are plain values by their name in the sample's code: texts, numbers, flags, lists of numbers or of
texts, and tensors as {"name", "datatype", "shape"}.
"""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.graph import Outputs, Run
from deployer.server.model import Model
from deployer.server.pipelines.feature_extraction import FeatureExtraction
from deployer.server.pipelines.image_classification import ImageClassifier
from deployer.server.pipelines.image_segmentation import ImageSegmenter
from deployer.server.pipelines.tabular_regression import TabularRegression
from deployer.server.pipelines.tensors import Tensors
from deployer.server.pipelines.text_classification import TextClassification
from deployer.server.predictor import GraphPredictor, finish, of_model
from deployer.server.text.features import NgramAnalyzer
from deployer.server.vision.preparation import FILTERS, Pixels
from deployer.spec import Progress, silent
from deployer.terminals.phone_graph import accepted, answers, refused, suits, write_operators, write_ort

Constants = dict[str, Any]
Known = (
    ImageClassifier | ImageSegmenter | TextClassification | FeatureExtraction | TabularRegression | Tensors
)
KINDS = (ImageClassifier, ImageSegmenter, TextClassification, FeatureExtraction, TabularRegression, Tensors)
NOT_WRITTEN = (
    "the samples have no code yet that prepares this task's inputs",
    "示例工程中还没有为这种任务准备输入的代码",
)

MODEL, CONFIG = "model.ort", "model.required_operators_and_types.config"
LABELS, VOCABULARY = "labels.tsv", "vocab.txt"
MOST_CELLS = 4096  # values of an input that are written out as an example
EXAMPLE = "example.txt"
CARRIED = ("FP32", "INT64", "INT32", "UINT8", "BYTES")
"""The types of tensors that the samples carry, which are those of both phones' bindings."""


def prepare(folder: Path | str, out: Path | str, device: str, progress: Progress = silent) -> dict[str, Any]:
    """Write the model's files for a phone into `out`; returns the sample's kinds, constants and checks.

    Raises TerminalNotSupported for what the sample's code or the phone's runtime cannot take.
    """
    folder, out = Path(folder), Path(out)
    model = Model.open(folder)
    graph = accepted(model, device)
    try:
        predictor = of_model(model)
    except BadModel as error:
        raise refused(device, model, str(error)[:300], "服务器也无法加载这个模型") from error
    if not isinstance(predictor, KINDS):
        raise refused(device, model, *NOT_WRITTEN)
    kinds, constants = _described(device, model, predictor, out)
    progress(1, 4, "ort")
    written = write_ort(device, model, graph, out / MODEL)
    progress(2, 4, "operators")
    operators = write_operators(written, out / CONFIG)
    progress(3, 4, "suitability")
    accelerator, verdict = suits(device, graph)
    progress(4, 4, "examples")
    checks = answers(model, predictor, written)
    example = _example(model, predictor, kinds[0], out)
    return {
        "kinds": kinds,
        "constants": {**constants, "EXAMPLE": example},
        "operators": operators,
        "accelerator": accelerator,
        "suits": verdict,
        **checks,
    }


def _example(model: Model, predictor: Known, kind: str, out: Path) -> str:
    """Write what the app starts with, a picture, a text or lines of tensors; the file's name, "" for none."""
    examples = model.manifest.get("examples") or []
    request = dict(examples[0]["request"]) if examples else {}
    if kind == "picture":
        return _picture(request, out)
    text = _text(request) if kind == "text" else _lines(predictor, request)
    (out / EXAMPLE).write_text(text, encoding="utf-8")
    return EXAMPLE


def _text(request: dict[str, Any]) -> str:
    given = [request.get("text", request.get("source", "")), request.get("sentences", [])]
    return "\n".join(text for one in given for text in ([one] if isinstance(one, str) else one))


def _lines(predictor: Known, request: dict[str, Any]) -> str:
    feeds: dict[str, Any] = {}

    def watch(run: Run) -> Outputs:
        feeds.update(run.feeds)
        return run.graph.run(run)

    if request:
        finish(predictor.predict(request), watch)
    return "\n".join(f"{name} = {', '.join(cells)}" for name, cells in _cells(predictor, feeds))


def _cells(predictor: Known, feeds: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The values of each input as texts; zeros where nothing is known or there are too many."""
    found = []
    for spec in predictor.inputs:
        array = feeds.get(spec.name)
        if array is None or array.size > MOST_CELLS:
            count = int(np.prod([max(axis, 1) for axis in spec.shape]))
            array = np.zeros(min(count, MOST_CELLS), np.int64)
        found.append((spec.name, [" ".join(str(cell).split()) for cell in np.asarray(array).reshape(-1)]))
    return found


def _picture(request: dict[str, Any], out: Path) -> str:
    given = request.get("image")
    text = given.get("base64", "") if isinstance(given, dict) else given
    if not isinstance(text, str) or not text:
        return ""
    data = base64.b64decode(text.rpartition(",")[2])
    name = "example.png" if data.startswith(b"\x89PNG") else "example.jpg"
    (out / name).write_bytes(data)
    return name


# What the code must know


def _described(device: str, model: Model, predictor: Known, out: Path) -> tuple[list[str], Constants]:
    """The parts of the sample's code that this model needs, and their constants; writes labels and words."""
    described: list[tuple[type, Callable[..., tuple[list[str], Constants]]]] = [
        (ImageClassifier, _classifier),
        (ImageSegmenter, _segmenter),
        (TextClassification, _text_classifier),
        (FeatureExtraction, _encoder),
        (GraphPredictor, _tensors),
    ]
    describe = next(one for kind, one in described if isinstance(predictor, kind))
    kinds, constants = describe(device, model, predictor, out)
    used = [spec for spec in predictor.outputs if constants.get("OUTPUT", spec.name) == spec.name]
    for spec in [*predictor.inputs, *used]:
        if spec.datatype not in CARRIED:
            why = f"the samples carry no tensor of {spec.datatype}"
            raise refused(device, model, why, f"示例工程不支持 {spec.datatype} 张量")
    tensors = {"INPUTS": _specs(predictor.inputs), "OUTPUTS": _specs(predictor.outputs)}
    return kinds, {"TASK": model.task, **tensors, **constants}


def _specs(specs: list[Any]) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in specs]


def _classifier(
    device: str, model: Model, predictor: ImageClassifier, out: Path
) -> tuple[list[str], Constants]:
    _write_labels(predictor.labels, model, out)
    return ["picture", "labels", "classification"], {
        "OUTPUT": predictor.outputs[0].name,
        "WIDTH": predictor.size[1],
        "HEIGHT": predictor.size[0],
        "RESIZE_SHORT": predictor.short,
        "CROP_WIDTH": predictor.crop[1],
        "CROP_HEIGHT": predictor.crop[0],
        "JPEG": predictor.jpeg,
        **_pixels(predictor.pixels, predictor.filter),
        "ACTIVATION": predictor.activation,
        "TOP_K": predictor.top_k,
    }


def _segmenter(
    device: str, model: Model, predictor: ImageSegmenter, out: Path
) -> tuple[list[str], Constants]:
    _write_labels(predictor.labels, model, out)
    return ["picture", "labels", "segmentation"], {
        "OUTPUT": predictor.output.name,
        "WIDTH": predictor.size[1],
        "HEIGHT": predictor.size[0],
        **_pixels(predictor.pixels, predictor.filter),
        "ACTIVATION": predictor.activation,
        "OUTPUT_LAYOUT": predictor.layout,
        "NUMBERED": predictor.numbered,
        "EXCLUSIVE": predictor.exclusive,
        "THRESHOLD": predictor.threshold,
        "LEAST_AREA": predictor.least,
        "HIDDEN": [_line(label) for label in sorted(predictor.hidden)],
    }


def _pixels(pixels: Pixels, chosen: Any) -> Constants:
    return {
        "FILTER": next(name for name, one in FILTERS.items() if one == chosen),
        "CHANNELS": pixels.channels,
        "LAYOUT": pixels.layout,
        "SCALE": float(pixels.scale),
        "MEAN": list(pixels.mean),
        "STD": list(pixels.std),
    }


def _text_classifier(
    device: str, model: Model, predictor: TextClassification, out: Path
) -> tuple[list[str], Constants]:
    _write_labels(predictor.labels, model, out)
    constants: Constants = {"OUTPUT": predictor.outputs[0].name, "ACTIVATION": predictor.function}
    if predictor.analyzer is not None:
        return ["text", "labels", "ngrams", "scores"], {**constants, **_ngrams(predictor.analyzer)}
    assert predictor.encoder is not None
    words = _wordpiece(device, model, predictor.encoder.max_tokens, out)
    return ["text", "labels", "wordpiece", "scores"], {**constants, **words}


def _encoder(
    device: str, model: Model, predictor: FeatureExtraction, out: Path
) -> tuple[list[str], Constants]:
    return ["text", "wordpiece", "vectors"], {
        "OUTPUT": predictor.output,
        "POOLING": predictor.pooling,
        "NORMALIZE": predictor.normalize,
        **_wordpiece(device, model, predictor.encoder.max_tokens, out),
    }


def _tensors(device: str, model: Model, predictor: Known, out: Path) -> tuple[list[str], Constants]:
    return ["tensors"], {}


def _ngrams(analyzer: NgramAnalyzer) -> Constants:
    return {
        "SHORTEST": analyzer.ngrams[0],
        "LONGEST": analyzer.ngrams[1],
        "BUCKETS": analyzer.buckets,
        "FORM": analyzer.normalize,
        "LOWERCASE": analyzer.lowercase,
    }


def _wordpiece(device: str, model: Model, most: int, out: Path) -> Constants:
    """The tokenizer's settings, its words written out; refuses any but BERT's."""
    from tokenizers import Tokenizer

    told = model.json("tokenizer")
    words, cleaning = told.get("model") or {}, told.get("normalizer") or {}
    splitter = (told.get("pre_tokenizer") or {}).get("type")
    ends = Tokenizer.from_file(str(model.path("tokenizer")))
    ends.no_padding()
    ids = ends.encode("").ids
    kinds = (words.get("type"), words.get("continuing_subword_prefix", "##"), cleaning.get("type"), splitter)
    if kinds != ("WordPiece", "##", "BertNormalizer", "BertPreTokenizer") or len(ids) != 2:
        why = "its tokenizer is not BERT's WordPiece, which alone the samples speak"
        raise refused(device, model, why, "示例工程只实现了 BERT 的 WordPiece 分词器，这个模型用的是另一种")
    vocabulary: dict[str, int] = words["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    if sorted(vocabulary.values()) != list(range(len(pieces))) or any("\n" in piece for piece in pieces):
        raise refused(device, model, "its tokenizer's ids leave gaps", "它的分词器编号不连续")
    (out / VOCABULARY).write_text("\n".join(pieces), encoding="utf-8")
    lowercase, strip = bool(cleaning.get("lowercase", True)), cleaning.get("strip_accents")
    return {
        "FIRST": ids[0],
        "LAST": ids[1],
        "UNKNOWN": vocabulary[words["unk_token"]],
        "MOST_TOKENS": most,
        "LONGEST_WORD": int(words.get("max_input_chars_per_word", 100)),
        "SPLIT_CHINESE": bool(cleaning.get("handle_chinese_chars", True)),
        "STRIP_ACCENTS": lowercase if strip is None else bool(strip),
        "LOWERCASE": lowercase,
    }


def _write_labels(labels: list[str], model: Model, out: Path) -> None:
    """Each label on its line: name, Chinese, English."""
    titles = model.options.get("label_titles") or {}
    lines = []
    for label in labels:
        told = titles.get(label) or {}
        lines.append("\t".join(_line(text) for text in (label, told.get("zh", label), told.get("en", label))))
    (out / LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(text: object) -> str:
    """A text on one line without tabs; never empty."""
    return " ".join(str(text).split()) or "–"
