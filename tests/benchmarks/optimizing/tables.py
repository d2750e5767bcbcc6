"""The figures as Markdown, in English or Chinese, ready for the README."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployer.optimizer.report import Interval
from tests.benchmarks.optimizing.aims import Aim, aims, pick_of
from tests.benchmarks.optimizing.beside import Seen
from tests.benchmarks.optimizing.fixed import RECIPES
from tests.benchmarks.optimizing.jobs import Finished
from tests.benchmarks.optimizing.olive import NOTHING, WAYS, Installed, Unavailable, installed
from tests.benchmarks.optimizing.rounds import KINDS, OURS, Effort, Result

KEPT = {"en": "kept as it is", "zh": "保持原样"}
FAILED = {"en": "fails", "zh": "失败"}
_NOTHING = {"en": NOTHING, "zh": "没有在误差上限之内的变体"}
_KIND = {"en": {"fastest": "fastest", "smallest": "smallest"}, "zh": {"fastest": "最快", "smallest": "最小"}}
_SHELF = {
    "en": "model|wanted|pick|size|CPU time|score before → after|A/A|job s|memory MB|first safe s",
    "zh": "模型|目标|选出|体积|CPU 提速|得分 前 → 后|A/A|任务秒|内存 MB|首个安全结果秒",
}
_FIXED = {
    "en": "model (score as it came)|`quantize_dynamic` defaults|`quantize_static` defaults|measured pick|A/A",
    "zh": "模型（原始得分）|`quantize_dynamic` 默认|`quantize_static` 默认|测量后的选择|A/A",
}
_OLIVE = {
    "en": "model (score as it came)|Olive auto-opt|seconds|Olive search|seconds|ours|seconds",
    "zh": "模型（原始得分）|Olive auto-opt|秒|Olive 搜索|秒|本项目|秒",
}
_AIMS = {"en": "figure|measured|aim|", "zh": "指标|实测|目标|"}


TITLES = {
    "en": (
        "What one call finds on the shelf (one point of loss allowed)",
        "No fixed recipe holds",
        "Beside Olive 0.13",
        "Figures and aims",
    ),
    "zh": (
        "一次调用在货架上找到的变体（允许损失一个百分点）",
        "没有一种固定配方处处成立",
        "与 Olive 0.13 对比",
        "指标与目标",
    ),
}


@dataclass(frozen=True)
class Tables:
    """Everything that is told of a run."""

    results: Sequence[Result]
    installed: Installed | None

    @classmethod
    def of(cls, results: Sequence[Result], effort: Effort) -> "Tables":
        """With what Olive's installation takes, if it was compared with."""
        try:
            return cls(results, installed() if effort.peers else None)
        except Unavailable:
            return cls(results, None)

    @property
    def kept(self) -> bool:
        """Whether every job was done and every aim is reached."""
        return all(one.kept for one in aims(self.results)) and not any(one.why for one in self.results)

    def text(self) -> str:
        """Markdown in English, then in Chinese."""
        return "\n\n".join(self.in_language(language) for language in TITLES)

    def in_language(self, language: str) -> str:
        """All tables in one language."""
        parts = [
            shelf(self.results, language),
            fixed(self.results, language),
            beside_olive(self.results, self.installed, language),
            against(self.results, language),
        ]
        titled = zip(TITLES[language], parts, strict=True)
        return "\n\n".join(f"#### {title}\n\n{part}" for title, part in titled)

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        models = {
            result.subject.name: {
                "why": result.why,
                "control": result.control,
                "seen": list(result.seen.values()),
                "jobs": [
                    {"kind": job.kind, "seed": job.seed, "pick": pick_of(job), "seconds": job.seconds,
                     "peak": job.peak, "first_safe": job.report.first_safe}
                    for job in [*result.jobs.values(), *result.again]
                ],
            }
            for result in self.results
        }  # fmt: skip
        told: dict[str, Any] = msgspec.to_builtins(
            {"models": models, "aims": aims(self.results), "installed": self.installed}
        )
        return told


def shelf(results: Sequence[Result], language: str) -> str:
    """What the optimiser found for each model."""
    rows = []
    for result in results:
        if result.why:
            rows.append([result.subject.name, "", f"{FAILED[language]}: {result.why}", *[""] * 7])
            continue
        rows += [_shelf_row(result, kind, language) for kind in KINDS]
    return markdown(_SHELF[language], rows)


def _shelf_row(result: Result, kind: str, language: str) -> list[str]:
    job, seen = result.jobs[kind], result.ours(kind)
    first = job.report.first_safe
    return [
        result.subject.name,
        _KIND[language][kind],
        f"`{pick_of(job)}`" if job.picked else KEPT[language],
        f"{seen.size:.2f}",
        _speed(seen.cpu) if job.picked else "1",
        _before_after(seen, job),
        _band(job.report.control),
        f"{job.seconds:.0f}",
        f"{job.peak / 1e6:.0f}",
        "–" if first is None else f"{first:.0f}",
    ]


def fixed(results: Sequence[Result], language: str) -> str:
    """Recipes that people copy, against the pick of a measured search."""
    rows = [
        [
            _named(result),
            *(_cell(result.seen.get(name), language) for name in RECIPES),
            _ours(result, "fastest", language),
            _band(result.control),
        ]
        for result in results
        if not result.why
    ]
    return markdown(_FIXED[language], rows)


def beside_olive(results: Sequence[Result], sizes: Installed | None, language: str) -> str:
    """Olive's ways on the same graphs, rows and bound, and what is installed for each."""
    rows = []
    for result in (one for one in results if not one.why):
        cells = [_named(result)]
        for way in WAYS:
            seen = result.seen.get(way)
            cells += [_cell(seen, language), f"{seen.seconds:.0f}" if seen else "–"]
        job = result.jobs["fastest"]
        rows.append([*cells, _ours(result, "fastest", language), f"{job.seconds:.0f}"])
    text = markdown(_OLIVE[language], rows)
    return f"{text}\n\n{sizes.text(language)}" if sizes else text


def against(results: Sequence[Result], language: str) -> str:
    """The figures with aims."""
    found: list[Aim] = aims(results)
    rows = [
        [
            one.zh if language == "zh" else one.en,
            "–" if one.value is None else f"{one.value:.4g}",
            f"{'≥' if one.least else '≤'} {one.aim:.4g}",
            "✓" if one.kept else "✗",
        ]
        for one in found
    ]
    return markdown(_AIMS[language], rows)


def markdown(header: str, rows: Sequence[Sequence[str]]) -> str:
    """A table; the header's cells are parted by |."""
    names = header.split("|")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _named(result: Result) -> str:
    """A model with its own score on the judged rows."""
    quality = next((one.quality for one in result.seen.values() if one.quality), None)
    if quality is None or quality.baseline is None:
        return result.subject.name
    return f"{result.subject.name} ({quality.metric} {quality.baseline:.3f})"


def _ours(result: Result, kind: str, language: str) -> str:
    return _cell(result.seen[OURS[kind]], language) if OURS[kind] in result.seen else KEPT[language]


def _cell(seen: Seen | None, language: str) -> str:
    """Speed and score; bold where both are good: faster and within the bound."""
    if seen is None:
        return "–"
    if NOTHING in seen.why:
        return _NOTHING[language]
    if seen.right is None:
        return f"{FAILED[language]}: {seen.why or '?'}"
    speed = f"{seen.cpu.value:.2f} ×" if seen.cpu else "? ×"
    text = f"{speed}, {seen.right:.3f}"
    return f"**{text}**" if seen.holds and seen.cpu and seen.cpu.low > 1 else text


def _before_after(seen: Seen, job: Finished) -> str:
    quality = seen.quality
    if quality is None:
        base = job.report.baseline
        return f"{base.score.value:.3f}" if base and base.score else "–"
    if quality.difference is None or quality.score is None or quality.baseline is None:
        agreed = quality.agreement
        return f"= {agreed.value:.3f} (≥ {agreed.low:.3f})" if agreed else "–"
    low = f"{quality.difference.value:+.4f} (≥ {quality.difference.low:+.4f})"
    return f"{quality.metric} {quality.baseline:.3f} → {quality.score.value:.3f}, {low}"


def _speed(cpu: Interval | None) -> str:
    return f"{cpu.value:.2f} × ({cpu.low:.2f}–{cpu.high:.2f})" if cpu else "?"


def _band(control: Interval | None) -> str:
    return f"{control.low:.2f}–{control.high:.2f}" if control else "–"
