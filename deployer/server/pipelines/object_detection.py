"""object-detection: what there is in a picture and where, by one ONNX graph.

options.decoder says what the graph gives:
- `boxes`: boxes [n, 4] with scores [n] and labels [n], for graphs with their own suppression of doubles, or
  scores [n, classes] as DETR's. `outputs`: {"boxes", "scores", "labels"} names them where their names do not
  say it. `box`: xyxy, xywh (corner and size), cxcywh (centre and size) or yxyx; `normalized`: true for shares
  of the picture instead of pixels; `activation`: none, sigmoid or softmax.
- `picodet`: the raw outputs of PaddleDetection's PicoDet.

Pictures: `fit` is stretch, letterbox (in the middle, on grey `fill`) or corner (at the top left); `resize`:
[h, w] where the graph leaves it free; `size_input` names an input for the picture's width and height; the
rest stands in `deployer.server.vision.preparation`. Defaults of the request: `min_score`, `max_overlap`.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.fields import Body, float_field
from deployer.server.labels import labels_of, names_of
from deployer.server.model import Model
from deployer.server.options import one_of, pair
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.vision.detection import FITS, Boxes, Decoder, PicoDet, pick, place
from deployer.server.vision.images import FIELD, image_field
from deployer.server.vision.preparation import FILTERS, Pixels, picture_options

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # what PicoDet is trained with
_FRACTION = {"type": "number", "minimum": 0, "maximum": 1}


class Found(NamedTuple):
    """One thing in a picture; its box [4] is in the picture's own pixels."""

    label: str
    score: float
    box: Array


class ObjectDetector(GraphPredictor):
    """One graph from a picture to boxes."""

    task = "object-detection"
    decoders = ("boxes", "picodet")

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        options = picture_options(model)
        self.labels, self.decoder = self._decoder(model, options)
        raw = isinstance(self.decoder, PicoDet)
        self.pixels = Pixels(options, self.inputs[0], **(_IMAGENET if raw else {}))
        self.size = self._size(options)
        self.size_input = self._size_input(options)
        self.fit = one_of(options, "fit", FITS)
        self.fill = int(options.get("fill", 114))
        self.filter = FILTERS[one_of(options, "filter", ("bilinear", *FILTERS))]
        self.least = float(options.get("min_score", 0.5))
        self.overlap = float(options.get("max_overlap", 0.5 if raw else 1.0))
        if not (0 <= self.least <= 1 and 0 <= self.overlap <= 1 and 0 <= self.fill <= 255):
            raise BadModel("options.min_score and max_overlap go from 0 to 1, fill from 0 to 255")
        self.schema = {
            "type": "object",
            "required": ["image"],
            "x-field": "image",
            "x-labels": [label for label in self.labels if label],
            "x-label-titles": options.get("label_titles", {}),
            "properties": {
                "image": FIELD,
                "min_score": {**_FRACTION, "default": self.least},
                "max_overlap": {**_FRACTION, "default": self.overlap},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Things from the highest score down, with boxes in the picture's own pixels."""
        picture = image_field(body)
        found = yield from self.find(picture, body)
        sides = ("xmin", "ymin", "xmax", "ymax")
        results = [
            {
                "label": one.label,
                "score": round(one.score, 4),
                "box": dict(zip(sides, np.round(one.box, 1).tolist(), strict=True)),
            }
            for one in found
        ]
        return {"results": results, "width": picture.width, "height": picture.height}

    def find(self, picture: Image.Image, body: Body) -> Work[list[Found]]:
        """What there is with at least body.min_score, from the highest score down."""
        least = float_field(body, "min_score", self.least, least=0, most=1)
        overlap = float_field(body, "max_overlap", self.overlap, least=0, most=1)
        placed = place(picture, self.size, self.fit, self.filter, self.fill)
        feeds = {self.inputs[0].name: self.pixels(placed.picture)}
        if self.size_input:
            feeds[self.size_input] = np.array([self.size[::-1]], np.int64)
        answer = yield from self.run(feeds, self.decoder.outputs)
        scores, boxes = self.decoder.decode(answer, self.size)
        boxes = placed.back(boxes)
        kept = pick(scores, boxes, least, overlap)
        found = [Found(self.labels[label], float(scores[row, label]), boxes[row]) for label, row in kept]
        return [one for one in found if one.label and (one.box[2:] > one.box[:2]).all()]

    def _decoder(self, model: Model, options: dict[str, Any]) -> tuple[list[str], Decoder]:
        """Names by number, empty where a number has none, and what reads the outputs."""
        if one_of(options, "decoder", self.decoders) == "picodet":
            labels = labels_of(model, self.graph)
            return labels, PicoDet(self.outputs, len(labels))
        names = names_of(model, self.graph)
        if not names:
            raise BadModel("no labels: give a file `labels`, options.labels or metadata in the graph")
        labels = [names.get(number, "") for number in range(max(names) + 1)]
        return labels, Boxes(options, self.outputs, len(labels))

    def _size(self, options: dict[str, Any]) -> tuple[int, int]:
        own = self.pixels.size
        if min(own) < 1 and "resize" not in options:
            raise BadModel(
                f"the graph takes {self.inputs[0]}, not pictures of a fixed size: give options.resize"
            )
        size = pair(options.get("resize", list(own)), "resize")
        if any(axis not in (-1, side) for axis, side in zip(own, size, strict=True)):
            raise BadModel(f"options.resize is {list(size)}, the graph takes {self.inputs[0]}")
        return size

    def _size_input(self, options: dict[str, Any]) -> str:
        name = options.get("size_input", "")
        known = {spec.name for spec in self.inputs[1:]}
        if known != ({name} if name else set()):
            raise BadModel(f"the graph also takes {sorted(known)}; options.size_input is {name!r}")
        return str(name)


def load(model: Model) -> ObjectDetector:
    """Read the file `model`, its labels and options."""
    return ObjectDetector(model)
