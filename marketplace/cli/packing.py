"""A person's data as one file to send: a table that names pictures, sounds or files takes them along.

A CSV or JSONL that names nothing, a .npz and a .zip go as they are. Otherwise the table and the files that it
names, which must lie below its own folder, are packed into a .zip as the optimiser reads it.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from marketplace.terminal import say

MEDIA = ("image", "audio", "file")  # columns whose cells may name files
TABLES = ("data.csv", "data.jsonl")
LARGEST = 4 << 30  # bytes of all files together
MOST = 100_000  # files


@contextmanager
def packed(data: Path) -> Iterator[Path]:
    """The file to send, gone again afterwards if it was made here; refuses what cannot be packed."""
    table = _table_of(data)
    names = _named(table)
    if not names and data.is_file():
        yield data
        return
    with TemporaryDirectory(prefix="market-data-") as folder:
        archive = Path(folder) / f"{data.stem or 'data'}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as out:
            out.write(table, f"data{_ending(table)}")
            for name in names:
                out.write(table.parent / name, name)
        yield archive


def _ending(table: Path) -> str:
    return ".csv" if table.suffix.lower() in (".csv", ".tsv") else ".jsonl"


def _table_of(data: Path) -> Path:
    """The table itself, or the one in a folder."""
    if data.is_file():
        return data
    for name in TABLES:
        if (data / name).is_file():
            return data / name
    expected = " / ".join(TABLES)
    raise click.BadParameter(say(f"{data} 中没有 {expected}", f"{data} holds no {expected}"))


def _named(table: Path) -> list[str]:
    """Files that the table's media columns name, each once, as relative paths."""
    if table.suffix.lower() not in (".csv", ".tsv", ".jsonl", ".ndjson"):
        return []
    named: dict[str, None] = {}
    total = 0
    for cell in _cells(table):
        if cell in named or not _is_path(table.parent, cell):
            continue
        file = (table.parent / cell).resolve()
        if not file.is_relative_to(table.parent.resolve()):
            raise click.BadParameter(
                say(f"{cell} 在数据目录之外", f"{cell} lies outside of the data's folder")
            )
        total += file.stat().st_size
        named[cell] = None
        if len(named) > MOST or total > LARGEST:
            raise click.BadParameter(
                say(f"{table.name} 所指的文件过多或过大", f"{table.name} names too many or too large files")
            )
    return list(named)


def _is_path(folder: Path, cell: str) -> bool:
    """Whether a cell names a file that is there; encoded contents and missing files are left to the shop."""
    if not cell or len(cell) > 1000 or cell.startswith("data:") or "\0" in cell:
        return False
    try:
        return (folder / cell).is_file()
    except OSError:
        return False


def _cells(table: Path) -> Iterator[str]:
    """The cells of the media columns."""
    with table.open("rb") as file:
        if _ending(table) == ".jsonl":
            for line in file:
                yield from _media_of(line)
            return
    # Only paths are wanted of it, so bytes of whatever encoding are passed through.
    with table.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        head = text.readline()
        text.seek(0)
        separator = max(",;\t", key=head.count)
        columns = next(csv.reader(io.StringIO(head.lstrip("\ufeff")), delimiter=separator), [])
        if not set(MEDIA) & {column.strip() for column in columns}:
            return
        csv.field_size_limit(1 << 30)
        places = [n for n, column in enumerate(columns) if column.strip() in MEDIA]
        rows = csv.reader(text, delimiter=separator)
        next(rows, None)
        try:
            for row in rows:
                yield from (row[n] for n in places if n < len(row))
        except csv.Error:
            return  # the shop says what is wrong with it, and where


def _media_of(line: bytes) -> Iterator[str]:
    if not any(f'"{name}"'.encode() in line for name in MEDIA):
        return
    try:
        row = json.loads(line)
    except ValueError:
        return
    if isinstance(row, dict):
        yield from (row[name] for name in MEDIA if isinstance(row.get(name), str))
