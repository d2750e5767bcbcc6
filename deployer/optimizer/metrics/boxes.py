"""Things in pictures: mean average precision, and boxes that stay where they were."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Formula, Tally

CLOSE = 0.75
"""Overlap from which two answers mean the same box."""
STEPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_BLOCK = 1 << 22  # numbers held at once
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class Thing(NamedTuple):
    """A box (x0, y0, x1, y1) with its label and score."""

    label: str
    score: float
    box: tuple[float, ...]


class Found(NamedTuple):
    """What was found of one class in all pictures, from the highest score down."""

    picture: npt.NDArray[np.int64]
    right: Floats
    there: Floats
    """How many there are in each picture."""


class ObjectJudge:
    """Judges answers of the form {"results": [{"label", "score", "box": {"xmin", …}}]}."""

    metric = "map"
    form = "json"
    key = "results"
    expected = Expected(
        'a list of {"label", "box": [left, top, right, bottom]} in pixels',
        '由 {"label", "box": [左, 上, 右, 下]}（像素）组成的列表',
    )

    def check(self, label: Any) -> str | None:
        """A label is a list of boxes with names; of a picture with nothing in it, an empty one."""
        if not isinstance(label, list):
            return "is not a list of boxes"
        for one in label:
            if not isinstance(one, dict) or not isinstance(one.get("label"), str):
                return "has a box without a label"
            box = _corners(one.get("box"))
            if box is None or not (box[0] < box[2] and box[1] < box[3]):
                return "has a box that is not [left, top, right, bottom]"
        return None

    def things(self, answer: Answer) -> list[Thing]:
        """The boxes of an answer."""
        return _things(answer.get(self.key) or [])

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Mean average precision at an overlap of 0.5; also over 0.5 to 0.95 as COCO has it."""
        paired(answers, labels)
        found = [self.things(answer) for answer in answers]
        truth = [_things(label) for label in labels]
        rows = floats([f1(one, other, 0.5) for one, other in zip(found, truth, strict=True)])
        also = {
            "map-50-95": Formula(
                "map-50-95", rows, lambda weights: _mean_precision(found, truth, STEPS, weights)
            )
        }
        classes = _matched(found, truth, 0.5)
        return Formula("map", rows, lambda weights: _over_classes(classes, weights), also)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """F1 of boxes with the same label that overlap by at least 0.75; 1 where neither has any."""
        return each(
            lambda one, other: f1(self.things(one), self.things(other), CLOSE) if self.key in one else 0.0,
            answers,
            reference,
        )


class LayoutJudge(ObjectJudge):
    """Judges answers of the form {"regions": [{"label", "score", "box": [4]}]}."""

    key = "regions"


def f1(found: Sequence[Thing], truth: Sequence[Thing], least: float) -> float:
    """F1 of boxes that pair up at an overlap of at least `least`; 1 where there are none at all."""
    if not found and not truth:
        return 1.0
    hits = sum(
        _hits(
            [one for one in found if one.label == label], [one for one in truth if one.label == label], least
        ).sum()
        for label in {one.label for one in truth}
    )
    return float(2 * hits / (len(found) + len(truth)))


def overlaps(ones: Floats, others: Floats) -> Floats:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4]."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(side[:, 2:] - side[:, :2], 0, None).prod(axis=1) for side in (ones, others)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-12))


def average_precision(right: Floats, found: Floats, there: Floats) -> Floats:
    """The area [B] below precision over recall, from weights [B, d] of hits and of finds, best score first.

    Precision is taken as the best at that recall or beyond (VOC's area). `there` [B] is what could be found.
    """
    hits, seen = np.cumsum(right, axis=1), np.cumsum(found, axis=1)
    precision = hits / np.maximum(seen, 1e-300)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.asarray((right * best).sum(axis=1) / np.maximum(there, 1e-300))


def _mean_precision(
    found: Sequence[Sequence[Thing]],
    truth: Sequence[Sequence[Thing]],
    steps: Sequence[float],
    weights: Floats,
) -> Floats:
    return np.asarray(
        np.mean([_over_classes(_matched(found, truth, step), weights) for step in steps], axis=0)
    )


def _over_classes(classes: Sequence[Found], weights: Floats) -> Floats:
    """The mean of the classes' average precisions; classes of which nothing was drawn do not count.

    Without anything to be found at all, the share of pictures in which nothing was.
    """
    total, seen = np.zeros(len(weights)), np.zeros(len(weights))
    for one in classes:
        there = weights @ one.there
        for start in range(0, len(weights), step := max(1, _BLOCK // max(len(one.picture), 1))):
            part = weights[start : start + step][:, one.picture]
            area = average_precision(part * one.right, part, there[start : start + step])
            total[start : start + step] += np.where(there[start : start + step] > 0, area, 0.0)
        seen += there > 0
    return np.asarray(np.where(seen > 0, total / np.maximum(seen, 1), 0.0))


def _matched(found: Sequence[Sequence[Thing]], truth: Sequence[Sequence[Thing]], least: float) -> list[Found]:
    """For each class of the labels what was found of it, matched picture by picture."""
    classes = []
    for label in sorted({one.label for things in truth for one in things}):
        pictures: list[int] = []
        scores: list[float] = []
        right: list[float] = []
        there = np.zeros(len(truth))
        for place, (mine, theirs) in enumerate(zip(found, truth, strict=True)):
            of_class = [one for one in mine if one.label == label]
            meant = [one for one in theirs if one.label == label]
            there[place] = len(meant)
            pictures += [place] * len(of_class)
            scores += [one.score for one in of_class]
            right += _hits(of_class, meant, least).tolist()
        order = np.argsort(-floats(scores), kind="stable")
        classes.append(Found(np.array(pictures, np.int64)[order], floats(right)[order], there))
    return classes


def _hits(found: Sequence[Thing], truth: Sequence[Thing], least: float) -> Floats:
    """1 for each find [n] that is the first, by score, to meet a box that is there."""
    right = np.zeros(len(found))
    if not found or not truth:
        return right
    shares = overlaps(floats([list(one.box) for one in found]), floats([list(one.box) for one in truth]))
    free = np.ones(len(truth), bool)
    for place in sorted(range(len(found)), key=lambda index: -found[index].score):
        best = int(np.argmax(np.where(free, shares[place], -1.0)))
        if free[best] and shares[place, best] >= least:
            free[best], right[place] = False, 1.0
    return right


def _things(items: Sequence[Mapping[str, Any]]) -> list[Thing]:
    made = []
    for item in items:
        box = _corners(item.get("box"))
        if box is not None:
            made.append(Thing(str(item.get("label")), float(item.get("score", 1.0)), box))
    return made


def _corners(box: Any) -> tuple[float, ...] | None:
    """Four finite numbers of a list, or of an object with xmin, ymin, xmax, ymax."""
    sides = [box.get(side) for side in _SIDES] if isinstance(box, Mapping) else box
    if not isinstance(sides, list | tuple) or len(sides) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in sides):
        return None
    return tuple(map(float, sides))
