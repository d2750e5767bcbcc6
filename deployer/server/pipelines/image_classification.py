"""Labels for pictures, by one ONNX graph whose preprocessing stands in the options.

- `resize`: [h, w] of the whole picture, or `resize_short`: n with its sides kept in proportion; then
  `crop`: n or [h, w] from the centre. `filter`: nearest, bilinear, bicubic or lanczos.
- `scale`, `mean`, `std`: (pixel × scale - mean) / std, in the order of `channels` (RGB or BGR).
- `layout`: NCHW or NHWC. `jpeg`: true squeezes the picture through JPEG after `resize`, which networks
  trained on Caffe's files expect.
- `activation`: softmax, sigmoid, none, or auto (none when the scores are probabilities already).
- `labels`, or the file `labels`, or the graph's metadata (JSON in `labels`, lines in `character`);
  `label_titles`: {label: {"zh", "en"}} for people, passed on in the schema.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.fields import Body, int_field
from deployer.server.graph import Graph
from deployer.server.images import FIELD, image_field, resize_short, tensor
from deployer.server.model import Model, metadata
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array

_FILTERS = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")}
_ACTIVATIONS = ("auto", "softmax", "sigmoid", "none")


class ImageClassifier(GraphPredictor):
    """One graph from a picture to scores."""

    task = "image-classification"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.labels = labels_of(model, self.graph)
        options = model.options
        self.layout = _one_of(options, "layout", ("NCHW", "NHWC"))
        self.activation = _one_of(options, "activation", _ACTIVATIONS)
        self.filter = _FILTERS[_one_of(options, "filter", ("bilinear", *_FILTERS))]
        self.jpeg = bool(options.get("jpeg", False))
        self.size, self.short, self.crop = _sizes(options, self.inputs[0].shape, self.layout)
        self.norm = {
            "mean": options.get("mean", (0.0, 0.0, 0.0)),
            "std": options.get("std", (1.0, 1.0, 1.0)),
            "scale": float(options.get("scale", 1 / 255)),
            "channels": _one_of(options, "channels", ("RGB", "BGR")),
        }
        self.schema = {
            "type": "object",
            "required": ["image"],
            "x-field": "image",
            "x-labels": self.labels,
            "x-label-titles": options.get("label_titles", {}),
            "properties": {
                "image": FIELD,
                "top_k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 5},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The `top_k` likeliest labels, the likeliest first."""
        count = int_field(body, "top_k", 5, least=1, most=1000)
        pixels = tensor(self.prepare(image_field(body)), layout=self.layout, **self.norm)
        name = self.outputs[0].name
        scores = (yield from self.run({self.inputs[0].name: pixels}, [name]))[name]
        likely = probabilities(scores.reshape(-1), self.activation)
        if likely.size != len(self.labels):
            raise BadModel(f"the graph gives {likely.size} scores for {len(self.labels)} labels")
        best = np.argsort(-likely, kind="stable")[:count]
        return {"results": [{"label": self.labels[i], "score": round(float(likely[i]), 6)} for i in best]}

    def prepare(self, picture: Image.Image) -> Image.Image:
        """The picture at the size that the graph takes."""
        if self.short:
            return resize_short(picture, self.short, self.crop, self.filter)
        picture = picture.resize((self.size[1], self.size[0]), self.filter)
        if self.jpeg:
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG")
            picture = Image.open(buffer).convert("RGB")
        top, left = (self.size[0] - self.crop[0]) // 2, (self.size[1] - self.crop[1]) // 2
        return picture.crop((left, top, left + self.crop[1], top + self.crop[0]))


def load(model: Model) -> ImageClassifier:
    """Read the file `model` and its options."""
    return ImageClassifier(model)


def labels_of(model: Model, graph: Graph) -> list[str]:
    """The model's labels, or the lines of `character` in the metadata of PaddlePaddle's graphs."""
    lines = metadata(graph).get("character")
    if lines and not model.has("labels") and "labels" not in model.options:
        return [line for line in lines.split("\n") if line]
    return model.labels(graph)


def probabilities(scores: Array, activation: str = "auto") -> Array:
    """Scores [n] as probabilities; `auto` takes those that sum to one for such, others for logits."""
    scores = np.asarray(scores, np.float64)
    if activation == "auto":
        ready = scores.min() >= 0 and abs(float(scores.sum()) - 1) < 1e-3
        activation = "none" if ready else "softmax"
    if activation == "softmax":
        powers = np.exp(scores - scores.max())
        return np.asarray(powers / powers.sum())
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    return scores


def _one_of(options: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = options.get(name, choices[0])
    if value not in choices:
        raise BadModel(f"options.{name} is {value!r}, not one of {', '.join(choices)}")
    return str(value)


def _pair(value: Any, name: str) -> tuple[int, int]:
    """[h, w], or one number for both."""
    high, wide = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if not all(isinstance(side, int) and 1 <= side <= 4096 for side in (high, wide)):
        raise BadModel(f"options.{name} is {value!r}, not a size in pixels")
    return high, wide


def _sizes(
    options: dict[str, Any], shape: tuple[int, ...], layout: str
) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """Size of the whole (unless by its short side), short side or 0, size of the crop for the graph."""
    if len(shape) != 4:
        raise BadModel(f"the graph takes {list(shape)}, not a picture")
    own = shape[2:] if layout == "NCHW" else shape[1:3]
    short = options.get("resize_short")
    if short is not None:
        crop = _pair(options.get("crop", list(own)), "crop")
        if max(crop) > _pair(short, "resize_short")[0]:
            raise BadModel(f"options.crop {list(crop)} is larger than resize_short {short}")
        return crop, short, crop
    size = _pair(options.get("resize", list(own)), "resize")
    crop = _pair(options.get("crop", list(size)), "crop")
    if crop[0] > size[0] or crop[1] > size[1]:
        raise BadModel(f"options.crop {list(crop)} is larger than resize {list(size)}")
    return size, 0, crop
