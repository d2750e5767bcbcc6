"""Stretches of speech: how many hundredths of a second are told right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Ratio, Tally

FRAME = 0.01
"""Seconds of a frame."""
_LONGEST = 24 * 3600  # seconds


class SpeechJudge:
    """Judges answers of the form {"segments": [{"start", "end"}], "duration"}, in seconds."""

    metric = "frame-accuracy"
    form = "json"
    expected = Expected("a list of [start, end] in seconds", "由 [开始, 结束]（秒）组成的列表")

    def check(self, label: Any) -> str | None:
        """A label is a list of stretches; one without speech is empty."""
        if not isinstance(label, list):
            return "is not a list of stretches"
        for one in label:
            sides = _sides(one)
            if sides is None or not 0 <= sides[0] < sides[1] <= _LONGEST:
                return "has a stretch that is not [start, end] in seconds"
        return None

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """The share of all frames told right; also F1 of the frames with speech."""
        paired(answers, labels)
        counts = []
        for answer, label in zip(answers, labels, strict=True):
            found, right = _both(answer, label, float(answer.get("duration", 0)))
            lost = "segments" not in answer
            hits = 0 if lost else int((found == right).sum())
            counts.append(
                [
                    float(hits),
                    float(right.size),
                    float((found & right).sum()),
                    float(found.sum() + right.sum()),
                ]
            )
        right_, all_, spoken, both = floats(counts).reshape(-1, 4).T
        rows = np.where(all_ > 0, right_ / np.maximum(all_, 1), 1.0)
        return Ratio(self.metric, rows, right_, all_, {"f1": Ratio("f1", rows, 2 * spoken, both)})

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """The share of frames told alike."""
        return each(_same, answers, reference)


def _same(one: Answer, other: Answer) -> float:
    if "segments" not in one:
        return 0.0
    mine, theirs = _both(one, other.get("segments") or [], float(other.get("duration", 0)))
    return float((mine == theirs).mean()) if theirs.size else 1.0


def _both(
    answer: Answer, label: Sequence[Any], seconds: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Frames with speech by an answer and by a label, both over a whole recording."""
    found = [sides for one in answer.get("segments") or [] if (sides := _sides(one))]
    right = [sides for one in label if (sides := _sides(one))]
    if not seconds:
        seconds = max((end for _, end in [*found, *right]), default=0.0)
    count = round(min(seconds, _LONGEST) / FRAME)
    return _frames(found, count), _frames(right, count)


def _frames(stretches: Sequence[tuple[float, float]], count: int) -> npt.NDArray[np.bool_]:
    frames = np.zeros(count, bool)
    for start, end in stretches:
        frames[max(0, round(start / FRAME)) : max(0, round(end / FRAME))] = True
    return frames


def _sides(one: Any) -> tuple[float, float] | None:
    """A stretch as [start, end] or {"start", "end"}; None for anything else."""
    pair = (one.get("start"), one.get("end")) if isinstance(one, dict) else one
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in pair):
        return None
    return float(pair[0]), float(pair[1])
