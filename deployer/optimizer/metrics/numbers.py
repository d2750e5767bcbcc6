"""Numbers: R² of a regression, rank correlation of similarities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deployer.optimizer.metrics.judge import Answer, Expected, floats, paired
from deployer.optimizer.metrics.tally import Floats, Formula, Tally


class NumberJudge:
    """Judges answers of the form {"results": [{"value": …} | {"values": {target: …}}]}."""

    metric = "r2"
    form = "numbers"
    expected = Expected(
        "the right number (for several targets a list or an object of numbers)",
        "正确的数值（多个目标时为数的列表或对象）",
    )

    def check(self, label: Any) -> str | None:
        """A label is a finite number, or several of them."""
        numbers = _listed(label)
        return None if numbers and all(map(_finite, numbers)) else "is not a finite number"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """R², the mean over the targets; a row is right by how small its error is in the labels' spread."""
        paired(answers, labels)
        names = list(labels[0]) if labels and isinstance(labels[0], Mapping) else []
        right = _matrix([_ordered(label, names) for label in labels])
        found = _matrix([_ordered(_value(answer), names) for answer in answers], right.shape[1])
        middle = right.mean(axis=0)  # taken off, sums of squares do not drown in rounding
        right, found = right - middle, found - middle
        errors = np.nan_to_num((found - right) ** 2, nan=np.inf, posinf=np.inf)
        spread = np.maximum((right**2).mean(axis=0), 1e-300)
        errors = np.minimum(errors, 1e12 * spread)  # an answer that is no number is wrong beyond measure
        rows = np.clip(1 - errors / spread, 0, 1).mean(axis=1)

        def formula(weights: Floats) -> Floats:
            total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
            left, squares = weights @ errors, weights @ right**2
            whole = squares - (weights @ right) ** 2 / total
            scores = np.where(whole > 0, 1 - left / np.maximum(whole, 1e-300), (left == 0).astype(np.float64))
            return np.asarray(np.clip(scores, 0, 1).mean(axis=1))

        return Formula("r2", rows, formula)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """1 − the difference in units of the reference's spread over the rows (of its size, for one row)."""
        theirs = _matrix([_flat(answer) for answer in reference])
        mine = _matrix([_flat(answer) for answer in answers], theirs.shape[1])
        with np.errstate(invalid="ignore"):
            spread = np.nanstd(theirs, axis=0) if len(theirs) > 1 else np.zeros(theirs.shape[1])
            unit = np.where(spread > 0, spread, np.maximum(np.abs(theirs), 1e-12))
            kept = 1 - np.abs(mine - theirs) / unit
        kept[np.isnan(mine) & np.isnan(theirs)] = 1.0
        shapes = floats([len(_flat(a)) == len(_flat(b)) for a, b in zip(answers, reference, strict=True)])
        least = np.clip(np.nan_to_num(kept, nan=0.0), 0, 1).min(axis=1, initial=1.0)
        return np.asarray(least * shapes)


class SimilarityJudge:
    """Judges answers of the form {"scores": [m]}: the rank correlation with how alike people find texts."""

    metric = "spearman"
    form = "numbers"
    expected = Expected(
        "a number: how alike the texts are (for several sentences a list)",
        "一个数：两段文本的相似程度（多个句子时为列表）",
    )

    def check(self, label: Any) -> str | None:
        """A label is a finite number, or one for each sentence."""
        numbers = _listed(label)
        sound = not isinstance(label, Mapping) and numbers and all(map(_finite, numbers))
        return None if sound else "is not a finite number"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Spearman's rank correlation over all pairs of texts, at least 0."""
        paired(answers, labels)
        truth, found, owner = [], [], []
        for place, (answer, label) in enumerate(zip(answers, labels, strict=True)):
            scores = list(answer.get("scores") or [])
            for number, right in enumerate(_listed(label)):
                score = float(scores[number]) if number < len(scores) else np.nan
                truth.append(float(right))
                found.append(score if np.isfinite(score) else -np.inf)
                owner.append(place)
        owners = np.array(owner, np.int64)
        mine, theirs = floats(found), floats(truth)
        apart = np.abs(_ranks(mine) - _ranks(theirs)) / max(len(mine) - 1, 1)
        rows = 1 - np.bincount(owners, apart, len(answers)) / np.maximum(np.bincount(owners), 1)

        def formula(weights: Floats) -> Floats:
            return spearman(mine, theirs, weights[:, owners])

        return Formula("spearman", rows, formula)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """1 − the largest difference of a row's scores, in units of their spread over all rows."""
        known = [floats(list(answer.get("scores") or [])) for answer in reference]
        everything = np.concatenate([np.zeros(0), *known])
        unit = max(float(everything.std()) if everything.size > 1 else 0.0, 1e-2)
        kept = np.zeros(len(answers))
        for place, (answer, theirs) in enumerate(zip(answers, known, strict=True)):
            mine = floats(list(answer.get("scores") or []))
            if mine.shape == theirs.shape:
                kept[place] = 1 - np.abs(mine - theirs).max(initial=0.0) / unit
        return np.clip(np.nan_to_num(kept, nan=0.0), 0, 1)


def spearman(ones: Floats, others: Floats, weights: Floats) -> Floats:
    """Rank correlation [B] of two lists [n] under weights [B, n]; 0 where either does not vary."""
    first, second = _weighted_ranks(ones, weights), _weighted_ranks(others, weights)
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    first = first - (weights * first).sum(axis=1, keepdims=True) / total
    second = second - (weights * second).sum(axis=1, keepdims=True) / total
    both = (weights * first * second).sum(axis=1)
    size = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
    return np.asarray(np.where(size > 1e-9, both / np.maximum(size, 1e-300), 0.0))


def _weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """The rank [B, n] of each value where each counts `weights` [B, n] times; equals share their middle."""
    kinds, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(kinds)))
    groups = np.add.reduceat(weights[:, order], starts, axis=1)
    middles = np.cumsum(groups, axis=1) - groups / 2
    return np.asarray(middles[:, place])


def _ranks(values: Floats) -> Floats:
    return _weighted_ranks(values, np.ones((1, len(values))))[0] if len(values) else np.zeros(0)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _listed(label: Any) -> list[Any]:
    if isinstance(label, Mapping):
        return list(label.values())
    return list(label) if isinstance(label, list | tuple) else [label]


def _value(answer: Answer) -> Any:
    """The number or numbers of an answer's first row; None of a failure."""
    result: Mapping[str, Any] = next(iter(answer.get("results") or []), {})
    return result.get("values", result.get("value"))


def _flat(answer: Answer) -> list[Any]:
    """All numbers of an answer."""
    results = answer.get("results") or []
    return [number for one in results for number in _listed(one.get("values", one.get("value")))]


def _ordered(value: Any, names: Sequence[str]) -> list[Any]:
    if names and isinstance(value, Mapping):
        return [value.get(name) for name in names]
    return _listed(value)


def _matrix(rows: Sequence[Sequence[Any]], width: int | None = None) -> Floats:
    """Numbers [n, width]; NaN where a row has none."""
    width = max(map(len, rows), default=0) if width is None else width
    made = np.full((len(rows), width), np.nan)
    for place, row in enumerate(rows):
        for column, value in enumerate(row[:width]):
            made[place, column] = float(value) if isinstance(value, int | float) else np.nan
    return made
