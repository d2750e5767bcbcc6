"""Archives and texts of strangers are read in a child: shut in, bounded in memory, ended with its import."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import catalog
from catalog.errors import ArchiveInvalid
from catalog.importers.describing import Description
from catalog.importers.errors import ImportNotInferred
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes
from catalog.progress import Progress
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed

CODE = Path(catalog.__file__).parent
MEMORY = 512 << 20
UNPACKING, READING = 3600.0, 60.0  # seconds


def take(wanted: Sequence[tuple[Path, str]], out: Path, progress: Progress) -> list[str]:
    """Unpack of each archive what its inner path means below `out`; raises what `taking.take` raises."""
    archives = [archive for archive, _ in wanted]
    pairs = [[str(archive.absolute()), inner] for archive, inner in wanted]
    return _unpacked("take_all", archives, {"wanted": pairs}, out, progress)


def take_layers(
    layers: Sequence[Path], folder: str, out: Path, progress: Progress, *, whole: bool
) -> list[str]:
    """Unpack a registry's layers below `out`; see `inside.take_layers`."""
    told = {"layers": [str(layer.absolute()) for layer in layers], "folder": folder, "whole": whole}
    return _unpacked("take_layers", layers, told, out, progress)


def describe(
    made: Path, model: str, hints: Hints, wishes: Wishes, room: Path, progress: Progress, *, fixed: bool
) -> Description:
    """What files are to be offered as; `room` is the child's own folder. Raises ImportNotInferred."""
    told = {"folder": made, "model": model, "hints": asdict(hints), "wishes": asdict(wishes), "fixed": fixed}
    try:
        found = _call("describe", told, (made,), room, READING, progress)
    except WorkerFailed as error:
        how = error.facts["how"]
        why, why_zh = f"its texts could not be read ({how})", f"其中的文字无法读取（{how}）"
        raise ImportNotInferred(source=wishes.source, why=why, why_zh=why_zh) from None
    return Description(found["sheet"], found["cards"], tuple(found["superfluous"]))


def _unpacked(
    function: str, archives: Sequence[Path], told: dict[str, Any], out: Path, progress: Progress
) -> list[str]:
    if not archives:
        return []
    try:
        came = _call(function, told | {"out": out}, archives, out, UNPACKING, progress)
    except WorkerFailed as error:
        why = f"it could not be unpacked ({error.facts['how']})"
        raise ArchiveInvalid(source=", ".join(one.name for one in archives)[:200], why=why) from None
    return [str(path) for path in came]


def _call(
    function: str,
    arguments: dict[str, Any],
    read: Sequence[Path],
    room: Path,
    seconds: float,
    progress: Progress,
) -> Any:
    room.mkdir(parents=True, exist_ok=True)
    done = worker.run(
        f"catalog.importers.inside:{function}",
        arguments,
        read=(CODE, *read),
        write=(room,),
        memory=MEMORY,
        seconds=seconds,
        tick=progress,
    )
    if refused := done.result.get("refused"):
        raise worker.RefusedInChild(refused["code"], refused["facts"])
    return done.result["found"]
