"""tabular-classification: a label for each row of a table, by any ONNX graph over columns.

The columns and what their cells may hold stand in `deployer.server.tables.rows`. The graph gives a label
(text or number) for each row, scores [n, classes], or both, as scikit-learn's converter writes them without
zipmap.
Options:

- `outputs`: {"label", "scores"} where types do not tell them apart.
- labels (see `deployer.server.labels`) in the order of the scores; for a graph whose labels are other numbers
  than 0, 1, …: an object {"1": "low", "2": "high"}. Without them only the label and its score are answered.
- `activation`: softmax, sigmoid, none or auto (none when a row's scores are probabilities already).
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadModel
from deployer.server.graph import Outputs
from deployer.server.labels import names_of
from deployer.server.model import Model
from deployer.server.options import one_of
from deployer.server.pipelines.tabular_regression import TabularRegression
from deployer.server.scores import ACTIVATIONS, probabilities
from deployer.server.signature import Array, TensorSpec


class TabularClassification(TabularRegression):
    """One graph from columns to labels."""

    task = "tabular-classification"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.activation = one_of(model.options, "activation", ACTIVATIONS)
        if self.labels:
            self.schema |= {
                "x-labels": self.labels,
                "x-label-titles": model.options.get("label_titles", {}),
            }

    def results(self, answer: Outputs, count: int) -> list[dict[str, Any]]:
        """For each row the label, its score, and with known labels the scores of all."""
        given = answer[self.label].reshape(count).tolist() if self.label else [None] * count
        if not self.scores:
            return [{"label": self._name(value)} for value in given]
        rows = answer[self.scores].reshape(count, -1)
        return [self._result(value, self._likely(row)) for value, row in zip(given, rows, strict=True)]

    def _result(self, value: Any, likely: Array) -> dict[str, Any]:
        best = int(likely.argmax())
        if not self.labels:
            return {"label": self._name(value), "score": round(float(likely[best]), 6)}
        scores = {label: round(float(score), 6) for label, score in zip(self.labels, likely, strict=True)}
        label = self.labels[best] if value is None else self._name(value)
        return {"label": label, "score": scores.get(label, max(scores.values())), "scores": scores}

    def _likely(self, row: Array) -> Array:
        """Probabilities by label; a single score is that of the second of two."""
        if row.size > 1:
            return probabilities(row, self.activation)
        score = float(row[0])
        if self.activation in ("softmax", "sigmoid") or not 0 <= score <= 1:
            score = float(probabilities(row, "none" if self.activation == "none" else "sigmoid")[0])
        return np.array([1 - score, score]) if len(self.labels) == 2 else np.array([score])

    def _name(self, value: Any) -> str:
        """A label of the graph in words."""
        return value if isinstance(value, str) else self.names.get(int(value), str(int(value)))

    def _choose(self, model: Model) -> tuple[str, ...]:
        told = model.options.get("outputs", {})
        self.label = _output(self.outputs, told, "label", ("BYTES", "INT", "UINT", "BOOL"))
        self.scores = _output(self.outputs, told, "scores", ("FP",))
        self.names = names_of(model, self.graph)
        self.labels = [self.names[number] for number in sorted(self.names)]
        if not self.label and not (self.scores and self.labels):
            raise BadModel("the graph gives no label: name options.outputs, or give labels for its scores")
        spec = next((spec for spec in self.outputs if spec.name == self.scores), None)
        width = spec.shape[-1] if spec is not None and len(spec.shape) > 1 else -1
        if self.labels and width not in (-1, len(self.labels)) and (width, len(self.labels)) != (1, 2):
            raise BadModel(f"the graph gives {width} scores for {len(self.labels)} labels")
        return tuple(name for name in (self.label, self.scores) if name)


def load(model: Model) -> TabularClassification:
    """A folder with the role `model`; says how to convert a graph that answers with maps."""
    try:
        return TabularClassification(model)
    except BadModel as error:
        if "map(" in str(error):
            hint = "with skl2onnx, convert it with options={'zipmap': False}"
            raise BadModel(f"{error}; {hint}") from error
        raise


def _output(specs: list[TensorSpec], told: dict[str, str], role: str, kinds: tuple[str, ...]) -> str:
    """The output of a role: as told, else the first of its kind; empty when there is none."""
    if role in told:
        if told[role] not in {spec.name for spec in specs}:
            raise BadModel(f"options.outputs.{role} names no output of the graph: {told[role]!r}")
        return told[role]
    return next((spec.name for spec in specs if spec.datatype.startswith(kinds)), "")
