"""Lines of a table as a stream: CSV in whatever a spreadsheet writes, and JSON with an object a line."""

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import IO, Any

import orjson

from deployer.optimizer.rows.contents import MOST_BYTES
from deployer.optimizer.rows.errors import (
    DataBroken,
    DataEmpty,
    DataEncoding,
    DataFormat,
    DataNotFinite,
    DataTooLarge,
)
from deployer.optimizer.rows.sources import Source

MOST_CELL = csv.field_size_limit()  # characters of a cell of CSV: the library's own bound, 131 072
_BLOCK = 1 << 20
_HEADER = 65_536  # characters in which what parts the cells is looked for
_MOST_COLUMNS = 10_000
_CHINESE = 0.9  # share of GB2312's characters from which bytes are believed to be Chinese
_MAGIC = {
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"\xd0\xcf\x11\xe0": "Office 97 (.xls)",
    b"%PDF": "PDF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"Obj\x01": "Avro",
    b"SQLite format": "SQLite",
    b"ARROW1": "Arrow",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
}
_NO_NUMBERS = re.compile(r"[\[:,\s](-?Infinity|NaN)\s*[,\]}]")


@dataclass(frozen=True)
class Scan:
    """What a first look at a table found: its encoding, its digest, and whether it is JSON by line."""

    charset: str
    sha256: str
    jsonl: bool


@dataclass(frozen=True)
class Line:
    """A row's cells by column, with its number among the rows and its line in the file, both from 1."""

    number: int
    line: int
    cells: dict[str, Any]


def scan(source: Source) -> Scan:
    """Read a table once for its digest and encoding; refuses what is no text, and what is empty."""
    head, sha256, charset = _first_pass(source)
    if not charset:
        charset = _chinese(source)
    text = head.decode(charset, errors="ignore").lstrip("\ufeff \t\r\n")
    if not text:
        raise DataEmpty(name=source.name)
    ending = source.table.lower().rpartition(".")[2]
    jsonl = ending in ("jsonl", "ndjson", "json") or (text[0] == "{" and ending not in ("csv", "tsv"))
    if jsonl and text[0] == "[":
        raise DataFormat(name=source.name, found="a JSON array")
    return Scan(charset, sha256, jsonl)


def lines(source: Source, found: Scan) -> Generator[Line, None, None]:
    """The rows of a table; raises a refusal at the row where one is due."""
    with source.open() as raw:
        text = io.TextIOWrapper(raw, encoding=found.charset, newline="")
        yield from _json_lines(text, source.name) if found.jsonl else _csv_lines(text, source.name)


def _first_pass(source: Source) -> tuple[bytes, str, str]:
    """The first bytes, the digest, and utf-8 or utf-16; an empty charset for what is neither."""
    digest = hashlib.sha256()
    with source.open() as file:
        head = block = file.read(_BLOCK)
        for magic, name in _MAGIC.items():
            if head.startswith(magic):
                raise DataFormat(name=source.name, found=name)
        wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        charset = "utf-16" if wide else "utf-8-sig"
        decoder = codecs.getincrementaldecoder(charset)()
        while block:
            digest.update(block)
            if not wide and b"\0" in block:
                raise DataFormat(name=source.name, found="binary")
            if charset:
                charset = charset if _decodes(decoder, block) else ""
            block = file.read(_BLOCK)
    if charset and not _decodes(decoder, b"", last=True):
        charset = ""
    if wide and not charset:
        raise DataEncoding(name=source.name, line=None)
    return head, digest.hexdigest(), charset


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, last: bool = False) -> bool:
    try:
        decoder.decode(block, last)
    except UnicodeDecodeError:
        return False
    return True


def _chinese(source: Source) -> str:
    """gb18030 if that is what a table is in; else it is refused with the line of its first odd bytes.

    Nearly any bytes are some characters of GB18030; only a text in which nearly all of them are those that
    Chinese is written with is taken for it.
    """
    decoder = codecs.getincrementaldecoder("gb18030")()
    odd = 0
    common = b""
    with source.open() as file:
        while True:
            block = file.read(_BLOCK)
            try:
                text = decoder.decode(block, not block)
            except UnicodeDecodeError as error:
                raise DataEncoding(name=source.name, line=_first_odd(source)) from error
            if odd < _BLOCK:  # enough to tell by
                strange = "".join(character for character in text if ord(character) > 127)
                odd += len(strange)
                common += strange.encode("gb2312", errors="ignore")
            if not block:
                break
    if len(common) // 2 < _CHINESE * odd or _korean(common):
        raise DataEncoding(name=source.name, line=_first_odd(source))
    return "gb18030"


def _korean(common: bytes) -> bool:
    """Whether characters of GB2312 are all in its rows where EUC-KR has the Korean syllables."""
    leads = [lead for lead in common[::2] if lead >= 0xB0]
    return len(leads) >= 10 and sum(lead <= 0xC8 for lead in leads) > 0.97 * len(leads)


def _first_odd(source: Source) -> int:
    """The line in which a table ceases to be UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with source.open() as file:
        while block := file.readline(_BLOCK):
            if not _decodes(decoder, block):
                break
            line += block.endswith(b"\n")
    return line


def _json_lines(text: IO[str], name: str) -> Iterator[Line]:
    number = 0
    for place, line in enumerate(_bounded(text, name), 1):
        line = line.strip().removeprefix("\ufeff")
        if not line:
            continue
        number += 1
        try:
            cells = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            if _NO_NUMBERS.search(line):
                raise DataNotFinite(name=name, row=number, line=place, column="") from error
            why = f"is not JSON: {error.msg[:100]}"
            raise DataBroken(name=name, row=number, line=place, why=why, why_zh="不是有效的 JSON") from error
        if not isinstance(cells, dict):
            why, why_zh = "is not a JSON object", "不是 JSON 对象"
            raise DataBroken(name=name, row=number, line=place, why=why, why_zh=why_zh)
        yield Line(number, place, cells)
    if not number:
        raise DataEmpty(name=name)


def _csv_lines(text: IO[str], name: str) -> Iterator[Line]:
    given = _bounded(text, name)
    first = next((line for line in given if line.strip("\ufeff \t\r\n,;\"'")), None)
    if first is None:
        raise DataEmpty(name=name)
    parting = _parting(first)
    reader = csv.reader(_chained(first, given), delimiter=parting, strict=True)
    columns: list[str] = []
    number = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = _columns(cells, name)
                continue
            number += 1
            if len(cells) != len(columns):
                cells = _fitted(cells, len(columns), name, number, reader.line_num)
            row = zip(columns, cells, strict=True)
            yield Line(number, reader.line_num, {key: cell or None for key, cell in row if key})
    except csv.Error as error:
        if "larger than field limit" in str(error):
            line = reader.line_num
            raise DataTooLarge(name=name, row=number + 1, line=line, column="", limit=MOST_CELL) from error
        why, why_zh = f"is not CSV: {error}", "不是有效的 CSV"
        raise DataBroken(name=name, row=number + 1, line=reader.line_num, why=why, why_zh=why_zh) from error
    if not number:
        raise DataEmpty(name=name)


def _bounded(text: IO[str], name: str) -> Iterator[str]:
    """Lines with their ends, none longer than a request may be."""
    place = 0
    while line := text.readline(MOST_BYTES + 1):
        place += 1
        if len(line) > MOST_BYTES:
            raise DataTooLarge(name=name, row=None, line=place, column="", limit=MOST_BYTES)
        yield line


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first.removeprefix("\ufeff")
    yield from rest


def _parting(first: str) -> str:
    """What parts the cells of a header; a character that nobody writes where there is but one column."""
    bare = re.sub(r'"[^"]*"', "", first[:_HEADER])
    parting = max(",;\t|", key=bare.count)
    return parting if parting in bare.rstrip("\r\n") else "\x1f"


def _columns(cells: list[str], name: str) -> list[str]:
    """Column names; empty ones at the end, as spreadsheets leave them, hold nothing."""
    names = [cell.strip().strip("\ufeff") for cell in cells]
    seen: set[str] = set()
    why = why_zh = ""
    if len(names) > _MOST_COLUMNS:
        why, why_zh = f"has more than {_MOST_COLUMNS} columns", f"超过 {_MOST_COLUMNS} 列"
    for one in names if not why else ():
        if one in seen:
            why, why_zh = f"has the column {one[:80]!r} twice", f"列 {one[:80]} 重复出现"
        seen |= {one} - {""}
    if why:
        raise DataBroken(name=name, row=0, line=1, why=why, why_zh=why_zh)
    return names


def _fitted(cells: list[str], count: int, name: str, number: int, line: int) -> list[str]:
    """A row without the empty cells beyond its columns; refuses one of another length."""
    if len(cells) > count and not any(cells[count:]):
        return cells[:count]
    why, why_zh = f"has {len(cells)} cells for {count} columns", f"有 {len(cells)} 个单元格，而列数是 {count}"
    raise DataBroken(name=name, row=number, line=line, why=why, why_zh=why_zh)
