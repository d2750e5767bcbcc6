"""The market.yaml of files that were imported: the one that came with them, or one made of what they tell.

Nothing of it trusts the files. It is read where a file of strangers may be read: in a child (`inside`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog import plain_yaml
from catalog.importers.choosing import OWN
from catalog.importers.errors import ImportNotInferred
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes, infer
from catalog.importers.taking import listed

CARD = 120_000  # characters of a card
FIRST = "1.0.0"
SHEET, MANIFEST = OWN
_LARGEST = 2 << 20  # bytes of a manifest
_EXAMPLES = 20


@dataclass(frozen=True)
class Description:
    """A market.yaml as data, the texts of its cards by language, and files that belong to nothing in it."""

    sheet: dict[str, Any]
    cards: Mapping[str, str]
    superfluous: tuple[str, ...]


def describe(made: Path, model: str, hints: Hints, wishes: Wishes, *, fixed: bool) -> Description:
    """What a folder with a graph `model`, or with a package that describes itself, is to be offered as.

    `fixed` keeps the number that was wished for. Raises ImportNotInferred and InvalidManifest.
    """
    own = next((name for name in OWN if (made / name).exists()), "") if not model else ""
    if own == SHEET:
        return Description(_own_sheet(made, wishes, fixed=fixed), {}, ())
    if own == MANIFEST:
        return Description(_of_manifest(made, hints, wishes), {}, (MANIFEST,))
    found = infer(made, model, hints, wishes)
    cards = {code: text[:CARD] for code, text in found.cards.items()}
    sheet = {**found.sheet, "card": {code: f"card.{code}.md" for code in cards}} if cards else found.sheet
    return Description(sheet, cards, tuple(path for path in listed(made) if path not in found.files))


def _own_sheet(made: Path, wishes: Wishes, *, fixed: bool) -> dict[str, Any]:
    """The market.yaml that came, under the name that was asked for."""
    sheet, _ = plain_yaml.load(_read(made / SHEET, plain_yaml.LARGEST + 1), SHEET)
    if not isinstance(sheet, dict):
        why = "its market.yaml has no fields"
        raise ImportNotInferred(source=wishes.source, why=why, why_zh="其中的 market.yaml 没有任何字段")
    sheet.pop("artifacts", None)
    number = wishes.version if fixed or wishes.version != FIRST else sheet.get("version", wishes.version)
    return {**sheet, "name": wishes.name, "version": number, "source": wishes.source[:500]}


def _of_manifest(made: Path, hints: Hints, wishes: Wishes) -> dict[str, Any]:
    """A manifest of ours says all but the words."""
    content = _read(made / MANIFEST, _LARGEST + 1)
    try:
        told = json.loads(content) if len(content) <= _LARGEST else {}
        files, options = dict(told["files"]), dict(told.get("options", {}))
        task, examples = str(told["task"]), list(told.get("examples", []))
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "its manifest.json does not say task and files"
        raise ImportNotInferred(
            source=wishes.source, why=why, why_zh="其中的 manifest.json 没有写明任务与文件"
        ) from None
    # Only the words are asked for.
    words = infer(made, str(files.get("model", "")), hints, replace(wishes, task="tensors")).sheet
    shown = [one for one in examples if isinstance(one, dict)][:_EXAMPLES]
    return {
        **{key: words[key] for key in ("schema", "name", "version", "kind", "title", "summary")},
        **{key: words[key] for key in ("languages", "verticals", "license", "source")},
        "task": wishes.task or task,
        "files": files,
        "options": {**options, **wishes.options},
        "examples": [
            {
                "title": {"zh": one.get("title_zh", "示例"), "en": one.get("title_en", "Example")},
                "request": one.get("request", {}),
                "expect": one.get("expect"),
            }
            for one in shown
        ],
    }


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most)
