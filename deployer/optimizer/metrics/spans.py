"""Entities in texts: F1 over all of them, of the same label at the same place."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from deployer.optimizer.metrics.judge import Answer, Expected, each, floats, paired
from deployer.optimizer.metrics.tally import Floats, Ratio, Tally

Span = tuple[str, int, int] | tuple[str, str]


class SpanJudge:
    """Judges answers of the form {"results": [{"entities": [{"label", "start", "end", "text"}]}]}."""

    metric = "f1"
    form = "json"
    expected = Expected(
        'a list of {"label", "start", "end"} (characters from 0) or {"label", "text"}',
        '由 {"label", "start", "end"}（字符位置从 0 起）或 {"label", "text"} 组成的列表',
    )

    def check(self, label: Any) -> str | None:
        """A label is a list of entities, by place or by text; none is a list too."""
        if not isinstance(label, list):
            return "is not a list of entities"
        for one in label:
            if not isinstance(one, dict) or not isinstance(one.get("label"), str):
                return "has an entity without a label"
            if "start" in one or "end" in one:
                start, end = one.get("start"), one.get("end")
                if type(start) is not int or type(end) is not int or not 0 <= start < end:
                    return "has an entity whose start and end are no places of a text"
            elif not isinstance(one.get("text"), str) or not one["text"]:
                return "has an entity with neither a place nor a text"
        return None

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """F1 over all entities; also precision and recall. 1 where there is nothing and nothing is found."""
        paired(answers, labels)
        hits, said, meant = [], [], []
        for answer, label in zip(answers, labels, strict=True):
            placed = all("start" in one for one in label)
            found = Counter(_spans(_entities(answer), placed))
            right = Counter(_spans(label, placed))
            hits.append(float((found & right).total()))
            said.append(float(found.total()))
            meant.append(float(right.total()))
        top, found_, there = 2 * floats(hits), floats(said), floats(meant)
        both = found_ + there
        rows = floats([one / all_ if all_ else 1.0 for one, all_ in zip(top, both, strict=True)])
        also = {
            "precision": Ratio("precision", rows, top / 2, found_),
            "recall": Ratio("recall", rows, top / 2, there),
        }
        return Ratio("f1", rows, top, both, also)

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """F1 of the entities of each answer against the reference's; 1 where neither has any."""
        return each(_same, answers, reference)


def _same(one: Answer, other: Answer) -> float:
    if len(one.get("results") or []) != len(other.get("results") or []):
        return 0.0
    mine, theirs = Counter(_all(one)), Counter(_all(other))
    both = mine.total() + theirs.total()
    return 2 * (mine & theirs).total() / both if both else 1.0


def _all(answer: Answer) -> list[tuple[int, Span]]:
    """The entities of all texts of an answer, with the text's number."""
    return [
        (place, span)
        for place, result in enumerate(answer.get("results") or [])
        for span in _spans(result.get("entities") or [], True)
    ]


def _entities(answer: Answer) -> list[dict[str, Any]]:
    results = answer.get("results") or [{}]
    return list(results[0].get("entities") or [])


def _spans(entities: Sequence[dict[str, Any]], placed: bool) -> list[Span]:
    if placed:
        return [(str(one["label"]), int(one["start"]), int(one["end"])) for one in entities]
    return [(str(one["label"]), str(one.get("text", ""))) for one in entities]
