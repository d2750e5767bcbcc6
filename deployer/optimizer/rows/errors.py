"""Why a person's data is refused, before any work starts.

DataRefused
├── DataMissing, DataNoTable, DataEmpty, DataFormat, DataEncoding, DataBroken, DataChanged    the file
├── DataZipBroken, DataZipBomb                                                               an archive
├── DataColumns, DataCell, DataNotFinite, DataTooLarge, DataPathOutside, DataPathMissing       its rows
├── DataLabel, DataLabelUnknown, DataLabelsMissing, DataOneClass, DataNoPairs                 its labels
└── DataTooFew                                                                               how many

Rows are counted from 1 and do not count a header; `line` is the line of the file where that is known.
"""

from typing import ClassVar

from deployer.errors import DeployerError


class DataRefused(DeployerError):
    """Root of all refusals of a data file. Facts: name (of the file)."""

    code: ClassVar[str] = "data-refused"


class DataMissing(DataRefused):
    """There is no such file. Facts: name."""

    code = "data-missing"


class DataNoTable(DataRefused):
    """A folder, archive or device without a table to read. Facts: name, expected, found."""

    code = "data-no-table"


class DataEmpty(DataRefused):
    """The file has no rows. Facts: name."""

    code = "data-empty"


class DataFormat(DataRefused):
    """The file is something else than we read. Facts: name, found."""

    code = "data-format"


class DataEncoding(DataRefused):
    """The file's text is in no encoding that we can tell. Facts: name, line."""

    code = "data-encoding"


class DataBroken(DataRefused):
    """A line that is not CSV or JSON, or an array cut short. Facts: name, row, line, why, why_zh."""

    code = "data-broken"


class DataChanged(DataRefused):
    """A file was changed while it was in use. Facts: name, path."""

    code = "data-changed"


class DataZipBroken(DataRefused):
    """An archive that cannot be opened. Facts: name, why, why_zh."""

    code = "data-zip-broken"


class DataZipBomb(DataRefused):
    """An archive that unpacks to far more than it should. Facts: name, member, size, limit (bytes)."""

    code = "data-zip-bomb"


class DataColumns(DataRefused):
    """Columns are missing. Facts: name, missing, found, expected (each ", "-joined), meant ("a → text")."""

    code = "data-columns"


class DataCell(DataRefused):
    """A cell of another form. Facts: name, row, line, column, why, why_zh."""

    code = "data-cell"


class DataNotFinite(DataRefused):
    """NaN or an infinity among numbers. Facts: name, row, line, column."""

    code = "data-not-finite"


class DataTooLarge(DataRefused):
    """A line, a cell or a file that a row names is too large. Facts: name, row, line, column, limit."""

    code = "data-too-large"


class DataPathOutside(DataRefused):
    """A path that leads out of the data's own folder. Facts: name, row, column, path."""

    code = "data-path-outside"


class DataPathMissing(DataRefused):
    """A path of no file. Facts: name, row, column, path."""

    code = "data-path-missing"


class DataLabel(DataRefused):
    """A label of another form. Facts: name, row, line, label, why, expected, expected_zh."""

    code = "data-label"


class DataLabelUnknown(DataRefused):
    """A label that the model does not have. Facts: name, row, line, label, known (", "-joined), meant."""

    code = "data-label-unknown"


class DataLabelsMissing(DataRefused):
    """Some rows have a label and others none. Facts: name, rows (the first few), count, total."""

    code = "data-labels-missing"


class DataOneClass(DataRefused):
    """All rows have the same label. Facts: name, label, count."""

    code = "data-one-class"


class DataNoPairs(DataRefused):
    """Hardly any text shares its group with another. Facts: name, count, needed."""

    code = "data-no-pairs"


class DataTooFew(DataRefused):
    """Too few different rows to prove anything. Facts: name, rows, distinct, needed."""

    code = "data-too-few"
