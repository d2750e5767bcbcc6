"""Regions of a page (titles, text, tables, figures …) by a PicoDet detector as ONNX.

The graph has two outputs for each of its strides: class scores [1, cells, classes], and for every cell the
distances to the box's four sides, each a distribution over 0 … n strides whose mean is the distance. Boxes
that overlap one of the same class with a higher score are dropped. Options: mean, std, scale, channels.
"""

from typing import Any

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.fields import Body, float_field
from deployer.server.geometry import reading_order
from deployer.server.images import FIELD, image_field, tensor
from deployer.server.model import Model
from deployer.server.pipelines.image_classification import labels_of
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array

_MOST_CELLS, _MOST_REGIONS = 1000, 100
_NORM = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "scale": 1 / 255, "channels": "RGB"}
_FRACTION = {"type": "number", "minimum": 0, "maximum": 1}


class LayoutDetector(GraphPredictor):
    """One graph from a page to boxes."""

    task = "document-layout"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.labels = labels_of(model, self.graph)
        shape = self.inputs[0].shape
        if len(shape) != 4 or min(shape[2:]) < 1:
            raise BadModel(f"the graph takes {list(shape)}, not pictures of a fixed size")
        self.size = (shape[2], shape[3])
        self.norm = {**_NORM, **{key: model.options[key] for key in _NORM if key in model.options}}
        half = len(self.outputs) // 2
        classes = {spec.shape[-1] for spec in self.outputs[:half]}
        if classes != {len(self.labels)} or len(self.outputs) != 2 * half:
            raise BadModel(f"the graph scores {sorted(classes)} classes for {len(self.labels)} labels")
        self.schema = {
            "type": "object",
            "required": ["image"],
            "x-field": "image",
            "x-labels": self.labels,
            "x-label-titles": model.options.get("label_titles", {}),
            "properties": {
                "image": FIELD,
                "min_score": {**_FRACTION, "default": 0.5},
                "max_overlap": {**_FRACTION, "default": 0.5},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Regions from the top to the bottom, with boxes in the picture's own pixels."""
        least = float_field(body, "min_score", 0.5, least=0, most=1)
        overlap = float_field(body, "max_overlap", 0.5, least=0, most=1)
        picture = image_field(body)
        pixels = tensor(picture.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR), **self.norm)
        answers = yield from self.run({self.inputs[0].name: pixels})
        scores, boxes = decode([answers[spec.name][0] for spec in self.outputs], self.size)
        ratio = np.array([picture.width / self.size[1], picture.height / self.size[0]] * 2)
        regions = []
        for label, kept in pick(scores, boxes, least, overlap):
            box = boxes[kept] * ratio
            region = {"label": self.labels[label], "score": round(float(scores[kept, label]), 4)}
            regions.append({**region, "box": np.round(box, 1).tolist()})
        if regions:
            order = reading_order(np.array([region["box"] for region in regions]))
            regions = [regions[index] for index in order]
        return {"regions": regions, "width": picture.width, "height": picture.height}


def load(model: Model) -> LayoutDetector:
    """Read the file `model`; its labels stand in the graph's metadata."""
    return LayoutDetector(model)


def decode(outputs: list[Array], size: tuple[int, int]) -> tuple[Array, Array]:
    """Class scores [n, classes] and boxes [n, 4] of the likeliest cells; `size` is the picture's h, w."""
    half = len(outputs) // 2
    all_scores, all_boxes = [], []
    for level, (scores, spread) in enumerate(zip(outputs[:half], outputs[half:], strict=True)):
        stride = 8 << level
        columns = -(-size[1] // stride)
        cells = np.argsort(-scores.max(axis=1), kind="stable")[:_MOST_CELLS]
        scores, spread = scores[cells], spread[cells].reshape(len(cells), 4, -1)
        powers = np.exp(spread - spread.max(axis=2, keepdims=True))
        reach = (powers / powers.sum(axis=2, keepdims=True)) @ np.arange(spread.shape[2]) * stride
        middle = np.stack([cells % columns, cells // columns] * 2, axis=1) * stride + stride / 2
        boxes = middle + reach * np.array([-1, -1, 1, 1])
        all_scores.append(scores)
        all_boxes.append(np.clip(boxes, 0, [size[1], size[0]] * 2))
    return np.concatenate(all_scores), np.concatenate(all_boxes)


def pick(scores: Array, boxes: Array, least: float, overlap: float) -> list[tuple[int, int]]:
    """(class, cell) of the boxes to keep: class by class from the highest score, without doubles."""
    kept: list[tuple[int, int]] = []
    for label in range(scores.shape[1]):
        rest = np.flatnonzero(scores[:, label] > least)
        rest = rest[np.argsort(-scores[rest, label], kind="stable")]
        while rest.size and len(kept) < _MOST_REGIONS:
            kept.append((label, int(rest[0])))
            rest = rest[1:][overlaps(boxes[rest[0]], boxes[rest[1:]]) <= overlap]
    return kept


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box [4] with others [n, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))
