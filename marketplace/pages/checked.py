"""A version's checks as people read them: each with its verdict, its next step and the time it took, and what
was claimed beside what was measured."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlmodel import Session

from catalog.models import Check, CheckState, Verdict, Version
from catalog.scan import CHECKS
from marketplace import checks, problems
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import words
from marketplace.pages.rendering import size

RUNNING = (CheckState.waiting, CheckState.running)
GRAVITY = [Verdict.passed, Verdict.warned, Verdict.unknown, Verdict.failed]


@dataclass(frozen=True)
class RowShown:
    """What one check came to, of the version or of one of its files."""

    verdict: str
    path: str
    title: str
    detail: str
    next: str
    code: str
    scanner: str
    at: datetime


@dataclass(frozen=True)
class CheckShown:
    """One check of the table; `rows` are those to look at, `passed` those that are fine."""

    id: str
    title: str
    verdict: str
    """The gravest of its rows; waiting or running before there is one."""
    rows: list[RowShown] = field(default_factory=list)
    passed: list[RowShown] = field(default_factory=list)
    seconds: float | None = None

    @property
    def to_look_at(self) -> bool:
        """Whether its vendor may mend something that does not stop the version.

        A shop without a second scanner is its operator's matter: unknown stays unknown, but asks nothing.
        """
        open_ = (Verdict.warned, Verdict.unknown)
        return self.verdict in open_ and any(row.code != "scanner-none" for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A number that a vendor claims beside the one that was measured here; "" where there is none."""

    title: str
    claimed: str
    measured: str
    how: str = ""
    worse: bool = False
    more: str = ""
    """Beside what was measured, such as the 95th percentile."""


@dataclass(frozen=True)
class Look:
    """What one scanner says of a file."""

    scanner: str
    verdict: str
    title: str
    at: datetime | None


@dataclass(frozen=True)
class Badge:
    """What is known of one file: who looked, with which version, what came of it, and when."""

    path: str
    sha256: str
    size: int
    verdict: str
    """The gravest; unknown where nobody looked."""
    looks: list[Look]


def table(db: Session, version: Version, lang: str) -> list[CheckShown]:
    """All checks in the order in which they run; those that have not run are shown as waiting."""
    rows = checks.rows_of(db, version)
    by_check: dict[str, list[Check]] = {}
    for row in rows:
        by_check.setdefault(row.check, []).append(row)
    under_way = version.check_state == CheckState.running
    shown, before = [], None
    for id, kind in CHECKS.items():
        title = kind.title_zh if lang == "zh" else kind.title_en
        found = by_check.get(id, [])
        if not found:
            shown.append(CheckShown(id, title, "running" if under_way else "waiting"))
            under_way = False
            continue
        shown.append(_check(id, title, found, lang, before))
        before = max(aware(row.at) for row in found)
    return shown


def _check(id: str, title: str, rows: list[Check], lang: str, before: datetime | None) -> CheckShown:
    told = [row_shown(row, lang) for row in rows]
    last = max(aware(row.at) for row in rows)
    return CheckShown(
        id,
        title,
        gravest([row.verdict for row in rows]),
        [row for row in told if row.verdict != Verdict.passed],
        [row for row in told if row.verdict == Verdict.passed],
        max(0.0, (last - before).total_seconds()) if before else None,
    )


def gravest(verdicts: list[str]) -> str:
    """The verdict that counts for all of them."""
    return str(max(map(Verdict, verdicts), key=GRAVITY.index, default=Verdict.unknown))


def row_shown(row: Check, lang: str) -> RowShown:
    """A row in the reader's words."""
    said = problems.problem(row.code, lang, **_plain(row.facts)) if row.code else None
    return RowShown(
        str(row.verdict),
        row.path,
        said.title if said else "",
        said.detail if said else "",
        said.next if said else "",
        row.code,
        f"{row.scanner} {row.scanner_version}".strip(),
        row.at,
    )


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts without names that would stand for something else."""
    return {name: value for name, value in facts.items() if name not in ("code", "lang")}


def aware(moment: datetime) -> datetime:
    """SQLite gives times back without their zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def counts(checks: list[CheckShown]) -> dict[str, int]:
    """How many checks came to each verdict."""
    found: dict[str, int] = {}
    for check in checks:
        found[check.verdict] = found.get(check.verdict, 0) + 1
    return found


def badges(db: Session, version: Version, lang: str) -> list[Badge]:
    """Each file of a version with its badges; a file that nobody looked at is unknown, never fine."""
    found: dict[str, list[checks.Badge]] = {}
    for badge in checks.badges(db, version):
        found.setdefault(badge.path, []).append(badge)
    return [
        _badge(artifact, found.get(str(artifact["path"]), []), lang)
        for artifact in version.manifest.get("artifacts", [])
    ]


def _badge(artifact: dict[str, Any], found: list[checks.Badge], lang: str) -> Badge:
    looks = [
        Look(
            f"{each.scanner} {each.scanner_version}".strip(),
            str(each.verdict),
            problems.problem(each.code, lang, **_plain(each.facts)).title if each.code else "",
            each.at,
        )
        for each in found
        if each.scanner
    ]
    return Badge(
        str(artifact["path"]),
        str(artifact["sha256"]),
        int(artifact["size"]),
        gravest([str(each.verdict) for each in found]),
        looks,
    )


# Claimed beside measured


def figures(version: Version, lang: str) -> list[Figure]:
    """What is claimed and what was measured here; nothing is filled in for what is missing."""
    claimed, measured = dict(version.claims), dict(version.measured)
    made = [
        _latency(claimed, measured, lang),
        _accuracy(claimed, measured, lang),
        _memory(claimed, measured, lang),
        _examples(measured, lang),
        _start(measured, lang),
    ]
    return [figure for figure in made if figure is not None]


def milliseconds(value: float) -> str:
    """4.2 ms, 310 ms; never more digits than were measured."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _part(found: Any, name: str) -> float | None:
    return _number(found.get(name)) if isinstance(found, dict) else None


def _latency(claimed: dict[str, Any], measured: dict[str, Any], lang: str) -> Figure | None:
    said, told = _number(claimed.get("latency_ms")), measured.get("latency_ms")
    here = _part(told, "p50")
    if said is None and here is None:
        return None
    p95, n = _part(told, "p95"), _part(told, "n")
    how = gettext(lang, _("median of {n} requests on {device}"), n=f"{n or 0:.0f}", device=_device(measured))
    return Figure(
        gettext(lang, _("Latency")),
        milliseconds(said) if said is not None else "",
        milliseconds(here) if here is not None else "",
        how if here is not None else "",
        said is not None and here is not None and here > said * 1.5,
        f"p95 {milliseconds(p95)}" if p95 is not None else "",
    )


def _device(measured: dict[str, Any]) -> str:
    return " / ".join(str(measured[key]) for key in ("device", "runtime") if measured.get(key)) or "cpu"


def _accuracy(claimed: dict[str, Any], measured: dict[str, Any], lang: str) -> Figure | None:
    said, told = claimed.get("accuracy"), measured.get("accuracy")
    value, here = _part(said, "value"), _part(told, "value")
    if value is None and here is None:
        return None
    name = str((said or told or {}).get("metric") or "accuracy")
    metric = gettext(lang, words.METRICS[name]) if name in words.METRICS else name
    rows = _part(told, "rows")
    how = gettext(lang, _("on {n} rows that the version brings"), n=f"{rows or 0:.0f}")
    return Figure(
        metric,
        f"{value:.4g}" if value is not None else "",
        f"{here:.4g}" if here is not None else "",
        how if here is not None else "",
        value is not None and here is not None and here < value - 0.02,
    )


def _memory(claimed: dict[str, Any], measured: dict[str, Any], lang: str) -> Figure | None:
    said, here = _number(claimed.get("memory")), _number(measured.get("memory"))
    if said is None and here is None:
        return None
    return Figure(
        gettext(lang, _("Memory")),
        size(said) if said is not None else "",
        size(here) if here is not None else "",
        gettext(lang, _("the most that its server took")) if here is not None else "",
        said is not None and here is not None and here > said * 1.25,
    )


def _examples(measured: dict[str, Any], lang: str) -> Figure | None:
    told = measured.get("examples")
    right, of = _part(told, "right"), _part(told, "of")
    if right is None or not of:
        return None
    text = gettext(lang, _("{right} of {of}"), right=f"{right:.0f}", of=f"{of:.0f}")
    return Figure(gettext(lang, _("Examples answered as stated")), "", text, "", right < of)


def _start(measured: dict[str, Any], lang: str) -> Figure | None:
    here = _number(measured.get("cold_start_ms"))
    if here is None:
        return None
    return Figure(gettext(lang, _("Ready to answer after")), "", milliseconds(here), "")


@dataclass(frozen=True)
class LicenceSaid:
    """Whether a model may be used in business, as far as its licence says."""

    commercial: str
    """yes, no or unknown"""
    text: str


NO_BUSINESS = {"non-commercial", "research-only"}
ASKS = {
    "no-derivatives": _("no changed versions"),
    "share-alike": _("what is made of it must be shared alike"),
    "copyleft": _("copyleft"),
    "conditions": _("conditions of use of its own"),
}


def licence_said(version: Version, lang: str) -> LicenceSaid:
    """The licence in one sentence: may one earn money with it, and what else does it ask."""
    terms = _terms(version.license_package, version.license_weights, version.license_base)
    if terms is None or "not-stated" in terms:
        return LicenceSaid("unknown", gettext(lang, _("Not clear: do not count on commercial use")))
    if NO_BUSINESS & terms:
        return LicenceSaid("no", gettext(lang, _("No commercial use")))
    asked = [gettext(lang, said) for term, said in ASKS.items() if term in terms]
    if asked:
        listed = (", " if lang == "en" else "、").join(asked)
        return LicenceSaid("yes", gettext(lang, _("Commercial use, with: {terms}"), terms=listed))
    return LicenceSaid("yes", gettext(lang, _("Commercial use allowed")))


@lru_cache(maxsize=512)
def _terms(package: str, weights: str, base: str) -> frozenset[str] | None:
    """What the licences ask of those who use the model; None where one is not known."""
    from catalog import licences  # the tables of SPDX are large

    told = {"package": package, "weights": weights, "base": base}
    try:
        for expression in (package, weights):
            licences.read(expression)
    except licences.UnknownLicence:
        return None
    return frozenset(str(term) for term in licences.terms_of({k: v for k, v in told.items() if v}))
