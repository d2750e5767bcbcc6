"""Makes an ONNX graph of EfficientNet-Lite0 from a PyTorch state dict, without torch.

The Lite networks have ReLU6 everywhere, where other EfficientNets have swish; a network exported with the
wrong one agrees with its source as it stands and knows no picture any more. So the activation is written here
and taken from no file. Padding is TensorFlow's SAME for 224 × 224 pixels; batch normalisation is folded into
the convolutions.

Input: image, float32 [batch, 3, 224, 224]; output: logits, float32 [batch, classes].
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.nodes import Nodes, save
from deployer.optimizer.convert.statedict import StateDict
from deployer.optimizer.convert.weights import Float, Tensors, refuse
from deployer.spec import Progress, silent

SIDE = 224
_EPSILON = 1e-3  # of batch normalisation, as in TensorFlow's EfficientNet
_FIRST, _LAST = 32, 1280
_STEM, _HEAD = "_conv_stem", "_conv_head"


class _Stage(NamedTuple):
    """Blocks in a row; the first of them has the stride."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    out: int


_LITE0 = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx into `out`; raises ConversionFailed. `inputs` is `weights`, a .pth; no options."""
    if options:
        known = "this converter has no options"
        raise refuse(inputs["weights"], f"{known}: {sorted(options)}", f"此转换器没有选项：{sorted(options)}")
    save(network(StateDict.open(inputs["weights"]), progress), out)


def is_lite0(tensors: Tensors) -> bool:
    """Whether the names of the weights are those of this family."""
    return all(f"{name}.weight" in tensors for name in (_STEM, _HEAD, "_fc", "_blocks.15._project_conv"))


def network(tensors: Tensors, progress: Progress = silent) -> onnx.ModelProto:
    """The checked ONNX model; raises ConversionFailed for weights that do not fit."""
    graph = _Graph(tensors, Nodes(tensors.path), SIDE)
    value = graph.convolution("image", _STEM, "_bn0", (_FIRST, 3, 3), stride=2)
    width, blocks = _FIRST, list(_blocks())
    for number, block in enumerate(blocks):
        value = graph.block(f"_blocks.{number}", value, width, block)
        width = block.out
        progress(number + 1, len(blocks) + 1)
    value = graph.convolution(value, _HEAD, "_bn1", (_LAST, width, 1))
    nodes = graph.nodes
    value = nodes.op("GlobalAveragePool", value, name="pooled")
    value = nodes.op("Flatten", value, name="flat", axis=1)
    weight, bias = graph.weight("_fc.weight", (None, _LAST)), graph.weight("_fc.bias", (None,))
    parts = nodes.constant("_fc.weight", weight), nodes.constant("_fc.bias", bias)
    nodes.op("Gemm", value, *parts, name="logits", transB=1)
    progress(len(blocks) + 1, len(blocks) + 1)
    return nodes.model(
        "efficientnet_lite0",
        {"image": (TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])},
        {"logits": (TensorProto.FLOAT, ["batch", len(weight)])},
    )


def _blocks() -> Iterator[_Stage]:
    """Every block by itself; only the first of a stage keeps the stride."""
    for stage in _LITE0:
        for number in range(stage.repeats):
            yield stage if number == 0 else stage._replace(stride=1)


class _Graph:
    """The nodes so far, and the side of the picture as it has become."""

    def __init__(self, tensors: Tensors, nodes: Nodes, side: int) -> None:
        self.nodes = nodes
        self._tensors = tensors
        self._side = side

    def weight(self, name: str, shape: tuple[int | None, ...]) -> Float:
        """The weight of this name, with its shape checked; None is any length."""
        if name not in self._tensors:
            raise refuse(self._tensors.path, f"no weight {name}", f"没有权重 {name}", tensor=name)
        found = self._tensors.float32(name)
        if found.ndim != len(shape) or any(
            b not in (None, a) for a, b in zip(found.shape, shape, strict=True)
        ):
            en = f"{name} has shape {list(found.shape)}, EfficientNet-Lite0 asks for {list(shape)}"
            zh = f"{name} 的形状是 {list(found.shape)}，EfficientNet-Lite0 要求 {list(shape)}"
            raise refuse(self._tensors.path, en, zh, tensor=name)
        return found

    def block(self, name: str, value: str, width: int, block: _Stage) -> str:
        """Wider, each channel by itself, narrower; added to what came in where the shape stayed."""
        entered, inner = value, width * block.expand
        if block.expand != 1:
            value = self.convolution(value, f"{name}._expand_conv", f"{name}._bn0", (inner, width, 1))
        value = self.convolution(
            value, f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, block.kernel),
            stride=block.stride, groups=inner,
        )  # fmt: skip
        value = self.convolution(
            value, f"{name}._project_conv", f"{name}._bn2", (block.out, inner, 1), bounded=False
        )
        if block.stride == 1 and width == block.out:
            value = self.nodes.op("Add", value, entered, name=f"{name}.added")
        return value

    def convolution(
        self, value: str, name: str, norm: str, shape: tuple[int, int, int], *, stride: int = 1,
        groups: int = 1, bounded: bool = True,
    ) -> str:  # fmt: skip
        """A convolution with its normalisation folded in and, if `bounded`, ReLU6 behind it."""
        out, inner, kernel = shape
        weight = self.weight(f"{name}.weight", (out, inner, kernel, kernel))
        parts = ("weight", "bias", "running_mean", "running_var")
        gain, shift, mean, variance = (self.weight(f"{norm}.{p}", (out,)).astype(np.float64) for p in parts)
        factor = gain / np.sqrt(variance + _EPSILON)
        scaled = (weight * factor[:, None, None, None]).astype(np.float32)
        after = -(-self._side // stride)
        total = max(0, (after - 1) * stride + kernel - self._side)
        self._side = after
        before, behind = total // 2, total - total // 2
        inputs = [
            self.nodes.constant(f"{name}.weight", scaled),
            self.nodes.constant(f"{name}.bias", (shift - mean * factor).astype(np.float32)),
        ]
        made = self.nodes.op(
            "Conv", value, *inputs, name=name, group=groups, strides=[stride, stride],
            kernel_shape=[kernel, kernel], pads=[before, before, behind, behind],
        )  # fmt: skip
        if not bounded:
            return made
        return self.nodes.op(
            "Clip", made, self.nodes.scalar(0.0), self.nodes.scalar(6.0), name=f"{name}.relu6"
        )
