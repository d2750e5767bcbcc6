"""A first market.yaml for a folder with a model: what its files tell, and comments for the rest."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from catalog import first_examples, plain_yaml, taxonomy
from catalog import manifest as manifests
from catalog.errors import InvalidManifest
from catalog.importers.choosing import choose
from catalog.importers.errors import ImportNotInferred
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes, infer
from catalog.offer_schema import FILE_NAME

GRAPHS = (".onnx", ".gguf", ".safetensors")
COMMENTS = {
    "schema": (
        "清单的格式版本。字段说明：market publish --schema",
        "Version of this form. All fields: market publish --schema",
    ),
    "name": (
        "商家/商品；商家须是你的：market vendors list",
        "vendor/name; the vendor is yours: market vendors list",
    ),
    "version": (
        "提交之后，同一版本号不会再用于别的内容",
        "Once submitted, a number never stands for anything else",
    ),
    "task": ("用途：{tasks}", "What it is for: {tasks}"),
    "title": ("货架上的名称", "Its name on the shelf"),
    "summary": ("一两句话：它做什么，适合谁", "One or two sentences: what it does, and for whom"),
    "verticals": ("行业：{verticals}", "Verticals: {verticals}"),
    "languages": ("语言代码，如 zh、en", "Codes such as zh and en"),
    "license": (
        "SPDX 表达式；权重的许可与代码的分开写，由别的模型而来时另写 base",
        "SPDX expressions: the code's and the weights' apart, and base where it was made from another model",
    ),
    "files": ("哪个文件担任什么角色", "Which file plays which role"),
    "options": ("前后处理的选项", "Options of what happens before and after the model"),
    "needs": ("机器须有什么", "What a machine must have"),
    "price": ("free、per_call 或 monthly；金额以分计", "free, per_call or monthly; money in fen"),
    "claims": (
        "你声称的数字；商店会重新测量，两者并列展示",
        "What you say that it does; the shop measures it again and shows both",
    ),
    "examples": (
        "请求与正确的回答；检查时会在沙箱里逐一试运行。图片等写作 {{$file: 路径}}",
        "Requests and right answers; the checks try each in the sandbox. For pictures: {{$file: path}}",
    ),
    "card": ("说明卡（Markdown）", "Cards in Markdown"),
    "source": ("文件的来源", "Where the files come from"),
}
_CARD = {
    "zh": "# {title}\n\n做什么、适合谁、不适合什么；训练数据与许可；效果如何测得。\n",
    "en": "# {title}\n\nWhat it does, for whom, and what not; data and licences; how it was measured.\n",
}


_ANSWERED = (
    "下面是模型刚才的回答：请核对是否正确，并换成你自己的例子",
    "Below stands what the model answered just now: see whether it is right, and take examples of your own",
)


def draft(folder: Path, vendor: str, lang: str = "zh") -> dict[str, str]:
    """market.yaml with comments, and cards where none are there: texts by file name.

    Raises InvalidManifest for a folder without a model, or with a market.yaml.
    """
    if (folder / FILE_NAME).exists():
        raise InvalidManifest(path=FILE_NAME, why="it is there already", why_zh="已经存在")
    sheet = _guessed(folder, f"{vendor}/{_slug(folder.resolve().name)}")
    files = {}
    card = {}
    for language, text in _CARD.items():
        name = f"card.{language}.md"
        if not (folder / name).exists():
            files[name] = text.format(title=sheet["title"][language])
        card[language] = name
    sheet["card"] = card
    return {FILE_NAME: _commented(sheet, lang), **files}


def with_answered(text: str, example: dict[str, Any], lang: str = "zh") -> str:
    """A first market.yaml with an example that its model has answered, said so in its comments."""
    sheet, _lines = plain_yaml.load(text.encode())
    return _commented({**sheet, "examples": [example]}, lang, answered=True)


def _slug(text: str) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return plain[:60].strip("-._") or "model"


def _guessed(folder: Path, name: str) -> dict[str, Any]:
    title = name.partition("/")[2]
    sheet: dict[str, Any] = {
        "schema": 1,
        "name": name,
        "version": "1.0.0",
        "kind": "model",
        "task": "tensors",
        "title": {"zh": title, "en": title},
        "summary": {"zh": "请用一两句话说明", "en": "Say it in a sentence or two"},
        "verticals": ["technology"],
        "languages": ["zh"],
        "license": {"package": "Apache-2.0", "weights": "LicenseRef-not-stated"},
        **_used(folder, name),
        "needs": {"devices": ["cpu"]},
        "price": {"plan": "free", "fen": 0, "free_calls": 0},
        "claims": {},
    }
    sheet.setdefault("examples", [])
    return {**sheet, "source": sheet.get("source", "")}


def _used(folder: Path, name: str) -> dict[str, Any]:
    """Task, roles, options and examples: from a manifest of ours, from what exporters write, or by names."""
    told = _manifest(folder)
    if told:
        return told
    sizes: dict[str, int | None] = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    graphs = [path for path in sizes if path.endswith(GRAPHS)]
    if not graphs:
        why = f"none of its files is a model ({', '.join(GRAPHS)})"
        raise InvalidManifest(path=folder.name, why=why, why_zh=f"其中没有模型文件（{', '.join(GRAPHS)}）")
    try:
        chosen = choose(sizes, "", folder.name)
        if all(path == inner for path, inner in chosen.files.items()) and chosen.model.endswith(".onnx"):
            found = infer(folder, chosen.model, Hints(), Wishes(name, "1.0.0", "")).sheet
            kept = ("task", "files", "options", "examples", "languages")
            return {key: found[key] for key in kept if found.get(key)}
    except ImportNotInferred:
        pass  # several graphs, or nothing that says what they are for: the person will say it
    roles = {"model": graphs[0]} if len(graphs) == 1 else {_role(path): path for path in graphs}
    task = "text-generation" if graphs[0].endswith(".gguf") else "tensors"
    return {"task": task, "files": roles, "options": {}}


def _role(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", path.rpartition(".")[0])[:64] or "model"


def _manifest(folder: Path) -> dict[str, Any]:
    """What manifest.json of a folder that a shop laid out says."""
    path = folder / manifests.FILE_NAME
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 2 << 20:
        return {}
    try:
        manifest = manifests.validate(json.loads(path.read_bytes()))
    except (ValueError, RecursionError, InvalidManifest):
        return {}
    examples = [
        {
            "title": {"zh": each["title_zh"], "en": each["title_en"]},
            "request": each["request"],
            "expect": each["expect"],
        }
        for each in manifest["examples"]
    ]
    plain = {key: manifest[key] for key in ("task", "files", "options")}
    return {**plain, "examples": [e for e in examples if len(json.dumps(e)) < 20_000]}


def _commented(sheet: dict[str, Any], lang: str, answered: bool = False) -> str:
    """The sheet with a comment above each field that needs one."""
    known = {"tasks": " ".join(taxonomy.TASKS), "verticals": " ".join(taxonomy.VERTICALS)}
    parts = []
    for key, value in sheet.items():
        if key in COMMENTS:
            comment = COMMENTS[key][0 if lang == "zh" else 1].format_map(known)
            lines = _wrapped(comment)
            if key == "examples":
                lines += _on_examples(sheet["task"], lang, answered)
            parts.append("\n".join(f"# {line}" for line in lines) + "\n")
        parts.append(plain_yaml.dump({key: value}))
    return "".join(parts)


def _on_examples(task: str, lang: str, answered: bool) -> list[str]:
    """How an expectation is written, and an example of the task to be filled in."""
    shown = first_examples.template(task)
    rows = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in shown.items()]
    lines = [*_wrapped(first_examples.MATCHERS[lang]), f"- {rows[0]}", *(f"  {row}" for row in rows[1:])]
    return [*lines, *_wrapped(_ANSWERED[0 if lang == "zh" else 1])] if answered else lines


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False)
