"""Rows to a data file: JSONL, or a zip of data.jsonl with the files that it names."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WHEN = (2020, 1, 1, 0, 0, 0)  # a fixed date, so that the same rows give the same bytes
_DENSE = {"png", "jpg", "webp", "gif"}


class Missing(Exception):
    """Something that the rows are made of is not on this machine; the message names it."""


@dataclass(frozen=True)
class Made:
    """One row: columns as JSON holds them, and the fields that lie in a file of their own."""

    columns: dict[str, Any]
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """By field: the bytes, and the ending of the file's name."""


def write(rows: list[Made], stem: Path) -> Path:
    """One file beside `stem`, with the ending of what it is."""
    if not any(row.files for row in rows):
        path = stem.with_suffix(".jsonl")
        path.write_text("".join(_line(row.columns) for row in rows), "utf-8")
        return path
    path = stem.with_suffix(".zip")
    lines = []
    with zipfile.ZipFile(path, "w") as out:
        for number, row in enumerate(rows, 1):
            columns = dict(row.columns)
            for name, (data, ending) in row.files.items():
                columns[name] = f"{name}/{number:05}.{ending}"
                _add(out, columns[name], data, dense=ending in _DENSE)
            lines.append(_line(columns))
        _add(out, "data.jsonl", "".join(lines).encode(), dense=False)
    return path


def _line(columns: dict[str, Any]) -> str:
    return json.dumps(columns, ensure_ascii=False) + "\n"


def _add(out: zipfile.ZipFile, name: str, data: bytes, *, dense: bool) -> None:
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_STORED if dense else zipfile.ZIP_DEFLATED
    out.writestr(info, data, compresslevel=1)
