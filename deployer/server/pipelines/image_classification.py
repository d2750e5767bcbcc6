"""Labels for pictures, by one ONNX graph whose preprocessing stands in the options.

- `resize`: [h, w] of the whole picture, or `resize_short`: n with its sides kept in proportion; then
  `crop`: n or [h, w] from the centre. `filter`: nearest, bilinear, bicubic or lanczos.
- `scale`, `mean`, `std`, `channels`, `layout`, and Hugging Face's names: see
  `deployer.server.vision.preparation`.
- `jpeg`: true squeezes the picture through JPEG after `resize`, which networks trained on Caffe's files
  expect.
- `activation`: softmax, sigmoid (labels that do not exclude each other), none, or auto (none when the scores
  are probabilities already). `top_k`: how many labels are answered unless the caller says.
- Labels: see `deployer.server.labels`; `label_titles`: {label: {"zh", "en"}} for people, passed on in the
  schema.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.fields import Body, int_field
from deployer.server.labels import labels_of
from deployer.server.model import Model
from deployer.server.options import one_of, pair
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.scores import ACTIVATIONS, probabilities
from deployer.server.vision.images import FIELD, image_field, resize_short
from deployer.server.vision.preparation import FILTERS, Pixels, picture_options

_MOST_LABELS = 1000


class ImageClassifier(GraphPredictor):
    """One graph from a picture to scores."""

    task = "image-classification"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.labels = labels_of(model, self.graph)
        width = self.outputs[0].shape[-1] if self.outputs[0].shape else -1
        if width not in (-1, len(self.labels)):
            raise BadModel(f"the graph gives {width} scores for {len(self.labels)} labels")
        options = picture_options(model)
        self.pixels = Pixels(options, self.inputs[0])
        self.activation = one_of(options, "activation", ACTIVATIONS)
        self.filter = FILTERS[one_of(options, "filter", ("bilinear", *FILTERS))]
        self.jpeg = bool(options.get("jpeg", False))
        self.size, self.short, self.crop = _sizes(options, self.pixels.size)
        self.top_k = options.get("top_k", 5)
        if type(self.top_k) is not int or not 1 <= self.top_k <= _MOST_LABELS:
            raise BadModel(f"options.top_k is {self.top_k!r}, not a number of labels")
        self.schema = {
            "type": "object",
            "required": ["image"],
            "x-field": "image",
            "x-labels": self.labels,
            "x-label-titles": options.get("label_titles", {}),
            "properties": {
                "image": FIELD,
                "top_k": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": _MOST_LABELS,
                    "default": self.top_k,
                },
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The `top_k` likeliest labels, the likeliest first."""
        count = int_field(body, "top_k", self.top_k, least=1, most=_MOST_LABELS)
        pixels = self.pixels(self.prepare(image_field(body)))
        name = self.outputs[0].name
        scores = (yield from self.run({self.inputs[0].name: pixels}, [name]))[name]
        likely = probabilities(scores.reshape(len(self.labels)), self.activation)
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


def _sizes(options: dict[str, Any], own: tuple[int, int]) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """Size of the whole (unless by its short side), short side or 0, size of the crop for the graph."""
    short = options.get("resize_short")
    if short is not None:
        size = crop = pair(options.get("crop", list(own)), "crop")
        if max(crop) > pair(short, "resize_short")[0]:
            raise BadModel(f"options.crop {list(crop)} is larger than resize_short {short}")
    else:
        size = pair(options.get("resize", list(own)), "resize")
        crop = pair(options.get("crop", list(size)), "crop")
        if crop[0] > size[0] or crop[1] > size[1]:
            raise BadModel(f"options.crop {list(crop)} is larger than resize {list(size)}")
    if any(axis not in (-1, side) for axis, side in zip(own, crop, strict=True)):
        raise BadModel(f"the graph takes pictures of {list(own)}, the options make {list(crop)}")
    return size, short or 0, crop
