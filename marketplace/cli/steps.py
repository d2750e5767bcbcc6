"""The steps of a package as the terminal shows them: bars where a terminal is, a line for each elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from marketplace.cli.bars import bars
from marketplace.terminal import hint, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

View = Callable[[Mapping[str, Any]], None]

STEPS = {
    "fetch": ("取文件", "Fetch files"),
    "prepare": ("核对并摆放", "Check and lay out"),
    "assemble": ("组装", "Put together"),
    "prove": ("签名、列清单", "Sign, list the parts"),
    "write": ("写出文件", "Write the file"),
    "download": ("下载", "Download"),
    "load": ("装入引擎", "Load into the engine"),
    "push": ("推送", "Push"),
}


def step_title(step: str) -> str:
    """A step's name in the reader's language."""
    return say(*STEPS.get(step, (step, step)))


@contextmanager
def viewed() -> Iterator[View]:
    """Shows a package's steps whenever they change; on stderr."""
    with bars() as progress:
        yield _Bars(progress) if progress else _Lines()


class _Lines:
    """One line for each step that begins."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def __call__(self, made: Mapping[str, Any]) -> None:
        for step in made["steps"]:
            if step["state"] != "waiting" and step["name"] not in self._seen:
                self._seen.add(step["name"])
                line = f"{step_title(step['name'])} …"
                hint(line, line)


class _Bars:
    """A bar for each step."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, made: Mapping[str, Any]) -> None:
        for step in made["steps"]:
            if step["state"] == "waiting":
                continue
            name = step["name"]
            if name not in self._bars:
                self._bars[name] = self._progress.add_task(step_title(name), total=1, note="")
            if step["state"] == "running":
                self._progress.update(self._bars[name], note=_note(step.get("progress") or {}))
            else:
                done = step["state"] == "done"
                failed = say("失败", "failed")
                self._progress.update(self._bars[name], completed=int(done), note="" if done else failed)
                self._progress.stop_task(self._bars[name])


def _note(progress: Mapping[str, Any]) -> str:
    total = progress.get("total") or 0
    share = f"{100 * progress.get('done', 0) / total:.0f} %" if total else ""
    return f"{share} {progress.get('note', '')}".strip()
