"""What an import will fetch, known and judged before the first byte of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.importers.download import Patience
from catalog.importers.errors import ImportNotInferred, ImportTooLarge
from catalog.importers.hints import Hints
from catalog.importers.indexes import Indexes
from catalog.importers.reach import Reach
from catalog.importers.sources import shown
from catalog.importers.taking import is_plain
from catalog.importers.transfer import Opener, Remote, bring, in_time
from catalog.progress import Progress, silent
from catalog.storage import MARGIN, free_bytes

ARCHIVES = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CONVERTED = (".safetensors", ".bin", ".gguf", ".tflite", ".pth", ".pt", ".skops")


@dataclass(frozen=True)
class Gate:
    """How this shop reaches sources: what its operator has set, and whether with the operator's keys."""

    reach: Reach = field(default_factory=Reach)
    keys: bool = True
    hf_endpoint: str = ""
    modelscope_endpoint: str = ""
    modelscope_token: str = ""
    indexes: Indexes | None = None
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Taken:
    """What to take out of an archive that was fetched: a file, a folder, a pattern; "" is what fits."""

    archive: str
    inner: str


@dataclass(frozen=True)
class Plan:
    """An import with its revision fixed: the files, how they are asked for, and what is told of them."""

    pinned: str  # the source at a fixed revision, to fetch the same again
    identity: str  # changes when the source does
    remotes: tuple[Remote, ...]
    opener: Opener
    hints: Hints = field(default_factory=Hints)
    taken: tuple[Taken, ...] = ()
    chosen: str = ""  # the file that was named, where one was

    @property
    def total(self) -> int:
        """Bytes to fetch, as far as they are known."""
        return sum(remote.size or 0 for remote in self.remotes)

    @property
    def needed(self) -> int:
        """Bytes of disk that the whole import may take at once: files, what archives hold, what is made."""
        return sum(round((remote.size or 0) * _share(remote.path)) for remote in self.remotes)


def _share(path: str) -> float:
    if path.endswith(ARCHIVES):
        return 3.0  # the archive, and its content, which compresses to a half at best where it is weights
    return 2.5 if path.endswith(CONVERTED) else 1.0


def require_place(plan: Plan, folder: Path, have: int = 0) -> None:
    """Refuse with ImportTooLarge what the folder's disk cannot hold; `have` bytes of it are there already."""
    needed, free = max(0, plan.needed - have), free_bytes(folder)
    if free < needed + MARGIN:
        raise ImportTooLarge(source=shown(plan.pinned), needed=needed + MARGIN, free=free)


def fetch(plan: Plan, folder: Path, progress: Progress = silent, patience: Patience | None = None) -> None:
    """Bring all files of a plan below a folder; what is there already is not fetched again."""
    done, progress = 0, in_time(progress, shown(plan.pinned))
    for remote in plan.remotes:
        if not is_plain(remote.path):  # a hub names its files as it likes
            raise ImportNotInferred(
                source=shown(plan.pinned),
                why=f"it names a file {remote.path[:80]!r}, which is not below its folder",
                why_zh=f"其中的文件名 {remote.path[:80]!r} 不在其目录之内",
            )
        target = folder / remote.path
        bring(plan.opener, remote, target, _behind(progress, done, plan.total), patience)
        done += target.stat().st_size


def _behind(progress: Progress, before: int, whole: int) -> Progress:
    """Progress of one file as part of all."""

    def moved(done: int, total: int, note: str = "") -> None:
        progress(before + done, whole or total, note)

    return moved


def fetched(folder: Path) -> int:
    """Bytes that an earlier run has brought."""
    if not folder.exists():
        return 0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def planned(sources: Any, gate: Gate) -> Iterator[Plan]:
    """The plan of some sources; connections are closed when the block ends."""
    # Chosen here, so that one importer's libraries are loaded only when it is used.
    kind = sources[0].kind
    if kind == "hf":
        from catalog.importers.huggingface import plan_hub as plan
    elif kind == "modelscope":
        from catalog.importers.modelscope import plan_modelscope as plan
    elif kind in ("pypi", "npm"):
        from catalog.importers.packaged import plan_packages as plan
    else:
        from catalog.importers.addresses import plan_address as plan
    with plan(sources, gate) as made:
        yield made


def text_of(data: Mapping[str, Any], name: str) -> str:
    """A text of somebody's JSON, or nothing."""
    value = data.get(name)
    return value if isinstance(value, str) else ""
