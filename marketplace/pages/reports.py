"""What pages say of an optimisation's report: its trials as rows, its figures, the finding in a sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Confirmation, DataFacts, Interval, Quality, Report, Trial
from marketplace.i18n import gettext
from marketplace.i18n import mark as _
from marketplace.pages import words

# Rows of the table from what one came for to what fell out first.
RANKS = {
    state: n
    for n, state in enumerate(
        ("picked", "passed", "measured", "screened", "built", "building", "waiting", "refused")
    )
}
ANSWERED_ALIKE = 0.98  # agreement from which on a variant is taken without labels
LEAST_JUDGED = 60  # rows, below which nothing is shown to hold
NO_EVIDENCE = frozenset({"bound-missed", "not-enough-rows", "labels-needed", "disagrees"})
JUDGED_SHARE = 0.7  # of the rows; the others are used to choose


@dataclass(frozen=True)
class Row:
    """One trial as the table shows it; `share` is its size over the baseline's, `change` in 0..1."""

    id: str
    title: str
    kept: int
    state: str
    why: str
    size: int
    share: float | None
    speed: Interval | None
    change: Interval | None
    quality: Quality | None

    @property
    def unfit(self) -> bool:
        """Whether it could not even be made for this model."""
        return self.state == "refused" and not self.size


@dataclass(frozen=True)
class Change:
    """One figure of the pick before and after; `unit` is size, ms, share, seconds or rate."""

    id: str
    unit: str
    before: float | None
    after: float | None
    change: Interval | None = None
    form: str = ""
    """What `change` is: times or points; empty without one."""


@dataclass(frozen=True)
class Miss:
    """By how much the nearest trial missed the bound, in 0..1, and what would settle it."""

    title: str
    quality: Quality
    change: Interval
    short: float
    advice: str
    """rows, labels or wider."""
    needed: int = 0
    wider: float = 0.0


def quality_of(trial: Trial) -> Quality | None:
    """The best that is known of how right it is: judged before chosen before screened."""
    return trial.judged or trial.chosen or trial.screened


def change_of(quality: Quality | None) -> Interval | None:
    """What it costs in rightness: against labels where there are any, else against the model's answers."""
    if quality is None:
        return None
    if quality.basis == "lossless":
        return Interval(0.0, 0.0, 0.0)
    if quality.basis == "labels":
        return quality.difference
    same = quality.agreement
    return Interval(same.value - 1, same.low - 1, same.high - 1) if same else None


def title_of(trial: Trial, lang: str) -> str:
    """The trial's recipe in words; one of several graphs is named with its own."""
    return recipes_title(trial.graphs, lang) or trial.id


def recipes_title(graphs: Mapping[str, str], lang: str) -> str:
    """What is done to which graph; a model with one graph, called model, needs no naming of it."""
    if list(graphs) == ["model"]:
        return recipe_title(graphs["model"], lang)
    colon, between = ("：", "；") if lang == "zh" else (": ", "; ")
    return between.join(f"{role}{colon}{recipe_title(recipe, lang)}" for role, recipe in graphs.items())


def recipe_title(recipe: str, lang: str) -> str:
    """A recipe in words, or its id when there are none."""
    text = words.RECIPES.get(recipe)
    return gettext(lang, text) if text else recipe


def why_of(trial: Trial, report: Report, lang: str) -> str:
    """Why it fell out, in words; empty while it has not."""
    if trial.why is None:
        return ""
    quality = quality_of(trial)
    if trial.why.code == "bound-missed" and quality is not None and quality.difference is not None:
        short = -report.objective.max_drop - quality.difference.low
        return gettext(lang, _("may lose {short} points more than allowed"), short=amount(short))
    return trial.why.why_zh if lang == "zh" else trial.why.why_en


def row_of(trial: Trial, report: Report, lang: str) -> Row:
    """One trial as the table shows it."""
    quality = quality_of(trial)
    return Row(
        trial.id,
        title_of(trial, lang),
        sum(len(nodes) for nodes in trial.keep.values()),
        trial.state,
        why_of(trial, report, lang),
        trial.size,
        share_of(trial.size, report.baseline.size if report.baseline else 0),
        trial.speed,
        change_of(quality),
        quality,
    )


def rows(report: Report, lang: str) -> list[Row]:
    """Every trial, the pick first, then those that hold the bound, the fastest (or smallest) first."""

    def order(trial: Trial) -> tuple[int, bool, float]:
        merit = -trial.size if report.objective.kind == "smallest" else (trial.speed or NOWHERE).value
        return RANKS[trial.state], trial.speed is None, -merit

    return [row_of(trial, report, lang) for trial in sorted(report.trials, key=order)]


NOWHERE = Interval(0.0, 0.0, 0.0)


def share_of(size: float, whole: float) -> float | None:
    """Size over the size of the model as it came."""
    return size / whole if size and whole else None


def picked(report: Report) -> Trial | None:
    """The trial that was picked."""
    if report.pick is None:
        return None
    return next((trial for trial in report.trials if trial.id == report.pick.trial), None)


def held(report: Report) -> int:
    """How many trials hold the bound so far."""
    return sum(_held(trial) for trial in report.trials)


def _held(trial: Trial) -> bool:
    return trial.state in ("passed", "picked")


def note(report: Report, lang: str) -> str:
    """What the step that runs is busy with: a trial by its title; names of phases and graphs say nothing."""
    at = next((trial for trial in report.trials if trial.id == report.note), None)
    return title_of(at, lang) if at else ""


def within_control(report: Report, speed: Interval) -> bool:
    """Whether a speed cannot be told from the model's own against itself."""
    control = report.control
    return control is not None and speed.low <= control.high and speed.high >= control.low


def finding(report: Report, lang: str) -> str:
    """The pick in one sentence: how much faster, how much smaller, and what it costs."""
    trial = picked(report)
    if trial is None:
        return ""
    clauses = [_speed_clause(report, trial, lang), _size_clause(report, trial, lang)]
    loss = _loss_clause(trial.judged or quality_of(trial), lang)
    return _sentence([*clauses, loss], lang)


def _sentence(clauses: list[str], lang: str) -> str:
    said = [clause for clause in clauses if clause]
    comma, stop = ("，", "。") if lang == "zh" else (", ", ".")
    text = comma.join(said) + stop
    return text[:1].upper() + text[1:]


def _speed_clause(report: Report, trial: Trial, lang: str) -> str:
    if trial.speed is None:
        return ""
    if within_control(report, trial.speed):
        return gettext(lang, _("as fast as before"))
    return gettext(lang, _("{times} times as fast"), times=times(trial.speed.value))


def _size_clause(report: Report, trial: Trial, lang: str) -> str:
    share = share_of(trial.size, report.baseline.size if report.baseline else 0)
    if share is None:
        return ""
    if share > 0.995:
        return gettext(lang, _("no smaller"))
    return gettext(lang, _("{share} of the size"), share=f"{share:.0%}")


def _loss_clause(quality: Quality | None, lang: str) -> str:
    if quality is None:
        return ""
    if quality.basis == "lossless":
        return gettext(lang, _("with the same answers"))
    if quality.basis == "labels" and quality.difference is not None:
        lost = -quality.difference.low
        facts = {"metric": metric_title(quality.metric, lang), "rows": quality.rows}
        if lost <= 0:
            return gettext(lang, _("with no loss of {metric} on {rows} rows"), **facts)
        facts["points"] = amount(lost)
        return gettext(lang, _("at most {points} points of {metric} lost on {rows} rows"), **facts)
    if quality.agreement is None:
        return ""
    facts = {"share": share_text(quality.agreement.value), "rows": quality.rows}
    return gettext(lang, _("the same answer on {share} of {rows} rows"), **facts)


def metric_title(metric: str, lang: str) -> str:
    """A metric in words."""
    return gettext(lang, words.METRICS[metric]) if metric in words.METRICS else metric


# Figures


def times(value: float) -> str:
    """A ratio of speeds: 2.31, 0.24, 12.0."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def amount(share: float) -> str:
    """A share in points without a sign: 0.6; more places where one would say 0."""
    return f"{abs(share) * 100:.2f}" if abs(share) * 100 < 0.1 and share else f"{abs(share) * 100:.1f}"


def points(share: float) -> str:
    """A difference in points with its sign: −0.6, +1.2, 0.0."""
    text = amount(share)
    if float(text) == 0:
        return "0.0"
    return f"{'−' if share < 0 else '+'}{text}"


def relative(change: float) -> str:
    """A change in whole percent with its sign: −56%, +118%."""
    text = f"{abs(change):.0%}"
    return text if text == "0%" else f"{'−' if change < 0 else '+'}{text}"


def share_text(value: float) -> str:
    """A share in percent, never a rounded-up 100."""
    text = f"{value:.1%}"
    return "99.9%" if text == "100.0%" and value < 1 else text.replace("100.0%", "100%")


# What came of it


def changes(report: Report) -> list[Change]:
    """The pick's figures before and after: as measured in the search, then on the target itself."""
    trial, base = picked(report), report.baseline
    if trial is None or base is None:
        return []
    found = [Change("size", "size", base.size, trial.size)]
    if trial.milliseconds is not None:
        form = "times" if trial.speed else ""
        found.append(Change("row", "ms", base.milliseconds, trial.milliseconds, trial.speed, form))
    quality = trial.judged or quality_of(trial)
    if quality is not None and quality.basis == "labels" and quality.score is not None:
        score, cost = quality.score.value, quality.difference
        found.append(Change("score", "share", quality.baseline, score, cost, "points" if cost else ""))
    elif quality is not None and quality.agreement is not None:
        found.append(Change("agreement", "share", 1.0, quality.agreement.value, change_of(quality), "points"))
    return found


def confirmed(seen: Confirmation | None) -> list[Change]:
    """What was seen on the target itself, before and after."""
    if seen is None:
        return []
    return [
        Change("p50", "ms", seen.baseline_latency_ms.get("p50"), seen.latency_ms.get("p50")),
        Change("p95", "ms", seen.baseline_latency_ms.get("p95"), seen.latency_ms.get("p95")),
        Change("throughput", "rate", seen.baseline_throughput, seen.throughput),
        Change("memory", "size", seen.baseline_memory, seen.memory),
        Change("cold-start", "seconds", seen.baseline_cold_start, seen.cold_start),
    ]


def nearest_miss(report: Report, lang: str) -> Miss | None:
    """The trial that came nearest to holding the bound, by how much it missed, and what would settle it."""
    judged = [(t, q, c) for t in report.trials if (q := quality_of(t)) and (c := change_of(q))]
    missed = [item for item in judged if item[0].why and item[0].why.code in NO_EVIDENCE]
    if not missed:
        return None
    trial, quality, change = max(missed, key=lambda item: item[2].low)
    limit = report.objective.max_drop
    floor = -limit if quality.basis == "labels" else ANSWERED_ALIKE - 1
    advice, needed = _advice(trial, quality, change, floor)
    wider = math.ceil(-change.low * 200) / 200  # half points, upwards
    return Miss(title_of(trial, lang), quality, change, floor - change.low, advice, needed, wider)


def _advice(trial: Trial, quality: Quality, change: Interval, floor: float) -> tuple[str, int]:
    """More rows when the value itself holds, labels when answers only differ somewhat, else a wider bound."""
    code = trial.why.code if trial.why else ""
    if code == "labels-needed":
        return "labels", 0
    if change.value <= floor:
        return "wider", 0
    spread = (change.value - change.low) / (change.value - floor)
    judged = max(LEAST_JUDGED, quality.rows * spread * spread)
    return "rows", math.ceil(judged / JUDGED_SHARE / 10) * 10


# Certificates


@dataclass(frozen=True)
class Statement:
    """What a certificate says; sizes are those of the graphs, `share` is size over the baseline's."""

    device: str
    made: datetime
    graphs: dict[str, str]
    """Recipe by graph."""
    size: int
    baseline_size: int
    speed: Interval | None
    control: Interval | None
    quality: Quality
    objective: Objective
    data: DataFacts | None
    target: Confirmation | None
    seed: int
    trials: int
    versions: dict[str, str]

    @property
    def packages(self) -> dict[str, str]:
        """Versions of what it was measured with."""
        return {name: version for name, version in self.versions.items() if name != "peak_memory"}

    @property
    def share(self) -> float:
        """Of the size that it had."""
        return self.size / self.baseline_size if self.baseline_size else 1.0


def statement(certificate: dict[str, Any]) -> Statement | None:
    """A certificate's own words; None for one of another form."""
    speed = certificate.get("speed", {})
    variant = certificate.get("variant", {})
    as_they_are = ("device", "made", "quality", "objective", "data", "target")
    plain = {
        **{name: certificate.get(name) for name in as_they_are},
        "seed": certificate.get("seed", 0),
        "versions": certificate.get("versions", {}),
        "trials": len(certificate.get("trials", [])),
        "graphs": variant.get("graphs", {}),
        "size": variant.get("size"),
        "baseline_size": variant.get("baseline_size"),
        "speed": speed.get("ratio"),
        "control": speed.get("control"),
    }
    try:
        return msgspec.convert(plain, Statement)
    except msgspec.ValidationError:
        return None
