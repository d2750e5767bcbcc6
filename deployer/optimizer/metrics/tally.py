"""Tallies: a metric over judged rows that can be asked again under other weights of the rows.

A bootstrap weighs each row by how often it was drawn; a tally answers for many draws at once. `rows` says
how right each single row is (0 to 1), which is what rows made worse or better are counted by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Tally(Protocol):
    """A metric between 0 and 1, where more is better, over n rows."""

    @property
    def metric(self) -> str:
        """What is measured: accuracy, f1 …"""

    @property
    def n(self) -> int:
        """How many rows were judged."""

    @property
    def rows(self) -> Floats:
        """How right each row is [n], 0 to 1."""

    @property
    def also(self) -> Mapping[str, "Tally"]:
        """Further metrics of the same rows, by name."""

    def values(self, weights: Floats) -> Floats:
        """The metric [B] under weights of the rows [B, n]; all ones give the metric itself."""


def value(tally: Tally) -> float:
    """The metric itself."""
    return float(tally.values(np.ones((1, tally.n)))[0])


@dataclass(frozen=True)
class Mean:
    """The weighted mean of what each row scores."""

    metric: str
    rows: Floats
    also: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many rows were judged."""
        return len(self.rows)

    @property
    def counts(self) -> bool:
        """Whether every row is right or wrong and nothing between, so that exact bounds hold."""
        return bool(np.isin(self.rows, (0.0, 1.0)).all())

    def values(self, weights: Floats) -> Floats:
        """The mean [B] under weights [B, n]."""
        return np.asarray(weights @ self.rows / np.maximum(weights.sum(axis=1), 1e-300))


@dataclass(frozen=True)
class Ratio:
    """A sum over rows divided by another, such as hits by all that there is; 1 where there is nothing."""

    metric: str
    rows: Floats
    top: Floats
    bottom: Floats
    also: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many rows were judged."""
        return len(self.rows)

    def values(self, weights: Floats) -> Floats:
        """The ratio [B] under weights [B, n], kept between 0 and 1."""
        top, bottom = weights @ self.top, weights @ self.bottom
        ratio = np.divide(top, bottom, out=np.ones_like(top), where=bottom > 0)
        return np.asarray(np.clip(ratio, 0.0, 1.0))


@dataclass(frozen=True)
class Formula:
    """A metric that needs the weights all together, such as a rank correlation."""

    metric: str
    rows: Floats
    formula: Callable[[Floats], Floats]
    also: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many rows were judged."""
        return len(self.rows)

    def values(self, weights: Floats) -> Floats:
        """The metric [B] under weights [B, n], kept between 0 and 1."""
        return np.asarray(np.clip(self.formula(weights), 0.0, 1.0))
