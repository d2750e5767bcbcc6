"""Checks of a version on the terminal: one line for each as they come, and the table with its next steps."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from marketplace.terminal import data, hint, runnable, say, table

Row = Mapping[str, Any]  # as /api/publications tells a check

MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "unknown": "?"}
GRAVITY = ("pass", "warn", "unknown", "fail")
OPERATORS = "scanner-none"  # a choice of the shop, which no publisher can make
WORDS = {
    "pass": ("通过", "pass"),
    "warn": ("提醒", "warn"),
    "fail": ("不通过", "fail"),
    "unknown": ("未知", "unknown"),
}


def verdict_of(rows: Sequence[Row]) -> str:
    """The gravest of some rows."""
    return max((str(row["verdict"]) for row in rows), key=GRAVITY.index, default="unknown")


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows came to each verdict."""
    found = dict.fromkeys(GRAVITY, 0)
    for row in rows:
        found[str(row["verdict"])] += 1
    return found


class Watch:
    """Tells each check once it is there, on stderr."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def __call__(self, rows: Sequence[Row]) -> None:
        """Tell what is new."""
        for row in rows:
            key = (str(row["check"]), str(row["path"]), f"{row['code']} {row['summary']} {row['detail']}")
            if key in self._told:
                continue
            self._told.add(key)
            if row["verdict"] == "pass" and row["path"]:
                continue  # one line for each file would drown the others
            line = f"  {MARKS[str(row['verdict'])]} {row['title']}"
            note = "  ".join(filter(None, (str(row["path"]), str(row["summary"]))))
            hint(f"{line}  {note}".rstrip(), f"{line}  {note}".rstrip())


def show(rows: Sequence[Row]) -> None:
    """The table: what passed in one line each, all else one by one; then what to do about it."""
    by_check: dict[str, list[Row]] = {}
    for row in rows:
        by_check.setdefault(str(row["check"]), []).append(row)
    cells: list[tuple[str, str, str]] = []
    for group in by_check.values():
        title = str(group[0]["title"])
        open_rows = [row for row in group if row["verdict"] != "pass"]
        if not open_rows:
            files = sum(bool(row["path"]) for row in group)
            note = say(f"{files} 个文件", f"{files} files") if files > 1 else str(group[0]["path"])
            cells.append((title, _word("pass"), note))
        for row in open_rows:
            note = "  ".join(filter(None, (str(row["path"]), str(row["summary"]))))
            cells.append((title, _word(str(row["verdict"])), note))
    table(say("检查 结果 说明", "CHECK RESULT NOTE").split(), cells)
    _show_steps(rows)


def _word(verdict: str) -> str:
    word = say(*WORDS[verdict])
    return f"{MARKS[verdict]} {word}"


def _show_steps(rows: Sequence[Row]) -> None:
    steps: dict[str, str] = {}
    for row in rows:
        if row["verdict"] != "pass" and row["next"] and row["code"] != OPERATORS:
            about = (str(row["path"]), str(row["summary"] or row["title"]), str(row["detail"]))
            steps.setdefault(say("：", ": ").join(filter(None, about)), str(row["next"]))
    if not steps:
        return
    data("")
    data(say("需要处理：", "To do:"))
    for detail, step in steps.items():
        data(f"  {detail}")
        data(runnable(f"    → {step}"))
    sys.stdout.flush()
