"""Collects nodes and constants of an ONNX graph; every value bears the name of what it comes from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from deployer.optimizer.convert.weights import refuse

OPSET = 17
ONE_FILE = (1 << 31) - (1 << 20)  # one ONNX file is one protobuf message, and that ends at 2 GB
Value = tuple[int, list[str | int]]  # TensorProto's type, shape


@dataclass
class Nodes:
    """A graph so far; `source` is what a refusal names."""

    source: Path
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    bytes: int = 0

    def op(self, kind: str, *inputs: str, name: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and name its only output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant once; later calls of the same name mean the same numbers."""
        if name not in self.constants:
            self.bytes += values.nbytes
            if self.bytes > ONE_FILE:
                en, zh = "weights above 2 GB do not fit one ONNX file", "权重超过 2 GB，单个 ONNX 文件放不下"
                raise refuse(self.source, en, zh)
            self.constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """An int64 constant [n]."""
        return self.constant(f"integers/{','.join(map(str, values))}", np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A float32 constant."""
        return self.constant(f"scalar/{value!r}", np.array(value, np.float32))

    def model(
        self, name: str, inputs: dict[str, Value], outputs: dict[str, Value], **domains: int
    ) -> onnx.ModelProto:
        """All of it, checked; `domains` are versions of further operator sets (dots as underscores)."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
            [helper.make_tensor_value_info(key, *value) for key, value in outputs.items()],
            list(self.constants.values()),
        )
        sets = [helper.make_opsetid("", OPSET)]
        sets += [helper.make_opsetid(key.replace("_", "."), version) for key, version in domains.items()]
        model = helper.make_model(graph, opset_imports=sets, ir_version=8, producer_name="opc-market")
        onnx.checker.check_model(model, full_check=not domains)
        return model


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model into a folder as a whole or not at all; the same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    part.write_bytes(model.SerializeToString(deterministic=True))
    return part.replace(folder / name)
