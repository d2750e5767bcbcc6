"""tensors: any ONNX graph at all, its inputs and outputs as lists of numbers or texts.

Body: {"inputs": {name: nested list}}, or {"rows": nested list} for a graph with one input.
Answer: {"outputs": {name: nested list}}.
"""

from typing import Any

import numpy as np

from deployer.server import bfloat16, openinference
from deployer.server.errors import BadInput, Words
from deployer.server.fields import Body
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array, TensorSpec, signature


class Tensors(GraphPredictor):
    """A graph without pre- or post-processing."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.task = model.task
        tensors = {spec.name: {"description": str(spec)} for spec in self.inputs}
        inputs = {
            "type": "object",
            "properties": tensors,
            "required": list(tensors),
            "x-tensors": signature(self.inputs),
        }
        self.schema: dict[str, Any] = {
            "type": "object",
            "properties": {"inputs": inputs},
            "required": ["inputs"],
            "x-field": "inputs",
        }
        if len(self.inputs) == 1:
            shown = str(self.inputs[0])
            rows = {"type": "array", "description": shown, "x-tensors": shown}
            self.schema = {
                "type": "object",
                "properties": {"rows": rows, "inputs": inputs},
                "anyOf": [{"required": ["rows"]}, {"required": ["inputs"]}],
                "x-field": "rows",
            }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Run the graph on lists; their nesting gives the shape."""
        given = body.get("inputs")
        if "rows" in body:
            given = {self.inputs[0].name: body["rows"]}
        if not isinstance(given, dict):
            why = Words("is not an object of named inputs", "不是以输入名为键的对象")
            raise BadInput("inputs", why, signature(self.inputs))
        for name in given:
            if name not in {spec.name for spec in self.inputs}:
                why = Words("is no input of this model", "不是该模型的输入")
                raise BadInput(f"inputs.{name[:80]}", why, signature(self.inputs))
        results = yield from self.run({spec.name: self._array(spec, given) for spec in self.inputs})
        datatypes = {spec.name: spec.datatype for spec in self.outputs}
        return {"outputs": {name: _numbers(array, datatypes[name]) for name, array in results.items()}}

    def _array(self, spec: TensorSpec, given: dict[str, Any]) -> Array:
        where = f"inputs.{spec.name}"
        if spec.name not in given:
            raise BadInput(where, Words("is missing", "缺失"), signature(self.inputs))
        value = given[spec.name]
        shape = _shape(value, len(spec.shape))
        openinference.check(spec, spec.datatype, shape)
        return openinference.from_json(spec, value if isinstance(value, list) else [value], shape)


def _shape(value: Any, rank: int) -> list[int]:
    """Lengths along the first item of each level; the values themselves are checked later."""
    shape: list[int] = []
    while isinstance(value, list) and len(shape) <= rank:
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _numbers(array: Array, datatype: str) -> Array:
    return bfloat16.to_float32(array) if datatype == "BF16" else np.asarray(array)


def load(model: Model) -> Tensors:
    """Any folder whose manifest names a file for the role `model`."""
    return Tensors(model)
