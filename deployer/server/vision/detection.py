"""From a detector's outputs to boxes: its graph's own form decoded, doubles dropped, and the way back.

A decoder turns outputs into class scores [n, classes] and boxes [n, 4] (x0, y0, x1, y1) in pixels of the
picture that the graph saw; `pick` chooses among them, and `Placed` leads back to the picture that was sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.options import one_of
from deployer.server.signature import Array, TensorSpec

MOST = 100  # boxes of an answer
FITS = ("stretch", "letterbox", "corner")
_MOST_CELLS = 1000  # of one level, or of all that the graph gives
_MOST_CANDIDATES = 2000
_MOST_CLASSES = 5000
_FORMS = ("xyxy", "xywh", "cxcywh", "yxyx")
_HINTS = {"boxes": ("box", "dets"), "scores": ("score", "logit"), "labels": ("label", "class")}


class Decoder(Protocol):
    """How a graph's outputs are read."""

    outputs: tuple[str, ...]

    def decode(self, answer: Mapping[str, Array], size: tuple[int, int]) -> tuple[Array, Array]:
        """Class scores [n, classes] and boxes [n, 4] for a picture of `size` (height, width)."""


class PicoDet:
    """The outputs of PaddleDetection's PicoDet: for each stride scores, then for each stride distances.

    A cell's box is given by the distances to its four sides, each a distribution over 0 … n strides whose
    mean is the distance.
    """

    def __init__(self, specs: Sequence[TensorSpec], classes: int) -> None:
        self.outputs = tuple(spec.name for spec in specs)
        half = len(specs) // 2
        widths = {spec.shape[-1] for spec in specs[:half]}
        if widths != {classes} or len(specs) != 2 * half:
            raise BadModel(f"the graph scores {sorted(widths)} classes for {classes} labels")

    def decode(self, answer: Mapping[str, Array], size: tuple[int, int]) -> tuple[Array, Array]:
        """The likeliest cells of each stride."""
        return decode_cells([answer[name][0] for name in self.outputs], size)


class Boxes:
    """Boxes with a score and a label each, or with a score for each class; a batch axis of 1 is dropped.

    Scores may stand in the boxes' fifth column and labels in their sixth. Rows without a known label are
    what graphs pad with, and are dropped. See `pipelines.object_detection` for the options.
    """

    def __init__(self, options: dict[str, Any], specs: Sequence[TensorSpec], classes: int) -> None:
        self.roles = _roles(options.get("outputs", {}), [spec.name for spec in specs])
        self.outputs = tuple(self.roles.values())
        if classes > _MOST_CLASSES:
            raise BadModel(f"labels go up to number {classes - 1}, beyond {_MOST_CLASSES - 1}")
        self.classes = classes
        self.form = one_of(options, "box", _FORMS)
        self.normalized = bool(options.get("normalized", False))
        self.activation = one_of(options, "activation", ("none", "sigmoid", "softmax"))

    def decode(self, answer: Mapping[str, Array], size: tuple[int, int]) -> tuple[Array, Array]:
        """All boxes that may be something, at most a thousand."""
        found = {role: np.asarray(answer[name], np.float64) for role, name in self.roles.items()}
        rows = found["boxes"].reshape(-1, found["boxes"].shape[-1])
        scores = self._scores(rows, found.get("scores"), found.get("labels"))
        boxes = _corners(rows[:, :4], self.form)
        if self.normalized:
            boxes = boxes * [size[1], size[0], size[1], size[0]]
        sound: Array = np.asarray(np.isfinite(boxes).all(axis=1))
        scores = np.where(sound[:, None] & np.isfinite(scores), scores, 0.0)
        best = np.argsort(-scores.max(axis=1, initial=0.0), kind="stable")[:_MOST_CELLS]
        return scores[best], np.nan_to_num(boxes[best])

    def _scores(self, rows: Array, scores: Array | None, labels: Array | None) -> Array:
        if not len(rows):
            return np.zeros((0, self.classes))
        if scores is None:
            scores = rows[:, 4] if rows.shape[1] > 4 else np.ones(len(rows))
        if labels is None and rows.shape[1] > 5:
            labels = rows[:, 5]
        if self.activation == "softmax" or (labels is None and scores.size != len(rows)):
            return self._of_classes(scores.reshape(len(rows), -1))
        scores = scores.reshape(-1)
        if self.activation == "sigmoid":
            scores = _sigmoid(scores)
        each = np.zeros(len(rows)) if labels is None else np.nan_to_num(labels.reshape(-1), nan=-1.0)
        known = (each >= 0) & (each < self.classes)
        matrix = np.zeros((len(rows), self.classes))
        matrix[known, each[known].astype(np.int64)] = scores[known]
        return matrix

    def _of_classes(self, scores: Array) -> Array:
        """Scores of each class; of a softmax the class beyond the labels is nothing at all."""
        if self.activation == "softmax":
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
            scores = scores[:, : self.classes] if scores.shape[1] == self.classes + 1 else scores
        elif self.activation == "sigmoid":
            scores = _sigmoid(scores)
        if scores.shape[1] != self.classes:
            raise BadModel(f"the graph scores {scores.shape[1]} classes for {self.classes} labels")
        return scores


class Placed(NamedTuple):
    """A picture made to a graph's size, and where in it the picture that was sent lies."""

    picture: Image.Image
    corner: tuple[int, int]
    ratio: tuple[float, float]
    whole: tuple[int, int]

    def back(self, boxes: Array) -> Array:
        """Boxes [n, 4] in pixels of the picture that was sent, cut at its edges."""
        moved = (boxes - [*self.corner, *self.corner]) / [*self.ratio, *self.ratio]
        return np.asarray(np.clip(moved, 0, [*self.whole, *self.whole]))


def place(
    picture: Image.Image, size: tuple[int, int], fit: str, how: Image.Resampling, fill: int = 114
) -> Placed:
    """The picture at `size` (height, width): stretched, or whole in its proportions on grey `fill`.

    `letterbox` puts it into the middle, `corner` to the top left.
    """
    height, width = size
    if fit == "stretch":
        made = picture.resize((width, height), how)
        return Placed(made, (0, 0), (width / picture.width, height / picture.height), picture.size)
    scale = min(width / picture.width, height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    spare = (width - inner[0], height - inner[1])
    corner = (spare[0] // 2, spare[1] // 2) if fit == "letterbox" else (0, 0)
    ground = Image.new("RGB", (width, height), (fill, fill, fill))
    ground.paste(picture.resize(inner, how), corner)
    return Placed(ground, corner, (inner[0] / picture.width, inner[1] / picture.height), picture.size)


def decode_cells(outputs: list[Array], size: tuple[int, int]) -> tuple[Array, Array]:
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
    """(class, box) of those to keep, from the highest score: of each class without doubles, MOST at most."""
    labels, cells = np.nonzero(least < scores.T)
    order = np.argsort(-scores[cells, labels], kind="stable")[:_MOST_CANDIDATES]
    labels, cells = labels[order], cells[order]
    kept: list[tuple[int, int]] = []
    for label in np.unique(labels).tolist():
        rest = cells[labels == label]
        taken = 0
        while rest.size and taken < MOST:
            kept.append((label, int(rest[0])))
            rest, taken = rest[1:][overlaps(boxes[rest[0]], boxes[rest[1:]]) <= overlap], taken + 1
    return sorted(kept, key=lambda one: -float(scores[one[1], one[0]]))[:MOST]


def overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of one box [4] with others [n, 4]."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def _roles(told: dict[str, str], names: list[str]) -> dict[str, str]:
    """The outputs by role: as told, else the one whose name says so; boxes there must be."""
    roles: dict[str, str] = {}
    for role, hints in _HINTS.items():
        alike = [name for name in names if any(hint in name.lower() for hint in hints)]
        if role in told:
            roles[role] = told[role]
        elif not told and len(alike) == 1:
            roles[role] = alike[0]
    if "boxes" not in roles and len(names) == 1:
        roles["boxes"] = names[0]
    if "boxes" not in roles or not set(roles.values()) <= set(names) or not set(told) <= set(_HINTS):
        wanted = ", ".join(_HINTS)
        raise BadModel(f"options.outputs must name the outputs for {wanted} among {', '.join(names)}")
    return roles


def _corners(boxes: Array, form: str) -> Array:
    """Boxes of a form as x0, y0, x1, y1."""
    if form == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if form == "xyxy":
        return boxes
    first = boxes[:, :2] if form == "xywh" else boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([first, first + boxes[:, 2:]], axis=1)


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))
