"""Recipes that write numbers down in half precision."""

import numpy as np
from onnx import ModelProto, TensorProto

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.protocol import Calibration, Refused

SENSITIVE = (
    "LayerNormalization", "SkipLayerNormalization", "InstanceNormalization", "GroupNormalization",
    "BatchNormalization", "Softmax", "LogSoftmax", "ReduceMean", "ReduceSum", "ReduceL2", "Pow", "Sqrt",
    "Reciprocal", "Exp", "Log", "Div", "Erf",
)  # fmt: skip
"""Operators whose sums or quotients leave the range of half precision first."""

RECURRENT = ("LSTM", "GRU", "RNN")
"""ONNX Runtime has no fp16 kernels for them, and ends the whole process when it loads such a graph."""


def half(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Everything in fp16 but inputs, outputs, and operators that have no fp16 form."""
    return _converted(model, calibration, ())


def mixed(model: ModelProto, calibration: Calibration) -> ModelProto:
    """fp16 for products and convolutions, fp32 for normalisation and quotients."""
    return _converted(model, calibration, SENSITIVE)


def has_floats(model: ModelProto) -> Refused | None:
    """Refuse a graph without weights in fp32."""
    if any(t.data_type == TensorProto.FLOAT and graphs.elements(t) > 1 for t in model.graph.initializer):
        return None
    if any(node.op_type == "Constant" for node in model.graph.node):
        return None
    return Refused("no-float-weights", "the graph has no weights in fp32", "此图没有 fp32 权重")


def _converted(model: ModelProto, calibration: Calibration, blocked: tuple[str, ...]) -> ModelProto:
    from onnxruntime.transformers import float16

    _refuse_overflow(model)
    half_model: ModelProto = float16.convert_float_to_float16(
        model,
        keep_io_types=True,
        disable_shape_infer=True,  # done already, without handing the weights around
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *RECURRENT, *blocked],
        node_block_list=list(calibration.keep),
    )
    return half_model


def _refuse_overflow(model: ModelProto) -> None:
    """Weights beyond 65504 would be cut off silently."""
    limit = float(np.finfo(np.float16).max)
    for node in graphs.weighted(model):
        weight = graphs.weight_of(node, graphs.initializers(model.graph))
        if weight is None or weight.data_type != TensorProto.FLOAT:
            continue
        largest = float(np.abs(graphs.values(weight)).max(initial=0))
        if largest > limit:
            raise Refused(
                "fp16-range",
                f"the weight {weight.name!r} reaches {largest:.3g}, fp16 ends at {limit:.0f}",
                f"权重 {weight.name!r} 达到 {largest:.3g}，超出 fp16 的范围 {limit:.0f}",
            )
