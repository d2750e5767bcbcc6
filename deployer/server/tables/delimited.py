"""CSV from strangers: rows by the names in the header, within bounds.

Spreadsheets part cells with commas, semicolons or tabs, and write UTF-8, UTF-16 with a byte order mark, or
the encoding of the country; the last cannot be told from the bytes and has to be said.
"""

import csv
import io
import re
from typing import Any

from deployer.server.errors import BadInput, Words

CHARSETS = ("utf-8", "utf-16", "gbk", "gb18030", "big5", "shift_jis", "euc-kr", "iso-8859-1", "windows-1252")
_MOST_COLUMNS = 10_000
_HEADER = 65_536  # characters in which what parts the cells is looked for
_EXPECTED = Words(
    "CSV with a line of column names; in UTF-8, or with its charset named as in `text/csv; charset=gbk`",
    "首行为列名的 CSV；使用 UTF-8，或像 text/csv; charset=gbk 这样注明编码",
)


def read_csv(
    data: bytes | str, where: str = "rows", *, charset: str = "", most: int = 10_000
) -> list[dict[str, Any]]:
    """Rows of a CSV file by the names in its header; an empty cell is None, an empty line is skipped.

    `charset` is that of the content type. Refuses more than `most` rows, and rows of another length.
    """
    text = data if isinstance(data, str) else _decoded(data, where, charset.strip().strip('"').lower())
    text = text.removeprefix("\ufeff")
    header_line = re.sub(r'"[^"]*"', "", text[:_HEADER]).lstrip().partition("\n")[0]
    parting = max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=parting, strict=True)
    header: list[str] = []
    rows: list[dict[str, Any]] = []
    try:
        for cells in reader:
            if not any(cells):
                continue
            if not header:
                header = _names(cells, where)
                continue
            place = f"{where}[{len(rows)}]"
            if len(rows) >= most:
                why = Words(f"has more than {most} rows", f"超过 {most} 行")
                raise BadInput(where, why, Words(f"at most {most} rows", f"至多 {most} 行"))
            if len(cells) != len(header):
                count, line = len(cells), reader.line_num
                why = Words(f"has {count} cells in line {line}", f"（第 {line} 行）有 {count} 个单元格")
                raise BadInput(place, why, ", ".join(header)[:300])
            rows.append({name: cell or None for name, cell in zip(header, cells, strict=True)})
    except csv.Error as error:
        line = reader.line_num
        why = Words(f"is not CSV in line {line}: {error}", f"第 {line} 行不是有效的 CSV（{error}）")
        raise BadInput(where, why, _EXPECTED) from error
    if not rows:
        raise BadInput(where, Words("has no row below its header", "表头之下没有数据行"), _EXPECTED)
    return rows


def _names(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) > _MOST_COLUMNS:
        raise BadInput(where, Words(f"has {len(names)} columns", f"有 {len(names)} 列"), _EXPECTED)
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            short = name[:80]
            why = Words(f"has an empty column name or one twice: {short!r}", f"列名为空或重复：{short}")
            raise BadInput(where, why, _EXPECTED)
        seen.add(name)
    return names


def _decoded(data: bytes, where: str, charset: str) -> str:
    if charset and charset not in CHARSETS:
        why = Words(f"is in an unknown charset: {charset[:40]}", f"使用未知编码 {charset[:40]}")
        raise BadInput(where, why, ", ".join(CHARSETS))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    try:
        return data.decode(charset or "utf-8")
    except UnicodeDecodeError as error:
        name = charset or "UTF-8"
        raise BadInput(where, Words(f"is not {name}", f"不是 {name} 编码"), _EXPECTED) from error
