"""The column `label`: how a cell becomes what the task's judge takes."""

import difflib
from collections.abc import Sequence
from typing import Any

import orjson

from deployer.optimizer.metrics import Judge
from deployer.optimizer.rows.contents import read_lazy
from deployer.optimizer.rows.forms import Opener, Unfit, content, finite, structured

_NAMED = 20  # labels that a refusal lists


class UnknownLabel(Exception):
    """A label that is none of the model's."""

    def __init__(self, label: str, known: Sequence[str]) -> None:
        super().__init__(label)
        close = difflib.get_close_matches(label.casefold(), [one.casefold() for one in known], 1, 0.6)
        self.label = label[:80]
        self.known = ", ".join(known[:_NAMED]) + (", …" if len(known) > _NAMED else "")
        self.meant = next((one for one in known if close and one.casefold() == close[0]), "")


class LabelReader:
    """Reads the labels of one task."""

    def __init__(self, judge: Judge, known: Sequence[str] | None, opener: Opener) -> None:
        self.judge = judge
        self.known = list(known or [])
        self._opener = opener
        self._places = {name: name for name in self.known}

    def read(self, cell: Any) -> Any:
        """The label of a cell that is not None; raises Unfit or UnknownLabel."""
        value = self._value(cell)
        why = self.judge.check(read_lazy(value))
        if why is not None:
            raise Unfit(why, "不符合该任务的标签格式")
        return value

    def _value(self, cell: Any) -> Any:
        match self.judge.form:
            case "none":
                raise Unfit("takes no labels", "该任务不使用标签")
            case "class":
                return self._class(cell)
            case "group":
                return written(cell)
            case "text":
                return cell if isinstance(cell, str) else written(cell)
            case "numbers":
                return self._numbers(cell)
            case "mask":
                return self._masks(cell)
        value = structured(cell) if isinstance(cell, str) else cell
        self._check_names(value)
        return value

    def _masks(self, cell: Any) -> Any:
        """One mask, or several with their labels."""
        given = structured(cell) if isinstance(cell, str) and cell.lstrip().startswith("[") else cell
        if not isinstance(given, list):
            return content(given, "label", self._opener)
        self._check_names(given)
        return [
            {**one, "mask": content(one.get("mask"), "label", self._opener)} if isinstance(one, dict) else one
            for one in given
        ]

    def _check_names(self, value: Any) -> None:
        """Refuse things whose label is none of the model's."""
        for one in value if isinstance(value, list) and self.known else []:
            name = one.get("label") if isinstance(one, dict) else None
            if isinstance(name, str) and name not in self._places:
                raise UnknownLabel(name, self.known)

    def _class(self, cell: Any) -> str:
        """The name of a class; a number that is no name counts as a place among the known."""
        if isinstance(cell, str) and cell.strip() in self._places:
            return cell.strip()
        name = written(cell)
        if not self.known or name in self._places:
            return name
        if name.isascii() and name.isdigit() and len(name) < 7 and int(name) < len(self.known):
            return self.known[int(name)]
        raise UnknownLabel(name, self.known)

    def _numbers(self, cell: Any) -> Any:
        value = cell
        if isinstance(cell, str):
            try:
                value = orjson.loads(cell.strip())
            except orjson.JSONDecodeError:
                value = _number(cell)
        items = [value] if finite(value) else value.values() if isinstance(value, dict) else value
        if not isinstance(items, list) and not isinstance(value, dict):
            raise Unfit("is not a number", "不是数")
        if not items or not all(map(finite, items)):
            raise Unfit("is not a finite number", "不是有限的数")
        return value


def written(cell: Any) -> str:
    """A label as a text: 3 for 3.0 and "3.0", true for True."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, int | float):
        return str(cell)
    if not isinstance(cell, str):
        raise Unfit("is neither a text nor a number", "既不是文本，也不是数")
    name = cell.strip()
    head, dot, tail = name.partition(".")
    return head if dot and head.isdigit() and head.isascii() and set(tail) == {"0"} else name


def _number(text: str) -> float:
    """A number as spreadsheets write it; raises Unfit."""
    plain = text.strip()
    try:
        return float(plain) if len(plain) < 64 and "_" not in plain else float("nan")
    except ValueError as error:
        raise Unfit("is not a number", "不是数") from error
