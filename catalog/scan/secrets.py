"""Keys and passwords that were left in a text. What was found is never repeated, only its kind and line."""

import re
from collections.abc import Iterator

from catalog.scan.source import Source

MOST_FOUND = 20
_LOOKED_AT = {"text", "json", "jsonl", "yaml", "toml", "markdown", "template"}
_PIECE = 1 << 20
_LONGEST = 512  # bytes of a secret with what tells it; so much is carried from one piece to the next

_KINDS: dict[str, tuple[bytes, bytes]] = {
    "private-key": (b"PRIVATE KEY", rb"-----BEGIN (?:[A-Z]{2,9} )?PRIVATE KEY(?: BLOCK)?-----"),
    "aws": (b"IA", rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "github": (b"gh", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b"),
    "hugging-face": (b"hf_", rb"\bhf_[A-Za-z0-9]{30,64}\b"),
    "openai": (b"sk-", rb"\bsk-(?:proj-|svcacct-|ant-)?[A-Za-z0-9_-]{32,200}\b"),
    "aliyun": (b"LTAI", rb"\bLTAI[0-9A-Za-z]{12,26}\b"),
    "tencent": (b"AKID", rb"\bAKID[0-9A-Za-z]{32}\b"),
    "slack": (b"xox", rb"\bxox[abprs]-[0-9A-Za-z-]{20,100}\b"),
    "google": (b"AIza", rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    "password-in-url": (b"://", rb"://[^\s/:@\"'<>]{1,64}:[^\s/:@\"'<>{}$]{3,128}@[^\s\"'<>]"),
}
"""What must stand in a text before the slower pattern is tried, and the pattern."""
_PATTERNS = {kind: (mark, re.compile(pattern)) for kind, (mark, pattern) in _KINDS.items()}
KINDS = tuple(_KINDS)


def find(source: Source, form: str) -> Iterator[tuple[str, int]]:
    """Kind and line of each secret in a text; other forms are not read for them."""
    if form not in _LOOKED_AT:
        return
    found, line, carried, done = 0, 1, b"", 0
    for piece in source.pieces(piece=_PIECE):
        window = carried + piece
        done += len(piece)
        # What begins in the last bytes is seen whole in the next window.
        end = len(window) - _LONGEST if done < source.size else len(window)
        for kind, at in _in_window(window, end):
            yield kind, line + window.count(b"\n", 0, at)
            found += 1
            if found >= MOST_FOUND:
                return
        line += window.count(b"\n", 0, end)
        carried = window[end:]


def _in_window(window: bytes, end: int) -> list[tuple[str, int]]:
    """Kind and place of the secrets that begin before `end`."""
    found: list[tuple[str, int]] = []
    for kind, (mark, pattern) in _PATTERNS.items():
        if mark in window:
            for match in pattern.finditer(window):
                if match.start() >= end or len(found) >= MOST_FOUND:
                    break
                found.append((kind, match.start()))
    return sorted(found, key=lambda each: each[1])
