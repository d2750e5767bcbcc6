"""What models can be made to run on. The ids are fixed: scripts and deployments name them.

The facts are those of the execution providers' documentation and of the packages named. `max_opset` and
`max_ir` were found by loading graphs of each version into the runtime that a package is built on:

| onnxruntime | opset | IR |
|---|---|---|
| 1.24 (arm64, OpenVINO, DirectML, CANN, phones) | 25 | 13 |
| 1.26 to 1.31 (CUDA, TensorRT, MIGraphX, QNN, browser) | 26 | 13 |
| 1.32 (processors) | 28 | 14 |

TensorRT's opset, int64 and zero points: docs/operators.md of onnx-tensorrt for 10.15. DirectML's newest
kernels: docs/OperatorKernels.md of onnxruntime. Quantised graphs and fixed shapes: QNN-ExecutionProvider.md.
RKNN: RKNNToolKit2_OP_Support-v2.1.0.md, and what rknn-toolkit2 2.5.0 said when it ran.
"""

import functools
import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deployer.errors import DeviceNotServed, UnknownDevice

Grade = Literal["measured", "emulated", "checked"]
"""Ran here on the device itself; its answers were seen here in emulation; only the file was looked at."""

GRADES: dict[Grade, tuple[str, str]] = {
    "measured": ("已实测", "measured here"),
    "emulated": ("仿真", "ran in emulation"),
    "checked": ("静态检查", "checked only"),
}
"""The words for the grades, zh and en. No latency is ever shown for the last two."""

ORT_DOMAINS = ("ai.onnx", "ai.onnx.ml", "com.microsoft")
GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Form:
    """What a device's runtime accepts of a graph."""

    max_opset: int
    max_ir: int
    fast_opset: int = 0
    """Newer operators load, but not on the device itself; 0: no such limit known."""
    quantized: Literal["any", "qdq", "only-qdq", "none"] = "any"
    """Any way; as QDQ only; nothing else but QDQ; float graphs only, the device's compiler quantises."""
    symmetric: bool = False
    """Whether the zero points of QDQ have to be 0."""
    saturates: bool = False
    """Whether sums of two products of uint8 and int8 are cut to int16, as before VNNI."""
    float16: Literal["faster", "runs", "widened"] = "runs"
    """Worth having; runs; calculated as float32 behind conversions, so that only the file is smaller."""
    int64: Literal["runs", "narrowed", "beside"] = "runs"
    """As it is; as int32, which large values do not fit; on the processor beside the device."""
    static_shapes: Literal["no", "better", "needed"] = "no"
    domains: tuple[str, ...] = ORT_DOMAINS
    operators: str = ""
    """A table of deployer.optimizer.targets.operators; "": the runtime implements all of its opset."""
    fallback: bool = True
    """Whether the processor runs what the device does not, slower, in place of a refusal."""
    max_bytes: int = 0
    """Of a graph with its weights; 0: what memory allows."""


@dataclass(frozen=True)
class DeviceProfile:
    """A kind of device: its words, its runtime, what that accepts, and what this machine can do for it."""

    id: str
    title_zh: str
    title_en: str
    provider: str
    """ONNX Runtime's execution provider, or the name of another runtime."""
    package: str
    version: str
    form: Form
    runs_here: Grade = "checked"
    serves: bool = False
    """Whether this version of the shop can deploy to it."""


@functools.cache
def machine() -> str:
    """The architecture of this machine as a device id: x86-64, arm64, or its own name."""
    name = platform.machine().lower()
    return {"x86_64": "x86-64", "amd64": "x86-64", "aarch64": "arm64"}.get(name, name)


@functools.cache
def has_vnni() -> bool:
    """Whether this processor multiplies int8 without saturating on the way: AVX512-VNNI, AVX-VNNI or AMX."""
    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = facts.partition("\nflags")[2].partition("\n")[0].split()
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(flags)


def _grades() -> dict[str, Grade]:
    """What a machine of this architecture can do for each device that it can do more for than check."""
    found: dict[str, Grade] = {"cpu": "measured", "browser-wasm": "measured"}
    if sys.platform != "linux":
        return found
    found["arm64"] = "measured" if machine() == "arm64" else "emulated"
    if sys.version_info < (3, 13):
        found["rknn"] = "emulated"
    if machine() == "x86-64":
        # A processor with VNNI is no measure for one without: that is played below qemu.
        found["x86-64"] = "emulated" if has_vnni() else "measured"
        found["openvino"] = "measured"
        if has_vnni():
            found["x86-64-vnni"] = "measured"
    return found


_OWN = importlib.metadata.version("onnxruntime")

# What several devices accept.
_PROCESSOR = Form(28, 14, float16="widened")
_PHONE = Form(25, 13, float16="widened", max_bytes=2 * GIGABYTE)
_BROWSER = Form(26, 13, float16="widened", max_bytes=2 * GIGABYTE)
_QNN = Form(26, 13, quantized="only-qdq", int64="narrowed", static_shapes="needed", operators="qnn")
_RKNN = Form(
    19,
    11,
    quantized="none",
    int64="narrowed",
    static_shapes="needed",
    domains=("ai.onnx",),
    operators="rknn",
    fallback=False,
    max_bytes=2 * GIGABYTE,
)


def _gpu(opset: int, operators: str, **more: Any) -> Form:
    return Form(opset, 13, float16="faster", operators=operators, **more)


def _device(id: str, titles: str, runtime: str, form: Form) -> DeviceProfile:
    """A row of the table below: "zh | en", "provider package version"."""
    title_zh, title_en = titles.split(" | ")
    provider, package, version = runtime.split()
    grade = _grades().get(id, "checked")
    return DeviceProfile(id, title_zh, title_en, provider, package, version, form, grade, serves=id == "cpu")


DEVICES: tuple[DeviceProfile, ...] = (
    _device(
        "cpu",
        "本机处理器（CPU） | This machine's processor (CPU)",
        f"CPUExecutionProvider onnxruntime {_OWN}",
        _PROCESSOR,
    ),
    _device(
        "x86-64",
        "普通电脑和服务器（x86-64，AVX2） | Any PC or server (x86-64, AVX2)",
        f"CPUExecutionProvider onnxruntime {_OWN}",
        Form(28, 14, float16="widened", saturates=True),
    ),
    _device(
        "x86-64-vnni",
        "带 VNNI 或 AMX 的服务器（新款至强、霄龙） | Servers with VNNI or AMX (recent Xeon, EPYC)",
        f"CPUExecutionProvider onnxruntime {_OWN}",
        _PROCESSOR,
    ),
    _device(
        "arm64",
        "ARM64（树莓派、鲲鹏、飞腾） | ARM64 (Raspberry Pi, Kunpeng, Phytium)",
        "CPUExecutionProvider onnxruntime 1.24.4",
        Form(25, 13),
    ),
    _device(
        "openvino",
        "英特尔 OpenVINO | Intel OpenVINO",
        "OpenVINOExecutionProvider onnxruntime-openvino 1.24.1",
        Form(25, 13, float16="widened"),
    ),
    _device(
        "cuda",
        "英伟达显卡（CUDA） | NVIDIA GPU (CUDA)",
        "CUDAExecutionProvider onnxruntime-gpu 1.31.1",
        _gpu(26, "cuda"),
    ),
    _device(
        "tensorrt",
        "英伟达显卡（TensorRT） | NVIDIA GPU (TensorRT)",
        "TensorrtExecutionProvider onnxruntime-gpu 1.31.1",
        _gpu(26, "tensorrt", fast_opset=24, quantized="qdq", symmetric=True, static_shapes="better"),
    ),
    _device(
        "directml",
        "Windows 显卡（DirectML） | Windows GPU (DirectML)",
        "DmlExecutionProvider onnxruntime-directml 1.24.4",
        _gpu(25, "directml", fast_opset=21, static_shapes="better"),
    ),
    _device(
        "cann",
        "华为昇腾（CANN） | Huawei Ascend (CANN)",
        "CANNExecutionProvider onnxruntime-cann 1.24.4",
        _gpu(25, "cann", quantized="qdq", static_shapes="better"),
    ),
    _device(
        "migraphx",
        "AMD 显卡（ROCm MIGraphX） | AMD GPU (ROCm MIGraphX)",
        "MIGraphXExecutionProvider onnxruntime-migraphx 1.27.1",
        _gpu(26, "migraphx", static_shapes="better"),
    ),
    _device(
        "qnn",
        "高通骁龙 NPU（QNN） | Qualcomm NPU (QNN)",
        "QNNExecutionProvider onnxruntime-qnn 2.7.0",
        _QNN,
    ),
    _device(
        "rknn",
        "瑞芯微 RK3588（RKNN） | Rockchip RK3588 (RKNN)",
        "RKNN rknn-toolkit2 2.5.0",
        _RKNN,
    ),
    _device(
        "android",
        "安卓手机 | Android phones",
        "CPUExecutionProvider onnxruntime-android 1.24.3",
        _PHONE,
    ),
    _device(
        "ios",
        "苹果手机和平板（iPhone、iPad） | iPhone and iPad",
        "CPUExecutionProvider onnxruntime-objc 1.24.3",
        _PHONE,
    ),
    _device(
        "browser-wasm",
        "浏览器（WebAssembly） | Browser (WebAssembly)",
        "wasm onnxruntime-web 1.30.0",
        _BROWSER,
    ),
    _device(
        "browser-webgpu",
        "浏览器显卡加速（WebGPU） | Browser with GPU (WebGPU)",
        "webgpu onnxruntime-web 1.30.0",
        _gpu(26, "webgpu", int64="beside", max_bytes=2 * GIGABYTE),
    ),
)
CPU = DEVICES[0]


def profile(device: str) -> DeviceProfile:
    """The profile of a device; raises UnknownDevice."""
    for each in DEVICES:
        if each.id == device:
            return each
    raise UnknownDevice(device=device, known=[each.id for each in DEVICES])


def require_serving(device: str) -> None:
    """Refuse a device that nothing can be deployed to; raises UnknownDevice and DeviceNotServed."""
    if not profile(device).serves:
        raise DeviceNotServed(device=device, known=[each.id for each in DEVICES if each.serves])
