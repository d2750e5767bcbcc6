"""What a look at a graph finds to say about it, in the words for people, without refusing it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import defs

from deployer.optimizer.architecture.graphs import GraphFile, subgraphs

_OLD = 13  # opsets below are converted before anything is quantised per channel
_TOLD = 5  # names in one sentence


@dataclass(frozen=True)
class Finding:
    """Something to know: level warn, or fail where the graph will not run; with a next step."""

    level: str
    code: str
    where: str
    why_zh: str
    why_en: str
    next_zh: str = ""
    next_en: str = ""


@cache
def runtime_operators() -> frozenset[tuple[str, str]]:
    """Domain and name of every operator that this ONNX Runtime runs on the processor."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = {(one.domain, one.op_name) for one in state.get_all_opkernel_def() if "CPU" in one.provider}
    # Those without a kernel are written out as others, as onnx defines them.
    written_out = {
        (one.domain, one.name)
        for one in defs.get_all_schemas_with_history()
        if one.has_function  # type: ignore[attr-defined]
    }
    named = {(one.domain, one.name) for one in state.get_all_operator_schema()}
    return frozenset(kernels | (written_out & named) | {("", "Constant")})  # which becomes a weight


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                yield from every_node(inner)


def look(read: GraphFile, unknown_shapes: int) -> tuple[Finding, ...]:
    """All that is to be said of a graph: operators, versions, weights, shapes."""
    found = [*_operators(read.model), *_versions(read.model), *_weights(read)]
    if unknown_shapes:
        found.append(
            Finding(
                "warn",
                "shapes-unknown",
                "",
                f"{unknown_shapes} 个张量的大小取决于内容，运行前算不出；计算量和激活内存只是下限",
                f"the sizes of {unknown_shapes} tensors depend on what is computed; "
                "arithmetic and activations are lower bounds",
            )
        )
    return tuple(found)


def _operators(model: onnx.ModelProto) -> Iterator[Finding]:
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [*every_node(model.graph), *(node for function in model.functions for node in function.node)]
    known = runtime_operators()
    for domain, op in sorted({("" if n.domain == "ai.onnx" else n.domain, n.op_type) for n in nodes} - own):
        name = f"{domain}::{op}" if domain else op
        runs = (domain, op) in known
        if runs and (defs.has(op, domain) or not domain):
            continue
        if runs:
            yield Finding(
                "warn",
                "runtime-operator",
                name,
                f"{name} 是 ONNX Runtime 自有算子，其他运行环境不认识",
                f"{name} is ONNX Runtime's own; other runtimes do not know it",
                "要在浏览器或其他加速器上运行，请用未融合的原始模型",
                "for other accelerators take the graph as it was before fusing",
            )
        elif defs.has(op, domain):
            yield Finding(
                "fail",
                "no-kernel",
                name,
                f"ONNX 定义了 {name}，但 ONNX Runtime 在处理器上没有实现它",
                f"onnx defines {name}, but ONNX Runtime cannot run it on the processor",
                "换一种写法重新导出模型",
                "export the model again without it",
            )
        else:
            yield Finding(
                "fail",
                "unknown-operator",
                name,
                f"ONNX 和 ONNX Runtime 都不认识算子 {name}",
                f"neither onnx nor ONNX Runtime knows the operator {name}",
                "它来自自定义扩展；请用标准算子重新导出模型",
                "it is of an extension; export the model again with standard operators",
            )


def _versions(model: onnx.ModelProto) -> Iterator[Finding]:
    version = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), 0)
    newest = defs.onnx_opset_version()
    if version > newest:
        yield Finding(
            "fail",
            "opset-too-new",
            str(version),
            f"模型用 opset {version}，这里最多支持 {newest}",
            f"the graph is in opset {version}; this version knows up to {newest}",
            f"用 opset {newest} 或更低重新导出",
            f"export it again with opset {newest} or lower",
        )
    elif 0 < version < _OLD:
        yield Finding(
            "warn",
            "opset-old",
            str(version),
            f"opset {version} 较旧，按通道量化前要先升级",
            f"opset {version} is old; it is converted before anything is quantised per channel",
        )
    if model.ir_version > onnx.IR_VERSION:
        yield Finding(
            "fail",
            "ir-too-new",
            str(model.ir_version),
            f"文件格式版本 {model.ir_version} 太新，这里最多支持 {onnx.IR_VERSION}",
            f"the file's format is version {model.ir_version}; this version knows up to {onnx.IR_VERSION}",
            "更新本软件，或用较旧的导出工具重新导出",
            "update this software, or export the model again with older tools",
        )


def _weights(read: GraphFile) -> Iterator[Finding]:
    if read.nans:
        names = _names(read.nans)
        yield Finding(
            "fail",
            "weights-nan",
            names,
            f"{len(read.nans)} 个权重里有 NaN：{names}",
            f"{len(read.nans)} weights hold NaN: {names}",
            "文件可能已损坏，或训练时发散了；请重新导出",
            "the file may be damaged, or the training diverged; export the model again",
        )
    if not read.searched:
        yield Finding(
            "warn",
            "weights-unsearched",
            "",
            "权重太大，没有逐个检查 NaN",
            "the weights are too large to be searched for NaN",
        )
    absent = [weight.name for weight in read.weights if not weight.present]
    if absent:
        names = _names(absent)
        yield Finding(
            "fail",
            "weight-without-data",
            names,
            f"{len(absent)} 个权重只有形状没有数值：{names}",
            f"{len(absent)} weights have a shape and no values: {names}",
            "文件不完整，请重新下载或导出",
            "the file is not complete; fetch or export it again",
        )


def _names(names: Iterable[str]) -> str:
    told = [name[:60] for name in names]
    return ", ".join(told[:_TOLD]) + (" …" if len(told) > _TOLD else "")
