"""What is done with strangers' archives and texts in a child process; arguments and answers are JSON.

A refusal is an answer like any other, {"refused": {"code", "facts"}}; what was found stands under "found".
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catalog.errors import CatalogError
from catalog.importers import describing
from catalog.importers.hints import Hints
from catalog.importers.inferring import Wishes
from catalog.importers.taking import take
from catalog.importers.unpack import entries
from catalog.progress import Progress


def take_all(wanted: list[list[str]], out: str, progress: Progress) -> dict[str, Any]:
    """Unpack of each archive what its `inner` means; the paths that came."""

    def work() -> list[str]:
        return [path for archive, inner in wanted for path in take(Path(archive), inner, Path(out), progress)]

    return _answered(work)


def take_layers(layers: list[str], folder: str, whole: bool, out: str, progress: Progress) -> dict[str, Any]:
    """Unpack a registry's layers: of each its `folder`, and where `whole`, one without it as it is."""

    def work() -> list[str]:
        came: list[str] = []
        for layer in map(Path, layers):
            inside = [name.startswith(f"{folder}/") for name in entries(layer)]
            if any(inside) and (all(inside) or not whole):
                came += take(layer, folder, Path(out), progress)
            elif inside and whole:
                came += take(layer, "", Path(out), progress)
        return came

    return _answered(work)


def describe(
    folder: str, model: str, hints: dict[str, Any], wishes: dict[str, Any], fixed: bool, progress: Progress
) -> dict[str, Any]:
    """What files are to be offered as: `describing.describe`."""

    def work() -> dict[str, Any]:
        told = describing.describe(
            Path(folder), model, _tuples(Hints, hints), _tuples(Wishes, wishes), fixed=fixed
        )
        return asdict(told)

    return _answered(work)


def _tuples(kind: type[Any], values: dict[str, Any]) -> Any:
    """JSON knows lists only."""
    return kind(**{name: tuple(one) if isinstance(one, list) else one for name, one in values.items()})


def _answered(work: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"found": work()}
    except CatalogError as error:
        return {"refused": {"code": error.code, "facts": error.facts}}
