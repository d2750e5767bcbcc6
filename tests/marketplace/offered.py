"""Folders with a market.yaml for tests: a real model of the shelf under a vendor of the test's own."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import yaml

from tests.shelf_files import model_dir
from tests.shop import Shop

VENDOR = "nimble-tools"
CARD_ZH = (
    "# 用途\n\n判断文档图片的方向，适合扫描件与拍照件的预处理，让后续的文字识别不再受旋转影响。\n\n"
    "# 局限\n\n只认四个方向；文字很少的图片容易误判，不适合手写便签。\n\n"
    "# 数据与许可\n\n由公开的文档图片训练而成，许可为 Apache-2.0。\n\n"
    "# 评测\n\n在三张示例图片上测试，结果与预期一致。\n"
)
CARD_EN = (
    "# What it is for\n\nIt tells which way a picture of a document was turned, and is used before text is "
    "read from scans and photographs.\n\n# Limits\n\nIt knows four directions only; pictures with little "
    "text are often taken wrong, and it is not meant for handwriting.\n\n# Data and licence\n\nTrained on "
    "public pictures of documents; the licence is Apache-2.0.\n\n# How it was evaluated\n\nIt was tested on "
    "the three examples, and answered as expected.\n"
)
SHEET: dict[str, Any] = {
    "schema": 1,
    "version": "1.0.0",
    "kind": "model",
    "title": {"zh": "文档方向判断", "en": "Document orientation"},
    "summary": {"zh": "判断文档图片转了几度。", "en": "Tells which way a document was turned."},
    "verticals": [],
    "languages": [],
    "license": {"package": "Apache-2.0", "weights": "Apache-2.0"},
    "price": {"plan": "free"},
    "card": {"zh": "card.zh.md", "en": "card.en.md"},
    "source": "made for a test",
}


def offer_folder(
    target: Path,
    name: str = "orient",
    *,
    shelf: str = "doc-orientation",
    cards: Sequence[str] = (CARD_ZH, CARD_EN),
    graph: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None,
    **sheet: Any,
) -> Path:
    """A folder that can be published: the shelf's model, its examples, cards, and a sheet with changes."""
    source = model_dir(shelf)
    manifest = json.loads((source / "manifest.json").read_text("utf-8"))
    target.mkdir(parents=True)
    for artifact in manifest["artifacts"]:
        place = target / artifact["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / artifact["path"], place)
    if graph is not None:
        path = target / manifest["files"]["model"]
        onnx.save(graph(onnx.load(str(path))), str(path))
    examples = [
        {
            "title": {"zh": each["title_zh"], "en": each["title_en"]},
            "request": each["request"],
            "expect": each["expect"],
        }
        for each in manifest["examples"]
    ]
    about = SHEET | {
        "name": f"{VENDOR}/{name}",
        "task": manifest["task"],
        "files": manifest["files"],
        "options": manifest["options"],
        "examples": examples,
    }
    text = yaml.safe_dump(about | sheet, allow_unicode=True, sort_keys=False)
    (target / "market.yaml").write_text(text, encoding="utf-8")
    for language, card in zip(("zh", "en"), cards, strict=True):
        (target / f"card.{language}.md").write_text(card, encoding="utf-8")
    return target


def make_vendor(shop: Shop, name: str = VENDOR) -> None:
    """A vendor whose name an operator vouched for; the home's account acts for it."""
    with shop.api as api:
        told = {"name": name, "title_zh": "敏捷工具", "title_en": "Nimble Tools", "vouch": True}
        answer = api.post("/api/vendors", json=told)
        assert answer.status_code in (201, 409), answer.text
