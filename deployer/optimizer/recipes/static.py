"""Static int8: weights and activations in int8, with ranges from real inputs (QDQ form).

Activations are uint8 and asymmetric, weights int8 and symmetric: the pair for which ONNX Runtime has fast
kernels on x86 and on arm64.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from deployer.optimizer.recipes import activations, graphs
from deployer.optimizer.recipes import calibration as calibrations
from deployer.optimizer.recipes.cleaning import scratch
from deployer.optimizer.recipes.protocol import Calibration, Function, Refused

WEIGHTED = ("Conv", "MatMul", "Gemm")
"""ConvTranspose has no int8 kernel: it would turn its weight back into floats in every run."""
FLOWING = (*WEIGHTED, "Relu", "Clip", "Add", "Concat", "GlobalAveragePool")
"""With these, activations stay in int8 from one convolution to the next."""

NARROW = 32  # products in one sum, up to which a convolution is not worth its integers
WIDER = 1.01
DEPTHWISE = 32  # channels of one that keeps them apart, likewise


def recipe(
    *,
    method: str = "minmax",
    operators: tuple[str, ...] = WEIGHTED,
    per_channel: bool = True,
    throughout: bool = False,
) -> Function:
    """Static quantisation of some operators; empty `operators` means all that can be.

    `throughout`: convolutions of few channels stay in float, and HardSwish is computed on the integers too.
    """

    def quantize(model: ModelProto, calibration: Calibration) -> ModelProto:
        model = activations.whole(model)
        thin = [node.name for node in model.graph.node if throughout and narrow(model, node)]
        chosen = choose(model, operators, (*calibration.keep, *thin))
        if not any(node.op_type in WEIGHTED for node in chosen):
            raise Refused("no-effect", "no node is left to quantise", "没有可量化的节点")
        names = values_of(model, chosen)
        seen = calibrations.observe(model, names, calibration.feeds, scratch(calibration))
        # A value that was NaN or infinite has no range; whoever touches it stays in float.
        blind = set(names) - seen.keys()
        chosen = [node for node in chosen if blind.isdisjoint([*node.input, *node.output])]
        ranges = {name: calibrations.METHODS[method](values) for name, values in seen.items()}
        ranges = activations.narrowed(model, ranges)
        if throughout:
            ranges = pooled_in_floats(model, ranges)
        result = quantized(model, chosen, ranges, per_channel=per_channel)
        return activations.in_integers(result) if throughout else result

    return quantize


def choose(model: ModelProto, operators: tuple[str, ...], keep: tuple[str, ...]) -> list[NodeProto]:
    """The nodes to quantise: of the operators wanted, standard ones only, and not among `keep`."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    wanted = set(operators or {*QDQRegistry, *QLinearOpsRegistry})
    kept = set(keep)
    return [
        node
        for node in model.graph.node
        if node.op_type in wanted and node.domain in ("", "ai.onnx") and node.name not in kept
    ]


def pooled_in_floats(
    model: ModelProto, ranges: dict[str, calibrations.Range]
) -> dict[str, calibrations.Range]:
    """The ranges, those that MaxPool gives a little wider than those it takes.

    With equal ones ONNX Runtime pools bytes, and is slow at it unless the layout around is changed too: that
    cost a text recogniser a sixth of its speed.
    """
    result = dict(ranges)
    for node in model.graph.node:
        if node.op_type == "MaxPool" and node.output[0] in ranges:
            low, high = ranges[node.output[0]]
            result[node.output[0]] = (low * WIDER, high * WIDER)
    return result


def narrow(model: ModelProto, node: NodeProto) -> bool:
    """Whether a convolution has too few channels to gain: it is bound by memory, not by products."""
    weight = graphs.initializers(model.graph).get(node.input[1]) if node.op_type == "Conv" else None
    if weight is None:
        return False
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return bool(weight.dims[0] <= DEPTHWISE if group > 1 else np.prod(weight.dims[1:]) <= NARROW)


def values_of(model: ModelProto, nodes: list[NodeProto]) -> list[str]:
    """The fp32 values that go in and out of the nodes, constants left out."""
    known = graphs.types(model)
    constants = graphs.initializers(model.graph)
    names = {
        name: None
        for node in nodes
        for name in (*node.input, *node.output)
        if name and name not in constants and known.get(name) == TensorProto.FLOAT
    }
    return list(names)


def quantized(
    model: ModelProto,
    nodes: list[NodeProto],
    ranges: dict[str, calibrations.Range],
    *,
    per_channel: bool,
) -> ModelProto:
    """The model with Q and DQ around the nodes; the model given is changed."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    bounds = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    add_infer_metadata(model)
    quantizer = QDQQuantizer(
        model,
        per_channel,
        False,  # all eight bits of a weight
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, bounds),
        [node.name for node in nodes],
        [],
        sorted({node.op_type for node in nodes}),
        {"DefaultTensorType": TensorProto.FLOAT},
    )
    result: ModelProto = quantizer.quantize_model()
    return result


def has_weights(model: ModelProto) -> Refused | None:
    """Refuse graphs without a convolution or product that has weights."""
    kinds = graphs.kinds(model)
    if any(kinds[operator] for operator in WEIGHTED):
        return None
    inner = graphs.hidden(model)
    tail = f"; {inner} such nodes lie in If or Loop, where the quantiser does not look" if inner else ""
    tail_zh = f"；有 {inner} 个此类节点在 If 或 Loop 内，量化器不处理" if inner else ""
    return Refused(
        "no-effect",
        f"the graph has no convolution or matrix product to quantise{tail}",
        f"此图没有可量化的卷积或矩阵乘法{tail_zh}",
    )
