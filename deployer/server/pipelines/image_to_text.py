"""Text in pictures: a detector finds lines, a recogniser reads them (PaddleOCR's PP-OCR models as ONNX).

Detection is differentiable binarisation: the network says for every pixel how likely it lies inside a
shrunken line; regions above a threshold become rectangles, which are grown back by area / perimeter. Every
rectangle is cut out of the original picture, set level, turned upright if the optional classifier says so,
and read with CTC. Options (defaults are PP-OCR's): min_side, max_side, threshold, box_threshold, unclip.
"""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from deployer.server.errors import BadModel
from deployer.server.fields import Body, float_field
from deployer.server.graph import Graph, Run
from deployer.server.model import Model, metadata
from deployer.server.predictor import JsonPredictor, Work
from deployer.server.signature import Array
from deployer.server.vision.geometry import (
    Rectangle,
    mean_inside,
    reading_order,
    regions,
    smallest_rectangle,
)
from deployer.server.vision.images import FIELD, image_field, multiple_of, tensor

HEIGHT = 48
_NORM: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "channels": "BGR"}
_MOST_REGIONS = 1000
_LONGEST = 3200  # pixels of a line at HEIGHT; a longer one is squeezed
_BATCH = 8
_BATCH_WIDTH = 4096  # pixels of a batch side by side: bounds the memory of its scores, 75 KB for every 8

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["image"],
    "x-field": "image",
    "properties": {
        "image": FIELD,
        "min_score": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
    },
}


class TextReader(JsonPredictor):
    """Detector, recogniser and optional classifier as one unit."""

    task = "image-to-text"
    field = "image"
    schema = _SCHEMA

    def __init__(self, model: Model) -> None:
        # Every picture has a size of its own, and the arena would keep a block for each of them.
        self.detector = model.graph("detector", exclusive=True)
        self.recognizer = model.graph("recognizer", exclusive=True)
        self.classifier = model.graph("classifier", exclusive=True) if model.has("classifier") else None
        self.characters = _characters(model, self.recognizer)
        options = model.options
        self.min_side = int(options.get("min_side", 736))
        self.max_side = int(options.get("max_side", 1600))
        self.threshold = float(options.get("threshold", 0.3))
        self.box_threshold = float(options.get("box_threshold", 0.5))
        self.unclip = float(options.get("unclip", 1.6))

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The lines of a picture in reading order; those below `min_score` are left out."""
        picture = image_field(body)
        least = float_field(body, "min_score", 0.5, least=0, most=1)
        boxes = yield from self.find(picture)
        read, turned = yield from self.read([_cut_out(picture, box) for box in boxes])
        if 2 * turned > len(read):  # the whole page stands on its head, and so does its reading order
            boxes, read = boxes[::-1], read[::-1]
        lines = [
            {"text": text, "score": round(score, 4), "box": np.round(box, 1).tolist()}
            for box, (text, score) in zip(boxes, read, strict=True)
            if text.strip() and score >= least
        ]
        return {"text": "\n".join(str(line["text"]) for line in lines), "lines": lines}

    def find(self, picture: Image.Image) -> Work[list[Array]]:
        """Corners [4, 2] of every line, in reading order, in the picture's own pixels."""
        framed, (left, top) = _framed(picture)
        width, height = framed.size
        scale = max(1.0, self.min_side / min(width, height))
        scale = min(scale, self.max_side / max(width, height))
        size = (multiple_of(width * scale, 32), multiple_of(height * scale, 32))
        pixels = tensor(framed.resize(size, Image.Resampling.BILINEAR), **_NORM)
        likely = yield from _run(self.detector, pixels)
        ratio = np.array([width / size[0], height / size[1]])
        limit = np.array([picture.width, picture.height], float)
        found = []
        for rectangle in self.rectangles(likely[0, 0]):
            corners = np.clip((rectangle.corners() + 0.5) * ratio - (left, top), 0, limit)
            if min(np.hypot(*(corners[1] - corners[0])), np.hypot(*(corners[3] - corners[0]))) > 3:
                found.append(corners)
        if not found:
            return []
        stack = np.stack(found)
        order = reading_order(np.concatenate([stack.min(1), stack.max(1)], axis=1))
        return [found[index] for index in order]

    def close(self) -> None:
        """Drop the sessions."""
        for graph in (self.detector, self.recognizer, self.classifier):
            if graph is not None:
                graph.close()

    def rectangles(self, likely: Array) -> list[Rectangle]:
        """Rectangles around the lines in a map [h, w] of the detector, in the map's pixels."""
        mask = likely > self.threshold
        mask[1:] |= mask[:-1]  # both together: dilation by 2 × 2, which closes one-pixel gaps
        mask[:, 1:] |= mask[:, :-1]
        found = []
        largest = sorted(regions(mask), key=len, reverse=True)[:_MOST_REGIONS]
        for points in largest:
            if min(np.ptp(points, axis=0)) < 2:
                continue
            rectangle = smallest_rectangle(points)
            wide, high = rectangle.sides
            if min(wide, high) < 3 or mean_inside(likely, rectangle.corners()) < self.box_threshold:
                continue
            found.append(rectangle.grown(wide * high * self.unclip / (2 * (wide + high))))
        return found

    def read(self, crops: list[Image.Image]) -> Work[tuple[list[tuple[str, float]], int]]:
        """Text and score of each crop, and how many were better read upside down.

        The classifier only names the doubtful: which way is right shows in the recogniser's score.
        """
        results, turned = (yield from self._recognize(crops)), 0
        doubtful = yield from self._upside_down(crops)
        others = yield from self._recognize(
            [crops[i].transpose(Image.Transpose.ROTATE_180) for i in doubtful]
        )
        for index, other in zip(doubtful, others, strict=True):
            if other[1] > results[index][1]:
                results[index], turned = other, turned + 1
        return results, turned

    def _recognize(self, crops: list[Image.Image]) -> Work[list[tuple[str, float]]]:
        widths = [_width(crop) for crop in crops]
        results = [("", 0.0)] * len(crops)
        for batch in _batches(widths):
            scores = yield from _run(self.recognizer, _lines([crops[i] for i in batch], widths, batch))
            for index, row in zip(batch, scores, strict=True):
                results[index] = decode_ctc(row, self.characters)
        return results

    def _upside_down(self, crops: list[Image.Image]) -> Work[list[int]]:
        """The crops that the classifier takes for upside down with more than 0.9."""
        if self.classifier is None or not crops:
            return []
        doubtful = []
        for start in range(0, len(crops), 16):
            part = crops[start : start + 16]
            pixels = np.concatenate([_padded(crop, min(_width(crop), 192), 192) for crop in part])
            scores = yield from _run(self.classifier, pixels)
            doubtful += [start + i for i, row in enumerate(scores) if row[1] > 0.9]
        return doubtful


def load(model: Model) -> TextReader:
    """Read the files `detector`, `recognizer` and, if there is one, `classifier`."""
    return TextReader(model)


def _run(graph: Graph, pixels: Array) -> Work[Array]:
    """The first output of a graph with one input."""
    name = graph.outputs[0].name
    return (yield Run(graph, {graph.inputs[0].name: pixels}, (name,)))[name]


def decode_ctc(scores: Array, characters: list[str]) -> tuple[str, float]:
    """Text and mean score of probabilities [steps, classes]; class 0 is the blank, repeats are one."""
    best = scores.argmax(axis=1)
    kept = np.flatnonzero((best != 0) & (np.diff(best, prepend=-1) != 0))
    if kept.size == 0:
        return "", 0.0
    text = "".join(characters[index] for index in best[kept].tolist())
    return text, float(scores[kept, best[kept]].mean())


def _characters(model: Model, graph: Graph) -> list[str]:
    """Blank, the characters of the recogniser's metadata or of the file `characters`, and the space."""
    own = model.has("characters")
    listed = model.text("characters") if own else metadata(graph).get("character", "")
    characters = ["", *listed.removesuffix("\n").split("\n"), " "]
    classes = graph.outputs[0].shape[-1]
    if classes not in (-1, len(characters)):
        raise BadModel(f"the recogniser has {classes} classes and {len(characters)} characters")
    return characters


def _framed(picture: Image.Image) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, a narrow strip of it widened to 1 : 8 with its border's colour, and what was added.

    The detector needs some ground around a single line, and would otherwise see it blown up.
    """
    width, height = picture.size
    more_x = max(0, math.ceil(height / 8) - width + 1) // 2
    more_y = max(0, math.ceil(width / 8) - height + 1) // 2
    if not (more_x or more_y):
        return picture, (0, 0)
    border = (more_x, more_y, more_x, more_y)
    pixels = np.asarray(picture)
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = np.median(rim, axis=0).astype(int).tolist()
    return ImageOps.expand(picture, border, fill=(red, green, blue)), (more_x, more_y)


def _cut_out(picture: Image.Image, corners: Array) -> Image.Image:
    """The quadrilateral as a level picture; a tall one lies on its side and is turned."""
    top_left, top_right, bottom_right, bottom_left = corners
    wide = max(np.hypot(*(top_right - top_left)), np.hypot(*(bottom_right - bottom_left)))
    high = max(np.hypot(*(bottom_left - top_left)), np.hypot(*(bottom_right - top_right)))
    size = (max(1, round(wide)), max(1, round(high)))
    (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
    if x1 - x0 <= wide + 1 and y1 - y0 <= high + 1:  # level already: no need to sample anew
        crop = picture.crop((math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)))
    else:
        quad = (*top_left, *bottom_left, *bottom_right, *top_right)
        crop = picture.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    if crop.height >= 1.5 * crop.width:
        crop = crop.transpose(Image.Transpose.ROTATE_90)
    return crop


def _width(crop: Image.Image) -> int:
    """The width of a crop at the height that the networks take."""
    return max(1, min(_LONGEST, math.ceil(HEIGHT * crop.width / crop.height)))


def _batches(widths: list[int]) -> list[list[int]]:
    """Indices by rising width: few enough for the memory, none wider by a third than the batch's first."""
    batches: list[list[int]] = []
    for index in np.argsort(widths, kind="stable").tolist():
        batch = batches[-1] if batches else []
        most = min(_BATCH, _BATCH_WIDTH // max(320, widths[index]))
        if batch and len(batch) < most and widths[index] <= max(320, widths[batch[0]] * 4 / 3):
            batch.append(index)
        else:
            batches.append([index])
    return batches


def _lines(crops: list[Image.Image], widths: list[int], batch: list[int]) -> Array:
    """float32 [n, 3, 48, w] for the recogniser, w the widest of the batch and at least 320."""
    widest = max(320, *(widths[index] for index in batch))
    parts = [_padded(crop, widths[index], widest) for crop, index in zip(crops, batch, strict=True)]
    return np.concatenate(parts)


def _padded(crop: Image.Image, width: int, whole: int) -> Array:
    """float32 [1, 3, 48, whole]: the crop at `width`, then zeros."""
    pixels = tensor(crop.resize((width, HEIGHT), Image.Resampling.BILINEAR), **_NORM)
    return np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, whole - width)))
