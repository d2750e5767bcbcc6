"""Masks of pictures: intersection over union, class by class over all pictures."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Formula, Tally
from deployer.server.errors import BadInput

Mask = npt.NDArray[np.bool_]
_ALL = ""  # the label of a mask that names none: of whatever is found


class MaskJudge:
    """Judges answers of the form {"results": [{"label", "mask": {"base64": a grey PNG}}]}.

    A label is one mask, which stands for all that is to be found, or a list of masks with their labels.
    """

    metric = "iou"
    form = "mask"
    expected = Expected(
        'the picture of a mask (its path), white where the thing is, or a list of {"label", "mask"}',
        '掩码图片（或其路径），目标处为白色；或由 {"label", "mask"} 组成的列表',
    )

    def check(self, label: Any) -> str | None:
        """A label is a picture, or pictures with the names of what they show."""
        if isinstance(label, list):
            for one in label:
                if not isinstance(one, dict) or not isinstance(one.get("label"), str) or not one["label"]:
                    return "has a mask without a label"
        masks = [one.get("mask") for one in label] if isinstance(label, list) else [label]
        return "is not the picture of a mask" if any(mask_of(one) is None for one in masks) else None

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """The mean over the labels of what is shared of all pixels that are either's."""
        paired(answers, labels)
        rows = [_counts(_found(answer), _meant(label)) for answer, label in zip(answers, labels, strict=True)]
        kinds = sorted({kind for counts in rows for kind in counts})
        none = (0.0, 0.0)
        shared = floats([[counts.get(kind, none)[0] for kind in kinds] for counts in rows])
        either = floats([[counts.get(kind, none)[1] for kind in kinds] for counts in rows])
        shared, either = shared.reshape(len(rows), -1), either.reshape(len(rows), -1)

        def formula(weights: Floats) -> Floats:
            top, bottom = weights @ shared, weights @ either
            shares = np.where(bottom > 0, top / np.maximum(bottom, 1e-300), 0.0).sum(axis=1)
            there = (bottom > 0).sum(axis=1)
            return np.asarray(np.where(there > 0, shares / np.maximum(there, 1), 1.0))

        return Formula("iou", floats([_mean(counts) for counts in rows]), formula)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """Intersection over union with the reference's masks, the mean over the labels of either."""
        return each(
            lambda one, other: _mean(_counts(_found(one), _found(other))) if "results" in one else 0.0,
            answers,
            reference,
        )


def mask_of(value: Any) -> Mask | None:
    """A boolean mask [h, w] out of an array, nested lists or a picture's bytes; None if it is none."""
    if isinstance(value, Mapping):
        value = value.get("base64")
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value)
        except (binascii.Error, ValueError):
            return None
    if isinstance(value, bytes):
        return _of_picture(value)
    if value is None:
        return None
    array = np.squeeze(np.asarray(value))
    if array.ndim != 2 or array.dtype.kind not in "fiub" or not array.size:
        return None
    most = 1.0 if array.dtype.kind == "f" or array.max() <= 1 else 255.0
    return np.asarray(array.astype(np.float64) >= most / 2)


def _of_picture(data: bytes) -> Mask | None:
    """What is white; of a picture with an alpha channel that is not full, what is opaque."""
    from PIL import Image

    from deployer.server.vision.images import decode

    try:
        picture = decode(data)  # checks format and size; what it lays on white is looked at in itself
    except BadInput:
        return None
    with Image.open(io.BytesIO(data)) as opened:
        if "A" in opened.getbands():
            alpha = np.asarray(opened.getchannel("A"))
            if alpha.min() < 255:
                return np.asarray(alpha >= 128)
    return np.asarray(picture.convert("L")) >= 128


def _found(answer: Answer) -> dict[str, Mask]:
    """The masks of an answer by label."""
    masks = {str(one["label"]): mask_of(one.get("mask")) for one in answer.get("results") or []}
    return {label: mask for label, mask in masks.items() if mask is not None}


def _meant(label: Any) -> dict[str, Mask]:
    given = label if isinstance(label, list) else [{"label": _ALL, "mask": label}]
    masks = {str(one["label"]): mask_of(one["mask"]) for one in given}
    return {name: mask for name, mask in masks.items() if mask is not None}


def _counts(mine: dict[str, Mask], theirs: dict[str, Mask]) -> dict[str, tuple[float, float]]:
    """For each label the pixels that are both's and that are either's."""
    if set(theirs) == {_ALL}:
        size = theirs[_ALL].shape
        whole = np.zeros(size, bool)
        for mask in mine.values():
            whole |= _sized(mask, size)
        mine = {_ALL: whole}
    counts = {}
    for label in {*mine, *theirs}:
        one, other = mine.get(label), theirs.get(label)
        if one is not None and other is not None:
            one = _sized(one, other.shape)
            counts[label] = float((one & other).sum()), float((one | other).sum())
        else:
            alone = one if one is not None else other
            counts[label] = 0.0, float(alone.sum()) if alone is not None else 0.0
    return counts


def _mean(counts: Mapping[str, tuple[float, float]]) -> float:
    """The mean of what is shared; 1 where nothing is found and nothing there."""
    shares = [shared / either for shared, either in counts.values() if either]
    return sum(shares) / len(shares) if shares else 1.0


def _sized(mask: Mask, size: tuple[int, ...]) -> Mask:
    """A mask brought to another size by its nearest pixels."""
    if mask.shape == size:
        return mask
    rows = np.arange(size[0]) * mask.shape[0] // size[0]
    columns = np.arange(size[1]) * mask.shape[1] // size[1]
    return np.asarray(mask[rows[:, None], columns])
