"""What a device's runtime will not take of a graph, seen in the file alone, before anything runs.

A `fail` means that the runtime refuses the graph or that its compiler does; a `warn` that something is slower
or smaller than hoped. Nothing here says how fast or how right a graph is.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from deployer.devices import DeviceProfile, profile
from deployer.optimizer.targets import graphs, mobile
from deployer.optimizer.targets.operators import TABLES

DYNAMIC = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"})
QOPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "QGemm"})
QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
NCHWC = "com.microsoft.nchwc"
STANDARD = "ai.onnx"
PROTOBUF_LIMIT = (2 << 30) - 1  # bytes of one file
FREE = frozenset({"Constant", "Identity", "Dropout"})  # gone before a graph runs


@dataclass(frozen=True)
class Finding:
    """One thing that a device does not take, or not well; `where` names operators, inputs or domains."""

    level: Literal["warn", "fail"]
    code: str
    where: str
    why_zh: str
    why_en: str
    next_zh: str
    next_en: str


@dataclass(frozen=True)
class Look:
    """A graph and a device that were opened once for all checks."""

    device: DeviceProfile
    path: Path
    model: onnx.ModelProto
    nodes: tuple[onnx.NodeProto, ...]
    counts: Counter[tuple[str, str]]
    """Operators by domain and name."""

    def names(self, of: frozenset[str]) -> list[str]:
        """Names of those operators, of whatever domain, that the graph has."""
        return sorted({name for _, name in self.counts} & of)


def check(device: str, graph: Path) -> list[Finding]:
    """All findings, failures first; raises UnknownDevice, and TargetRefused for a file that is no ONNX.

    For phones the graph is also loaded and written in their format, so it belongs into a worker then.
    """
    known = profile(device)
    model = graphs.load(device, graph)
    nodes = tuple(graphs.nodes(model))
    local = {(each.domain, each.name) for each in model.functions}
    counts = Counter((node.domain or STANDARD, node.op_type) for node in nodes)
    for key in local:
        counts.pop(key, None)
    look = Look(known, graph, model, nodes, counts)
    found = [finding for each in CHECKS for finding in each(look)]
    if device in mobile.PHONES and not any(each.level == "fail" for each in found):
        found += _phone(look)
    return sorted(found, key=lambda each: each.level != "fail")


def _versions(look: Look) -> Iterator[Finding]:
    """Opset and file version against those that the runtime knows."""
    form = look.device.form
    opset = max(
        (each.version for each in look.model.opset_import if each.domain in ("", STANDARD)), default=0
    )
    package = f"{look.device.package} {look.device.version}"
    if opset > form.max_opset:
        yield Finding(
            "fail",
            "opset",
            str(opset),
            f"模型是 opset {opset}，{package} 最高支持 {form.max_opset}",
            f"the graph has opset {opset}, {package} knows those up to {form.max_opset}",
            f"请把模型转换到 opset {form.max_opset} 或更低",
            f"Convert the graph to opset {form.max_opset} or lower.",
        )
    elif form.fast_opset and opset > form.fast_opset:
        yield Finding(
            "warn",
            "opset-beside",
            str(opset),
            f"模型是 opset {opset}，该设备的内核只到 {form.fast_opset}，更新的算子会回到处理器上运行",
            f"the device's kernels go up to opset {form.fast_opset}; newer operators run on the processor",
            f"请把模型转换到 opset {form.fast_opset} 或更低",
            f"Convert the graph to opset {form.fast_opset} or lower.",
        )
    if look.model.ir_version > form.max_ir:
        yield Finding(
            "fail",
            "ir-version",
            str(look.model.ir_version),
            f"文件的 IR 版本是 {look.model.ir_version}，{package} 最高支持 {form.max_ir}",
            f"the file has IR version {look.model.ir_version}, {package} reads those up to {form.max_ir}",
            f"请以 IR 版本 {form.max_ir} 或更低重新保存",
            f"Save it again with IR version {form.max_ir} or lower.",
        )


def _domains(look: Look) -> Iterator[Finding]:
    """Operators of other makers, and those that are bound to one machine."""
    for domain in sorted({domain for domain, _ in look.counts} - set(look.device.form.domains)):
        names = ", ".join(sorted(name for at, name in look.counts if at == domain))
        if domain == NCHWC:
            yield Finding(
                "fail",
                "not-portable",
                names,
                "模型里有 onnxruntime 为某一台机器生成的算子（nchwc），换了机器或版本就不能用",
                "the graph holds operators that onnxruntime made for one machine (nchwc)",
                "请从原始模型开始，图优化级别不高于 extended",
                "Start from the original graph, and optimise it to the level extended at most.",
            )
            continue
        yield Finding(
            "fail",
            "domain",
            f"{domain}: {names}",
            f"该设备不认识 {domain} 的算子：{names}",
            f"the device knows no operators of {domain}: {names}",
            "请换用不做算子融合的版本，或换用只含标准算子的模型",
            "Take a variant without fused operators, or a model of standard operators alone.",
        )


def _operators(look: Look) -> Iterator[Finding]:
    """Standard operators that are in no table of the device."""
    form = look.device.form
    if not form.operators:
        return
    missing = {
        name: count
        for (domain, name), count in look.counts.items()
        if domain == STANDARD and name not in TABLES[form.operators] and name not in FREE
    }
    if not missing:
        return
    names = ", ".join(f"{name} ×{count}" for name, count in sorted(missing.items()))
    total = sum(count for (_, name), count in look.counts.items() if name not in FREE)
    share = 100 * sum(missing.values()) / max(1, total)
    if form.fallback:
        yield Finding(
            "warn",
            "operators-beside",
            names,
            f"{share:.0f}% 的算子不在该设备上运行，会回到处理器，可能变慢：{names}",
            f"{share:.0f} % of the operators run on the processor beside the device: {names}",
            "请在该设备上实测；如果太慢，换用不含这些算子的模型",
            "Measure on the device; where it is too slow, take a model without these operators.",
        )
    else:
        yield Finding(
            "fail",
            "operators",
            names,
            f"该设备的算子表里没有：{names}",
            f"not in the device's table of operators: {names}",
            "请换用不含这些算子的模型，或把这一部分放到处理器上运行",
            "Take a model without these operators, or run that part on the processor.",
        )


def _quantized(look: Look) -> Iterator[Finding]:
    """Ways of quantising against the one that the device wants."""
    wanted = look.device.form.quantized
    others, qdq = look.names(DYNAMIC | QOPERATORS), look.names(QDQ)
    if wanted == "none" and (others or qdq):
        yield Finding(
            "fail",
            "already-quantized",
            ", ".join([*others, *qdq]),
            "该设备的编译器要自己量化，需要浮点模型，而这个模型已经量化过",
            "the device's compiler quantises by itself and needs a float graph; this is a quantised one",
            "请提供浮点模型",
            "Give it the float model.",
        )
    elif wanted in ("qdq", "only-qdq") and others:
        yield Finding(
            "fail" if wanted == "only-qdq" else "warn",
            "not-qdq",
            ", ".join(others),
            f"该设备只加速 QDQ 形式的量化，这个模型用的是 {', '.join(others)}",
            f"the device takes int8 as QDQ only; this graph uses {', '.join(others)}",
            "请选静态 QDQ 量化的版本",
            "Take a variant with static QDQ quantisation.",
        )
    elif wanted == "only-qdq" and not qdq:
        yield Finding(
            "fail",
            "needs-qdq",
            "",
            "该设备只运行量化过的模型（QDQ），而这是浮点模型",
            "the device runs quantised graphs (QDQ) only, and this is a float graph",
            "请先用自己的数据做静态 QDQ 量化",
            "Quantise it statically to QDQ with your own data first.",
        )
    if look.device.form.symmetric and qdq:
        yield from _symmetric(look)


def _symmetric(look: Look) -> Iterator[Finding]:
    known = {tensor.name: tensor for tensor in graphs.weights(look.model)}
    zeros = {node.input[2] for node in look.nodes if node.op_type in QDQ and len(node.input) > 2}
    shifted = [
        name
        for name in sorted(zeros & set(known))
        if known[name].data_location != TensorProto.EXTERNAL and np.any(numpy_helper.to_array(known[name]))
    ]
    if shifted:
        yield Finding(
            "fail",
            "zero-points",
            ", ".join(shifted[:5]),
            f"该设备要求对称量化（零点为 0），这个模型有 {len(shifted)} 个非零零点",
            f"the device wants zero points of 0, and {len(shifted)} of this graph are not",
            "请用对称的 int8 激活和权重重新量化",
            "Quantise again with symmetric int8 activations and weights.",
        )


def _saturation(look: Look) -> Iterator[Finding]:
    """Full-range int8 weights where a processor cuts sums of products to int16."""
    if not look.device.form.saturates:
        return
    used = {node.input[1] for node in look.nodes if node.op_type in DYNAMIC and len(node.input) > 1}
    used |= {node.input[3] for node in look.nodes if node.op_type in QOPERATORS and len(node.input) > 3}
    used |= {node.input[0] for node in look.nodes if node.op_type == "DequantizeLinear"}
    wide = [
        tensor.name
        for tensor in graphs.weights(look.model)
        if tensor.name in used
        and tensor.data_type == TensorProto.INT8
        and tensor.data_location != TensorProto.EXTERNAL
        and len(tensor.dims) > 1
        and _needs_eight_bits(tensor)
    ]
    if wide:
        yield Finding(
            "warn",
            "saturation",
            ", ".join(wide[:5]),
            f"没有 VNNI 的处理器会在 int8 乘加中溢出截断，{len(wide)} 个权重用满了 8 位，答案可能变差",
            f"processors without VNNI cut sums of int8 products, and {len(wide)} weights use all 8 bits",
            "请选缩小量程（reduced range）的量化版本，并在仿真中核对答案",
            "Take a variant quantised with reduced range, and compare answers in emulation.",
        )


def _needs_eight_bits(tensor: TensorProto) -> bool:
    values = numpy_helper.to_array(tensor)
    return bool(values.size) and (int(values.max()) > 64 or int(values.min()) < -64)


def _types(look: Look) -> Iterator[Finding]:
    """Element types that the device does not calculate in."""
    form = look.device.form
    kinds = {_kind(each) for each in graphs.inputs(look.model)}
    weights = {tensor.data_type for tensor in graphs.weights(look.model)}
    if form.float16 == "widened" and TensorProto.FLOAT16 in kinds | weights:
        yield Finding(
            "warn",
            "float16",
            "float16",
            "该设备按 float32 计算，float16 只减小文件，不会更快",
            "the device calculates in float32: float16 makes the file smaller, not faster",
            "想要更快，请选 int8 的版本",
            "For speed take an int8 variant.",
        )
    if form.int64 != "runs" and TensorProto.INT64 in kinds:
        names = ", ".join(
            each.name
            for each in graphs.inputs(look.model)
            if each.type.tensor_type.elem_type == TensorProto.INT64
        )
        narrowed = form.int64 == "narrowed"
        yield Finding(
            "warn",
            "int64",
            names,
            f"输入 {names} 是 int64，" + ("该设备按 int32 处理" if narrowed else "相关算子会在处理器上运行"),
            f"the inputs {names} are int64, "
            + ("which the device handles as int32" if narrowed else "whose operators run on the processor"),
            "请确认数值不超过 int32 的范围" if narrowed else "请在该设备上实测",
            "Make sure that values fit into int32." if narrowed else "Measure on the device.",
        )


def _kind(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _shapes(look: Look) -> Iterator[Finding]:
    """Inputs whose size is free, where compilers want it fixed."""
    wanted = look.device.form.static_shapes
    free = [each.name for each in graphs.inputs(look.model) if not _is_fixed(each)]
    if wanted == "no" or not free:
        return
    names = ", ".join(free)
    needed = wanted == "needed"
    yield Finding(
        "fail" if needed else "warn",
        "dynamic-shape",
        names,
        f"输入 {names} 的形状不固定，" + ("该设备只能编译固定形状" if needed else "形状固定时该设备更快"),
        f"the inputs {names} have free sizes, "
        + (
            "and the device compiles fixed ones only"
            if needed
            else "and the device is faster with fixed ones"
        ),
        "请用 onnxruntime.tools.make_dynamic_shape_fixed 固定形状，每种尺寸一个模型",
        "Fix them with onnxruntime.tools.make_dynamic_shape_fixed, one model for each size.",
    )


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and all(dim.dim_value > 0 for dim in kind.shape.dim)


def _size(look: Look) -> Iterator[Finding]:
    """Graphs that are larger than what the device, or a single file, can be."""
    whole, most = graphs.size(look.path, look.model), look.device.form.max_bytes
    if look.path.stat().st_size > PROTOBUF_LIMIT:
        most = PROTOBUF_LIMIT if not most else min(most, PROTOBUF_LIMIT)
    if most and whole > most:
        yield Finding(
            "fail",
            "too-large",
            f"{whole} bytes",
            f"模型有 {whole / 1e9:.1f} GB，这里最多 {most / 1e9:.1f} GB",
            f"the graph has {whole / 1e9:.1f} GB, and at most {most / 1e9:.1f} GB can be taken here",
            "请选更小的版本（int8、int4），或换更小的模型",
            "Take a smaller variant (int8, int4) or a smaller model.",
        )


def _phone(look: Look) -> Iterator[Finding]:
    """Whether the phones' file format can hold the graph, and how much of it an accelerator would take."""
    device = look.device.id
    if why := mobile.cannot_convert(look.path):
        yield Finding(
            "fail",
            "ort-format",
            look.path.name,
            f"不能转换成手机用的 .ort 格式：{why}",
            f"it cannot be written in the phones' .ort format: {why}",
            "请换用更简单的版本，例如原始模型",
            "Take a simpler variant, such as the original model.",
        )
        return
    accelerator, suits = mobile.suitability(device, look.path)
    if suits != "yes":
        yield Finding(
            "warn",
            "accelerator",
            accelerator,
            f"onnxruntime 的手机评估认为 {accelerator} "
            + ("固定输入形状后可能合适" if suits == "maybe" else "不会更快，请用手机处理器运行"),
            f"onnxruntime's mobile usability checker says of {accelerator}: "
            + (
                "it may help once shapes are fixed"
                if suits == "maybe"
                else "no gain over the phone's processor"
            ),
            "请在手机上比较处理器与加速器",
            "Compare processor and accelerator on the phone.",
        )


CHECKS = (_versions, _domains, _operators, _quantized, _saturation, _types, _shapes, _size)
