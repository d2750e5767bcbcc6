"""Weight-only blocks: MatMul weights in 4 or 8 bits, a scale for every 32 or 128 of them (MatMulNBits)."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.protocol import Calibration, Function, Refused

ACCURACY = 4  # the products are computed in int8
DOMAIN = "com.microsoft"


def recipe(*, bits: int, block: int) -> Function:
    """MatMul by a constant as MatMulNBits, symmetric, packed by ONNX Runtime's own routine."""

    def pack(model: ModelProto, calibration: Calibration) -> ModelProto:
        constants = graphs.initializers(model.graph)
        nodes: list[NodeProto] = []
        new: dict[str, list[TensorProto]] = {}
        for node in model.graph.node:
            weight = _weight(node, constants)
            if weight is None or node.name in calibration.keep:
                nodes.append(node)
                continue
            if weight.name not in new:
                new[weight.name] = _packed(weight, bits, block)
            nodes.append(_node(node, weight, bits, block))
        if not new:
            raise Refused("no-effect", "the graph has no MatMul with weights", "此图没有带权重的 MatMul")
        extra = [tensor for parts in new.values() for tensor in parts]
        result = graphs.rewrite(model, nodes, [*model.graph.initializer, *extra])
        graphs.add_opset(result, DOMAIN, 1)
        return result

    return pack


def _weight(node: NodeProto, constants: dict[str, TensorProto]) -> TensorProto | None:
    if node.op_type != "MatMul" or len(node.input) != 2:
        return None
    weight = constants.get(node.input[1])
    right = weight is not None and weight.data_type == TensorProto.FLOAT and len(weight.dims) == 2
    return weight if right else None


def _packed(weight: TensorProto, bits: int, block: int) -> list[TensorProto]:
    from onnxruntime.capi import _pybind_state as arithmetic

    array = np.ascontiguousarray(graphs.values(weight), np.float32)
    rows, columns = array.shape
    count = -(-rows // block)
    packed = np.zeros((columns, count, block * bits // 8), np.uint8)
    scales = np.zeros(columns * count, np.float32)
    zeros = np.zeros(columns * ((count * bits + 7) // 8), np.uint8)
    quantize = arithmetic.quantize_matmul_4bits if bits == 4 else arithmetic.quantize_matmul_8bits
    quantize(packed, array, scales, zeros, block, columns, rows, True)
    return [
        graphs.make_tensor(packed, f"{weight.name}|blocks{bits}"),
        graphs.make_tensor(scales, f"{weight.name}|scales{bits}"),
    ]


def _node(node: NodeProto, weight: TensorProto, bits: int, block: int) -> NodeProto:
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], f"{weight.name}|blocks{bits}", f"{weight.name}|scales{bits}"],
        [node.output[0]],
        node.name,
        domain=DOMAIN,
        K=weight.dims[0],
        N=weight.dims[1],
        bits=bits,
        block_size=block,
        accuracy_level=ACCURACY,
    )
