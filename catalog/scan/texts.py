"""Texts and configuration: UTF-8, bounded in size and depth, each key once, nothing that points to code."""

import codecs
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from catalog.scan import templates, tokenizers
from catalog.scan.findings import Refused, Report, shown
from catalog.scan.source import Source

LARGEST_JSON = 64 << 20
LARGEST_TEXT = 64 << 20
MOST_COMMAS = 4_000_000
MOST_BRACKETS = 1_000_000
LARGEST_YAML = 512 << 10
LARGEST_TOML = 1 << 20
LARGEST_LINE = 16 << 20
DEEPEST = 64
LONGEST_NUMBER = 64  # digits
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")  # DEL stands in lists of words as a word
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_CODE_KEYS = {"auto_map", "custom_pipelines", "trust_remote_code", "custom_code", "_custom_code", "_target_"}
"""Keys by which libraries fetch and run Python of a model's author, or call what a text names."""
_SHEET_START = re.compile("[=@+-]\\s*[A-Za-z]+\\s*[(|]")


def check_text(text: str, path: str) -> None:
    """Refuse control characters and characters that turn the reading direction."""
    if match := _CONTROL.search(text):
        raise Refused("text-control", line=text.count("\n", 0, match.start()) + 1)
    if match := _BIDI.search(text):
        raise Refused("text-direction", line=text.count("\n", 0, match.start()) + 1)


def plain(source: Source, report: Report) -> None:
    """Plain text, in pieces: word lists, labels, tables, licences."""
    if source.size > LARGEST_TEXT:
        raise Refused("file-too-large", size=source.size, limit=LARGEST_TEXT)
    line, decoder = 1, codecs.getincrementaldecoder("utf-8-sig")()
    tables = source.name.lower().endswith((".csv", ".tsv"))
    for piece in (*source.pieces(), b""):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise Refused("text-not-utf8") from None
        if match := _CONTROL.search(text):
            raise Refused("text-control", line=line + text.count("\n", 0, match.start()))
        if tables and (cell := _formula(text)):
            report.warn("text-formula", cell=shown(cell, 40))
        line += text.count("\n")


def _formula(text: str) -> str:
    """A cell that a spreadsheet would carry out."""
    for cell in re.split(r"[,\t\n]", text):
        if _SHEET_START.match(cell.strip('" ')):
            return cell.strip()
    return ""


def _decoded(source: Source, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("text-not-utf8") from None


def json_file(source: Source, report: Report) -> None:
    """A JSON document; tokenizers, configurations and chat templates in it are looked at further."""
    data = read_json(source.whole(LARGEST_JSON), source.name)
    refuse_code(data, source.name)
    name = source.name.rpartition("/")[2].lower()
    if isinstance(data, dict):
        _templates_in(data, report)
        if "model" in data and ("added_tokens" in data or "pre_tokenizer" in data or "tokenizer" in name):
            tokenizers.check(data, source.name)


def _templates_in(data: dict[str, Any], report: Report) -> None:
    found = data.get("chat_template")
    if isinstance(found, str):
        templates.check(found)
    elif isinstance(found, list):
        for each in found:
            if isinstance(each, dict) and isinstance(each.get("template"), str):
                templates.check(each["template"])
    elif isinstance(found, dict):
        for each in found.values():
            if isinstance(each, str):
                templates.check(each)
    if found is not None:
        report.facts["chat_template"] = True


def json_lines(source: Source, report: Report) -> None:
    """One JSON document a line."""
    if source.size > LARGEST_TEXT:
        raise Refused("file-too-large", size=source.size, limit=LARGEST_TEXT)
    carried, line = b"", 0
    for piece in source.pieces(piece=1 << 20):
        *lines, carried = (carried + piece).split(b"\n")
        if len(carried) > LARGEST_LINE:
            raise Refused("text-too-demanding")
        for each in lines:
            line += 1
            if each.strip():
                read_json(each, source.name, line)
    if carried.strip():
        read_json(carried, source.name, line + 1)


def read_json(data: bytes, path: str, line: int = 0) -> Any:
    """The document, or a refusal: bounded in its parts, depth and numbers, each key once in its object."""
    if data.count(b",") > MOST_COMMAS or data.count(b"[") + data.count(b"{") > MOST_BRACKETS:
        raise Refused("text-too-demanding")
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(
            text, object_pairs_hook=_Pairs(path), parse_int=_number(path), parse_constant=_no
        )
    except UnicodeDecodeError:
        raise Refused("text-not-utf8") from None
    except RecursionError:
        raise Refused("text-too-deep", limit=DEEPEST) from None
    except json.JSONDecodeError as error:
        raise Refused("text-invalid", form="JSON", line=line or error.lineno) from None
    except ValueError:
        raise Refused("text-invalid", form="JSON", line=line or 1) from None
    _refuse_depth(document, path)
    return document


class _Pairs:
    """Takes the members of an object, each key once."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise Refused("text-key-twice", key=shown(twice))
        return made


def _number(path: str) -> Any:
    def parse(text: str) -> int:
        if len(text) > LONGEST_NUMBER:
            raise Refused("text-huge-number")
        return int(text)

    return parse


def _no(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refuse_depth(document: Any, path: str) -> None:
    layer, depth = [document], 0
    while layer:
        depth += 1
        if depth > DEEPEST:
            raise Refused("text-too-deep", limit=DEEPEST)
        layer = [child for each in layer for child in _children(each) if isinstance(child, dict | list)]


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def walk(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object in a document, with its value."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            yield from value.items()
        left += [child for child in _children(value) if isinstance(child, dict | list)]


def refuse_code(document: Any, path: str) -> None:
    """Refuse configuration that has libraries load and run code of its author."""
    for key, value in walk(document):
        if key in _CODE_KEYS and value not in (False, None, {}, []):
            raise Refused("text-runs-code", key=shown(key))


def toml_file(source: Source, report: Report) -> None:
    """A TOML document."""
    text = _decoded(source, source.whole(LARGEST_TOML))
    check_text(text, source.name)
    if re.search(r"[\[{]\s*(?:[\[{]\s*){64}|\.(?:\w+\.){64}|\d{65}", text):
        raise Refused("text-too-deep", limit=DEEPEST)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise Refused("text-too-deep", limit=DEEPEST) from None
    except (tomllib.TOMLDecodeError, ValueError, OverflowError) as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place[1]) if place else 1
        if "overwrite" in str(error) or "twice" in str(error):
            key = text.splitlines()[line - 1].partition("=")[0].strip()
            raise Refused("text-key-twice", key=shown(key)) from None
        raise Refused("text-invalid", form="TOML", line=line) from None
    _refuse_depth(document, source.name)
    refuse_code(document, source.name)


def yaml_file(source: Source, report: Report) -> None:
    """A YAML document without anchors, tags and doubled keys; its events are read, no object is made."""
    text = _decoded(source, source.whole(LARGEST_YAML))
    check_text(text, source.name)
    reader = _YamlKeys(source.name)
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            reader.take(event)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise Refused("text-invalid", form="YAML", line=line) from None


class _YamlKeys:
    """Follows the events of a document: depth, aliases, tags, and the keys of each open mapping."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.open: list[set[str] | None] = []
        self.key_next: list[bool] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            mark = event.start_mark
            raise Refused("text-alias", line=mark.line + 1 if mark else 1)
        tag = getattr(event, "tag", None)
        if tag and tag != "!" and not tag.startswith("tag:yaml.org,2002:"):
            raise Refused("text-tag", tag=shown(tag))
        if tag and "python" in tag:
            raise Refused("text-tag", tag=shown(tag))
        if isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.open.pop()
            self.key_next.pop()
            self._turn()
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)

    def _begin(self, event: yaml.Event) -> None:
        if len(self.open) >= DEEPEST:
            raise Refused("text-too-deep", limit=DEEPEST)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self.open.append(set() if mapping else None)
        self.key_next.append(mapping)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        keys = self.open[-1] if self.open else None
        if keys is not None and self.key_next[-1]:
            if event.value in keys:
                raise Refused("text-key-twice", key=shown(event.value))
            if event.value in _CODE_KEYS:
                raise Refused("text-runs-code", key=event.value)
            keys.add(event.value)
        if len(event.value) > LONGEST_NUMBER and event.value.isdigit():
            raise Refused("text-huge-number")
        self._turn()

    def _turn(self) -> None:
        if self.open and self.open[-1] is not None:
            self.key_next[-1] = not self.key_next[-1]
