"""Collects ONNX nodes for a TFLite graph and keeps track of the order of axes of each value.

TFLite keeps pictures as [batch, height, width, channels], ONNX's convolutions take [batch, channels, height,
width]. A value may be known in either order; the other one is made by a Transpose the first time that
somebody asks for it. Steps that do not mind work in the order that their inputs have, so that between two
convolutions no Transpose is left.
"""

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.nodes import ONE_FILE, OPSET
from deployer.optimizer.convert.tflite.schema import Operator, Source, Tensor
from deployer.optimizer.convert.weights import refuse

TO_FIRST = (0, 3, 1, 2)  # where the axes of channels-first come from
TO_LAST = (0, 2, 3, 1)
_TRIED = 7
_DTYPES = {
    **{"<f4": TensorProto.FLOAT, "<f2": TensorProto.FLOAT16, "<i4": TensorProto.INT32, "?": TensorProto.BOOL},
    **{"<i8": TensorProto.INT64, "<u1": TensorProto.UINT8, "<i1": TensorProto.INT8},
}


class Build:
    """The ONNX graph so far; `first` says throughout whether channels come before height and width."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.free = all(self[n].shape[:1] == (1,) for n in source.inputs)  # whether a batch may be any long
        self.folded: dict[int, npt.NDArray[Any]] = {}  # constants that steps have made
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[int, bool], str] = {}
        counts = Counter(tensor.name for tensor in source.tensors)
        self._names = [t.name if counts[t.name] == 1 else f"{t.name}#{t.number}" for t in source.tensors]
        self._bytes = 0

    def __getitem__(self, number: int) -> Tensor:
        return self.source.tensors[number]

    def constant(self, number: int) -> npt.NDArray[Any] | None:
        """The numbers of a constant, quantised and half ones as float32; None for what is computed."""
        if number in self.folded:
            return self.folded[number]
        tensor = self[number]
        if tensor.constant is None:
            return None
        return tensor.floats() if tensor.quantised or tensor.dtype == "<f2" else tensor.constant

    def fixed(self, op: Operator, place: int) -> npt.NDArray[Any]:
        """The numbers of an input that must be constant."""
        found = self.constant(op.inputs[place]) if len(op.inputs) > place else None
        if found is None:
            raise self.refuse(op, f"input {place} is computed", f"输入 {place} 不是常量")
        return found

    def first(self, *numbers: int) -> bool:
        """Whether steps upon these values are better done with channels first."""
        return any((number, True) in self._known for number in numbers)

    def get(self, number: int, first: bool = False, rank: int = 0) -> str:
        """The name of a value in this order of axes; constants grow to `rank` axes by leading ones."""
        if (number, first) in self._known:
            return self._known[number, first]
        values = self.constant(number)
        name = self._names[number]
        if values is not None:
            values = values.reshape((1,) * (rank - values.ndim) + values.shape)
            if first:
                values = values.transpose(TO_FIRST)
            return self.initializer(f"{name}/{'x'.join(map(str, values.shape))}", values)
        if (number, not first) not in self._known:
            raise self.broken(f"{name[:80]!r} is used before it is made")
        order = TO_FIRST if first else TO_LAST
        turned = self.op("Transpose", [self._known[number, not first]], f"{name}/{first}", perm=order)
        return self.put(number, turned, first)

    def put(self, number: int, name: str, first: bool = False) -> str:
        """Say that a value is known by this name in this order."""
        self._known[number, first] = name
        return name

    def out(self, op: Operator, place: int = 0) -> str:
        """The name for an output of a step."""
        if len(op.outputs) <= place:
            raise self.broken(f"{op.name} without output {place}")
        number = op.outputs[place]
        if (
            (number, False) in self._known
            or (number, True) in self._known
            or self.constant(number) is not None
        ):
            raise self.broken(f"{self._names[number][:80]!r} is made twice")
        return self._names[number]

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node and name its only output."""
        self._nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def initializer(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant once; later calls of the same name mean the same numbers."""
        if name not in self._constants:
            self._bytes += values.nbytes
            if self._bytes > ONE_FILE:
                en, zh = "weights above 2 GB do not fit one ONNX file", "权重超过 2 GB，单个 ONNX 文件放不下"
                raise refuse(self.source.path, en, zh)
            self._constants[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """An int64 constant [n]."""
        return self.initializer(f"integers/{','.join(map(str, values))}", np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A float32 constant."""
        return self.initializer(f"scalar/{value!r}", np.array(value, np.float32))

    def refuse(self, op: Operator, en: str, zh: str) -> ConversionFailed:
        """A refusal that names the operator."""
        return refuse(self.source.path, f"{op.name}: {en}", f"{op.name}：{zh}", operator=op.name)

    def broken(self, detail: str) -> ConversionFailed:
        """A refusal of a graph that contradicts itself."""
        en, zh = "not a sound TFLite graph", "不是完好的 TFLite 图"
        return refuse(self.source.path, f"{en}: {detail}", f"{zh}：{detail}", detail=detail)

    def begin(self, first: bool) -> None:
        """Declare the graph's inputs, pictures with channels first if asked for."""
        for number in self.source.inputs:
            self.put(number, self._names[number], first and len(self[number].shape) == 4)

    def model(self, first: bool) -> onnx.ModelProto:
        """All of it, checked against the shapes that the file gives; raises ConversionFailed."""
        for number in dict.fromkeys(self.source.outputs):
            # What is answered bears the source's name, what it is made of another.
            self._rename(self.get(number, first and len(self[number].shape) == 4), self._names[number])
        model = self._made(first)
        if self.free and not _batched(model):
            self.free = False
            model = self._made(first)
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise self.broken(str(error).strip().splitlines()[-1][:200]) from None
        return model

    def _made(self, first: bool) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "tflite",
            [self._info(number, first) for number in self.source.inputs],
            [self._info(number, first) for number in dict.fromkeys(self.source.outputs)],
            list(self._constants.values()),
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="opc-market")

    def _rename(self, old: str, new: str) -> None:
        if old == new:
            return
        if old in self._constants or any(old == self._names[n] for n in self.source.inputs):
            self.op("Identity", [old], new)  # an answer that is no step's
            return
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = {old: new, new: f"{new}/inner"}.get(name, name)

    def _info(self, number: int, first: bool) -> onnx.ValueInfoProto:
        tensor = self[number]
        if tensor.dtype not in _DTYPES:
            raise self.broken(f"{tensor.name[:80]!r} has type {tensor.dtype}")
        shape: list[int | str] = list(tensor.shape)
        if first and len(shape) == 4:
            shape = [shape[axis] for axis in TO_FIRST]
        if self.free and shape:
            shape[0] = "batch"
        return helper.make_tensor_value_info(self._names[number], _DTYPES[tensor.dtype], shape)


def _batched(model: onnx.ModelProto) -> bool:
    """Whether a batch of some length goes through the nodes and comes out again as long."""
    tried = onnx.ModelProto()
    tried.CopyFrom(model)
    for value in tried.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = _TRIED
    for value in tried.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(tried, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return False
    axes = [output.type.tensor_type.shape.dim for output in found.graph.output]
    return all(dims and dims[0].dim_value == _TRIED for dims in axes)


def same(length: int, out: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding before and behind for which `out` windows fit, the odd one behind."""
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - length)
    return total // 2, total - total // 2


def scale(length: int, out: int) -> float:
    """The least float32 not below out / length by which ONNX's Resize makes `out` of `length`."""
    found = np.float32(out / length)
    while math.floor(np.float32(length) * found) < out:
        found = np.nextafter(found, np.float32(np.inf))
    return float(found)
