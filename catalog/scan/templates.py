"""Chat templates (Jinja) before anything renders them: no way out of the sandbox, no work without end.

This looks at the text alone and refuses more than a sandbox would; rendering is for a shut-in child.
"""

import re
from collections.abc import Iterator

from catalog.scan.findings import Refused, Report, shown
from catalog.scan.source import Source

LONGEST = 256 << 10
MOST_BLOCKS = 4000
DEEPEST = 24
_PART = re.compile(r"""\\.|['"]|[^\\'"]+""", re.S)
_STOP = re.compile(r"""\\.|['"%(){}\[\]]""", re.S)
_CLOSES = {"{#": "#}", "{%": "%}", "{{": "}}"}
_OPEN = re.compile(r"\{[#%{]")
_REACHES_OUT = re.compile(
    r"__|\|\s*attr\b|\b(?:mro|subclasses|func_globals|gi_frame|gi_code|cr_frame|f_globals|f_back|co_code"
    r"|builtins|os|sys|subprocess|popen|importlib|cycler|joiner|lipsum|self|getattr|eval|exec|open)\s*[.(\[]"
    r"|\bformat_map\b"
)
_TAG = re.compile(r"\s*(\w+)")
_REFUSED_TAGS = {"raw", "import", "from", "include", "extends", "autoescape", "do", "debug", "trans"}
_OPENS = {"for", "if", "macro", "call", "filter", "set", "block", "generation"}
_RANGE = re.compile(r"\brange\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_NUMBER = re.compile(r"\d[\d_]*")
LARGEST_NUMBER = 1_000_000
_POWER = re.compile(r"\*\*|\*\s*\d{5,}|\d{5,}\s*\*")
_DUNDER_STRING = re.compile(r"__\w|\\x5f|\\u005f|\\137", re.I)
_STRING_REACH = re.compile(r"['\"](?:mro|__|_{2}|globals|builtins|popen|import)")


def template_file(source: Source, report: Report) -> None:
    """A .jinja file."""
    try:
        text = source.whole(LONGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("text-not-utf8") from None
    check(text)
    report.facts["chat_template"] = True


def check(text: str) -> None:
    """Refuse a template that reaches for Python's insides, loads others, or counts without end."""
    if len(text) > LONGEST:
        raise Refused("text-template-large", size=len(text), limit=LONGEST)
    if match := _DUNDER_STRING.search(text):  # anywhere, so that no trick of quoting hides it
        line = text.count("\n", 0, match.start()) + 1
        raise Refused("text-template-reaches-out", line=line, what=shown(match[0], 20))
    depth = loops = 0
    for kind, code, line in _blocks(text):
        _check_code(code, line)
        if kind == "{%":
            word = (_TAG.match(code) or [""] * 2)[1]
            if word in _REFUSED_TAGS:
                raise Refused("text-template-reaches-out", line=line, what=word)
            if word in _OPENS and not (word == "set" and "=" in code):
                depth += 1
                loops += word == "for"
            depth -= word.startswith("end")
            loops -= word == "endfor"
            if depth > DEEPEST or loops > 4:
                raise Refused("text-template-endless", line=line)


def _blocks(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, code and line of each block and expression; comments are passed over."""
    place, line, count = 0, 1, 0
    while match := _OPEN.search(text, place):
        line += text.count("\n", place, match.start())
        end = _end(text, match.end(), _CLOSES[match[0]])
        if match[0] != "{#":
            yield match[0], text[match.end() : end].strip("-+"), line
        line += text.count("\n", match.start(), end)
        place, count = end, count + 1
        if count > MOST_BLOCKS:
            raise Refused("text-template-large", size=count, limit=MOST_BLOCKS)


def _end(text: str, start: int, mark: str) -> int:
    """Where a block closes, read as Jinja reads it: not within quotes, and not within brackets.

    One that does not close is taken to reach the end.
    """
    if mark == "#}":
        end = text.find(mark, start)
        return len(text) if end < 0 else end
    quote, depth = "", 0
    for match in _STOP.finditer(text, start):
        part = match[0]
        if quote:
            quote = "" if part == quote else quote
        elif part in ("'", '"'):
            quote = part
        elif not depth and text.startswith(mark, match.start()):
            return match.start()
        elif part in "([{":
            depth += 1
        elif part in ")]}":
            depth = max(0, depth - 1)
    return len(text)


def _without_strings(code: str) -> str:
    """The code with its quoted texts emptied."""
    kept, quote = [], ""
    for match in _PART.finditer(code):
        part = match[0]
        if quote:
            quote = "" if part == quote else quote
        elif part in ("'", '"'):
            quote = part
            kept.append("''")
        else:
            kept.append(part)
    return "".join(kept)


def _check_code(code: str, line: int) -> None:
    if match := _STRING_REACH.search(code):
        raise Refused("text-template-reaches-out", line=line, what=shown(match[0], 20))
    bare = _without_strings(code)
    if match := _REACHES_OUT.search(bare):
        raise Refused("text-template-reaches-out", line=line, what=shown(match[0], 20))
    if _POWER.search(bare):
        raise Refused("text-template-endless", line=line)
    for number in _NUMBER.findall(bare):
        if len(number) > 9 or int(number.replace("_", "") or 0) > LARGEST_NUMBER:
            raise Refused("text-template-endless", line=line)
    for match in _RANGE.finditer(bare):
        if any(int(n.replace("_", "")) > 10_000 for n in _NUMBER.findall(match[1])):
            raise Refused("text-template-endless", line=line)
