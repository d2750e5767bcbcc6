"""What a certificate states, in short: for the API, the pages and the command line alike."""

from dataclasses import dataclass
from typing import Any

import msgspec

from deployer.optimizer.report import Interval, Quality


@dataclass(frozen=True)
class Figures:
    """What the picked variant gains and costs against the model as it came; ratios above 1 are faster."""

    recipes: dict[str, str]  # recipe by graph
    size: int  # bytes of the graphs
    baseline_size: int
    size_ratio: float
    speed: Interval | None
    control: Interval | None  # the same file against itself: no difference inside this band is one
    milliseconds: float | None  # CPU time of one row in one thread
    baseline_milliseconds: float | None
    basis: str  # labels | agreement | lossless
    rows: int  # that were judged
    metric: str
    score: Interval | None
    baseline: float | None
    difference: Interval | None  # of the score; `low` is what the bound is held against
    agreement: Interval | None
    max_drop: float


def figures_of(certificate: dict[str, Any]) -> Figures | None:
    """What a certificate states, in short; None where there is none that this version can read."""
    try:
        quality = msgspec.convert(certificate["quality"], Quality)
        variant, speed = certificate["variant"], certificate["speed"]
        return Figures(
            recipes=dict(variant["graphs"]),
            size=int(variant["size"]),
            baseline_size=int(variant["baseline_size"]),
            size_ratio=variant["size"] / max(1, variant["baseline_size"]),
            speed=msgspec.convert(speed["ratio"], Interval | None),
            control=msgspec.convert(speed["control"], Interval | None),
            milliseconds=speed["milliseconds"],
            baseline_milliseconds=speed["baseline_milliseconds"],
            basis=quality.basis,
            rows=quality.rows,
            metric=quality.metric,
            score=quality.score,
            baseline=quality.baseline,
            difference=quality.difference,
            agreement=quality.agreement,
            max_drop=float(certificate["objective"]["max_drop"]),
        )
    except (KeyError, TypeError, ValueError, msgspec.ValidationError):
        return None
