"""Recipes: small pure functions ONNX → ONNX, and carrying them out.

`RECIPES` names them all. `apply` makes a file out of a file, or says why not (RecipeRefused); `plan` tells
which are worth trying on a graph, and `sensitivity` which of its nodes suffer most from being quantised.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployer.optimizer.recipes import simulation
from deployer.optimizer.recipes.application import carry_out
from deployer.optimizer.recipes.priors import plan
from deployer.optimizer.recipes.protocol import Calibration, Feeds, Recipe, RecipeRefused, Refused
from deployer.optimizer.recipes.registry import RECIPES

__all__ = [
    "RECIPES",
    "Calibration",
    "Feeds",
    "Recipe",
    "RecipeRefused",
    "Refused",
    "apply",
    "plan",
    "sensitivity",
]


def apply(
    recipe_id: str,
    source: Path,
    out: Path,
    feeds: Sequence[Feeds] = (),
    *,
    keep: Sequence[str] = (),
    folder: Path,
) -> dict[str, Any]:
    """Carry a recipe out on a file; weights may come to lie in <stem>.bin beside `out`.

    Gives nodes_quantised, kept_float (names), in_subgraphs, opset and seconds. Raises RecipeRefused for
    whatever fails, has no effect, does not load or answers no numbers, and leaves no `out` then.
    `folder` takes temporary files and is left as it was.
    """
    return carry_out(RECIPES[recipe_id], source, out, feeds, keep=keep, folder=folder)


def sensitivity(
    source: Path, recipe_id: str, feeds: Sequence[Feeds], folder: Path
) -> list[tuple[str, float]]:
    """Nodes with the output error that quantising each of them alone causes, the worst first; in about 15 s.

    The names are those that `apply` takes as `keep`. Raises RecipeRefused.
    """
    return simulation.measure(RECIPES[recipe_id], source, feeds, folder)
