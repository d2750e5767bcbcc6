"""The browser: a release as a static folder that any file server serves and that works offline.

The folder holds the graph, ONNX Runtime's WebAssembly, our scripts for what comes before and after the graph,
a page to try the model on, and a service worker that keeps all of it on the visitor's device. Nothing in it
asks any other host. One thread is used: more would need headers that plain file servers do not send.
"""

import functools
from pathlib import Path
from typing import Any

from deployer.errors import TerminalNotSupported
from deployer.optimizer.targets.checks import check
from deployer.optimizer.targets.errors import TargetRefused
from deployer.packager.layout import roomy
from deployer.packager.release import Release, Workshop
from deployer.spec import Progress, silent
from deployer.terminals.browser import npm, recipe, site, tokens

__all__ = ["build", "supports"]
DEVICE = "browser-wasm"
_STEPS = 3
_PIPELINES = Path(__file__).parents[2] / "server" / "pipelines"


def supports(release: Release) -> None:
    """Raise TerminalNotSupported for a task without scripts, and for a graph that browsers do not take."""
    pipeline = _pipeline(release.task)
    files = release.manifest.get("files") or {}
    if pipeline not in recipe.SETTLED:
        raise _refused(
            release, "there are no scripts for this task in the browser", "浏览器里还没有这类任务的脚本"
        )
    if pipeline == "token_classification" and "transitions" not in files:
        why = "the browser's tokenizer does not say where in a text its tokens stand, which tagging needs"
        raise _refused(release, why, "浏览器里的分词器不给出词在原文中的位置，而词性和实体标注需要它")
    if not isinstance(files.get("model"), str):
        raise _refused(release, "the release has no single graph", "这个版本不是单个模型文件")
    for why, why_zh in _objections(release.folder / files["model"], release.digest):
        raise _refused(release, why, why_zh)


def build(workshop: Workshop, release: Release, folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Fill an empty folder; returns what it holds: engine, threads, files and bytes.

    Raises TerminalNotSupported, TargetUnavailable without npm, PackagingFailed and DiskFull.
    """
    supports(release)
    with roomy(workshop.home):
        packages = npm.fetch(workshop.cache, progress)
    progress(1, _STEPS, release.name)
    settled = recipe.settle(release.name, release.folder)
    if "encoder" in settled:
        tokens.check(release, packages)
    progress(2, _STEPS, release.name)
    facts = site.write(release, settled, packages, folder)
    progress(_STEPS, _STEPS, release.name)
    return facts


@functools.lru_cache(256)
def _objections(graph: Path, digest: str) -> tuple[tuple[str, str], ...]:
    """Why browsers do not take a graph, English and Chinese; `digest` is its release's."""
    try:
        failed = [each for each in check(DEVICE, graph) if each.level == "fail"]
    except TargetRefused as error:
        why = str(error.facts["why"])
        return ((why, why),)
    return tuple((f"{each.why_en}. {each.next_en}", f"{each.why_zh}。{each.next_zh}") for each in failed)


def _pipeline(task: str) -> str:
    """The server's pipeline for a task: that of its name, else tensors."""
    name = task.replace("-", "_")
    return name if name.isidentifier() and (_PIPELINES / f"{name}.py").is_file() else "tensors"


def _refused(release: Release, why: str, why_zh: str) -> TerminalNotSupported:
    return TerminalNotSupported(terminal="browser", task=release.task, why=why, why_zh=why_zh)
