"""Vectors of texts: mean reciprocal rank of texts that belong together, and neighbours that stay the same."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deployer.optimizer.metrics.judge import Answer, Expected, paired
from deployer.optimizer.metrics.tally import Floats, Ratio, Tally

NEIGHBOURS = 10
_TIE = 1e-6  # cosines nearer than that are equal
_NOTHING = -2.0  # below any cosine: of what is no number


class VectorJudge:
    """Judges answers of the form {"embeddings": [m, d]}, one text a row, or a query and its right document.

    Labels say which texts belong together; a row whose text has no partner among the rows asks nothing, but
    is in every other's way. With two texts in a row (columns `text` and `positive`) the second is to be
    found among the second texts of all rows, and no label is needed.
    """

    metric = "mrr"
    form = "group"
    expected = Expected("a name that texts of the same meaning share", "含义相同的文本所共用的组名")

    def check(self, label: Any) -> str | None:
        """A label is a text that is not empty."""
        return None if isinstance(label, str) and label.strip() else "is not the name of a group"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Mean reciprocal rank by cosine."""
        paired(answers, labels)
        firsts, lasts = _unit(answers, 0), _unit(answers, -1)
        if all(len(_vectors(answer)) == 2 for answer in answers):
            own = np.eye(len(answers), dtype=bool)
            near, mine = _cosines(firsts, lasts), own
        else:
            groups = np.array([str(label) for label in labels])
            own = groups[:, None] == groups[None, :]
            near, mine = _cosines(firsts, firsts), own & ~np.eye(len(answers), dtype=bool)
            near[np.eye(len(answers), dtype=bool)] = -np.inf
        asked: Floats = np.asarray(mine.any(axis=1), np.float64)
        score: Floats = np.where(asked > 0, _reciprocal_ranks(near, mine), 0.0)
        return Ratio("mrr", np.where(asked > 0, score, 1.0), score, asked)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """How many of a text's ten nearest in the file stay its nearest, at most its vectors' cosine.

        Neighbours that lie equally near by the reference may stand for each other.
        """
        same = cosine(answers, reference)
        count = len(answers)
        most = min(NEIGHBOURS, (count - 1) // 2)
        if most < 1:
            return np.clip(same, 0.0, 1.0)
        places = range(max((len(_vectors(answer)) for answer in reference), default=0))
        kept = [_overlap(_unit(answers, place), _unit(reference, place), most) for place in list(places)[:2]]
        return np.clip(np.minimum(np.mean(kept, axis=0), same), 0.0, 1.0)


def cosine(answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
    """The least cosine [n] between an answer's vectors and the reference's; 0 where they do not pair up."""
    found = np.zeros(len(answers))
    for place, (one, other) in enumerate(zip(answers, reference, strict=True)):
        mine, theirs = _vectors(one), _vectors(other)
        if mine.shape == theirs.shape and mine.size and np.isfinite(mine).all():
            lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
            found[place] = ((mine * theirs).sum(axis=1) / np.maximum(lengths, 1e-12)).min()
    return found


def _vectors(answer: Answer) -> Floats:
    """The vectors of an answer [m, d]; [0, 0] of a failure."""
    vectors = np.asarray(answer.get("embeddings", []), np.float64)
    return vectors if vectors.ndim == 2 else np.zeros((0, 0))


def _unit(answers: Sequence[Answer], place: int) -> Floats:
    """One vector of each answer [n, d], of length 1; NaN for one that failed."""
    found = [_vectors(answer) for answer in answers]
    width = max((vectors.shape[1] for vectors in found), default=0)
    rows = np.full((len(answers), width), np.nan)
    for row, vectors in zip(rows, found, strict=True):
        if len(vectors) and vectors.shape[1] == width:
            row[:] = vectors[min(place, len(vectors) - 1)]
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _cosines(ones: Floats, others: Floats) -> Floats:
    """Cosines [n, m]; below all others where there is no number."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nan_to_num(ones @ others.T, nan=_NOTHING, posinf=_NOTHING, neginf=_NOTHING)


def _reciprocal_ranks(near: Floats, mine: npt.NDArray[np.bool_]) -> Floats:
    """1 / the rank of the nearest of `mine` among all columns; among equals it stands in their middle.

    A model whose vectors are all the same so ranks every text in the middle, not first.
    """
    best = np.where(mine, near, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    others = ~mine & np.isfinite(near)
    best = np.where(np.isfinite(best), best, _NOTHING)
    before = (others & (near > best + _TIE)).sum(axis=1)
    level = (others & (np.abs(near - best) <= _TIE)).sum(axis=1)
    return np.asarray(1.0 / (1.0 + before + level / 2))


def _overlap(mine: Floats, theirs: Floats, most: int) -> Floats:
    """The share [n] of the `most` nearest by `mine` that are among the nearest by `theirs`."""
    known, said = _cosines(theirs, theirs), _cosines(mine, mine)
    np.fill_diagonal(known, -np.inf)
    np.fill_diagonal(said, -np.inf)
    least = np.partition(known, -most, axis=1)[:, [-most]]
    chosen = np.argsort(-said, axis=1, kind="stable")[:, :most]
    near = np.take_along_axis(known, chosen, axis=1) >= least - _TIE
    valid = np.take_along_axis(said, chosen, axis=1) > _NOTHING
    return np.asarray((near & valid).mean(axis=1))
