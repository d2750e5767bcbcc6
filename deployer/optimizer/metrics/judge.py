"""What every judge is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from deployer.optimizer.metrics.tally import Floats, Tally

Answer = Mapping[str, Any]


class Expected(NamedTuple):
    """What a label of a task looks like, in words for people."""

    en: str
    zh: str


class Judge(Protocol):
    """Judges the answers of one task, as `predict` gives them: JSON types and arrays."""

    metric: str
    """The metric that decides: accuracy, f1, map, mrr …"""
    form: str
    """How a label is written: class, group, text, numbers, json, mask, or none."""
    expected: Expected

    def check(self, label: Any) -> str | None:
        """Why a label is none of this task, in English; None when it is one."""

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """The metric of answers against labels, row by row; ValueError if there is none for this task."""

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """How far each answer is the reference's [n]: 1 the same, 0 nothing alike. An error is {}."""


def floats(values: Sequence[float] | Sequence[list[float]]) -> Floats:
    """A list as an array."""
    return np.asarray(values, np.float64)


def each(
    same: Callable[[Answer, Answer], float], answers: Sequence[Answer], reference: Sequence[Answer]
) -> Floats:
    """A measure of pairs over all rows; what is no number counts as 0."""
    found = floats([same(one, other) for one, other in zip(answers, reference, strict=True)])
    return np.clip(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0), 0.0, 1.0)


def paired(answers: Sequence[Answer], labels: Sequence[Any]) -> None:
    """Refuse lists of different lengths."""
    if len(answers) != len(labels):
        raise ValueError(f"{len(answers)} answers for {len(labels)} labels")
