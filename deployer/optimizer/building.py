"""Makes variants of graphs: the recipes, as the search calls them in child processes."""

import dataclasses
from pathlib import Path
from typing import Any

from deployer.optimizer import architecture, driving, recipes
from deployer.optimizer.architecture import ArchitectureReport
from deployer.optimizer.errors import ModelRefused
from deployer.optimizer.folders import graphs_of, size_of
from deployer.optimizer.recipes import RECIPES
from deployer.optimizer.recipes.application import footprint
from deployer.spec import Progress

SENSITIVITY_FEEDS = 4


def plan(*, folder: str, progress: Progress) -> dict[str, Any]:
    """What the model is made of; for each graph its size and the recipes worth trying, the likeliest first.

    Raises the refusals of `architecture`: what is no ONNX, broken, or made of unknown operators.
    """
    import onnx

    report = architecture.inspect(Path(folder))
    _refuse_hopeless(report)
    summary = architecture.summary(report)
    told: dict[str, Any] = {}
    for number, (role, path) in enumerate(graphs_of(Path(folder)).items()):
        progress(number, 1, role)
        model = onnx.load(path, load_external_data=False)
        ids = [id for id in recipes.plan(model) if RECIPES[id].portable]
        told[role] = {
            "size": footprint(path),
            "beside": _beside(path, Path(folder)),
            "recipes": [
                {"id": id, "lossless": RECIPES[id].lossless, "precision": RECIPES[id].precision,
                 "calibrates": RECIPES[id].calibrates, "zh": RECIPES[id].title_zh, "en": RECIPES[id].title_en}
                for id in ids
            ],
        }  # fmt: skip
    return {"graphs": told, "summary": summary}


def _beside(graph: Path, folder: Path) -> list[str]:
    """Files of the model folder that hold weights of this graph."""
    import onnx

    tensors = onnx.load(graph, load_external_data=False).graph.initializer
    names = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    return sorted(str((graph.parent / name).relative_to(folder)) for name in names)


def _refuse_hopeless(report: ArchitectureReport) -> None:
    """Raise for what would fail in every variant as well: unknown operators, weights that are no numbers."""
    for _, finding in report.findings:
        if finding.level == "fail":
            raise ModelRefused(
                where=finding.where, finding=finding.code, why=finding.why_en, why_zh=finding.why_zh
            )


def build(
    *, recipe: str, source: str, out: str, feeds: str, role: str, keep: list[str], progress: Progress
) -> dict[str, Any]:
    """Apply a recipe to a graph; raises RecipeRefused. Says what was done, and the new size."""
    progress(0, 1, recipe)
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    items = driving.load_feeds(Path(feeds), role) if RECIPES[recipe].calibrates else []
    facts = recipes.apply(recipe, Path(source), target, items, keep=keep, folder=target.parent)
    return {"size": size_of(target), "facts": facts}


def sensitivity(
    *, recipe: str, source: str, feeds: str, role: str, folder: str, progress: Progress
) -> dict[str, Any]:
    """Nodes by how much of the output's error quantising them causes, the worst first."""
    progress(0, 1, recipe)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    items = driving.load_feeds(Path(feeds), role, SENSITIVITY_FEEDS)
    return {
        "nodes": [[name, error] for name, error in recipes.sensitivity(Path(source), recipe, items, place)]
    }


def prepare_device(*, device: str, home: str, progress: Progress) -> dict[str, str]:
    """Fetch a device's runtime at need and start it once; its versions. Raises TargetUnavailable."""
    from deployer.optimizer.targets import executor

    target = executor(device, Path(home), progress)
    versions = dict(target.versions)
    target.close()
    return versions


def check_device(*, device: str, graph: str, progress: Progress) -> dict[str, Any]:
    """What a device will not take of a graph, by looking at the file."""
    from deployer.optimizer.targets import check

    progress(0, 1, device)
    return {"findings": [dataclasses.asdict(finding) for finding in check(device, Path(graph))]}
