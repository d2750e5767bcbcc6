"""Fast tokenizers (tokenizer.json): parts that are known, sizes that are sane, patterns that end.

The library behind them backtracks; a pattern with a repetition inside a repetition can take it years over
fifty characters.
"""

import re
from collections.abc import Iterator
from typing import Any

from catalog.scan.findings import Refused, shown

MOST_TOKENS = 2_000_000
LONGEST_TOKEN = 4096
LONGEST_PATTERN = 4096
MOST_PARTS = 1000
MOST_REPEATS = 1000
_TYPES = {
    "model": {"BPE", "WordPiece", "WordLevel", "Unigram"},
    "normalizer": {
        "BertNormalizer", "Strip", "StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Sequence", "Lowercase",
        "Nmt",
        "Precompiled", "Replace", "Prepend", "ByteLevel",
    },
    "pre_tokenizer": {
        "BertPreTokenizer", "ByteLevel", "CharDelimiterSplit", "Metaspace", "Whitespace", "Sequence", "Split",
        "Punctuation", "WhitespaceSplit", "Digits", "UnicodeScripts", "FixedLength",
    },
    "post_processor": {"BertProcessing", "RobertaProcessing", "ByteLevel", "TemplateProcessing", "Sequence"},
    "decoder": {
        "BPEDecoder", "BPE", "ByteLevel", "WordPiece", "Metaspace", "CTC", "Sequence", "Replace", "Fuse",
        "Strip", "ByteFallback", "DecodeStream",
    },
}  # fmt: skip


def check(data: dict[str, Any], path: str) -> None:
    """Refuse a tokenizer.json that a tokenizer would choke on."""
    model = data.get("model")
    if not isinstance(model, dict):
        raise Refused("text-tokenizer-part", part="model", type="–")
    _check_model(model, path)
    added = data.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > MOST_TOKENS:
        raise Refused("text-tokenizer-size", limit=MOST_TOKENS)
    for part, types in _TYPES.items():
        if part != "model":
            _check_part(data.get(part), part, types, path)


def _check_model(model: dict[str, Any], path: str) -> None:
    kind = model.get("type", "BPE")
    if kind not in _TYPES["model"]:
        raise Refused("text-tokenizer-part", part="model", type=shown(str(kind)))
    words = model.get("vocab")
    merges = model.get("merges", [])
    if not isinstance(words, dict | list) or not isinstance(merges, list):
        raise Refused("text-tokenizer-part", part="vocab", type=shown(type(words).__name__))
    if max(len(words), len(merges)) > MOST_TOKENS:
        raise Refused("text-tokenizer-size", limit=MOST_TOKENS)
    if isinstance(words, dict):
        _check_ids(words, path)
    longest = max((len(w if isinstance(w, str) else str(w[:1])) for w in words), default=0)
    if longest > LONGEST_TOKEN:
        raise Refused("text-tokenizer-size", limit=LONGEST_TOKEN)
    if (most := model.get("max_input_chars_per_word", 100)) and not _within(most, 1_000_000):
        raise Refused("text-tokenizer-size", limit=1_000_000)


def _check_ids(words: dict[str, Any], path: str) -> None:
    """Ids index tables, so a huge one makes a huge table."""
    for word, number in words.items():
        if not _within(number, 2 * MOST_TOKENS):
            raise Refused("text-tokenizer-id", token=shown(word, 40))


def _within(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _check_part(part: Any, name: str, types: set[str], path: str) -> None:
    for count, each in enumerate(_parts(part)):
        if count >= MOST_PARTS:
            raise Refused("text-tokenizer-size", limit=MOST_PARTS)
        kind = each.get("type")
        if kind not in types:
            raise Refused("text-tokenizer-part", part=name, type=shown(str(kind)))
        pattern = each.get("pattern")
        if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
            check_pattern(pattern["Regex"], path)
        if isinstance(content := each.get("content"), str) and len(content) > LONGEST_TOKEN:
            raise Refused("text-tokenizer-size", limit=LONGEST_TOKEN)


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    left = [part]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            for name in ("normalizers", "pretokenizers", "processors", "decoders"):
                if isinstance(each.get(name), list):
                    left += each[name]
        elif each is not None:
            yield {"type": type(each).__name__}


_PIECE = re.compile(
    r"\\[pP]\{[^}]*\}|\\[xu]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]"
    r"|\((?:\?(?:[:=!>|]|<[=!]|<\w+>|P<\w+>|[a-zA-Z-]+[:)]|#[^)]*\)))?|\)|\||\{\d*,?\d*\}[?+]?|[*+?][?+]?|.",
    re.S,
)


def check_pattern(pattern: str, path: str) -> None:
    """Refuse a pattern that could backtrack without end: repetition within repetition, back references."""
    if len(pattern) > LONGEST_PATTERN:
        raise Refused("text-pattern", pattern=shown(pattern))
    if re.search(r"\\[1-9]|\\[kg][<{']|\(\?(?:R|P=|P>|&|\d|\()", pattern):
        raise Refused("text-pattern", pattern=shown(pattern))
    open_groups: list[bool] = [False]  # whether something in the group may vary: a repetition or a choice
    closed = False  # the same of the group that was just closed
    for match in _PIECE.finditer(pattern):
        piece = match[0]
        if piece.startswith("(") and not piece.endswith(")"):
            open_groups.append(False)
        elif piece == ")" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] = open_groups[-1] or closed
            continue
        elif piece == "|":
            open_groups[-1] = True
        elif piece[0] in "*+{" and len(piece) > (piece[0] == "{"):
            most = _most(piece)
            if (most > MOST_REPEATS and piece[0] == "{") or (closed and most > 8):
                raise Refused("text-pattern", pattern=shown(pattern))
            open_groups[-1] = open_groups[-1] or most > 8
        closed = False


def _most(piece: str) -> float:
    """The most repetitions that a quantifier allows."""
    if piece[0] != "{":
        return float("inf") if len(piece) < 2 or piece[1] != "+" else 0
    low, comma, high = piece.strip("{}?+").partition(",")
    if comma and not high:
        return float("inf") if len(low) < 6 and int(low or 0) <= MOST_REPEATS else MOST_REPEATS + 1
    number = high or low or "0"
    return int(number) if len(number) < 9 else MOST_REPEATS + 1
