"""Bare tensors: accuracy of the first output's class, and how much of each output stays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deployer.optimizer.metrics.classes import accuracy
from deployer.optimizer.metrics.judge import Answer, Expected, each, paired
from deployer.optimizer.metrics.tally import Floats, Tally


class TensorJudge:
    """Judges answers of the form {"outputs": {name: array}}, one row each."""

    metric = "accuracy"
    form = "class"
    expected = Expected(
        "the number of the class, counted from 0, whose score in the first output is to be the highest",
        "类别序号（从 0 开始）：第一个输出中得分应最高的那一类",
    )

    def check(self, label: Any) -> str | None:
        """A label is a whole number, or a text for a graph that answers texts."""
        return None if isinstance(label, str) and label.strip() else "is not the number of a class"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Accuracy of the first output's class; also macro F1."""
        paired(answers, labels)
        return accuracy([_class(answer) for answer in answers], labels)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """The least over the outputs: of numbers the share of their squares that stays, of others equality.

        1 − |difference|² / |reference|² sees a change of scale, which a cosine does not; 0.98 of it is a
        cosine of 0.99 where the lengths agree.
        """
        return each(_same, answers, reference)


def _class(answer: Answer) -> str | None:
    """The class that the first output says: its own value where it has but one, else the highest's place."""
    first = next(iter((answer.get("outputs") or {}).values()), None)
    values = _array([] if first is None else first).reshape(-1)
    if not values.size:
        return None
    if values.size > 1 and values.dtype.kind in "fiub":
        if not np.isfinite(values.astype(np.float64)).any():
            return None
        return str(int(np.nanargmax(values)))
    only = values.tolist()[0]
    return str(int(only)) if isinstance(only, bool | int) or _whole(only) else str(only)


def _array(value: Any) -> npt.NDArray[Any]:
    """An output as an array; null, which JSON has for NaN, is NaN."""
    array = np.asarray(value)
    if array.dtype.kind == "O" and all(one is None or isinstance(one, float | int) for one in array.flat):
        return array.astype(np.float64)
    return array


def _whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def _same(one: Answer, other: Answer) -> float:
    mine, theirs = one.get("outputs") or {}, other.get("outputs") or {}
    if set(mine) != set(theirs) or not theirs:
        return 0.0
    return min(_kept(_array(mine[name]), _array(array)) for name, array in theirs.items())


def _kept(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """How much of an output stays, 0 to 1."""
    if mine.shape != theirs.shape:
        return 0.0
    if not theirs.size:
        return 1.0
    if theirs.dtype.kind != "f" or mine.dtype.kind != "f":
        return float((mine == theirs).mean())
    both = mine.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(both[1])
    if not (np.isfinite(both[0]) == finite).all() or not (mine == theirs)[~finite & ~np.isnan(theirs)].all():
        return 0.0
    error, whole = float(((both[0] - both[1])[finite] ** 2).sum()), float((both[1][finite] ** 2).sum())
    if whole == 0:
        return float(error == 0)
    return max(0.0, 1.0 - error / whole)
