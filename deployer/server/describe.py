"""What a model folder offers, without serving it: the tensors of its graphs and the server's API document."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from deployer.server import openapi, predictor
from deployer.server.graph import Graph
from deployer.server.model import Model
from deployer.server.signature import TensorSpec


@dataclass
class _Noting(Model):
    """A model that remembers the graphs which its pipeline opened."""

    noted: dict[str, Graph] = field(default_factory=dict)

    def graph(self, role: str = "model", *, exclusive: bool = False) -> Graph:
        """The graph of a role."""
        self.noted[role] = super().graph(role, exclusive=exclusive)
        return self.noted[role]


def describe(folder: Path, name: str) -> dict[str, Any]:
    """{"signature": {role: {"inputs", "outputs"}}, "openapi": the server's document under this name}.

    Raises BadModel for a folder that cannot be served.
    """
    model = cast("_Noting", _Noting.open(folder))
    loaded = predictor.of_model(model)
    document = openapi.document(name, loaded).body
    signature = {role: _tensors(graph.inputs, graph.outputs) for role, graph in sorted(model.noted.items())}
    loaded.close()
    return {"signature": signature, "openapi": json.loads(document)}


def _tensors(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> dict[str, Any]:
    return {
        side: [{"name": one.name, "dtype": one.datatype, "shape": list(one.shape)} for one in tensors]
        for side, tensors in (("inputs", inputs), ("outputs", outputs))
    }
