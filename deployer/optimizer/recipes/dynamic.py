"""Dynamic int8: weights in int8, activations quantised while the graph runs. Needs no data.

Convolutions are left out: ConvInteger has no fast kernel, and made every convolution net three times slower.
"""

from onnx import ModelProto, TensorProto

from deployer.optimizer.recipes import graphs, storage
from deployer.optimizer.recipes.protocol import Calibration, Function, Look, Refused

PRODUCTS = ("MatMul", "Gemm")
OPERATORS = (*PRODUCTS, "LSTM", "Attention", "EmbedLayerNormalization")


def recipe(
    *,
    operators: tuple[str, ...] = OPERATORS,
    per_channel: bool = False,
    reduce_range: bool = False,
    embeddings: bool = False,
) -> Function:
    """Dynamic quantisation of some operators; `reduce_range` leaves a bit of the weights unused.

    `embeddings`: tables that are read by row are stored in int8 too, each row with a scale of its own.
    """

    def quantize(model: ModelProto, calibration: Calibration) -> ModelProto:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
        from onnxruntime.quantization.quant_utils import QuantizationMode, add_infer_metadata

        add_infer_metadata(model)
        quantizer = ONNXQuantizer(
            model,
            per_channel,
            reduce_range,
            QuantizationMode.IntegerOps,
            False,  # not static
            QuantType.QInt8,
            QuantType.QUInt8,
            None,
            [],
            # The quantiser turns Gemm into MatMul and Add first, under another name.
            [*calibration.keep, *(f"{name}_MatMul" for name in calibration.keep)],
            list(operators),
            # A fused graph has values whose type inference does not know.
            {"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
        )
        quantizer.quantize_model()
        result: ModelProto = quantizer.model.model
        return storage.shrink_tables(result, calibration) if embeddings else result

    return quantize


def has_weights_in(*operators: str) -> Look:
    """Refuse graphs in which none of the operators has weights of its own."""

    def look(model: ModelProto) -> Refused | None:
        if graphs.weighted(model, *operators) or _maybe_weighted(model, operators):
            return None
        names = ", ".join(operators)
        inner = graphs.hidden(model)
        tail = (
            f"; {inner} weighted nodes lie in If or Loop, where the quantiser does not look" if inner else ""
        )
        tail_zh = f"；有 {inner} 个带权重的节点在 If 或 Loop 内，量化器不处理" if inner else ""
        return Refused(
            "no-effect",
            f"the graph has no {names} with weights{tail}",
            f"此图没有带权重的 {names}{tail_zh}",
        )

    return look


def _maybe_weighted(model: ModelProto, operators: tuple[str, ...]) -> bool:
    """Whether a weight may turn up once constants are folded: by Cast, Transpose, Constant."""
    made = {
        n.output[0] for n in model.graph.node if n.op_type in ("Constant", "Cast", "Transpose", "Identity")
    }
    return any(
        node.op_type in operators and any(name in made for name in node.input[1:])
        for node in model.graph.node
    )
