"""One file on its way to rows."""

import hashlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployer.optimizer.metrics import judge_for
from deployer.optimizer.rows.arrays import array_lines, digest, is_arrays
from deployer.optimizer.rows.contents import File
from deployer.optimizer.rows.errors import (
    DataCell,
    DataChanged,
    DataColumns,
    DataFormat,
    DataLabel,
    DataLabelsMissing,
    DataLabelUnknown,
    DataMissing,
    DataNoPairs,
    DataOneClass,
    DataRefused,
    DataTooFew,
    DataZipBroken,
)
from deployer.optimizer.rows.forms import (
    FORMS,
    LABEL,
    PAIRED,
    At,
    Form,
    Unfit,
    form_for,
    header,
    missing,
    request,
    suggestion,
)
from deployer.optimizer.rows.keeping import Keeper
from deployer.optimizer.rows.labels import LabelReader, UnknownLabel
from deployer.optimizer.rows.row import FEWEST, Row, Rows
from deployer.optimizer.rows.sources import Source, is_zip, source_at
from deployer.optimizer.rows.tables import Line, lines, scan
from deployer.server.predictor import Predictor

_LISTED = 10  # rows that a refusal names
_ONE_CLASS = ("class", "numbers")
_MANY_GROUPS = 100  # from which on groups are split whole
Opener = Callable[[str, int, str], File]


def read(
    path: Path,
    task: str,
    *,
    field: str,
    limit: int = 2000,
    labels: Sequence[str] | None = None,
    columns: Mapping[str, bool] | None = None,
    takes: Collection[str] | None = None,
) -> Rows:
    """Read a data file for a task; at most `limit` rows are kept, by the smallest hashes of their content.

    `field` is the main field of the task's requests, `labels` are the names of the model's classes in
    their order, `columns` those of a model of tables (or the inputs of bare tensors), True for those that
    every row must have, `takes` the fields that a request may have. Raises a DataRefused that names the
    row and what to do.
    """
    try:
        return _Reading(path, task, field, limit, labels, columns, takes).rows()
    except FileNotFoundError as error:
        raise DataMissing(name=path.name) from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataZipBroken(name=path.name, why=str(error)[:200], why_zh="文件已损坏") from error
    except OSError as error:
        raise DataMissing(name=path.name, why=error.strerror or "") from error


def wanted_by(predictor: Predictor) -> dict[str, Any]:
    """The keywords of `read` for a loaded model: its main field, its labels, its columns or inputs."""
    schema = predictor.schema
    judge = judge_for(predictor.task)
    named = getattr(predictor, "labels", None) if judge.form == "class" else schema.get("x-labels")
    if predictor.task == "file-type":  # which answers plainer names than its graph has
        named = sorted(getattr(predictor, "kinds", {}))
    labels = [str(name) for name in named] if isinstance(named, list | tuple) and named else None
    columns: dict[str, bool] | None = None
    if "x-columns" in schema:
        columns = {column["name"]: "default" not in column for column in schema["x-columns"]}
    elif predictor.task not in FORMS:
        columns = {spec.name: True for spec in predictor.inputs}
    return {
        "field": str(schema.get("x-field", "")),
        "labels": labels,
        "columns": columns,
        "takes": list(schema.get("properties", {})),
    }


@dataclass
class _Labels:
    """How many rows have a label, and the first that have none."""

    there: int = 0
    absent: int = 0
    first: tuple[int, ...] = ()

    def count(self, number: int, there: bool) -> None:
        """One more row."""
        self.there += there
        self.absent += not there
        if not there and len(self.first) < _LISTED:
            self.first += (number,)


class _Reading:
    """One file on its way to rows."""

    def __init__(
        self,
        path: Path,
        task: str,
        field: str,
        limit: int,
        labels: Sequence[str] | None,
        columns: Mapping[str, bool] | None,
        takes: Collection[str] | None,
    ) -> None:
        self.path, self.task, self.limit = path, task, limit
        self.name = path.name
        form: Form = form_for(task, field, columns)
        # A dictionary, for one, has no longest text and nothing to cut.
        always = {k: v for k, v in form.always.items() if takes is None or k in takes}
        self.form = replace(form, always=always)
        self.columns = columns
        self.judge = judge_for(task)
        self.known = labels
        self.counted = _Labels()
        self.ignored: dict[str, None] = {}
        self._names: dict[tuple[str, ...], dict[str, str]] = {}
        self._row = 0
        self._files = hashlib.sha256()
        self._opened = False

    def rows(self) -> Rows:
        """Everything: raises what there is to refuse."""
        if self.path.is_file() and is_zip(self.path) and is_arrays(self.path):
            return self._arrays()
        with closing(source_at(self.path)) as source:
            return self._table(source)

    def _table(self, source: Source) -> Rows:
        found = scan(source)
        before = self.path.stat()
        keeper = Keeper(self.limit)
        with closing(lines(source, found)) as given:
            total = self._fill(keeper, given, source.file)
        after = self.path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise DataChanged(name=self.name, path=self.name)
        whole = source.digest() or found.sha256
        if self._opened and not source.digest():
            whole = hashlib.sha256(f"{whole}\n{self._files.hexdigest()}".encode()).hexdigest()
        return self._judged(keeper, total, whole)

    def _arrays(self) -> Rows:
        if "inputs" not in self.form.optional:
            raise DataFormat(name=self.name, found=".npz")
        keeper = Keeper(self.limit)

        def none(path: str, row: int, column: str) -> File:
            raise DataFormat(name=self.name, found=".npz")

        with closing(array_lines(self.path, self.columns)) as given:
            total = self._fill(keeper, given, none)
        return self._judged(keeper, total, digest(self.path))

    def _fill(self, keeper: Keeper, given: Iterator[Line], opener: Opener) -> int:
        """Put all rows to the keeper; returns how many there were."""

        def opened(path: str, column: str) -> File:
            file = opener(path, self._row, column)
            self._opened = True
            self._files.update(f"{file.sha256}\n".encode())
            return file

        reader = LabelReader(self.judge, self.known, opened)
        total = 0
        for line in given:
            total, self._row = total + 1, line.number
            cells = self._renamed(line)
            try:
                made = request(cells, self.form, opened)
            except At as at:
                raise self._unfit(line, at.column, at.unfit) from at
            paired = PAIRED in self.form.optional and cells.get(PAIRED) is not None
            label = PAIRED if paired else self._label(line, cells.get(LABEL), reader)
            self.counted.count(line.number, label is not None)
            keeper.add(Row(line.number, made, label))
        return total

    def _renamed(self, line: Line) -> dict[str, Any]:
        """Cells by the names of the form; checks the columns wherever they are others than before."""
        names = tuple(line.cells)
        known = self._names.get(names)
        if known is None:
            known = header(names, self.form)
            self._check_columns(list(known.values()), names)
            if len(self._names) < 1000:
                self._names[names] = known
        return {known[name]: cell for name, cell in line.cells.items()}

    def _check_columns(self, found: list[str], names: tuple[str, ...]) -> None:
        absent = missing(found, self.form)
        meant = suggestion(found, absent or ([] if LABEL in found else [LABEL]), self.form)
        if absent or (meant and LABEL not in found and self.judge.form != "none"):
            extra = [*self.form.required, *([] if self.judge.form == "none" else [LABEL])]
            raise DataColumns(
                name=self.name,
                missing=", ".join(absent or [LABEL])[:300],
                found=", ".join(names)[:300],
                expected=", ".join(extra or [LABEL])[:300],
                meant=meant,
            )
        if self.form.closed:
            known = {*self.form.required, *self.form.optional, self.form.table, LABEL}
            self.ignored |= {
                name[:80]: None for name in found if name not in known and len(self.ignored) < 50
            }

    def _label(self, line: Line, cell: Any, reader: LabelReader) -> Any:
        if cell is None:
            return None
        facts = {"name": self.name, "row": line.number, "line": line.line}
        try:
            return reader.read(cell)
        except UnknownLabel as unknown:
            raise DataLabelUnknown(
                **facts, label=unknown.label, known=unknown.known, meant=unknown.meant
            ) from unknown
        except Unfit as unfit:
            expected = self.judge.expected
            raise DataLabel(
                **facts,
                label=str(cell)[:80],
                why=unfit.why,
                why_zh=unfit.why_zh,
                expected=expected.en,
                expected_zh=expected.zh,
            ) from unfit

    def _unfit(self, line: Line, column: str, unfit: Unfit) -> DataRefused:
        facts = {"name": self.name, "row": line.number, "line": line.line, "column": column}
        return DataCell(**facts, why=unfit.why, why_zh=unfit.why_zh)

    def _judged(self, keeper: Keeper, total: int, whole: str) -> Rows:
        """The rows that were kept, if they can be judged."""
        kept = keeper.rows()
        counted = self.counted
        if counted.there and counted.absent:
            listed = ", ".join(map(str, counted.first)) + (", …" if counted.absent > _LISTED else "")
            raise DataLabelsMissing(name=self.name, rows=listed, count=counted.absent, total=total)
        distinct = len({row.key for row in kept})
        if min(distinct, self.limit) < min(FEWEST, self.limit):
            raise DataTooFew(name=self.name, rows=total, distinct=distinct, needed=FEWEST)
        classes = self._classes(kept) if counted.there else {}
        return Rows(
            rows=tuple(self._grouped(kept)),
            digest=f"sha256:{whole}",
            total=total,
            labelled=bool(counted.there),
            name=self.name,
            duplicates=keeper.duplicates,
            contradictions=len(kept) - distinct,
            ignored=tuple(self.ignored),
            classes=classes,
        )

    def _classes(self, kept: list[Row]) -> dict[str, int]:
        """How many rows each class has; refuses one alone."""
        labels = [row.label for row in kept] if self.judge.form in _ONE_CLASS else []
        if labels and all(label == labels[0] for label in labels):
            raise DataOneClass(name=self.name, label=str(labels[0])[:80], count=len(labels))
        return dict(Counter(labels)) if self.judge.form == "class" else {}

    def _grouped(self, kept: list[Row]) -> list[Row]:
        """Rows whose groups stay together when they are split, where there are many groups."""
        if self.judge.form != "group" or not self.counted.there or kept[0].label == PAIRED:
            return kept
        sizes = Counter(row.label for row in kept)
        paired = sum(size for size in sizes.values() if size > 1)
        if paired < FEWEST:
            raise DataNoPairs(name=self.name, count=paired, needed=FEWEST)
        if len(sizes) >= _MANY_GROUPS:
            for row in kept:
                row.together = str(row.label)
        return kept
