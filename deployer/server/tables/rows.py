"""Rows of a table to a graph's inputs: the columns, and what their cells may hold.

options.columns lists the columns: {"name", "type": number | category | text | boolean, "categories",
"encode", "default", "title"}, or the name alone; a type that is not said follows from the graph. Without the
option they are read from the graph: one column an input, as converters write for data frames, or the unnamed
columns x0, x1, … of its one input.

- An input takes the column of its name; where names differ, the columns fill the inputs in order.
- A cell that is absent, null or (in CSV) empty takes the column's `default`; a default of null leaves it
  missing for the graph: NaN, or an empty text. Without a default it is refused.
- A category is its own text or number. Text in an input of numbers becomes its place in `categories`;
  `encode` says index for the place in any case, or one-hot for a 1 among zeros.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.openinference import DTYPES
from deployer.server.signature import Array, TensorSpec
from deployer.server.tables.delimited import read_csv

MOST_ROWS = 10_000
TYPES = ("number", "category", "text", "boolean")
ENCODINGS = ("", "index", "one-hot")
_AT_ONCE = 1024  # rows of a run
_MOST_CELLS = 1_000_000
_MOST_COLUMNS = 10_000
_LONGEST = 10_000  # characters of a cell
_NAMED = 20  # columns or categories that a refusal lists
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")
_KINDS = {"number": "数", "category": "类别", "text": "文本", "boolean": "true 或 false"}

_MISSING = Words("is missing", "缺失")
_NO_NUMBER = Words("is not a number", "不是数")
_NO_WHOLE = Words("is not a whole number", "不是整数")
_OUT_OF_RANGE = Words("is out of range", "超出范围")


class Unfit(Exception):
    """A cell that its column cannot hold, and why."""

    def __init__(self, why: Words) -> None:
        super().__init__(why.en)
        self.why = why


@dataclass(frozen=True)
class Column:
    """One column as the manifest describes it."""

    name: str
    type: str = ""
    categories: tuple[str | int | float, ...] = ()
    encode: str = ""
    default: Any = ...
    title: Any = None

    @property
    def width(self) -> int:
        """How many columns of an input it fills."""
        return len(self.categories) if self.encode == "one-hot" else 1

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a cell."""
        kinds = {"number": ["number"], "boolean": ["boolean"], "category": ["string", "number"]}
        made: dict[str, Any] = {"type": kinds.get(self.type, ["string"])}
        choices: list[Any] = list(self.categories)
        if self.default is not ...:
            made |= {"type": [*made["type"], "null"], "default": self.default}
            choices.append(None)
        return {**made, "enum": choices} if self.categories else made

    def describe(self) -> dict[str, Any]:
        """For people: what the manifest says of it."""
        made: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.categories:
            made["categories"] = list(self.categories)
        if self.default is not ...:
            made["default"] = self.default
        return made if self.title is None else {**made, "title": self.title}

    def expected(self) -> Words:
        """What its cells hold, for a refusal."""
        if self.categories:
            listed = ", ".join(map(str, self.categories[:_NAMED]))
            listed += ", …" if len(self.categories) > _NAMED else ""
            return Words(f"one of {listed}", f"{listed} 之一")
        return Words("true | false" if self.type == "boolean" else f"a {self.type}", _KINDS[self.type])


class Slot:
    """A column in the input that takes it: reads cells as that input's values."""

    def __init__(self, column: Column, spec: TensorSpec) -> None:
        self._dtype = DTYPES[spec.datatype]
        kind = self._kind = "" if spec.datatype == "BF16" else self._dtype.kind
        own = {"f": "number", "i": "number", "u": "number", "O": "text", "b": "boolean"}.get(kind, "")
        told = column.type or ("category" if column.categories else own)
        self.column = replace(column, type=told)
        fits = {"number": "fiu", "boolean": "fiub", "text": "O", "category": "fiuO"}.get(told, "")
        if not kind or kind not in fits or (told == "category" and kind != "O" and not column.categories):
            raise BadModel(f"the column {column.name!r}, a {told or 'cell'}, does not fit into {spec}")
        self._most = float(np.finfo(self._dtype).max) if kind == "f" else 0.0
        self._whole = np.iinfo(self._dtype) if kind in "iu" else None
        self._codes = self._coded()
        readers = {"number": self._number, "boolean": _boolean, "text": _text}
        self._read: Callable[[Any], Any] = readers.get(told, self._category)
        self._default = self._for_missing(spec)

    def _coded(self) -> dict[str, Any]:
        """What each category becomes, by how it is written."""
        column = self.column
        names = any(isinstance(one, str) for one in column.categories)
        if column.encode or (names and self._kind != "O"):
            return {written(one): place for place, one in enumerate(column.categories)}
        if self._kind == "O":
            return {written(one): written(one) for one in column.categories}
        try:
            return {written(one): self._number(one) for one in column.categories}
        except Unfit as unfit:
            raise BadModel(f"a category of column {column.name!r} {unfit.why.en}") from unfit

    def _for_missing(self, spec: TensorSpec) -> Any:
        """What stands for a cell that is missing; ... where one may not be."""
        column = self.column
        if column.default is ...:
            return ...
        if column.default is not None:
            try:
                return self._read(column.default)
            except Unfit as unfit:
                raise BadModel(f"the default of column {column.name!r} {unfit.why.en}") from unfit
        if column.encode == "one-hot":
            return -1  # is no category's place
        if self._kind not in ("f", "O"):
            raise BadModel(f"the column {column.name!r} cannot be missing: {spec} has no NaN")
        return math.nan if self._kind == "f" else ""

    def block(self, cells: Sequence[Any], first: int, where: str) -> Array:
        """Cells [n] as the input's columns [n, width]; `first` is the number of the first row."""
        values = []
        for number, cell in enumerate(cells, first):
            try:
                values.append(self.value(cell))
            except Unfit as unfit:
                place = f"{where}[{number}].{self.column.name}"
                raise BadInput(place, unfit.why, self.column.expected()) from unfit
        if self.column.encode == "one-hot":
            return np.asarray(np.array(values)[:, None] == np.arange(self.column.width)).astype(self._dtype)
        return np.array(values, self._dtype).reshape(-1, 1)

    def value(self, cell: Any) -> Any:
        """One cell as the input takes it; raises Unfit."""
        if cell is None:
            if self._default is ...:
                raise Unfit(_MISSING)
            return self._default
        return self._read(cell)

    def _number(self, cell: Any) -> Any:
        if isinstance(cell, str):
            cell = _parsed(cell)
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            raise Unfit(_NO_NUMBER)
        if self._whole is None:
            if not abs(cell) <= self._most:
                raise Unfit(_OUT_OF_RANGE)
            return float(cell)
        if isinstance(cell, float) and not cell.is_integer():
            raise Unfit(_NO_WHOLE)
        if not self._whole.min <= int(cell) <= self._whole.max:
            raise Unfit(_OUT_OF_RANGE)
        return int(cell)

    def _category(self, cell: Any) -> Any:
        if not isinstance(cell, str | int | float):
            raise Unfit(Words("is not a category", "不是类别"))
        if not self.column.categories:
            return _text(written(cell))
        found = self._codes.get(written(cell))
        if found is None:
            raise Unfit(Words("is not one of the categories", "不在类别之列"))
        return found


class Table:
    """The columns of a model, and how its graph takes them."""

    def __init__(self, options: dict[str, Any], inputs: Sequence[TensorSpec]) -> None:
        self.inputs = list(inputs)
        widths = [_width(spec) for spec in inputs]
        given = options.get("columns")
        columns = _own_columns(inputs, widths) if given is None else _read_columns(given)
        if len({column.name for column in columns}) != len(columns):
            raise BadModel("options.columns names a column twice")
        parts = _lay_out(columns, inputs, widths)
        self.slots = [
            [Slot(column, spec) for column in part] for part, spec in zip(parts, inputs, strict=True)
        ]
        bound = {slot.column.name: slot.column for slots in self.slots for slot in slots}
        self.columns = [bound[column.name] for column in columns]
        self.names = [column.name for column in columns]
        self._places = {name: place for place, name in enumerate(self.names)}
        fixed = {spec.shape[0] for spec in inputs} - {-1}
        if fixed - {1}:
            raise BadModel(f"the graph takes {max(fixed)} rows at once, neither one nor any number")
        self.at_once = 1 if fixed else _AT_ONCE

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the field `rows`."""
        row = {
            "type": "object",
            "properties": {column.name: column.schema() for column in self.columns},
            "required": [column.name for column in self.columns if column.default is ...],
            "additionalProperties": False,
        }
        count = len(self.columns)
        values = {"type": "array", "minItems": count, "maxItems": count}
        rows = {"type": "array", "items": {"anyOf": [row, values]}, "minItems": 1, "maxItems": MOST_ROWS}
        return {
            "description": "rows as objects or as lists of values, one object, or CSV with a header",
            "x-accepts": ["text/csv"],
            "anyOf": [rows, row, {"type": "string", "contentMediaType": "text/csv"}],
        }

    def rows(self, value: Any, where: str = "rows") -> list[list[Any]]:
        """The cells of each row in the order of the columns; raises BadInput."""
        if isinstance(value, str | bytes):
            value = read_csv(value, where, most=MOST_ROWS)
        given = [value] if isinstance(value, dict) else value
        if not isinstance(given, list) or not given:
            why = Words("is neither a row nor a list of rows", "既不是一行，也不是多行的列表")
            raise BadInput(where, why, self._row())
        most = min(MOST_ROWS, max(1, _MOST_CELLS // len(self.columns)))
        if len(given) > most:
            why = Words(f"has {len(given)} rows", f"有 {len(given)} 行")
            raise BadInput(where, why, Words(f"at most {most} rows", f"至多 {most} 行"))
        return [self._cells(row, f"{where}[{number}]") for number, row in enumerate(given)]

    def feeds(self, rows: Sequence[list[Any]], first: int = 0, where: str = "rows") -> dict[str, Array]:
        """The graph's inputs for rows of cells; `first` is the number of the first one."""
        made: dict[str, Array] = {}
        for spec, slots in zip(self.inputs, self.slots, strict=True):
            blocks = []
            for slot in slots:
                place = self._places[slot.column.name]
                blocks.append(slot.block([row[place] for row in rows], first, where))
            array = np.concatenate(blocks, axis=1)
            made[spec.name] = array if len(spec.shape) == 2 else array[:, 0]
        return made

    def _cells(self, row: Any, where: str) -> list[Any]:
        if isinstance(row, list):
            if len(row) != len(self.columns):
                raise BadInput(where, Words(f"has {len(row)} values", f"有 {len(row)} 个值"), self._row())
            return row
        if not isinstance(row, dict):
            why = Words("is neither an object nor a list", "既不是对象，也不是列表")
            raise BadInput(where, why, self._row())
        for name in row:
            if name not in self._places:
                why = Words("is not a column of this model", "不是该模型的列")
                raise BadInput(f"{where}.{str(name)[:80]}", why, self._row())
        return [row.get(name) for name in self.names]

    def _row(self) -> str:
        return ", ".join([*self.names[:_NAMED], *(["…"] if len(self.names) > _NAMED else [])])


def written(value: Any) -> str:
    """A value as a cell of CSV has it: 1 for 1.0, true for True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _parsed(cell: str) -> int | float:
    """The number that a text says; refuses names of no number and Python's own ways of writing."""
    text = cell.strip()
    if len(text) > 64 or "_" in text:
        raise Unfit(_NO_NUMBER)
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise Unfit(_NO_NUMBER) from None
    if not math.isfinite(number):
        raise Unfit(_NO_NUMBER)
    return number


def _boolean(cell: Any) -> int:
    said = written(cell).strip().lower() if isinstance(cell, str | int | float) else ""
    if said not in _TRUE + _FALSE:
        raise Unfit(Words("is neither true nor false", "既不是 true 也不是 false"))
    return int(said in _TRUE)


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise Unfit(Words("is not a text", "不是文本"))
    if len(cell) > _LONGEST:
        raise Unfit(Words(f"has {len(cell)} characters", f"有 {len(cell)} 个字符"))
    return cell


def _width(spec: TensorSpec) -> int:
    """Columns of an input, -1 for any number."""
    if len(spec.shape) not in (1, 2):
        raise BadModel(f"the graph takes {spec}, not rows of a table")
    return spec.shape[1] if len(spec.shape) == 2 else 1


def _own_columns(inputs: Sequence[TensorSpec], widths: Sequence[int]) -> list[Column]:
    """Columns named by a graph's inputs."""
    columns: list[Column] = []
    for spec, width in zip(inputs, widths, strict=True):
        if width < 1 or len(columns) + width > _MOST_COLUMNS:
            raise BadModel(f"the graph takes {spec}: give options.columns")
        stem = "x" if len(inputs) == 1 else f"{spec.name}_"
        names = [spec.name] if width == 1 else [f"{stem}{place}" for place in range(width)]
        columns += [Column(name) for name in names]
    return columns


def _read_columns(given: Any) -> list[Column]:
    """options.columns, each checked by itself."""
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST_COLUMNS:
        raise BadModel("options.columns is not a list of columns")
    columns = []
    for item in given:
        told = {"name": item} if isinstance(item, str) else item
        name = told.get("name") if isinstance(told, dict) else None
        if not isinstance(name, str) or not name:
            raise BadModel(f"options.columns has an entry without a name: {str(item)[:80]}")
        kind, encode = told.get("type", ""), told.get("encode", "")
        categories = told.get("categories", [])
        plain = isinstance(categories, list) and all(isinstance(one, str | int | float) for one in categories)
        if kind not in ("", *TYPES) or encode not in ENCODINGS or not plain:
            raise BadModel(f"the column {name!r} has no such type, encode or categories: {str(told)[:200]}")
        if len({written(one) for one in categories}) != len(categories):
            raise BadModel(f"the column {name!r} names a category twice")
        if (encode and not categories) or (categories and kind not in ("", "category")):
            raise BadModel(f"the column {name!r} has categories or encode without the other")
        default = told.get("default", ...)
        columns.append(Column(name, kind, tuple(categories), encode, default, told.get("title")))
    return columns


def _lay_out(
    columns: list[Column], inputs: Sequence[TensorSpec], widths: Sequence[int]
) -> list[list[Column]]:
    """The columns of each input: by name where all names are inputs, else in order by width."""
    by_name = {column.name: column for column in columns}
    if set(by_name) == {spec.name for spec in inputs}:
        parts = [[by_name[spec.name]] for spec in inputs]
    else:
        parts, rest = [], list(columns)
        for width in widths:
            part: list[Column] = []
            while rest and (width < 0 or sum(column.width for column in part) < width):
                part.append(rest.pop(0))
            parts.append(part)
        if rest:
            raise BadModel(f"options.columns has more columns than the graph takes, from {rest[0].name!r} on")
    for part, spec, width in zip(parts, inputs, widths, strict=True):
        filled = sum(column.width for column in part)
        if not part or width not in (-1, filled):
            raise BadModel(f"options.columns fill {filled} columns of {spec}")
    return parts
