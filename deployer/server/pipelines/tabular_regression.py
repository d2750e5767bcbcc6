"""tabular-regression: a number for each row of a table, by any ONNX graph over columns.

The columns and what their cells may hold stand in `deployer.server.tables.rows`. Options: output (which of
the graph's, the first otherwise), targets (names, for a graph that gives several numbers).
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.fields import Body
from deployer.server.graph import Outputs
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.tables.delimited import read_csv
from deployer.server.tables.rows import MOST_ROWS, Table


class TabularRegression(GraphPredictor):
    """One graph from columns to numbers."""

    task = "tabular-regression"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.table = Table(model.options, self.inputs)
        self.wanted = self._choose(model)
        self.schema = {
            "type": "object",
            "required": ["rows"],
            "x-field": "rows",
            "x-columns": [column.describe() for column in self.table.columns],
            "properties": {"rows": self.table.schema()},
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """{"rows": [{column: value} | [values]] | {column: value} | CSV} → a result for each row."""
        rows, count = self.table.rows(body.get("rows")), self.table.at_once
        starts = range(0, len(rows), count)
        parts = [self.table.feeds(rows[start : start + count], start) for start in starts]
        results: list[dict[str, Any]] = []
        for start, feeds in zip(starts, parts, strict=True):
            answer = yield from self.run(feeds, self.wanted)
            results += self.results(answer, min(count, len(rows) - start))
        return {"results": results}

    def read_csv(self, data: bytes, charset: str = "") -> Body:
        """The body of `predict` for a CSV file with a header, sent as the request's body."""
        return {"rows": read_csv(data, charset=charset, most=MOST_ROWS)}

    def results(self, answer: Outputs, count: int) -> list[dict[str, Any]]:
        """The answer's rows for people."""
        values = answer[self.wanted[0]].reshape(count, -1)
        if values.shape[1] == 1:
            return [{"value": shortest(value)} for value in values[:, 0]]
        names = self.targets or [f"y{place}" for place in range(values.shape[1])]
        return [{"values": dict(zip(names, map(shortest, row), strict=True))} for row in values]

    def _choose(self, model: Model) -> tuple[str, ...]:
        name = model.options.get("output", self.outputs[0].name)
        spec = next((spec for spec in self.outputs if spec.name == name), None)
        if spec is None or spec.datatype in ("BYTES", "BOOL", "BF16"):
            raise BadModel(f"options.output names no output of numbers: {name!r}")
        self.targets = [str(target) for target in model.options.get("targets", [])]
        width = spec.shape[-1] if len(spec.shape) > 1 else 1
        if self.targets and width not in (-1, len(self.targets)):
            raise BadModel(f"the graph gives {width} numbers for {len(self.targets)} options.targets")
        return (spec.name,)


def load(model: Model) -> TabularRegression:
    """A folder with the role `model`."""
    return TabularRegression(model)


def shortest(value: "Array | np.generic") -> float:
    """A number with no more digits than its own precision has."""
    return float(str(value))
