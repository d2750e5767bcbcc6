"""An optimisation as the terminal shows it: live while it runs, and its result as a table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from marketplace.cli.bars import bars
from marketplace.terminal import data, hint, say, size, table

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Job = Mapping[str, Any]  # as /api/optimizations/{id} tells it
View = Callable[[Job], None]

OVER = frozenset({"picked", "refused"})  # states of a trial that it does not leave
CAUSES = 3  # refusals that a result names

PHASES = {
    "inspect": ("查看", "Inspect"),
    "baseline": ("原模型", "Baseline"),
    "build": ("制作变体", "Build"),
    "screen": ("初筛", "Screen"),
    "measure": ("测速", "Measure"),
    "judge": ("评判", "Judge"),
    "confirm": ("在目标上确认", "Confirm"),
    "certify": ("签发证书", "Certify"),
}


def phase_title(phase: str) -> str:
    """A phase's name in the reader's language."""
    return say(*PHASES.get(phase, (phase, phase)))


@contextmanager
def viewed() -> Iterator[View]:
    """Shows a job whenever it changes: bars on a terminal, a line for each news elsewhere; on stderr."""
    with bars() as progress:
        yield _Bars(progress) if progress else _Lines()


class _Lines:
    """One line for each phase that begins and each trial that ends."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, job: Job) -> None:
        for news in _news(job):
            if news not in self._seen:
                self._seen.add(news)
                hint(news, news)


class _Bars:
    """A bar for each phase, with the trials that ended above them."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._told: set[str] = set()

    def __call__(self, job: Job) -> None:
        for trial in _ended(job):
            if trial not in self._told:
                self._told.add(trial)
                self._progress.console.print(trial, markup=False, highlight=False)
        if waits := _waits(job):
            self._bar("", waits)
        elif "" in self._bars:
            self._progress.remove_task(self._bars.pop(""))
        for step in (job["report"] or {}).get("steps", []):
            self._show(step, job)

    def _bar(self, name: str, title: str) -> "TaskID":
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(title, total=1, note="")
        return self._bars[name]

    def _show(self, step: Mapping[str, Any], job: Job) -> None:
        if step["state"] == "waiting":
            return
        bar = self._bar(step["name"], phase_title(step["name"]))
        over = next(task for task in self._progress.tasks if task.id == bar).stop_time is not None
        if step["state"] == "running":
            if over:  # a phase may be entered again
                self._progress.reset(bar)
            self._progress.update(bar, note=_note(job))
        elif not over:
            done = step["state"] == "done"
            self._progress.update(bar, completed=int(done), note="" if done else say("失败", "failed"))
            self._progress.stop_task(bar)


def _note(job: Job) -> str:
    """How far the running phase is, and what is left of all."""
    share = f"{job['done']}/{job['total']}" if job.get("total") else ""
    left = job.get("seconds_left")
    until = say(f"约余 {left:.0f} 秒", f"about {left:.0f} s left") if left else ""
    return "  ".join(filter(None, (share, str(job.get("note") or ""), until)))


def _waits(job: Job) -> str:
    if job.get("state") != "pending":
        return ""
    ahead = job.get("ahead", 0)
    return say(f"排队中，前面还有 {ahead} 个", f"Waiting, {ahead} ahead") if ahead else ""


def _news(job: Job) -> Iterator[str]:
    if waits := _waits(job):
        yield waits
    for step in (job["report"] or {}).get("steps", []):
        if step["state"] in ("running", "done"):  # a short one may be over before anybody looks
            yield f"{phase_title(step['name'])} …"
    yield from _ended(job)


def _ended(job: Job) -> Iterator[str]:
    """A line for each trial that is over."""
    for trial in (job["report"] or {}).get("trials", []):
        if trial["state"] in OVER or trial["state"] == "passed":
            mark = "✗" if trial["state"] == "refused" else "✓"
            why = trial.get("why") or {}
            facts = (_times(trial.get("speed")), say(why.get("why_zh", ""), why.get("why_en", "")))
            yield "  ".join(filter(None, (f"  {mark} {trial['id']}", *facts)))


# The result


def show_result(job: Job, where: str) -> None:
    """What was found: the pick with its figures and where its certificate is, or why there is none."""
    report, figures = job["report"] or {}, job.get("figures")
    if job["outcome"] == "picked" and figures:
        show_figures(figures)
        data(f"{say('证书', 'Certificate')}: {where}")
    else:
        data(f"{outcome_title(job['outcome'])}{say('：', ': ')}{job['why']}")
    causes = _causes(report)
    if causes:
        hint("其余候选为何不用：", "Why the others were not taken:")
        for cause in causes:
            hint(f"  {cause}", f"  {cause}")


def show_figures(figures: Mapping[str, Any]) -> None:
    """What a variant gains and costs, as a table."""
    table(say("项目 原模型 变体 变化", "FIGURE BEFORE AFTER CHANGE").split(), list(_figures(figures)))


def outcome_title(outcome: str) -> str:
    """An outcome in the reader's language."""
    words = {
        "picked": ("选定变体", "Picked"),
        "kept": ("原模型最好", "Kept as it is"),
        "refused": ("不成立", "Refused"),
    }
    return say(*words.get(outcome, (outcome, outcome)))


def _figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    yield (
        say("方案", "Recipe"),
        "",
        ", ".join(dict.fromkeys(figures["recipes"].values())),
        "",
    )
    before, after = figures["baseline_size"], figures["size"]
    yield (say("体积", "Size"), size(before), size(after), f"× {figures['size_ratio']:.2f}")
    if figures["milliseconds"] is not None:
        name = say("每行耗时（CPU）", "CPU time of a row")
        before, after = figures["baseline_milliseconds"], figures["milliseconds"]
        yield (name, f"{before:.3g} ms", f"{after:.3g} ms", _times(figures["speed"]))
    if figures["basis"] == "labels":
        limit = say(f"允许 −{figures['max_drop']:g}", f"bound −{figures['max_drop']:g}")
        change = figures["difference"]
        told = f"{change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}], {limit}"
        name = f"{figures['metric']} ({figures['rows']})"
        yield (name, f"{figures['baseline']:.4f}", f"{figures['score']['value']:.4f}", told)
    elif figures["agreement"]:
        agreed = figures["agreement"]
        name = say("与原模型一致", "Agreement")
        told = say(f"至少 {agreed['low']:.2%}", f"at least {agreed['low']:.2%}")
        yield (f"{name} ({figures['rows']})", "100%", f"{agreed['value']:.2%}", told)


def _times(speed: Mapping[str, float] | None) -> str:
    """A ratio of speeds with its interval."""
    return f"{speed['value']:.2f} × [{speed['low']:.2f}, {speed['high']:.2f}]" if speed else ""


def _causes(report: Mapping[str, Any]) -> list[str]:
    """The commonest causes of refusal, each with how many it met and an example."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for trial in report.get("trials", []):
        if trial["state"] == "refused" and trial.get("why"):
            groups.setdefault(trial["why"]["code"], []).append(trial)
    most = sorted(groups.values(), key=len, reverse=True)[:CAUSES]
    return [
        f"{len(group)} × {say(group[0]['why']['why_zh'], group[0]['why']['why_en'])} ({group[0]['id']})"
        for group in most
    ]
