"""A person's own data: rows to choose a variant by and to judge it by.

A row is a request of `/predict` and, where there is one, the right answer in a column `label`. Taken are
CSV (from any spreadsheet), JSON with an object a line, a folder or a zip with data.csv or data.jsonl and the
files that it names, and for bare tensors .npz. Whatever the file's size, a bounded number of rows is held.
"""

from deployer.optimizer.rows.errors import DataRefused
from deployer.optimizer.rows.reading import read, wanted_by
from deployer.optimizer.rows.row import CHOOSING, FEWEST, Row, Rows, key_of, recalled, rows_in, split

__all__ = [
    "CHOOSING",
    "FEWEST",
    "DataRefused",
    "Row",
    "Rows",
    "key_of",
    "read",
    "recalled",
    "rows_in",
    "split",
    "wanted_by",
]
