"""What is told of a model before an optimisation: its architecture, what it needs, what would be tried."""

from pathlib import Path
from typing import Any

import msgspec

from deployer.spec import Progress

SCHEMA = 1  # raised when the answer changes its form: one that was kept is made anew
ROWS = 500  # rows that the estimate of a job is told for
SECONDS = 240.0  # what a job may take


class ThisMachine(msgspec.Struct, frozen=True):
    """The machine that looks, as `estimate.fit` asks for devices."""

    id: str = "cpu"
    memory: int | None = None


def look(*, folder: str, progress: Progress) -> dict[str, Any]:
    """Report on a model folder, for `worker.run`; raises InspectionRefused and NotAModelFolder."""
    from deployer.optimizer import architecture, building, estimate

    report = architecture.inspect(Path(folder))
    recipes = building.plan(folder=folder, progress=progress)["graphs"]
    tried = sum(len(graph["recipes"]) for graph in recipes.values())
    (fit,) = estimate.fit(report, [ThisMachine()])
    return {
        "schema": SCHEMA,
        "architecture": report.plain(),
        "summary": architecture.summary(report),
        "recipes": recipes,
        "memory": msgspec.to_builtins(estimate.memory(report)),
        "fit": msgspec.to_builtins(fit),
        "job": {
            "rows": ROWS,
            **msgspec.to_builtins(estimate.job(report, ROWS, candidates=tried, budget=SECONDS)),
        },
    }
