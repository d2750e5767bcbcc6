"""The form to publish with: what was filled in, the sheet that comes of it, and where a refusal belongs.

Fields are called as market.yaml calls them, with dots between, so that a refusal of the sheet names its
field by itself.
"""

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from catalog import plain_yaml, taxonomy
from catalog.errors import InvalidManifest
from catalog.models import Listing, Version
from catalog.offer import CARD_LIMIT, EXAMPLE_LIMIT
from catalog.offer_schema import MarketYaml, checked
from marketplace.errors import InvalidRequest
from marketplace.i18n import gettext
from marketplace.i18n import mark as _

EXAMPLES = 3
"""Rows for new examples; those of the version that it starts from have rows of their own before them."""
MOST_EXAMPLES = 20
SHOWN = 20_000  # characters of a request that are shown to be edited
LONGEST = 4000  # characters of a field; cards and JSON have bounds of their own
TEXTS = (
    "vendor",
    "name",
    "version",
    "task",
    "title.zh",
    "title.en",
    "summary.zh",
    "summary.en",
    "languages",
    "license.weights",
    "license.package",
    "license.base",
    "files",
    "options",
    "claims.latency_ms",
    "claims.memory",
    "claims.accuracy.metric",
    "claims.accuracy.value",
    "needs.memory",
    "price.plan",
    "price.fen",
    "source",
    "card.zh",
    "card.en",
    "wanted",
    "base",
)
PARTS = ("title.zh", "title.en", "text", "json", "expect")
"""Of an example; its picture is a file."""
WRONG = {
    "uploads": "files",
    "artifacts": "files",
    "cards": "card",
    "number_of_schema": "form",
    "manifest": "form",
}
SAMPLE = """schema: 1
name: my-company/invoice-words
version: 1.0.0
task: text-classification
title:
  zh: 发票用语分类
  en: Words of invoices
summary:
  zh: 看一行文字，判断它是金额、日期还是抬头，供记账用。
  en: Tells whether a line is an amount, a date or a title, for bookkeeping.
languages: [zh]
license:
  package: Apache-2.0
  weights: Apache-2.0
files:
  model: model.onnx
  tokenizer: tokenizer.json
options:
  labels: [amount, date, title]
claims:
  latency_ms: 5
examples:
  - title: {zh: 金额, en: An amount}
    request: {text: "合计 1,280.00 元"}
    expect: {results: [{label: amount}]}
card:
  zh: card.zh.md
  en: card.en.md
"""
EXPECT = '{"results": [{"label": "amount"}]}'
"""What the answer to its example must be, as it is shown in the boxes for examples."""


class FieldRefused(InvalidRequest):
    """A field of the form holds something else. Facts: field, why."""

    code = "field-refused"


@dataclass
class Values:
    """What stands in the form, as typed."""

    texts: dict[str, str] = field(default_factory=dict)
    verticals: list[str] = field(default_factory=list)
    examples: list[dict[str, str]] = field(default_factory=lambda: [{} for _row in range(EXAMPLES)])
    keep_files: set[str] = field(default_factory=set)
    """Paths of the version that it starts from."""
    keep_examples: set[int] = field(default_factory=set)
    """Rows of its examples that go on, as they were or as they are filled in now."""
    before: int = 0
    """How many of the rows belong to examples of the version that it starts from."""
    gated: bool = False

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")


@dataclass(frozen=True)
class Sent:
    """A file of the new version that is here already: its path and what it is."""

    path: str
    sha256: str
    size: int

    def artifact(self) -> dict[str, Any]:
        """As the sheet names it."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}


def read(data: Mapping[str, Any]) -> Values:
    """The fields as they were sent."""
    sent = {name: value for name, value in data.items() if isinstance(value, str)}
    told = sent.get("before", "")
    before = min(int(told), MOST_EXAMPLES) if told.isdecimal() and len(told) < 4 else 0
    longest = {"card.zh": CARD_LIMIT, "card.en": CARD_LIMIT, "options": 100_000}
    return Values(
        {name: sent.get(name, "").strip()[: longest.get(name, LONGEST)] for name in TEXTS},
        [id for id in taxonomy.VERTICALS if sent.get(f"vertical.{id}")],
        [
            {part: sent.get(f"examples.{n}.{part}", "").strip()[:100_000] for part in PARTS}
            for n in range(before + EXAMPLES)
        ],
        {name.removeprefix("keep.") for name in sent if name.startswith("keep.")},
        {n for n in range(before) if sent.get(f"keep-example.{n}")},
        before,
        bool(sent.get("gated")),
    )


def of_version(listing: Listing, version: Version, number: str) -> Values:
    """The form for one more version of a listing, with all that the last one had."""
    words = version.offer

    def word(name: str) -> Any:
        return words.get(name, getattr(listing, name))

    vendor, _slash, name = listing.name.partition("/")
    texts = {
        "vendor": vendor,
        "name": name,
        "version": number,
        "task": version.manifest["task"],
        "title.zh": word("title_zh"),
        "title.en": word("title_en"),
        "summary.zh": word("summary_zh"),
        "summary.en": word("summary_en"),
        "languages": ", ".join(word("languages")),
        "license.weights": version.license_weights,
        "license.package": version.license_package,
        "license.base": version.license_base,
        "files": _lines(version.manifest["files"]),
        "options": _json(version.manifest.get("options")),
        "source": version.source,
        "card.zh": word("card_zh"),
        "card.en": word("card_en"),
        "base": f"{listing.name}@{version.number}",
        **_numbers(version.claims, words.get("needs") or {}, word("price") or {}),
    }
    examples = [
        _row(e["title_zh"], e["title_en"], e["request"], e["expect"])
        for e in version.manifest.get("examples", [])
    ]
    return Values(
        {key: str(value) for key, value in texts.items()},
        list(word("verticals")),
        [*examples, *({} for _n in range(EXAMPLES))],
        keep_files={str(a["path"]) for a in version.manifest["artifacts"]},
        keep_examples=set(range(len(examples))),
        before=len(examples),
        gated=bool(word("gated")),
    )


def of_sheet(content: bytes) -> Values:
    """The form as a market.yaml fills it in; raises InvalidManifest with the line.

    Examples with files are left out: their files are not here.
    """
    data, lines = plain_yaml.load(content)
    sheet = checked(data, lines, "market.yaml")
    vendor, _slash, name = sheet.name.partition("/")
    plain = sheet.model_dump(by_alias=True, exclude_none=True)
    texts = {
        "vendor": vendor,
        "name": name,
        "version": sheet.version,
        "task": sheet.task,
        "title.zh": sheet.title.zh,
        "title.en": sheet.title.en,
        "summary.zh": sheet.summary.zh,
        "summary.en": sheet.summary.en,
        "languages": ", ".join(sheet.languages),
        "license.weights": sheet.license.weights,
        "license.package": sheet.license.package,
        "license.base": sheet.license.base or "",
        "files": _lines(sheet.files),
        "options": _json(sheet.options),
        "source": sheet.source,
        **_numbers(plain.get("claims", {}), plain.get("needs", {}), plain.get("price", {})),
    }
    return Values(texts, list(sheet.verticals), _examples_of(sheet), gated=sheet.gated)


def _examples_of(sheet: MarketYaml) -> list[dict[str, str]]:
    rows = [
        _row(example.title.zh, example.title.en, example.request, example.expect)
        for example in sheet.examples
        if not re.search(r'"(?:\$file|base64)"', json.dumps(example.request))
    ]
    return [*rows[:EXAMPLES], *({} for _n in range(EXAMPLES - len(rows)))]


def _row(zh: str, en: str, request: Mapping[str, Any], expect: Any) -> dict[str, str]:
    """An example as its boxes show it; a request with the bytes of a file in it shows none."""
    text = request.get("text") if set(request) == {"text"} else None
    plain = json.dumps(request, ensure_ascii=False)
    return {
        "title.zh": zh,
        "title.en": en,
        "text": text if isinstance(text, str) else "",
        "json": "" if isinstance(text, str) or '"base64"' in plain or len(plain) > SHOWN else plain,
        "expect": json.dumps(expect, ensure_ascii=False) if expect is not None else "",
    }


def _numbers(claims: Mapping[str, Any], needs: Mapping[str, Any], price: Mapping[str, Any]) -> dict[str, str]:
    accuracy = claims.get("accuracy") or {}
    return {
        "claims.latency_ms": _plain(claims.get("latency_ms")),
        "claims.memory": _plain(claims.get("memory")),
        "claims.accuracy.metric": str(accuracy.get("metric", "")),
        "claims.accuracy.value": _plain(accuracy.get("value")),
        "needs.memory": _plain(needs.get("memory")),
        "price.plan": str(price.get("plan", "free")),
        "price.fen": _plain(price.get("fen") or None),
    }


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def _lines(files: Mapping[str, str]) -> str:
    return "\n".join(f"{role}: {path}" for role, path in files.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) if value else ""


# From the form to a sheet


def sheet(
    values: Values, artifacts: list[Sent], pictures: Mapping[int, bytes], base: Version | None, lang: str
) -> dict[str, Any]:
    """{"sheet", "cards"} as `catalog.offer.parse` takes it; raises FieldRefused."""
    texts = values.texts
    if not texts["task"]:
        raise FieldRefused(field="task", why=gettext(lang, _("choose what the model is for")))
    made: dict[str, Any] = {
        "schema": 1,
        "name": f"{texts['vendor']}/{texts['name']}",
        "version": texts["version"],
        "task": texts["task"],
        "title": {"zh": texts["title.zh"], "en": texts["title.en"]},
        "summary": {"zh": texts["summary.zh"], "en": texts["summary.en"]},
        "verticals": values.verticals,
        "languages": [part for part in re.split(r"[\s,，、]+", texts["languages"]) if part],
        "license": {"package": texts["license.package"], "weights": texts["license.weights"]},
        "files": roles(texts["files"], [sent.path for sent in artifacts], lang),
        "artifacts": [sent.artifact() for sent in artifacts],
        "options": _parsed(texts["options"], "options", lang, {}),
        "examples": _examples(values, pictures, base, lang),
        "source": texts["source"],
        "gated": values.gated,
        "price": _price(texts, lang),
        "claims": _claims(texts, lang),
    }
    if texts["license.base"]:
        made["license"]["base"] = texts["license.base"]
    if texts["needs.memory"]:
        made["needs"] = {"memory": _size(texts["needs.memory"])}
    return {"sheet": made, "cards": {code: texts[f"card.{code}"] for code in ("zh", "en")}}


def roles(text: str, paths: list[str], lang: str) -> dict[str, str]:
    """Which file plays which role: as it was typed, one a line, else guessed by names."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        role, colon, path = line.partition(":")
        if not colon or not path.strip():
            raise FieldRefused(field="files", why=gettext(lang, _("write role: file, one a line")))
        if path.strip() not in paths:
            why = gettext(lang, _("{path} is not among the files"), path=path.strip()[:100])
            raise FieldRefused(field="files", why=why)
        found[role.strip()] = path.strip()
    return found or guessed(paths)


MODELS = (".onnx", ".gguf", ".safetensors")
QUIET = (".md", ".txt", ".pdf", ".png", ".jpg", ".jpeg", ".webp")
"""Files that need no role: cards, licences, pictures; labels are told by their name."""


def guessed(paths: Iterable[str]) -> dict[str, str]:
    """Roles by the names of files: the only model is `model`, tokenizer.json is `tokenizer`."""
    found: dict[str, str] = {}
    models = [path for path in paths if path.lower().endswith(MODELS)]
    for path in paths:
        pure = PurePosixPath(path)
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", pure.stem.lower()).strip("-.") or "file"
        if path in models:
            found["model" if len(models) == 1 else stem] = path
        elif stem.startswith(("label", "vocab", "word", "tag")) or (
            pure.suffix and pure.suffix.lower() not in QUIET
        ):
            found.setdefault(stem, path)
    return found


def _price(texts: Mapping[str, str], lang: str) -> dict[str, Any]:
    plan = texts["price.plan"] or "free"
    return {"plan": plan, "fen": _whole(texts["price.fen"], "price.fen", lang) if plan != "free" else 0}


def _claims(texts: Mapping[str, str], lang: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if texts["claims.latency_ms"]:
        made["latency_ms"] = _number(texts["claims.latency_ms"], "claims.latency_ms", lang)
    if texts["claims.memory"]:
        made["memory"] = _size(texts["claims.memory"])
    if texts["claims.accuracy.value"]:
        value = _number(texts["claims.accuracy.value"], "claims.accuracy.value", lang)
        made["accuracy"] = {"metric": texts["claims.accuracy.metric"] or "accuracy", "value": value}
    return made


def _number(text: str, name: str, lang: str) -> float:
    try:
        return float(text.replace(",", ".")) if len(text) < 40 else float("x")
    except ValueError:
        raise FieldRefused(field=name, why=gettext(lang, _("write a number"))) from None


def _whole(text: str, name: str, lang: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise FieldRefused(field=name, why=gettext(lang, _("write a whole number")))
    return int(text)


def _size(text: str) -> Any:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


def _parsed(text: str, name: str, lang: str, empty: Any) -> Any:
    if not text:
        return empty
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = gettext(lang, _("not JSON: {why}"), why=str(error)[:120])
        raise FieldRefused(field=name, why=why) from None


def used(values: Values, pictures: Collection[int]) -> list[int]:
    """The rows that become examples, in their order."""
    return [
        n
        for n, row in enumerate(values.examples)
        if (n in values.keep_examples if n < values.before else any(row.values()) or n in pictures)
    ]


def _examples(
    values: Values, pictures: Mapping[int, bytes], base: Version | None, lang: str
) -> list[dict[str, Any]]:
    before = (base.manifest.get("examples", []) if base else [])[: values.before]
    return [
        _example(n, values.examples[n], pictures.get(n), before[n] if n < len(before) else None, lang)
        for n in used(values, pictures)
    ]


def _example(
    n: int, row: Mapping[str, str], picture: bytes | None, before: Mapping[str, Any] | None, lang: str
) -> dict[str, Any]:
    expect = row.get("expect", "")
    title = row.get("title.zh") or row.get("title.en") or str(n + 1)
    return {
        "title": {"zh": row.get("title.zh") or title, "en": row.get("title.en") or title},
        "request": _request(n, row, picture, before, lang),
        "expect": _parsed(expect, f"examples.{n}", lang, None)
        if expect[:1] in '{["-0123456789' or expect in ("true", "false", "null")
        else expect or None,
    }


def _request(
    n: int, row: Mapping[str, str], picture: bytes | None, before: Mapping[str, Any] | None, lang: str
) -> Any:
    """What was chosen or typed now, else what the example had."""
    if picture is not None:
        if len(picture) > EXAMPLE_LIMIT:
            why = gettext(lang, _("the picture is larger than {limit} bytes"), limit=EXAMPLE_LIMIT)
            raise FieldRefused(field=f"examples.{n}", why=why)
        return {"image": {"base64": base64.b64encode(picture).decode()}}
    if row.get("json"):
        return _parsed(row["json"], f"examples.{n}", lang, {})
    if row.get("text"):
        return {"text": row["text"]}
    if before is not None:
        return before["request"]
    why = gettext(lang, _("write a text or JSON, or choose a picture"))
    raise FieldRefused(field=f"examples.{n}", why=why)


# Where a refusal belongs


FIELD = re.compile(r"(?:\S+:\d+ )?(\S+)")


def field_of(error: Exception, rows: Sequence[int] = ()) -> str:
    """The field that a refusal belongs to; the form as a whole when there is none.

    `rows` are those of the examples that were made of the form.
    """
    facts: dict[str, Any] = getattr(error, "facts", {})
    code = str(getattr(error, "code", ""))
    if isinstance(error, FieldRefused):
        return str(facts["field"])
    if isinstance(error, InvalidManifest):
        return _of_path(str(facts.get("path", "")), rows)
    if code in ("version-taken", "version-busy"):
        return "version"
    if code in ("unknown-vendor", "not-a-member", "vendor-unproved"):
        return "vendor"
    if code.startswith("upload-") or code in ("storage-full", "publication-incomplete"):
        return "files"
    return "form"


def _of_path(path: str, rows: Sequence[int]) -> str:
    match = FIELD.match(path)
    parts = (match[1] if match else path).split(".")
    parts[0] = WRONG.get(parts[0], parts[0])
    if parts[0] == "examples":
        place = int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else len(rows)
        return f"examples.{rows[place]}" if place < len(rows) else "form"
    while parts and ".".join(parts) not in TEXTS:
        parts.pop()
    if parts:
        return ".".join(parts)
    first = (match[1] if match else path).partition(".")[0]
    return next((name for name in TEXTS if name.startswith(f"{WRONG.get(first, first)}.")), "form")
