"""Which recipes are worth trying on a graph: a prior from what it is made of, before anything is measured.

The orders are those in which the recipes did best on a shelf of real models (CPU time on AVX512-VNNI, answers
held against labels). Which one is best for a graph is for a measurement to say.
"""

from onnx import ModelProto

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.registry import RECIPES

# Fused activations first: they cost nothing in accuracy, and made nets of separate parts up to twice as fast.
CONVOLUTIONS = [
    "fuse-operators", "static-int8-flow", "static-int8-minmax", "static-int8-percentile", "weights-int8",
    "static-int8-entropy", "static-int8-flow-least-error", "static-int8-least-error", "weights-fp16",
    "static-int8-flow-minmax", "dynamic-int8-embeddings", "static-int8-all", "static-int8-per-tensor",
]  # fmt: skip
PRODUCTS = [
    "dynamic-int8-embeddings", "dynamic-int8-reduced", "dynamic-int8-per-channel", "weights-int8",
    "int8-blocks-32", "fuse-operators", "weights-fp16", "dynamic-int8", "dynamic-int8-matmul",
    "int8-blocks-128", "static-int8-least-error", "static-int8-minmax", "int4-blocks-32", "int4-blocks-128",
    "fuse-transformer",
]  # fmt: skip
TABLES = ["weights-int8", "weights-fp16", "dynamic-int8-embeddings", "dynamic-int8", "fuse-operators"]
TAIL = ["slim", "ort-extended", "ort-basic", "fp16-mixed", "fp16", "host-prepacked", "ort-all"]
QUANTIZED = ["fuse-operators", "slim", "ort-extended", "ort-basic", "host-prepacked", "ort-all"]


def plan(model: ModelProto) -> list[str]:
    """Ids of the recipes that may do something for this graph, the likeliest first; weights are not read."""
    if graphs.quantized(model):
        return QUANTIZED
    amounts = _amounts(model)
    convolutions = amounts.get("Conv", 0) + amounts.get("ConvTranspose", 0)
    products = sum(amounts.get(operator, 0) for operator in ("MatMul", "Gemm", "LSTM", "Attention"))
    tables = sum(amounts.get(operator, 0) for operator in ("Gather", "GRU", "RNN"))
    if convolutions >= products and convolutions:
        ids = CONVOLUTIONS
    elif products * 20 >= tables:
        ids = PRODUCTS
    else:
        ids = TABLES
    return [one for one in [*ids, *TAIL] if RECIPES[one].refusal(model) is None]


def _amounts(model: ModelProto) -> dict[str, int]:
    """How many numbers the weights of each operator hold, seen through nodes that only pass them on."""
    known = {tensor.name: graphs.elements(tensor) for tensor in model.graph.initializer}
    amounts: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type == "Constant":
            known[node.output[0]] = sum(graphs.elements(a.t) for a in node.attribute if a.name == "value")
        elif node.op_type in ("Identity", "Cast", "Transpose") and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]]
        elif node.op_type in graphs.WEIGHTED:
            held = sum(known.get(name, 0) for name in node.input)
            amounts[node.op_type] = amounts.get(node.op_type, 0) + held
    return amounts
