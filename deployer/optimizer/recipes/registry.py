"""All recipes by name."""

from typing import Any

from deployer.optimizer.recipes import (
    blocks,
    cleaning,
    dynamic,
    graphs,
    precision,
    rewriting,
    static,
    storage,
)
from deployer.optimizer.recipes.protocol import Recipe

OPSET = 17
"""What graphs are converted to first: it has HardSwish (14) and LayerNormalization (17)."""
AXES = 13
"""The opset from which DequantizeLinear has an axis: scales per channel in older files do not load."""
DYNAMIC = 11
"""The opset that has DynamicQuantizeLinear."""

_CLEANING = [
    Recipe("slim", "图清理（onnxslim）", "clean graph (onnxslim)", "fp32", cleaning.slim, lossless=True),
    Recipe("ort-basic", "ORT 基础图优化", "ORT basic optimisations", "fp32", cleaning.basic, lossless=True),
    Recipe(
        "ort-extended", "ORT 扩展图优化", "ORT extended optimisations", "fp32",
        cleaning.extended, lossless=True,
    ),
    Recipe(
        "fuse-operators", "算子融合", "fused operators", "fp32", rewriting.fuse,
        lossless=True, opset=OPSET, folds=True,
    ),
    Recipe(
        "ort-all", "ORT 全部图优化（仅限本机）", "all ORT optimisations (this host only)", "fp32",
        cleaning.everything, lossless=True, portable=False,
    ),
    Recipe(
        "host-prepacked", "预打包权重（仅限本机）", "prepacked weights (this host only)", "fp32",
        cleaning.as_it_is, lossless=True, portable=False, saves=cleaning.save_prepacked,
    ),
    Recipe(
        "fuse-transformer", "Transformer 融合", "transformer fusions", "fp32",
        cleaning.transformer, lossless=True, look=cleaning.is_transformer,
    ),
]  # fmt: skip

_PRECISION = [
    Recipe(
        "fp16", "fp16 半精度", "fp16", "fp16", precision.half,
        opset=OPSET, folds=True, fuses=True, shrinks=True, look=precision.has_floats,
    ),
    Recipe(
        "fp16-mixed", "fp16 混合精度", "mixed fp16 and fp32", "mixed", precision.mixed,
        opset=OPSET, folds=True, fuses=True, shrinks=True, look=precision.has_floats,
    ),
    Recipe(
        "weights-fp16", "权重以 fp16 存储", "weights stored in fp16", "fp16", storage.fp16,
        opset=OPSET, folds=True, fuses=True, shrinks=True, look=storage.has_weights,
    ),
    Recipe(
        "weights-int8", "权重以 int8 存储", "weights stored in int8", "int8", storage.int8,
        opset=OPSET, folds=True, fuses=True, shrinks=True, look=storage.has_weights,
        touches=tuple(graphs.WEIGHTED),
    ),
]  # fmt: skip


def _dynamic(name: str, title_zh: str, title_en: str, **settings: Any) -> Recipe:
    return Recipe(
        f"dynamic-int8{name}",
        f"动态 int8{title_zh}",
        f"dynamic int8{title_en}",
        "int8",
        dynamic.recipe(**settings),
        opset=OPSET,
        least=DYNAMIC,
        folds=True,
        fuses=True,
        shrinks=True,
        activations="dynamic",
        touches=settings.get("operators", dynamic.OPERATORS),
        look=dynamic.has_weights_in(*settings.get("operators", dynamic.OPERATORS)),
    )


_DYNAMIC = [
    _dynamic("", "（逐张量）", ", per tensor"),
    _dynamic("-per-channel", "（逐通道）", ", per channel", per_channel=True),
    _dynamic(
        "-reduced", "（逐通道，7 位）", ", per channel, 7 bits", per_channel=True, reduce_range=True
    ),
    _dynamic(
        "-matmul", "（仅矩阵乘法）", ", matrix products only", per_channel=True, operators=dynamic.PRODUCTS
    ),
    _dynamic(
        "-embeddings", "（含词嵌入）", " with embeddings",
        per_channel=True, reduce_range=True, embeddings=True,
    ),
]  # fmt: skip


def _static(name: str, title_zh: str, title_en: str, **settings: Any) -> Recipe:
    return Recipe(
        f"static-int8-{name}",
        f"静态 int8（{title_zh}）",
        f"static int8, {title_en}",
        "int8",
        static.recipe(**settings),
        calibrates=True,
        opset=OPSET,
        least=AXES,
        folds=True,
        fuses=True,
        shrinks=True,
        activations=settings.get("method", "minmax"),
        touches=static.WEIGHTED,
        look=static.has_weights,
    )


def _flow(name: str, title_zh: str, title_en: str, method: str) -> Recipe:
    return _static(
        f"flow{name}",
        f"整数直通，{title_zh}",
        f"integers throughout, {title_en}",
        method=method,
        operators=static.FLOWING,
        throughout=True,
    )


_STATIC = [
    _static("minmax", "最小最大值", "least to largest"),
    _static("percentile", "百分位", "percentile", method="percentile"),
    _static("entropy", "熵", "entropy", method="entropy"),
    _static("least-error", "最小误差", "least error", method="least-error"),
    _flow("", "百分位", "percentile", "percentile"),
    _flow("-minmax", "最小最大值", "least to largest", "minmax"),
    _flow("-least-error", "最小误差", "least error", "least-error"),
    _static("per-tensor", "逐张量", "per tensor", per_channel=False),
    _static("all", "全部算子", "all operators", operators=()),
]


def _blocks(bits: int, block: int) -> Recipe:
    return Recipe(
        f"int{bits}-blocks-{block}",
        f"int{bits} 权重分块（{block}）",
        f"int{bits} weights in blocks of {block}",
        f"int{bits}",
        blocks.recipe(bits=bits, block=block),
        opset=OPSET,
        folds=True,
        fuses=True,
        shrinks=True,
        touches=("MatMul",),
        look=dynamic.has_weights_in("MatMul"),
    )


_BLOCKS = [_blocks(bits, block) for bits in (4, 8) for block in (32, 128)]

RECIPES: dict[str, Recipe] = {
    recipe.id: recipe for recipe in (*_CLEANING, *_PRECISION, *_DYNAMIC, *_STATIC, *_BLOCKS)
}
