"""Data files for tests."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployer.optimizer.rows import DataRefused, Rows, read

TASK = "text-classification"


def reviews(count: int = 100) -> list[dict[str, str]]:
    """Different texts with labels in turn."""
    return [
        {"text": f"第 {n} 条评论，很满意", "label": ("negative", "positive")[n % 2]} for n in range(count)
    ]


def as_csv(rows: Sequence[Mapping[str, Any]], delimiter: str = ",", end: str = "\n") -> str:
    """Rows as a spreadsheet writes them."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def put(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    """Write a file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def taken(path: Path, task: str = TASK, field: str = "text", **options: Any) -> Rows:
    """The rows of a file."""
    return read(path, task, field=field, **options)


def refused(path: Path, code: str, task: str = TASK, field: str = "text", **options: Any) -> dict[str, Any]:
    """The facts of a refusal with this code."""
    with pytest.raises(DataRefused) as caught:
        read(path, task, field=field, **options)
    assert caught.value.code == code, caught.value
    return caught.value.facts
