"""What publish does on this machine alone: read a folder, write a first market.yaml, check without a shop."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marketplace.cli.here import named_errors, watched
from marketplace.cli.options import FAILED
from marketplace.terminal import data, data_json, hint, language, say

if TYPE_CHECKING:
    from catalog.offer import Offer
    from catalog.scan import Row


def read_here(folder: Path, json_out: bool) -> "Offer":
    """The offer of a folder, its files hashed; ends here when it does not hold together."""
    from catalog.offer import FILE_NAME, read

    if not (folder / FILE_NAME).is_file():
        hint(
            f"{folder} 中没有 {FILE_NAME}。先写一份：market publish --init {folder}",
            f"{folder} has no {FILE_NAME}. Write one with: market publish --init {folder}",
        )
        sys.exit(FAILED)
    with named_errors(json_out), watched(say("读取文件", "Read files")) as progress:
        return read(folder, progress)


def init_here(folder: Path, vendor: str, json_out: bool) -> int:
    """Write market.yaml, and cards where none are there."""
    from catalog.drafting import draft

    with named_errors(json_out):
        files = draft(folder, vendor or "your-name", language())
    for name, text in files.items():
        with (folder / name).open("x", encoding="utf-8") as out:
            out.write(text)
    _fill_in(folder)
    if json_out:
        data_json({"files": [str(folder / name) for name in files]})
    else:
        for name in files:
            data(str(folder / name))
    hint(
        f"请填写其中各项，再运行：market publish --check {folder}",
        f"Fill it in, then run: market publish --check {folder}",
    )
    return 0


def _fill_in(folder: Path) -> None:
    """Put an example in that the model has answered, where the first sheet expects nothing yet."""
    from catalog.drafting import with_answered
    from catalog.errors import CatalogError
    from catalog.offer import FILE_NAME, read
    from marketplace.first_answer import first_example

    with watched(say("请模型回答一次", "Ask the model once")) as progress:
        try:
            offer = read(folder)
        except CatalogError:  # which --check will tell
            return
        if any(example.expect is not None for example in offer.sheet.examples):
            return
        found = first_example(folder, offer, progress)
    if found:
        sheet = folder / FILE_NAME
        text = with_answered(sheet.read_text("utf-8"), found, language())
        sheet.write_text(text, encoding="utf-8")


def check_here(folder: Path, json_out: bool) -> int:
    """All checks that need no shop; exit status 1 when one fails."""
    from marketplace.cli import verdicts
    from marketplace.examining import examine

    offer = read_here(folder, json_out)
    with named_errors(json_out), watched(say("检查", "Check")) as progress:
        rows = [_row(row) for row in examine(folder, offer, progress)]
    failed = any(row["verdict"] == "fail" for row in rows)
    if json_out:
        data_json({"name": offer.name, "version": offer.number, "passed": not failed, "checks": rows})
    else:
        verdicts.show(rows)
    if failed:
        hint("检查未通过；修正后再次运行。", "The checks did not pass; mend it and run them again.")
        return FAILED
    hint(f"检查通过。发布：market publish {folder}", f"It passed. Publish it with: market publish {folder}")
    return 0


def _row(row: "Row") -> dict[str, Any]:
    """A row as the API tells it."""
    from catalog.scan import CHECKS
    from marketplace.problems import problem

    kind, lang = CHECKS[row.check], language()
    facts = {name: value for name, value in row.facts.items() if name not in ("code", "lang")}
    words = problem(row.code, lang, **facts) if row.code else None
    return {
        "check": row.check,
        "title": kind.title_zh if lang == "zh" else kind.title_en,
        "path": row.path,
        "verdict": str(row.verdict),
        "code": row.code,
        "summary": words.title if words else "",
        "detail": words.detail if words else "",
        "next": words.next if words else "",
        "scanner": row.scanner,
        "scanner_version": row.scanner_version,
    }
