"""From files to an offer: what a model is for, which file plays which role, how it is used, and its words.

Files tell by their names, and config.json, tokenizer_config.json and the like by what they say; all of it is
read as data of strangers, in small bounded pieces. Graphs are not opened here. What a person says goes before
what a source says, and that before what the files say.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.importers import front_matter
from catalog.importers.errors import ImportNotInferred
from catalog.importers.front_matter import Readme, read_readme
from catalog.importers.hints import Hints
from catalog.taxonomy import TASKS

TEXT_TASKS = ("text-classification", "token-classification", "feature-extraction", "sentence-similarity")
PICTURE_TASKS = ("image-classification", "object-detection", "image-segmentation")
TASK_NAMES = {
    **{"sentence-embedding": "sentence-similarity", "zero-shot-classification": ""},
    **{"text-embeddings-inference": "feature-extraction", "named-entity-recognition": "token-classification"},
}
"""Names that hubs give to tasks beside the catalogue's own; "" is none that can be served."""
_HEADS = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForImageClassification", "image-classification"),
    ("ForObjectDetection", "object-detection"),
    ("ForSemanticSegmentation", "image-segmentation"),
)
_LARGEST = 4 << 20  # bytes of a JSON file that is read
_MOST_TOKENS = 1 << 20  # tokenizers without a limit write a number beyond all reason
_TRY = {
    "zh": ("快递第二天就到了，包装完好，很满意。", "试一句"),
    "en": ("It arrived the next day, well packed. I am happy with it.", "Try a sentence"),
}


@dataclass(frozen=True)
class Wishes:
    """What the person who imports has said; empty where nothing was."""

    name: str
    version: str
    source: str
    task: str = ""
    license: str = ""
    title_zh: str = ""
    title_en: str = ""
    summary_zh: str = ""
    summary_en: str = ""
    languages: tuple[str, ...] = ()
    verticals: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inferred:
    """A market.yaml as data, the files that it names, and the texts of its cards."""

    sheet: dict[str, Any]
    files: tuple[str, ...]
    cards: dict[str, str]


def infer(folder: Path, model: str, hints: Hints, wishes: Wishes) -> Inferred:
    """The offer of a folder with a graph `model` in it; raises ImportNotInferred with what is lacking."""
    known = _Known(folder, model, hints, wishes)
    task = known.task()
    files, options = _USES.get(task, _as_tensors)(known)
    sheet: dict[str, Any] = {
        "schema": 1,
        "name": wishes.name,
        "version": wishes.version,
        "kind": "model",
        "task": task,
        "files": files,
        "options": {**options, **wishes.options},
        "source": wishes.source[:500],
        "verticals": list(wishes.verticals),
        **known.words(task),
    }
    if task in ("text-classification", "token-classification", "feature-extraction"):
        sheet["examples"] = [_example(sheet["languages"])]
    kept = {*files.values(), *known.data()}
    return Inferred(sheet, tuple(sorted(kept)), _cards(known, sheet))


class _Known:
    """Everything that is there to go by."""

    def __init__(self, folder: Path, model: str, hints: Hints, wishes: Wishes) -> None:
        self.folder, self.model, self.hints, self.wishes = folder, model, hints, wishes
        self.readme: Readme = read_readme(folder / "README.md")
        self.config = self.json("config.json")

    def has(self, name: str) -> bool:
        """Whether a plain file of this name is there."""
        path = self.folder / name
        return path.is_file() and not path.is_symlink()

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder, {} where there is none."""
        if not self.has(name) or (self.folder / name).stat().st_size > _LARGEST:
            return {}
        try:
            found = json.loads((self.folder / name).read_bytes())
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def data(self) -> list[str]:
        """External data of the graph."""
        stem = self.model.removesuffix(".onnx")
        found = [path.name for path in self.folder.iterdir() if path.is_file()]
        marks = (self.model + "_data", self.model + ".data")
        return [name for name in found if name.startswith(marks) or name == stem + ".data"]

    def task(self) -> str:
        """What it is for."""
        if self.wishes.task:
            return self.wishes.task
        told = self.hints.task or self.readme.hints.task
        told = TASK_NAMES.get(told, told)
        architectures = self.config.get("architectures")
        names = [str(a) for a in architectures] if isinstance(architectures, list) else []
        by_head = next((task for end, task in _HEADS for name in names if name.endswith(end)), "")
        pooled = self.has("modules.json") or self.has("1_Pooling/config.json")
        if told in _USES and (self._fits(told) or not by_head):
            return told
        if by_head:
            return by_head
        if pooled and self.has("tokenizer.json"):
            return "sentence-similarity" if told == "sentence-similarity" else "feature-extraction"
        if self.has("tokenizer.json") and names and all(name.endswith("Model") for name in names):
            return "feature-extraction"
        if self.config or self.has("tokenizer.json") or told:
            self.unclear(
                f"its files do not say what it is for ({told or ', '.join(names) or 'no task named'});"
                " name the task, such as tensors for a plain graph",
                "文件没有说明用途；请指定任务，普通计算图可用 tensors",
            )
        return "tensors"

    def _fits(self, task: str) -> bool:
        return task not in TEXT_TASKS or self.has("tokenizer.json")

    def unclear(self, why: str, why_zh: str) -> None:
        """Refuse, with what is lacking."""
        raise ImportNotInferred(source=self.wishes.source, why=why, why_zh=why_zh)

    def words(self, task: str) -> dict[str, Any]:
        """Titles, summary, languages and licence."""
        readme, wishes = self.readme, self.wishes
        title = _line(readme.title or self.hints.title or wishes.name.rpartition("/")[2])
        term = TASKS[task]
        told = _line(readme.summary)
        summary = {
            "zh": wishes.summary_zh
            or (told if readme.chinese and told else f"导入的{term.title_zh}模型：{title}"),
            "en": wishes.summary_en
            or (
                told
                if told and not readme.chinese
                else f"An imported model for {term.title_en.lower()}: {title}"
            ),
        }
        license_ = wishes.license or front_matter.spdx(self.hints.license or readme.hints.license)
        named = front_matter.languages(self.hints.languages or readme.hints.languages)
        return {
            "title": {"zh": (wishes.title_zh or title)[:60], "en": (wishes.title_en or title)[:100]},
            "summary": {"zh": summary["zh"][:300], "en": summary["en"][:500]},
            "languages": list(wishes.languages) or named,
            "license": {"package": license_, "weights": license_},
        }


_Use = tuple[dict[str, str], dict[str, Any]]


def _as_tensors(known: _Known) -> _Use:
    return {"model": known.model}, {}


def _text(known: _Known) -> _Use:
    """What every text model needs."""
    if not known.has("tokenizer.json"):
        known.unclear(
            "a text model needs its tokenizer.json, which is not there",
            "文本模型需要 tokenizer.json，来源中没有",
        )
    tokens = known.json("tokenizer_config.json").get("model_max_length")
    positions = known.config.get("max_position_embeddings")
    if isinstance(positions, int) and known.config.get("model_type") in (
        "roberta",
        "xlm-roberta",
        "camembert",
    ):
        positions -= 2  # theirs are counted from behind the padding's
    sentences = known.json("sentence_bert_config.json").get("max_seq_length")
    limits = [n for n in (sentences, tokens, positions) if isinstance(n, int) and 0 < n < _MOST_TOKENS]
    options = {"max_tokens": min(limits)} if limits else {}
    return {"model": known.model, "tokenizer": "tokenizer.json"}, options


def _labels(known: _Known) -> _Use:
    """Labels by their numbers; from a file of their own, or out of config.json."""
    if known.has("labels.json"):
        return {"labels": "labels.json"}, {}
    names = known.config.get("id2label")
    if isinstance(names, dict) and names and all(str(k).isdigit() for k in names):
        return {}, {"labels": [str(names[k]) for k in sorted(names, key=int)]}
    return {}, {}  # the graph's own metadata may carry them


def _classified(known: _Known) -> _Use:
    files, options = _text(known)
    named, labels = _labels(known)
    if known.config.get("problem_type") == "multi_label_classification":
        options["function"] = "sigmoid"
    return {**files, **named}, {**options, **labels}


def _tagged(known: _Known) -> _Use:
    files, options = _text(known)
    named, labels = _labels(known)
    return {**files, **named}, {**options, **labels}


def _embedded(known: _Known) -> _Use:
    files, options = _text(known)
    pooling = known.json("1_Pooling/config.json")
    if pooling.get("pooling_mode_cls_token"):
        options["pooling"] = "cls"
    elif pooling.get("pooling_mode_mean_tokens") or not pooling:
        options["pooling"] = "mean"
    else:
        asked = ", ".join(k for k, v in pooling.items() if v is True) or "-"
        known.unclear(f"its pooling is not supported: {asked}", f"不支持它的池化方式：{asked}")
    modules = known.folder / "modules.json"
    if known.has("modules.json") and modules.stat().st_size < _LARGEST:
        options["normalize"] = "Normalize" in modules.read_text("utf-8", "replace")
    return files, options


def _seen(known: _Known) -> _Use:
    """What every picture model needs: the server reads Hugging Face's preprocessor and labels as they are."""
    files = {"model": known.model}
    if known.has("preprocessor_config.json"):
        files["preprocessor"] = "preprocessor_config.json"
    named, labels = _labels(known)
    return {**files, **named}, dict(labels)


def _detected(known: _Known) -> _Use:
    files, options = _seen(known)
    kind = known.config.get("model_type")
    if kind in ("detr", "yolos", "conditional_detr", "deformable_detr", "rt_detr", "table-transformer"):
        options |= {"decoder": "boxes", "box": "cxcywh", "normalized": True}
        options["activation"] = "softmax" if kind in ("detr", "yolos", "table-transformer") else "sigmoid"
    elif "decoder" not in known.wishes.options:
        known.unclear(
            "it does not say how its boxes are written; give the option decoder",
            "没有说明检测框的写法；请给出选项 decoder",
        )
    return files, options


_USES: dict[str, Callable[[_Known], _Use]] = {
    "text-classification": _classified,
    "token-classification": _tagged,
    "feature-extraction": _embedded,
    "sentence-similarity": _embedded,
    "image-classification": _seen,
    "image-segmentation": _seen,
    "object-detection": _detected,
    "tensors": _as_tensors,
}


_CARDS = {
    "zh": """## 用途

{title}：{task}。{summary}

## 来源

从 `{source}` 导入，版本固定。模型文件与上游逐字节核对；{readme}

## 限制

导入者没有另作训练或评测。上游没有写明的用途、数据与偏差，这里也无从得知；请先用自己的数据试用。

## 训练数据与评测

见上游说明。本店的试运行与测得的数字列在检查结果中。

## 许可

{license}
""",
    "en": """## Intended use

{title}: {task}. {summary}

## Source

Imported from `{source}`, at a fixed revision; its files are those of the source, byte for byte. {readme}

## Limits

Nothing was trained or evaluated by whoever imported it. What its authors do not say of uses, data and bias
is not known here either; try it on data of your own first.

## Training data and evaluation

As its authors describe them. What was measured in this shop stands among the checks.

## Licence

{license}
""",
}
_README = {
    ("zh", True): "上游的说明见英文说明卡。",
    ("zh", False): "上游没有附说明。",
    ("en", True): "What its authors say stands in the Chinese card.",
    ("en", False): "Its authors say nothing beside them.",
}


def _cards(known: _Known, sheet: dict[str, Any]) -> dict[str, str]:
    """The source's own text in the language that it has, and plain facts in the other."""
    text = known.readme.text.strip()
    own = "zh" if known.readme.chinese else "en"
    term = TASKS[sheet["task"]]
    cards = {}
    for code, form in _CARDS.items():
        cards[code] = form.format(
            title=sheet["title"][code],
            task=term.title_zh if code == "zh" else term.title_en,
            summary=sheet["summary"][code],
            source=known.wishes.source.replace("`", ""),
            readme=_README[code, bool(text) and own != code],
            license=sheet["license"]["weights"],
        )
    return {**cards, own: text} if text else cards


def _example(languages: list[str]) -> dict[str, Any]:
    """Something to send; which answer is right, nobody has said."""
    text = _TRY["zh" if languages == ["zh"] else "en"][0]
    return {"title": {code: title for code, (_, title) in _TRY.items()}, "request": {"text": text}}


def _line(text: str) -> str:
    """One line without controls and turned writing, as market.yaml takes it."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+", " ", text).strip()
