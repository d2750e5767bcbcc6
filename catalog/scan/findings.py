"""What a check of one file says: a refusal, or notes beside a pass."""

import unicodedata
from typing import Any

LONGEST_SHOWN = 80
Place = tuple[int, int, int]
"""Offset, length and ONNX data type of a tensor in a data file."""


class Refused(Exception):
    """The file may not pass. `code` names the words, `facts` stand in them; not a catalogue error."""

    def __init__(self, code: str, **facts: Any) -> None:
        self.code, self.facts = code, facts
        super().__init__(code)


class Report:
    """What is noted about a file that is not refused: facts of its form, and warnings."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.facts: dict[str, Any] = {}
        self.warnings: dict[str, dict[str, Any]] = {}
        self.external: dict[str, list[Place]] = {}
        """Data files that a graph names, by path beside it: where each tensor lies."""

    def warn(self, code: str, **facts: Any) -> None:
        """Note something that an operator should look at; the first of each code is kept."""
        self.warnings.setdefault(code, facts)


def shown(text: str | bytes, longest: int = LONGEST_SHOWN) -> str:
    """A name out of a hostile file, fit to stand in a message: short, visible, in one direction."""
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "replace")
    plain = "".join(c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text[: longest + 1])
    return plain if len(plain) <= longest else plain[:longest] + "…"
