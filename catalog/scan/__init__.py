"""What a version is checked for before anybody may have it, and what each check may come to.

The gate is a list of what is allowed: a file passes only when its form is known and read to its end here.
Nothing in this package runs, imports or loads what it reads; it is called in a child that is shut in.
"""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["CHECKS", "RULES", "SCANNER", "CheckKind", "Row", "Verdict"]

RULES = "2"
"""Raised whenever a check changes what it lets through; versions that older rules passed are rechecked."""
SCANNER = "opc-market"
"""Name of our own scanner on badges; its version is RULES."""


class Verdict(StrEnum):
    """What a check came to; unknown is never shown as safe."""

    passed = "pass"
    warned = "warn"
    failed = "fail"
    unknown = "unknown"


@dataclass(frozen=True)
class CheckKind:
    """One check, as a row of the table that vendors see."""

    id: str
    title_zh: str
    title_en: str


CHECKS = {
    kind.id: kind
    for kind in (
        CheckKind("manifest", "清单", "Manifest"),
        CheckKind("folder", "文件名与链接", "File names and links"),
        CheckKind("digests", "大小与校验和", "Sizes and digests"),
        CheckKind("format", "文件格式", "File format"),
        CheckKind("scanner", "另一扫描器", "Second scanner"),
        CheckKind("secrets", "密钥与口令", "Secrets"),
        CheckKind("metadata", "清单与文件相符", "Manifest agrees with the files"),
        CheckKind("licence", "许可", "Licence"),
        CheckKind("card", "说明卡", "Card"),
        CheckKind("dry-run", "沙箱试运行", "Dry run in the sandbox"),
        CheckKind("examples", "示例", "Examples"),
        CheckKind("claims", "所称与实测", "Claims against measurements"),
    )
}
"""In the order in which they run and are shown."""


@dataclass(frozen=True)
class Row:
    """What one check of a version, or of one of its files, came to.

    `code` names the words of what to mend (marketplace.check_words), with `facts` in them; "" when there is
    nothing to mend.
    """

    check: str
    verdict: Verdict
    code: str = ""
    path: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    scanner: str = SCANNER
    scanner_version: str = RULES

    def to_json(self) -> dict[str, Any]:
        """As a child hands it over."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Row":
        """The row that a child handed over."""
        return cls(**{**data, "verdict": Verdict(data["verdict"])})
