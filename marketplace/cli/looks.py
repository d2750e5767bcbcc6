"""What is known of a model before anything runs, on the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marketplace.cli.options import show_facts
from marketplace.terminal import data, say, size, table

Look = Mapping[str, Any]  # as deployer.optimizer.preview.look tells it


def look_at(folder: Path) -> dict[str, Any]:
    """Look at a model folder of this machine, in a child of limited means."""
    from deployer.optimizer import worker

    found: dict[str, Any] = worker.run(
        "deployer.optimizer.preview:look", {"folder": folder}, read=(folder.resolve(),)
    ).result
    return found


def show_look(look: Look) -> None:
    """Size, arithmetic and what can be quantised; then the recipes that would be tried on each graph."""
    told = look["summary"]
    least = "≥ " if told["at_least"] else ""
    facts = [
        (say("大小", "Size"), size(told["bytes"])),
        (say("参数", "Parameters"), f"{told['parameters']:,}"),
        (say("权重类型", "Weights"), ", ".join(f"{n} {size(b)}" for n, b in told["types"].items())),
        (say("每次运算量", "Operations of a run"), f"{least}{_amount(told['flops'])}"),
        (say("激活内存", "Activations"), f"{least}{size(told['activations'])}"),
        (say("可量化的运算", "Quantisable"), ", ".join(_shares(told["quantisable"]))),
        (say("已量化", "Quantised already"), ", ".join(told["quantised"])),
        ("opset", told["opset"]),
        (say("可变维度", "Dynamic axes"), _some(told["dynamic_axes"])),
    ]
    memory, job = look["memory"], look["job"]
    verdicts = {"fits": ("够", "fits"), "tight": ("紧张", "tight"), "too-large": ("不够", "too large")}
    facts += [
        (say("部署所需内存", "Memory of a deployment"), f"{least}{size(memory['resident'])}"),
        (say("本机内存", "This machine"), say(*verdicts[look["fit"]["verdict"]])),
        (
            say(f"优化用时（{job['rows']} 行）", f"Time to optimise ({job['rows']} rows)"),
            f"{job['seconds_low']:.0f} – {job['seconds_high']:.0f} s",
        ),
        (
            say("优化所需内存", "Memory to optimise"),
            f"{size(job['memory_low'])} – {size(job['memory_high'])}",
        ),
    ]
    show_facts(facts)
    rows = [
        (role, recipe["id"], recipe["precision"], say(recipe["zh"], recipe["en"]))
        for role, graph in look["recipes"].items()
        for recipe in graph["recipes"]
    ]
    data("")
    table(say("图 方案 精度 说明", "GRAPH RECIPE PRECISION TITLE").split(), rows)


def _shares(quantisable: Mapping[str, float | None]) -> list[str]:
    return [f"{way} {share:.0%}" for way, share in quantisable.items() if share]


def _some(names: list[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _amount(count: float) -> str:
    for unit in ("", " K", " M", " G"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} T"
