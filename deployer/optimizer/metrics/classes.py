"""Labels: accuracy, with macro F1 beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Formula, Mean, Tally


class ResultsJudge:
    """Judges answers of the form {"results": [{"label": …}]}, a result for each text or table row."""

    metric = "accuracy"
    form = "class"
    expected = Expected("the name of a class", "一个类别名称")

    def found(self, answer: Answer) -> list[str]:
        """The labels of an answer, as many as things were asked."""
        return [str(result["label"]) for result in answer.get("results") or []]

    def check(self, label: Any) -> str | None:
        """A label is a text that is not empty."""
        return None if isinstance(label, str) and label.strip() else "is not the name of a class"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Accuracy of each answer's first label; also macro F1 over the classes of the labels."""
        paired(answers, labels)
        return accuracy([next(iter(self.found(answer)), None) for answer in answers], labels)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """1 where the same label is answered; of several things asked in one row the share of them."""
        return each(self._same, answers, reference)

    def _same(self, one: Answer, other: Answer) -> float:
        mine, theirs = self.found(one), self.found(other)
        if len(mine) != len(theirs) or not theirs:
            return float(one == other == {"results": []})
        return sum(map(str.__eq__, mine, theirs)) / len(theirs)


class RankedJudge(ResultsJudge):
    """Judges answers of the form {"results": [{"label": …}, …]}: the labels of one picture, best first."""

    def found(self, answer: Answer) -> list[str]:
        """The best label."""
        return super().found(answer)[:1]


class FileTypeJudge(ResultsJudge):
    """Judges answers of the form {"label": …}."""

    expected = Expected("the name of a file type, such as pdf", "文件类型名称，例如 pdf")

    def found(self, answer: Answer) -> list[str]:
        """The answered label."""
        return [str(answer["label"])] if "label" in answer else []


def accuracy(found: Sequence[str | None], labels: Sequence[Any]) -> Tally:
    """Accuracy of labels found, and macro F1."""
    truth = [str(label) for label in labels]
    right = floats([float(mine == theirs) for mine, theirs in zip(found, truth, strict=True)])
    return Mean("accuracy", right, {"f1": macro_f1(found, truth, right)})


def macro_f1(found: Sequence[str | None], truth: Sequence[str], rows: Floats) -> Tally:
    """The mean of the F1 of the labels' classes; a class that no drawn row has does not count."""
    kinds = sorted(set(truth))
    said = floats([[float(one == kind) for kind in kinds] for one in found]).reshape(-1, len(kinds))
    meant = floats([[float(one == kind) for kind in kinds] for one in truth]).reshape(-1, len(kinds))

    def formula(weights: Floats) -> Floats:
        hits, there = weights @ (said * meant), weights @ meant
        scores = np.where(there > 0, 2 * hits / np.maximum(there + weights @ said, 1e-300), 0.0)
        return np.asarray(scores.sum(axis=1) / np.maximum((there > 0).sum(axis=1), 1))

    return Formula("f1", rows, formula)
