"""What the columns of a task's file are called, and how their cells become requests of `/predict`."""

import base64
import binascii
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from deployer.optimizer.rows.contents import Arrays, File, Inline, Packed

LABEL = "label"
PAIRED = "positive"
"""The column of a text's right document, which needs no label beside it."""
_LONGEST = 100_000  # characters of a text, as the server has it
_ALIASES = {
    "文本": "text",
    "标签": LABEL,
    "标注": LABEL,
    "图片": "image",
    "图像": "image",
    "音频": "audio",
    "录音": "audio",
    "文件": "file",
    "原文": "source",
    "句子": "sentences",
    "sentence": "sentences",
}
"""Names that are taken for others without asking, since they mean the same."""
_MEANT = {
    LABEL: "target y class category labels truth answer expected 类别 分类 类 目标 结果 答案 真值",
    "text": "content review comment sentence message title body texts 内容 评论 正文 句子 评价 留言 标题",
    "image": "path img picture photo file filename images 路径 图 照片 文件 文件名",
    "audio": "path wav sound file filename 路径 声音 语音 文件 文件名",
    "file": "path filename 路径 文件名",
    "source": "text query question 文本 问题",
    "sentences": "text2 sentence2 target 句子2 对比",
}
"""Names that may be meant, to be suggested."""

Opener = Callable[[str, str], File]
"""(path, column) → the file beside the table; raises a refusal."""


class Unfit(Exception):
    """A cell of another form: why, in English and Chinese."""

    def __init__(self, why: str, why_zh: str) -> None:
        super().__init__(why)
        self.why, self.why_zh = why, why_zh


@dataclass(frozen=True)
class Form:
    """The columns of a task: what each holds, which may be absent, and what goes into every request.

    Kinds: text, texts, file, json, plain (as it stands). With `table` the row itself, all its columns, is
    the one field of that name.
    """

    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""
    closed: bool = True
    """Whether columns beyond those are left out."""


_TRUNCATE = {"truncate": True}  # a long text is cut alike for both sides of a comparison
_THRESHOLDS = dict.fromkeys(("threshold", "min_speech_ms", "min_silence_ms", "pad_ms"), "plain")
_DETECTION = dict.fromkeys(("min_score", "max_overlap"), "plain")
FORMS: dict[str, Form] = {
    "automatic-speech-recognition": Form({"audio": "file"}, {"language": "text", "task": "text"}),
    "document-layout": Form({"image": "file"}, _DETECTION),
    "feature-extraction": Form({"text": "text"}, {PAIRED: "text"}, _TRUNCATE),
    "file-type": Form({"file": "file"}, {"name": "text"}),
    "image-classification": Form({"image": "file"}, {"top_k": "plain"}),
    "image-segmentation": Form({"image": "file"}, dict.fromkeys(("threshold", "top_k"), "plain")),
    "image-to-text": Form({"image": "file"}, {"min_score": "plain"}),
    "object-detection": Form({"image": "file"}, _DETECTION),
    "sentence-similarity": Form({"source": "text", "sentences": "texts"}, always=_TRUNCATE),
    "text-classification": Form({"text": "text"}, always=_TRUNCATE),
    "text-to-speech": Form({"text": "text"}, {"voice": "text", "speed": "plain"}),
    "token-classification": Form({"text": "text"}, {"aggregation": "text"}, _TRUNCATE),
    "voice-activity-detection": Form({"audio": "file"}, _THRESHOLDS),
}


def form_for(task: str, name: str, columns: Mapping[str, bool] | None) -> Form:
    """The form of a task whose main field is `name`; `columns` are a table's or graph's own, True: needed."""
    if task in FORMS:
        return FORMS[task]
    if task.startswith("tabular-"):
        known = columns or {}
        required = {column: "plain" for column, needed in known.items() if needed}
        optional = {column: "plain" for column, needed in known.items() if not needed}
        return Form(required, optional, table=name, closed=bool(known))
    return Form({name: "json"}, {"inputs": "json", "rows": "json"})


def header(names: Sequence[str], form: Form) -> dict[str, str]:
    """What each of a file's columns stands for: itself, or a known column that it names in other words."""
    known = [*form.required, *form.optional, LABEL]
    made: dict[str, str] = {name: name for name in names if name in known}
    for name in names:
        if name in made:
            continue
        plain = name.strip()
        alike = [one for one in known if one.casefold() == plain.casefold()]
        meant = alike[0] if len(alike) == 1 else _ALIASES.get(plain, "")
        free = meant in known and meant not in made.values()
        made[name] = meant if free else name
    return made


def missing(found: Sequence[str], form: Form) -> list[str]:
    """Needed columns that are not there."""
    absent = [name for name in form.required if name not in found]
    if absent and set(form.required) <= {"rows", "inputs"} and {"rows", "inputs"} & set(found):
        return []
    if form.table and not form.required and not set(found) - {LABEL}:
        return [form.table]
    return absent


def suggestion(found: Sequence[str], absent: Sequence[str], form: Form) -> str:
    """Which of the columns found may be meant by those that are absent, as in `review → text`."""
    known = {*form.required, *form.optional, LABEL}
    free = [name for name in found if name not in known]
    pairs = []
    for wanted in absent:
        listed = _MEANT.get(wanted, "").split()
        likely = [name for name in free if name.strip().casefold() in listed]
        close = {name.strip().casefold(): name for name in free}
        likely += [close[one] for one in difflib.get_close_matches(wanted.casefold(), close, 1, 0.7)]
        if not likely and len(free) == 1 == len(absent) and wanted != LABEL:
            likely = free
        if likely:
            pairs.append(f"{likely[0]} → {wanted}")
            free.remove(likely[0])
    return ", ".join(pairs)


def request(cells: Mapping[str, Any], form: Form, opener: Opener) -> dict[str, Any]:
    """The body of `predict` for a row's cells by column; raises Unfit with `column` in its args."""
    if form.table:
        return {form.table: _packed([_table_row(cells, form)])}
    made: dict[str, Any] = {}
    for name, kind in [*form.required.items(), *form.optional.items()]:
        value = cells.get(name)
        if value is None:
            if name in form.required and kind != "json":
                raise At(name, Unfit("is missing", "缺失"))
            continue
        try:
            made[name] = _READERS[kind](value, name, opener)
        except Unfit as unfit:
            raise At(name, unfit) from unfit
    if not made:
        raise At(next(iter(form.required)), Unfit("is missing", "缺失"))
    if PAIRED in made:  # a query and its right document in one request
        made["text"] = [made["text"], made.pop(PAIRED)]
    return {**form.always, **made}


class At(Exception):
    """An unfit cell and its column."""

    def __init__(self, column: str, unfit: Unfit) -> None:
        super().__init__(column)
        self.column, self.unfit = column, unfit


def _table_row(cells: Mapping[str, Any], form: Form) -> dict[str, Any]:
    inner = cells.get(form.table)
    if form.table not in form.required and isinstance(inner, list | dict):
        inner = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
        if not isinstance(inner, dict):
            raise At(form.table, Unfit("is not one row as an object", "不是一行（对象）"))
        cells = inner
    kept = {name: value for name, value in cells.items() if name != LABEL or LABEL in form.required}
    if form.closed:
        kept = {name: value for name, value in kept.items() if name in form.required or name in form.optional}
    for name, value in kept.items():
        if isinstance(value, list | dict):
            raise At(name, Unfit("is no single value", "不是单个值"))
    if not any(value is not None for value in kept.values()):
        raise At(next(iter(kept), form.table), Unfit("is missing", "缺失"))
    return kept


def _text(value: Any, name: str, opener: Opener) -> str:
    if isinstance(value, bool | int | float):  # a column of codes or amounts that JSON made numbers of
        value = orjson.dumps(value).decode()
    if not isinstance(value, str):
        raise Unfit("is not a text", "不是文本")
    if not value.strip():
        raise Unfit("is empty", "是空的")
    if len(value) > _LONGEST:
        count = len(value)
        raise Unfit(f"has {count} characters, more than {_LONGEST}", f"有 {count} 个字符，超过 {_LONGEST}")
    return value


def _texts(value: Any, name: str, opener: Opener) -> list[str]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = structured(value)
    given = value if isinstance(value, list) else [value]
    if not given:
        raise Unfit("is empty", "是空的")
    return [_text(one, name, opener) for one in given]


def _json(value: Any, name: str, opener: Opener) -> Packed | Arrays:
    if isinstance(value, Arrays):
        return value
    value = structured(value) if isinstance(value, str) else value
    if not isinstance(value, list | dict):
        raise Unfit("is neither a list nor an object", "既不是列表，也不是对象")
    return _packed(value)


def _packed(value: Any) -> Packed:
    return Packed(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def _plain(value: Any, name: str, opener: Opener) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise Unfit("is no single value", "不是单个值")
    return value


def content(value: Any, name: str, opener: Opener) -> File | Inline:
    """A cell of a file's content: a path beside the table, a data URI, base64, or {"base64": …}."""
    if isinstance(value, dict) and set(value) == {"base64"}:
        return _decoded(value["base64"])
    if not isinstance(value, str) or not value.strip():
        raise Unfit("is neither a path nor base64", "既不是文件路径，也不是 base64")
    value = value.strip()
    if value.startswith("data:"):
        return _decoded(value.partition(",")[2])
    if len(value) > 1024 or ("." not in value and len(value) >= 256):
        return _decoded(value)
    return opener(value, name)


def _decoded(text: Any) -> Inline:
    try:
        data = base64.b64decode("".join(text.split()), validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise Unfit("is not valid base64", "不是有效的 base64")
    return Inline(data)


def structured(text: str) -> Any:
    """JSON in a cell; raises Unfit."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unfit(f"is not JSON: {error.msg}"[:200], "不是有效的 JSON") from error


def finite(value: Any) -> bool:
    """Whether a value is a finite number and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_READERS: dict[str, Callable[[Any, str, Opener], Any]] = {
    "text": _text,
    "texts": _texts,
    "file": content,
    "json": _json,
    "plain": _plain,
}
