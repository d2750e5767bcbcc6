"""image-segmentation: which part of a picture shows what, as masks of the picture's own size.

The graph gives a map of scores for each label, [n, labels, h, w] or by `output_layout` NHWC [n, h, w,
labels]; one label needs no axis of its own. Or it gives whole numbers of labels, [n, h, w]. Options:

- `labels`: see `deployer.server.labels`. `background`: labels that are not answered.
- `activation`: sigmoid (labels that do not exclude each other), softmax (that do), none, or auto (none when
  the scores are probabilities already, else sigmoid for one label and softmax for several).
- `output`: the graph's output, if not its first. `threshold`: from which probability on a pixel counts as the
  label's (0.5; 0 where labels exclude each other and the likeliest has it). `soft`: whether masks hold
  probabilities (0 … 255, so for one label) or only yes and no (255 and 0). `min_area`: labels that take a
  smaller share of the picture are not answered.
- `resize`: [h, w] where the graph leaves it free; the rest stands in `deployer.server.vision.preparation`.
"""

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.fields import Body, bool_field, float_field, int_field
from deployer.server.labels import labels_of
from deployer.server.model import Model
from deployer.server.options import one_of, pair
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.scores import ACTIVATIONS
from deployer.server.signature import Array, TensorSpec
from deployer.server.vision.images import FIELD, image_field
from deployer.server.vision.preparation import FILTERS, Pixels, picture_options

_MOST_LABELS = 1000
_MOST_MASKS = 32
_QUICK = 1  # zlib's level: a mask of 12 million pixels in a tenth of the time, and hardly larger


class Part(NamedTuple):
    """What of a picture is a label's: probabilities [h, w], which pixels are taken, and how sure they are."""

    label: str
    chances: Array
    taken: Array
    score: float
    exclusive: bool  # whether pixels are taken by being likelier than those of other labels


class ImageSegmenter(GraphPredictor):
    """One graph from a picture to maps of labels."""

    task = "image-segmentation"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        options = picture_options(model)
        self.labels = labels_of(model, self.graph)
        self.pixels = Pixels(options, self.inputs[0])
        self.size = _size(options, self.pixels.size)
        self.filter = FILTERS[one_of(options, "filter", ("bilinear", *FILTERS))]
        self.output = self._output(options)
        self.layout = one_of(options, "output_layout", ("NCHW", "NHWC"))
        self.activation = one_of(options, "activation", ACTIVATIONS)
        self.numbered = self.output.datatype.startswith(("INT", "UINT"))
        self.exclusive = self.numbered or (len(self.labels) > 1 and self.activation != "sigmoid")
        self._check_labels()
        self.hidden = frozenset(map(str, options.get("background", [])))
        self.threshold = float(options.get("threshold", 0.0 if self.exclusive else 0.5))
        self.soft = bool(options.get("soft", len(self.labels) == 1))
        self.least = float(options.get("min_area", 0))
        if not (0 <= self.threshold <= 1 and 0 <= self.least < 1 and self.hidden < set(self.labels)):
            raise BadModel("options.threshold and min_area go from 0 to 1; background names some labels")
        self.schema = {
            "type": "object",
            "required": ["image"],
            "x-field": "image",
            "x-labels": [label for label in self.labels if label not in self.hidden],
            "x-label-titles": options.get("label_titles", {}),
            "properties": {
                "image": FIELD,
                "threshold": {"type": "number", "minimum": 0, "maximum": 1, "default": self.threshold},
                "soft": {"type": "boolean", "default": self.soft},
                "top_k": {"type": "integer", "minimum": 1, "maximum": _MOST_MASKS, "default": 10},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The labels that are there with their masks, the largest first; a mask is a PNG of grey values."""
        threshold = float_field(body, "threshold", self.threshold, least=0, most=1)
        soft = bool_field(body, "soft", self.soft)
        count = int_field(body, "top_k", 10, least=1, most=_MOST_MASKS)
        picture = image_field(body)
        pixels = self.pixels(picture.resize((self.size[1], self.size[0]), self.filter))
        maps = (yield from self.run({self.inputs[0].name: pixels}, [self.output.name]))[self.output.name]
        parts = sorted(self.parts(maps, threshold), key=lambda part: -int(part.taken.sum()))[:count]
        return {
            "results": [
                {
                    "label": part.label,
                    "score": round(part.score, 6),
                    "area": round(float(part.taken.mean()), 6),
                    "mask": {"base64": mask(part, picture.size, threshold, soft=soft)},
                }
                for part in parts
            ],
            "width": picture.width,
            "height": picture.height,
        }

    def parts(self, maps: Array, threshold: float) -> list[Part]:
        """The labels that are there at all; `maps` is what the graph gives."""
        scores = self._single(maps).astype(np.int64) if self.numbered else self._chances(maps)
        likeliest = scores if self.numbered else scores.argmax(axis=0) if self.exclusive else None
        found = []
        for number, label in enumerate(self.labels):
            if label in self.hidden:
                continue
            mine = likeliest == number if likeliest is not None else True
            chances = np.asarray(mine, np.float32) if self.numbered else scores[number]
            taken = (chances >= threshold) & mine
            if taken.any() and taken.mean() >= self.least:
                score = float(chances[taken].mean(dtype=np.float64))
                found.append(Part(label, chances, taken, score, self.exclusive))
        return found

    def _chances(self, maps: Array) -> Array:
        """Probabilities [labels, h, w]."""
        scores = np.nan_to_num(np.asarray(maps, np.float32))
        scores = self._single(scores)[None] if len(self.labels) == 1 else scores[0]
        if len(self.labels) > 1 and self.layout == "NHWC":
            scores = scores.transpose(2, 0, 1)
        return _activated(scores, _guess(scores) if self.activation == "auto" else self.activation)

    def _single(self, maps: Array) -> Array:
        """The one map [h, w] of an output, wherever its axes of length 1 are."""
        high, wide = maps.shape[1:3] if maps.ndim == 4 and self.layout == "NHWC" else maps.shape[-2:]
        return maps.reshape(high, wide)

    def _output(self, options: dict[str, Any]) -> TensorSpec:
        name = options.get("output", self.outputs[0].name)
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise BadModel(f"options.output is {name!r}, not an output of the graph")

    def _check_labels(self) -> None:
        """The output must have a map for each label, or one for all where it gives their numbers."""
        shape, wanted = self.output.shape, 1 if self.numbered else len(self.labels)
        maps = 1
        if len(shape) == 4:
            maps = shape[1 if self.layout == "NCHW" else 3]
        if len(shape) not in (3, 4) or maps not in (-1, wanted) or len(self.labels) > _MOST_LABELS:
            raise BadModel(f"the graph gives {self.output}, not maps of {len(self.labels)} labels")


def load(model: Model) -> ImageSegmenter:
    """Read the file `model`, its labels and options."""
    return ImageSegmenter(model)


def mask(part: Part, size: tuple[int, int], threshold: float, *, soft: bool) -> str:
    """A part as a PNG of one grey channel and of `size` (width, height), in base64."""
    by_chance = soft or not part.exclusive
    values = part.chances if by_chance else part.taken
    grey = Image.fromarray(np.rint(values * np.float32(255)).astype(np.uint8))
    grey = grey.resize(size, Image.Resampling.BILINEAR)
    if not soft:
        least = threshold * 255 if by_chance else 127.5
        grey = grey.point([255 if value >= least else 0 for value in range(256)])
    buffer = io.BytesIO()
    grey.save(buffer, "PNG", compress_level=_QUICK)
    return base64.b64encode(buffer.getvalue()).decode()


def _size(options: dict[str, Any], own: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the picture that the graph sees."""
    size = pair(options.get("resize", list(own)), "resize")
    if any(axis not in (-1, side) for axis, side in zip(own, size, strict=True)):
        raise BadModel(f"the graph takes pictures of {list(own)}, options.resize makes {list(size)}")
    return size


def _guess(scores: Array) -> str:
    """How scores [labels, h, w] become probabilities, by their look."""
    sums = scores.sum(axis=0)
    if scores.min() >= 0 and scores.max() <= 1 and (len(scores) == 1 or np.abs(sums - 1).max() < 1e-2):
        return "none"
    return "sigmoid" if len(scores) == 1 else "softmax"


def _activated(scores: Array, how: str) -> Array:
    if how == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(scores / 2)))
    if how == "softmax":
        powers = np.exp(scores - scores.max(axis=0))
        return np.asarray(powers / powers.sum(axis=0))
    return np.clip(scores, 0, 1)
