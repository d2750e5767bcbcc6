"""The form of market.yaml: every field with its bounds, its JSON Schema, and refusals in plain words.

Strict on purpose: a field that nobody knows is refused with the name that was probably meant.
"""

import difflib
import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from catalog import first_examples, taxonomy
from catalog.errors import InvalidManifest, UnknownTask
from catalog.manifest import NAME, NUMBER, InnerPath, ManifestArtifact
from catalog.plain_yaml import Lines, place_of

FILE_NAME = "market.yaml"
MOST_FILES = 1000
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmg]i?b|b?)", re.IGNORECASE)
# Controls, and characters that turn the direction of writing: they make a text look like another one.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Said(ValueError):
    """A refusal in both languages."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en, self.zh = en, zh


def _visible(text: str) -> str:
    if _HIDDEN.search(text):
        raise Said("holds control characters", "含有控制字符")
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise Said("write it on one line", "请写成一行")
    if not text.strip():
        raise Said("is empty", "内容为空")
    return _visible(text)


def _task(name: str) -> str:
    try:
        found = taxonomy.task(name).id
    except UnknownTask:
        near = difflib.get_close_matches(name, taxonomy.TASKS, 1, 0.5)
        known = ", ".join(near or list(taxonomy.TASKS))
        raise Said(f"{name} is not a task; known: {known}", f"没有 {name} 这种任务；可用：{known}") from None
    if found != name:
        raise Said(f"write {found} instead of {name}", f"{name} 请写作 {found}")
    return name


def _vertical(name: str) -> str:
    if name not in taxonomy.VERTICALS:
        near = taxonomy.mentioned(taxonomy.VERTICALS, name) if name else []
        near = near or difflib.get_close_matches(name, taxonomy.VERTICALS, 2, 0.5)
        known = ", ".join(near or list(taxonomy.VERTICALS))
        raise Said(f"{name} is not a vertical; known: {known}", f"没有 {name} 这个行业；可用：{known}")
    return name


def _device(name: str) -> str:
    if name not in taxonomy.DEVICES:
        near = difflib.get_close_matches(name, taxonomy.DEVICES, 2, 0.5)
        known = ", ".join(near or taxonomy.DEVICES)
        raise Said(f"{name} is not a device; known: {known}", f"没有 {name} 这种设备；可用：{known}")
    return name


def bytes_of(value: Any) -> Any:
    """`300 MB` as a number of bytes; what is no text is left to the model."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise Said("write bytes, or a size such as 300 MB", "请写字节数，或如 300 MB 的大小")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _dimension(value: Any) -> Any:
    if value is None or (isinstance(value, str) and 0 < len(value) <= 100):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise Said("write a number, a name, or null", "请写数字、名称或 null")


Line = Annotated[str, AfterValidator(_one_line)]
Bytes = Annotated[
    int,
    BeforeValidator(bytes_of),
    Field(ge=0, le=2**50),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d"}]}),
]
Dimension = Annotated[
    Any, BeforeValidator(_dimension), WithJsonSchema({"type": ["integer", "string", "null"]})
]
Role = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Device = Annotated[Line, AfterValidator(_device), Field(json_schema_extra={"enum": list(taxonomy.DEVICES)})]
Licence = Annotated[Line, Field(max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Title(_Strict):
    """A title in both languages."""

    zh: Line = Field(max_length=60)
    en: Line = Field(max_length=100)


class Summary(_Strict):
    """One or two sentences in both languages."""

    zh: Line = Field(max_length=300)
    en: Line = Field(max_length=500)


class Licences(_Strict):
    """SPDX expressions, or LicenseRef-… for others."""

    package: Licence = Field(description="Licence of the code and texts")
    weights: Licence = Field(description="Licence of the weights")
    base: Licence | None = Field(None, description="Licence of the model that it was made from")


class Tensor(_Strict):
    """A named input or output of the graph."""

    name: Line = Field(max_length=200)
    dtype: Line = Field(max_length=40)
    shape: list[Dimension] = Field(max_length=16)


class Signature(_Strict):
    """Named inputs and outputs of the model."""

    inputs: list[Tensor] = Field(max_length=200)
    outputs: list[Tensor] = Field(max_length=200)


class Needs(_Strict):
    """What a machine must have."""

    memory: Bytes | None = None
    devices: list[Device] = Field(default_factory=lambda: ["cpu"], min_length=1, max_length=20)


class Price(_Strict):
    """What it costs; money in fen."""

    plan: Literal["free", "per_call", "monthly"] = "free"
    fen: int = Field(0, ge=0, le=10**9, description="Of a call, or a month")
    free_calls: int = Field(0, ge=0, le=10**9)

    @model_validator(mode="after")
    def _hold_together(self) -> "Price":
        if (self.plan == "free") != (self.fen == 0):
            raise Said("a free plan has no fen, any other has some", "免费方案的 fen 为 0，其余方案须大于 0")
        return self


class Accuracy(_Strict):
    """A claimed figure of quality."""

    metric: Line = Field(max_length=60)
    value: float = Field(allow_inf_nan=False)


class Claims(_Strict):
    """What the vendor says that it does; it is measured again here."""

    latency_ms: float | None = Field(None, gt=0, le=10**7, allow_inf_nan=False)
    accuracy: Accuracy | None = None
    memory: Bytes | None = None


class ExampleTitle(_Strict):
    """A title of an example."""

    zh: Line = Field(max_length=100)
    en: Line = Field(max_length=100)


class Example(_Strict):
    """A body of /predict, and what must be true of its answer."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [first_examples.template(task) for task in first_examples.TEMPLATES]},
    )

    title: ExampleTitle
    request: dict[str, Any] = Field(min_length=1, description="{$file: path} stands for a file's bytes")
    expect: Any = Field(None, description=first_examples.MATCHERS["en"])


class Card(_Strict):
    """Markdown files of the folder."""

    zh: InnerPath | None = None
    en: InnerPath | None = None


class MarketYaml(_Strict):
    """What a vendor publishes: market.yaml beside the files of a model."""

    model_config = ConfigDict(extra="forbid", strict=True, title="market.yaml")

    number_of_schema: Literal[1] = Field(1, alias="schema")
    name: str = Field(pattern=NAME, max_length=130, description="vendor/name")
    version: str = Field(pattern=NUMBER, description="Such as 1.0.0; never used again for something else")
    kind: Literal["model", "agent"] = "model"
    task: Annotated[str, AfterValidator(_task), Field(json_schema_extra={"enum": list(taxonomy.TASKS)})]
    title: Title
    summary: Summary
    verticals: list[Annotated[str, AfterValidator(_vertical)]] = Field(default_factory=list, max_length=8)
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]] = Field(
        default_factory=list, max_length=50
    )
    license: Licences
    files: dict[Role, InnerPath] = Field(
        min_length=1, max_length=100, description="Which file plays which role"
    )
    artifacts: list[ManifestArtifact] | None = Field(
        None, min_length=1, max_length=MOST_FILES, description="Filled in by market publish"
    )
    options: dict[str, Any] = Field(default_factory=dict)
    signature: Signature | None = None
    needs: Needs = Field(default_factory=lambda: Needs.model_validate({}))
    price: Price = Field(default_factory=lambda: Price.model_validate({}))
    claims: Claims = Field(default_factory=lambda: Claims.model_validate({}))
    examples: list[Example] = Field(default_factory=list, max_length=20)
    card: Card = Field(default_factory=Card)
    source: Annotated[str, AfterValidator(_visible)] = Field("", max_length=500)
    gated: bool = False


def json_schema() -> dict[str, Any]:
    """The JSON Schema of market.yaml (draft 2020-12)."""
    schema = MarketYaml.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


# Refusals in words

_FIELDS = {
    "name": ("vendor/name in small letters, digits and . _ -", "应为 vendor/name：小写字母、数字与 . _ -"),
    "version": ('write three numbers, such as "1.0.0"', "请写三段数字，如 1.0.0"),
    "sha256": ("64 hexadecimal digits are expected", "应为 64 位十六进制数字"),
    "languages": ("write a code such as zh or en", "请写语言代码，如 zh 或 en"),
    "files": ("roles are letters, digits and . _ -", "角色名只用字母、数字与 . _ -"),
}
_TYPES = {
    "missing": ("is missing", "缺少这一项"),
    "string_type": ("write text, in quotes where it looks like a number", "应为文本；像数字时请加引号"),
    "int_type": ("write a whole number", "应为整数"),
    "int_from_float": ("write a whole number", "应为整数"),
    "float_type": ("write a number", "应为数字"),
    "finite_number": ("write a finite number", "应为有限的数字"),
    "bool_type": ("write true or false", "应为 true 或 false"),
    "list_type": ("write a list", "应为列表"),
    "dict_type": ("write fields with values", "应为若干字段"),
    "model_type": ("write fields with values", "应为若干字段"),
    "literal_error": ("expected {expected}", "可用：{expected}"),
    "string_too_short": ("is too short", "过短"),
    "string_too_long": ("is longer than {max_length} characters", "超过 {max_length} 个字符"),
    "too_long": ("has more than {max_length} items", "超过 {max_length} 项"),
    "too_short": ("needs at least {min_length}", "至少 {min_length} 项"),
    "greater_than_equal": ("must be at least {ge}", "不得小于 {ge}"),
    "greater_than": ("must be more than {gt}", "必须大于 {gt}"),
    "less_than_equal": ("must be at most {le}", "不得大于 {le}"),
}
_VALUE_ERRORS = {
    "not a plain relative path": "应为文件夹内的相对路径",
    "manifest.json is written by the catalogue": "manifest.json 由商店写入",
}


def checked(data: Any, lines: Lines | None = None, file: str = "") -> MarketYaml:
    """The sheet in this data; raises InvalidManifest naming the first wrong place, with its line."""
    if not isinstance(data, dict):
        raise InvalidManifest(
            path=place_of((), 1 if lines is not None else None, file),
            why="fields such as name: and version: are expected",
            why_zh="应为 name:、version: 等字段",
        )
    try:
        return MarketYaml.model_validate(data)
    except ValidationError as error:
        # A missing field counts less than a wrong one: it is often the same, spelt otherwise.
        found = error.errors(include_url=False)
        first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
        path = _path_in(data, first["loc"])
        en, zh = _words(dict(first), path)
        raise InvalidManifest(path=place_of(path, _line(lines, path), file), why=en, why_zh=zh) from None


def _path_in(data: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The part of a location that is in the data; names of alternatives and the like are left out."""
    path: list[int | str] = []
    for n, part in enumerate(loc):
        there = part in data if isinstance(data, dict) else isinstance(part, int) and _has(data, part)
        if there:
            data = data[part]
        elif n < len(loc) - 1 or not isinstance(data, dict) or part == "[key]":
            continue
        path.append(part)
    return tuple(path)


def _has(data: Any, index: int) -> bool:
    return isinstance(data, list) and index < len(data)


def _line(lines: Lines | None, path: tuple[int | str, ...]) -> int | None:
    """The line of a place, or of what it is missing in."""
    if not lines:
        return None
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def _words(error: dict[str, Any], path: tuple[int | str, ...]) -> tuple[str, str]:
    context = error.get("ctx", {})
    said = context.get("error")
    if isinstance(said, Said):
        return said.en, said.zh
    if isinstance(said, ValueError):
        return str(said), _VALUE_ERRORS.get(str(said), str(said))
    if error["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        near = difflib.get_close_matches(str(path[-1]) if path else "", known, 1, 0.6)
        if near:
            return f"there is no such field; {near[0]} is meant?", f"没有这个字段，是指 {near[0]} 吗"
        here = ", ".join(known)
        return f"there is no such field; known here: {here}", f"没有这个字段；这里可用：{here}"
    if error["type"] == "string_pattern_mismatch":
        named = [str(part) for part in path if part in _FIELDS]
        return _FIELDS[named[-1]] if named else ("has another form", "写法不对")
    en, zh = _TYPES.get(error["type"], (error["msg"], error["msg"]))
    return en.format_map(context), zh.format_map(context)


def _fields_at(path: tuple[int | str, ...]) -> list[str]:
    """The fields that the sheet knows at a place."""
    model: type[BaseModel] = MarketYaml
    for part in path:
        if isinstance(part, str):
            inner = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
            model = _model_in(inner.annotation if inner else None) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
