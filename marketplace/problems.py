"""Refusals as people read them: what happened, why, and the one next step (RFC 9457), in zh and en.

The catalogue and the deployer raise named errors that carry facts; the words are in the `*_words` modules.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from catalog.errors import CatalogError
from deployer.errors import DeployerError
from marketplace import (
    check_words,
    finding_words,
    hub_words,
    import_words,
    optimizer_words,
    packaging_words,
    people_words,
    problem_words,
    publishing_words,
    vendor_words,
    verdict_words,
)
from marketplace.errors import MarketError
from marketplace.i18n import gettext
from marketplace.problem_words import Words

__all__ = ["MEDIA_TYPE", "WORDS", "Problem", "Words", "problem", "problem_of"]

WORDS: dict[str, Words] = {
    code: words
    for part in (
        problem_words,
        optimizer_words,
        packaging_words,
        people_words,
        publishing_words,
        check_words,
        import_words,
        finding_words,
        hub_words,
        vendor_words,
        verdict_words,
    )
    for code, words in part.WORDS.items()
}
MEDIA_TYPE = "application/problem+json"
ROLES_ZH = {"opc": "一人公司（opc）", "operator": "运营者（operator）", "vendor": "商家（vendor）"}
"""Roles are typed as ids, so a text in Chinese has both."""


@dataclass(frozen=True)
class Problem:
    """One refusal in one language, in the members of RFC 9457 and three of ours."""

    status: int
    code: str
    title: str
    detail: str
    next: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says in its headers: how to enter, or when to come again."""
        if self.status == 401:
            return {"WWW-Authenticate": 'Bearer realm="opc-market"'}
        if self.status == 429:
            return {"Retry-After": str(self.facts.get("seconds", 60))}
        return {"Retry-After": "2"} if self.status == 503 else {}

    def to_dict(self) -> dict[str, Any]:
        """The JSON body."""
        return {"type": "about:blank", **asdict(self)}


def problem(code: str, lang: str, **facts: object) -> Problem:
    """The words of a code in a language, with its facts filled in."""
    words = WORDS.get(code) or WORDS["internal-error"]
    # Facts that are words come in both languages: why and why_zh.
    facts |= {n.removesuffix(f"_{lang}"): v for n, v in facts.items() if n.endswith(f"_{lang}")}
    shown = _Facts({k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in facts.items()})
    if lang == "zh" and facts.get("role") in ROLES_ZH:
        shown["role"] = ROLES_ZH[str(facts["role"])]
    title, detail, step = (gettext(lang, text).format_map(shown) for text in words[1:])
    return Problem(words.status, code, title, detail, step, dict(facts))


def problem_of(error: CatalogError | DeployerError | MarketError, lang: str) -> Problem:
    """The problem that a named error stands for."""
    return problem(error.code, lang, **error.facts)


class _Facts(dict[str, object]):
    """Facts for a message; one that is missing shows as a dash instead of breaking the page."""

    def __missing__(self, key: str) -> str:
        return "–"
