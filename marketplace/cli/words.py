"""Words for what the API tells as ids: English shows them as they are, Chinese as the pages say them."""

from collections.abc import Mapping, Sequence

from marketplace.terminal import say

VERSIONS = {
    "draft": "草稿",
    "submitted": "待审",
    "listed": "在架",
    "rejected": "未通过",
    "deprecated": "已弃用",
    "yanked": "已撤下",
}
CHECKS = {
    "": ("尚未检查", "not checked yet"),
    "waiting": ("等待检查", "checks wait"),
    "running": ("检查中", "being checked"),
    "passed": ("检查通过", "checks passed"),
    "failed": ("检查未通过", "checks did not pass"),
}
JOBS = {
    "pending": ("等待", "waits"),
    "running": ("进行中", "on its way"),
    "done": ("已导入", "imported"),
    "failed": ("失败", "failed"),
    "cancelled": ("已取消", "cancelled"),
}
STEPS = {"running": "进行中", "done": "完成", "failed": "失败", "waiting": "等待"}


def version_state(state: str) -> str:
    """A version's state: scripts read the English ids."""
    return say(VERSIONS.get(state, state), state)


def check_state(state: str) -> str:
    """How far the checks of a version are."""
    return say(*CHECKS.get(state, (state, state)))


def job_state(state: str) -> str:
    """How far an import is."""
    return say(*JOBS.get(state, (state, state)))


def step_state(state: str) -> str:
    """The state of a deployment's step: scripts read the English ids."""
    return say(STEPS.get(state, state), state)


def task(id: str) -> str:
    """A task in Chinese by its title; in English as its id, which --task takes."""
    if say("zh", "en") == "en":
        return id
    from catalog import taxonomy

    return taxonomy.TASKS[id].title("zh") if id in taxonomy.TASKS else id


def verticals(ids: Sequence[str]) -> str:
    """Fields of business, in Chinese by their titles."""
    if say("zh", "en") == "en":
        return ", ".join(ids)
    from catalog import taxonomy

    known = taxonomy.VERTICALS
    return "、".join(known[id].title("zh") if id in known else id for id in ids)


def verdict_counts(found: Mapping[str, int]) -> str:
    """11 通过 1 未知, or 11 pass 1 unknown; what nothing came to is left out."""
    from marketplace.cli.verdicts import WORDS

    return " ".join(f"{count} {say(*WORDS[verdict])}" for verdict, count in found.items() if count)
