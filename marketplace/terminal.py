"""What the command line says and how: language, tables, problems; data on stdout, the rest on stderr.

Light on purpose: rich is imported only where a terminal is there to be pleased.
"""

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COMMAND = re.compile(r"(?<![\w./-])market (?=[a-z])")


def language(environ: Mapping[str, str] | None = None) -> str:
    """zh or en: MARKET_LANG first, then the locale of the terminal; English where that names neither."""
    env = os.environ if environ is None else environ
    for name in ("MARKET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = env.get(name, "").strip().lower()
        if value:
            return "zh" if value.startswith("zh") else "en"
    return "en"


def say(zh: str, en: str) -> str:
    """The one of two texts that the reader understands."""
    return zh if language() == "zh" else en


def data(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def data_json(value: Any) -> None:
    """Write a result to stdout as JSON."""
    data(json.dumps(value, ensure_ascii=False, indent=2))


def hint(zh: str, en: str) -> None:
    """Tell the person something, on stderr."""
    sys.stderr.write(runnable(say(zh, en)) + "\n")
    sys.stderr.flush()


def runnable(text: str) -> str:
    """Commands named in a text as they can be typed here: `market` is on the path of few machines."""
    return text if shutil.which("market") else _COMMAND.sub(f"{_invocation()} ", text)


def _invocation() -> str:
    """How this program was called, short where it lies below the present folder."""
    program = Path(sys.argv[0])
    if program.name != "market":
        return "market"
    absolute = program.absolute()
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def problem_text(problem: Mapping[str, Any]) -> str:
    """A problem+json (or OpenAI) error as two lines: what and why, then the next step."""
    inner = problem.get("error")
    if isinstance(inner, Mapping):
        return f"{inner.get('message', '')} [{inner.get('code', '')}]"
    title, detail = str(problem.get("title") or ""), str(problem.get("detail") or "")
    first = f"{title}{say('：', ': ')}{detail}" if title and detail else title or detail or str(inner or "?")
    code = f" [{problem['code']}]" if problem.get("code") else ""
    step = f"\n{say('下一步：', 'Next: ')}{problem['next']}" if problem.get("next") else ""
    return runnable(first + code + step)


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table to stdout: with lines on a terminal, plainly aligned elsewhere."""
    cells = [[_cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        pretty = Table(*headings, box=None, header_style="bold", pad_edge=False)
        for row in cells:
            pretty.add_row(*(Text(cell) for cell in row))
        Console().print(pretty)
        return
    widths = [max(map(width, column)) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        padded = (cell + " " * (room - width(cell)) for cell, room in zip(row, widths, strict=True))
        data("  ".join(padded).rstrip())


def width(text: str) -> int:
    """Columns that a text takes; a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _cell(value: object) -> str:
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else " " for c in text)
