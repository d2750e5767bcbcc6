"""Licences of a version: package, weights and base model apart, each an SPDX expression or a LicenseRef-.

A licence that is not known is refused with the nearest that is; what forbids business use, or binds those
who take the model in ways that people overlook, is shown on the listing. Which licences go together is said
only where the texts leave no doubt; everything else is for the operator.
"""

import difflib
import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, Licensing, get_spdx_licensing

from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict

LONGEST = 300  # characters of an expression
LONGEST_TEXT = 256 << 10  # bytes of a licence file
PARTS = {"package": ("整包", "package"), "weights": ("权重", "weights"), "base": ("基础模型", "base model")}
"""What a version has licences of, in the manifest's order, with titles in zh and en."""
NAMES = re.compile(r"(?i)(?:^|/)(?:licen[cs]e|copying|notice)(?:[._-][a-z0-9._-]*)?$")
REF = re.compile(r"LicenseRef-[A-Za-z0-9.-]+")
NOT_STATED = "LicenseRef-not-stated"


class Term(StrEnum):
    """What a licence asks of those who use the model, as a listing shows it."""

    non_commercial = "non-commercial"
    research_only = "research-only"
    no_derivatives = "no-derivatives"
    share_alike = "share-alike"
    copyleft = "copyleft"
    conditions = "conditions"
    not_stated = "not-stated"


TERMS = {
    Term.non_commercial: ("不得商用", "no business use"),
    Term.research_only: ("仅限研究", "research only"),
    Term.no_derivatives: ("不得改动", "no changed copies"),
    Term.share_alike: ("以相同方式共享", "the same licence for what is made of it"),
    Term.copyleft: ("开放源码", "open sources of what is made of it"),
    Term.conditions: ("附有特别条件", "conditions of its own"),
    Term.not_stated: ("许可未说明", "licence not stated"),
}
"""Titles of the terms in zh and en."""

_REFS: tuple[tuple[str, Term], ...] = (
    (r"not-stated|unknown|none", Term.not_stated),
    (r"research|academic|evaluation", Term.research_only),
    (r"non-?commercial|(?:^|-)nc(?:-|$)|cc-by-nc", Term.non_commercial),
    (
        r"llama|gemma|qwen|deepseek|falcon|openrail|rail|baichuan|chatglm|yi|stability|minimax|hunyuan|grok|"
        r"mistral|cohere|exaone|nvidia|apple|internlm",
        Term.conditions,
    ),
)
_COPYLEFT = re.compile(r"^(?:A?GPL|EUPL|OSL|CDDL|CPAL|SSPL|RPL)-", re.IGNORECASE)
_PERMISSIVE = re.compile(
    r"^(?:MIT|MIT-0|Apache-2\.0|BSD-.*|0BSD|ISC|Zlib|Unlicense|CC0-1\.0|CC-BY-\d\.\d|BSL-1\.0|PostgreSQL|"
    r"CDLA-Permissive-.*|ODC-By-1\.0|Python-2\.0|PSF-2\.0|WTFPL|BlueOak-.*)$",
    re.IGNORECASE,
)
_TEXTS: tuple[tuple[str, str], ...] = (
    ("Apache-2.0", r"apache license\s+version 2\.0"),
    ("AGPL-3.0", r"gnu affero general public license\s+version 3"),
    ("LGPL-3.0", r"gnu lesser general public license\s+version 3"),
    ("LGPL-2.1", r"gnu lesser general public license\s+version 2\.1"),
    ("GPL-3.0", r"gnu general public license\s+version 3"),
    ("GPL-2.0", r"gnu general public license\s+version 2"),
    ("MPL-2.0", r"mozilla public license,? version 2\.0"),
    ("CC-BY-NC-SA-4.0", r"attribution-noncommercial-sharealike 4\.0 international"),
    ("CC-BY-NC-ND-4.0", r"attribution-noncommercial-noderivatives 4\.0 international"),
    ("CC-BY-NC-4.0", r"attribution-noncommercial 4\.0 international"),
    ("CC-BY-SA-4.0", r"attribution-sharealike 4\.0 international"),
    ("CC-BY-4.0", r"attribution 4\.0 international"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.{0,1500}?neither the name"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    ("LicenseRef-Llama", r"llama [0-9.]+ community license"),
    ("LicenseRef-Gemma", r"gemma terms of use"),
)


@dataclass(frozen=True)
class Licence:
    """One expression taken apart."""

    expression: str
    ids: tuple[str, ...]
    choices: bool
    """Whether it is a choice (OR) at its top: the freest of them counts."""
    terms: frozenset[Term]

    @property
    def permissive(self) -> bool:
        """Whether it asks for no more than attribution."""
        good = [bool(_PERMISSIVE.match(id)) for id in self.ids]
        return any(good) if self.choices else bool(good) and all(good)


class UnknownLicence(ValueError):
    """An expression that is none, or names licences that nobody knows; `near` is the closest id."""

    def __init__(self, expression: str, unknown: list[str], near: str) -> None:
        self.expression, self.unknown, self.near = expression, unknown, near
        super().__init__(expression)


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


def read(expression: str) -> Licence:
    """The expression in SPDX's spelling; raises UnknownLicence."""
    text = expression.strip()
    if not text or len(text) > LONGEST or text.count("(") > 20:
        raise UnknownLicence(text[:80], [], "")

    try:
        parsed = _licensing().parse(text, validate=False, strict=False)
        ids = list(_licensing().license_keys(parsed)) if parsed is not None else []
    except (ExpressionError, ValueError, TypeError, RecursionError) as error:
        raise UnknownLicence(text, [text], nearest(text)) from error

    known = _known()
    found, unknown = [], []
    for id in map(str, ids):
        if REF.fullmatch(id):
            found.append(id)
        elif id.lower() in known and not known[id.lower()].startswith("LicenseRef-"):
            found.append(known[id.lower()])
        else:
            unknown.append(id)
    if unknown or not found:
        raise UnknownLicence(text, unknown or [text], nearest((unknown or [text])[0]))
    choices = type(parsed).__name__ == "OR"
    return Licence(str(parsed.render()), tuple(found), choices, _terms(found, choices))


@functools.cache
def _known() -> dict[str, str]:
    """SPDX ids by their small letters."""
    return {key.lower(): key for key in _licensing().known_symbols if isinstance(key, str)}


def nearest(name: str) -> str:
    """The SPDX id that a name is a misspelling of, "" when it is none: then it is a licence of its own."""
    wanted = _bare(name)
    wanted = {
        "apache": "apache-2.0",
        "bsd": "bsd-3-clause",
        "bsd3": "bsd-3-clause",
        "gpl": "gpl-3.0-only",
        "gpl2": "gpl-2.0-only",
        "gpl3": "gpl-3.0-only",
        "agpl3": "agpl-3.0-only",
        "cc-by": "cc-by-4.0",
        "cc-by-nc": "cc-by-nc-4.0",
    }.get(wanted, wanted)
    found = difflib.get_close_matches(wanted, _by_bare_name(), 1, 0.8)
    return _by_bare_name()[found[0]] if found else ""


def _bare(name: str) -> str:
    """A name without what any licence might be called: "Foo License v1.0" is no nearer to another for it."""
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    plain = re.sub(r"(^|-)(?:licen[cs]e|version|the)(?=-|$)", r"\1", plain)
    return re.sub(r"-+", "-", re.sub(r"(^|-|[a-z])v(?=\d)", r"\1", plain)).strip("-")


@functools.cache
def _by_bare_name() -> dict[str, str]:
    return {_bare(id): id for id in reversed(_known().values()) if not id.startswith("LicenseRef-")}


def _terms(ids: list[str], choices: bool) -> frozenset[Term]:
    each = [_terms_of(id) for id in ids]
    if choices:  # whoever takes it takes the freest
        return min(each, key=len)
    return frozenset().union(*each)


def _terms_of(id: str) -> frozenset[Term]:
    name = id.lower()
    if REF.fullmatch(id):
        found = {term for pattern, term in _REFS if re.search(pattern, name.removeprefix("licenseref-"))}
        return frozenset(found or {Term.conditions})
    terms = set()
    if "-nc" in name or "noncommercial" in name:
        terms.add(Term.non_commercial)
    if "-nd" in name and name.startswith("cc-"):
        terms.add(Term.no_derivatives)
    if "-sa" in name and name.startswith("cc-"):
        terms.add(Term.share_alike)
    if _COPYLEFT.match(id):
        terms.add(Term.copyleft)
    return frozenset(terms)


def terms_of(licenses: dict[str, str]) -> list[Term]:
    """What the licences of a version ask, in the order of the enum; unknown ones ask nothing here."""
    found: set[Term] = set()
    for expression in licenses.values():
        try:
            found |= read(expression).terms
        except UnknownLicence:
            continue
    return [term for term in Term if term in found]


# The check; runs in a child


def check(
    folder: str, paths: list[str], licenses: dict[str, str], progress: Progress = silent
) -> list[dict[str, Any]]:
    """Rows of the licences as JSON; files of a folder are read for a licence's text, where there is one."""
    progress(0, 1)
    rows: list[Row] = []
    known: dict[str, Licence] = {}
    for part in PARTS:
        expression = str(licenses.get(part) or "")
        if not expression:
            if part != "base":
                rows.append(_row(Verdict.failed, "licence-missing", **_titles(part)))
            continue
        try:
            known[part] = read(expression)
        except UnknownLicence as error:
            facts = {**_titles(part), "given": error.expression, "near": error.near}
            rows.append(
                _row(Verdict.failed, "licence-unknown" if error.near else "licence-unreadable", **facts)
            )
    rows += _flags(known)
    rows += _conflicts(known)
    rows += _texts(folder, paths, known)
    if not rows:
        rows = [_row(Verdict.passed, "", **{part: known[part].expression for part in known})]
    return [row.to_json() for row in rows]


def _row(verdict: Verdict, code: str, **facts: Any) -> Row:
    return Row("licence", verdict, code, facts=facts)


def _titles(part: str) -> dict[str, str]:
    return {"part": part, "part_zh": PARTS[part][0], "part_en": PARTS[part][1]}


def _named(terms: Collection[Term]) -> dict[str, Any]:
    ordered = [term for term in Term if term in terms]
    zh, en = ([TERMS[term][place] for term in ordered] for place in (0, 1))
    return {"terms": list(map(str, ordered)), "terms_zh": "、".join(zh), "terms_en": ", ".join(en)}


def _flags(known: dict[str, Licence]) -> list[Row]:
    """What people must see before they take it: a warning for each term of weights and base."""
    flagged = (Term.non_commercial, Term.research_only, Term.no_derivatives, Term.conditions, Term.not_stated)
    return [
        _row(Verdict.warned, f"licence-{term}", **_titles(part), licence=licence.expression)
        for part, licence in known.items()
        for term in flagged
        if term in licence.terms
    ]


def _conflicts(known: dict[str, Licence]) -> list[Row]:
    """What cannot be true together."""
    package, weights, base = known.get("package"), known.get("weights"), known.get("base")
    rows = []
    if weights and base:
        facts = {"weights": weights.expression, "base": base.expression}
        lost = (base.terms & {Term.non_commercial, Term.research_only, Term.share_alike, Term.copyleft}) - (
            weights.terms
        )
        if Term.no_derivatives in base.terms:
            rows.append(_row(Verdict.failed, "licence-base-no-derivatives", **facts))
        elif lost and weights.permissive:
            rows.append(_row(Verdict.failed, "licence-base-conflict", **facts, **_named(lost)))
        elif lost:
            rows.append(_row(Verdict.warned, "licence-base-differs", **facts, **_named(lost)))
        elif Term.conditions in base.terms and weights.permissive:
            rows.append(_row(Verdict.failed, "licence-base-conflict", **facts, **_named({Term.conditions})))
    if package and weights and package.permissive and Term.copyleft in weights.terms:
        facts = {"package": package.expression, "weights": weights.expression}
        rows.append(_row(Verdict.warned, "licence-copyleft-inside", **facts))
    return rows


def _texts(folder: str, paths: list[str], known: dict[str, Licence]) -> list[Row]:
    """A licence file that is another than any that the version names."""
    if not folder or not known:
        return []
    named = {_family(id) for licence in known.values() for id in licence.ids}
    for path in paths:
        if not NAMES.search(path) or path.lower().rpartition("/")[2].startswith("notice"):
            continue
        with Path(folder, path).open("rb") as file:
            found = told_by(file.read(LONGEST_TEXT).decode("utf-8", "replace"))
        if found and _family(found) not in named:
            stated = ", ".join(dict.fromkeys(licence.expression for licence in known.values()))
            facts = {"path": path, "found": found, "stated": stated}
            return [Row("licence", Verdict.failed, "licence-text-differs", path, facts)]
    return []


def told_by(text: str) -> str:
    """The licence whose text this is, "" when it is none of the common ones."""
    plain = re.sub(r"\s+", " ", text[:6000].lower())
    return next((id for id, pattern in _TEXTS if re.search(pattern.replace(r"\s+", " "), plain)), "")


def _family(id: str) -> str:
    """Licences that differ in "or later" only, or in a LicenseRef's version, have the same text."""
    name = re.sub(r"-(?:only|or-later)$", "", id.lower())
    for family in ("llama", "gemma"):
        if name.startswith("licenseref-") and family in name:
            return family
    return name
