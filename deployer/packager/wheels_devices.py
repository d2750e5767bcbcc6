"""What an image for a device is made of: its build of onnxruntime, what that stands on, and what runs it.

| device | build | what it stands on | assembled without a registry |
|---|---|---|---|
| cpu | onnxruntime | nothing more | amd64, arm64 |
| openvino | onnxruntime-openvino, with OpenVINO 2025.4.1 inside | nothing more | amd64 |
| cuda | onnxruntime-gpu, for CUDA 13 | NVIDIA's wheels, driver 580 or newer on the host | amd64, arm64 |
| tensorrt | the same | TensorRT 10, whose wheels PyPI does not hold: a base image | no |
| migraphx | onnxruntime-migraphx, for ROCm 7.2 | ROCm and MIGraphX: a base image | no |
| cann | onnxruntime-cann, built with NumPy 1 | the CANN toolkit: a base image | no |
| qnn | onnxruntime with the plug-in onnxruntime-qnn | nothing more; the host's FastRPC driver | arm64 |

The builds and their versions are those of `deployer.devices`. What each needs was read from the wheels: their
metadata and the libraries that their providers are linked to. Images for openvino were run on a processor;
of the others it was seen that the wheels are there, and that a server without the hardware refuses to start.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.devices import profile
from deployer.errors import TerminalNotSupported

SITE = "/app/site"  # where an image's packages lie
ENGINES = "/engines"
"""Where a container may be given a folder for the graphs that it compiles, which takes minutes at a start."""
OWN_BASES = frozenset({"debian", "auto"})
"""Bases without anything of a vendor; see `deployer.packager.base`."""

NVIDIA = {
    "nvidia-cublas": "13.10.0.20",
    "nvidia-cuda-nvrtc": "13.5.37",
    "nvidia-cuda-runtime": "13.5.37",
    "nvidia-cudnn-cu13": "9.28.1.4",
    "nvidia-cufft": "12.5.0.14",
    "nvidia-curand": "10.4.5.25",
    "nvidia-nvjitlink": "13.5.37",
}
NVIDIA_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    # Answers are promised as they were measured: products in float32, not in TF32's ten bits.
    "NVIDIA_TF32_OVERRIDE": "0",
}


@dataclass(frozen=True)
class Host:
    """What a container needs of its host beside an ordinary one."""

    gpus: bool = False
    """All GPUs, through NVIDIA's container toolkit."""
    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    """Paths of the host that are seen under the same path, read-only."""


@dataclass(frozen=True)
class Parts:
    """What an image for a device is made of, beside base, server and model."""

    architectures: tuple[str, ...] = ("amd64",)
    packages: Mapping[str, str] = field(default_factory=dict)
    """Beside the device's build of onnxruntime."""
    environment: Mapping[str, str] = field(default_factory=dict)
    base_brings: tuple[str, str, str] | None = None
    """What the base image must bring, en and zh, and an image that does; None: any base will do."""
    host: Host = Host()


PARTS: dict[str, Parts] = {
    "cpu": Parts(("amd64", "arm64")),
    "openvino": Parts(),
    "cuda": Parts(
        ("amd64", "arm64"),
        NVIDIA,
        NVIDIA_ENVIRONMENT | {"LD_LIBRARY_PATH": f"{SITE}/nvidia/cu13/lib:{SITE}/nvidia/cudnn/lib"},
        host=Host(gpus=True),
    ),
    "tensorrt": Parts(
        environment=NVIDIA_ENVIRONMENT | {"MARKET_ENGINES": ENGINES},
        base_brings=(
            "Python 3, CUDA 13, cuDNN 9 and TensorRT 10",
            "Python 3、CUDA 13、cuDNN 9 和 TensorRT 10",
            "NVIDIA NGC tensorrt",
        ),
        host=Host(gpus=True),
    ),
    "migraphx": Parts(
        environment={"MARKET_ENGINES": ENGINES},
        base_brings=(
            "Python 3, ROCm 7.2 and MIGraphX",
            "Python 3、ROCm 7.2 和 MIGraphX",
            "rocm/dev-ubuntu-24.04:7.2.4-complete",
        ),
        host=Host(devices=("/dev/kfd", "/dev/dri"), groups=("video", "render")),
    ),
    "cann": Parts(
        ("amd64", "arm64"),
        {"numpy": "1.26.4"},  # its wheels are compiled with NumPy 1 and refuse NumPy 2
        base_brings=(
            "Python 3 up to 3.12 and the CANN toolkit for the card",
            "Python 3（不高于 3.12）和对应型号的 CANN 工具包",
            "ascendai/cann",
        ),
        host=Host(
            devices=("/dev/davinci0", "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc"),
            mounts=("/usr/local/Ascend/driver", "/etc/ascend_install.info"),
        ),
    ),
    "qnn": Parts(
        ("arm64",),
        {"onnxruntime": importlib.metadata.version("onnxruntime")},
        {
            "LD_LIBRARY_PATH": f"{SITE}/onnxruntime_qnn",
            "ADSP_LIBRARY_PATH": f"{SITE}/onnxruntime_qnn",  # where the NPU's own code is looked for
        },
        host=Host(devices=("/dev/fastrpc-cdsp",)),
    ),
}


def parts_of(device: str) -> Parts:
    """What images for a device are made of; raises UnknownDevice and TerminalNotSupported."""
    known = profile(device)
    if device not in PARTS:
        raise TerminalNotSupported(
            terminal=known.title_en,
            task="the container image",
            why=f"containers are made for {', '.join(PARTS)}",
            why_zh=f"容器镜像支持的设备有：{', '.join(PARTS)}",
        )
    return PARTS[device]


def packages(device: str) -> Mapping[str, str]:
    """Packages with their versions that stand in for the processor's onnxruntime; raises as `parts_of`."""
    known, parts = profile(device), parts_of(device)
    return {known.package: known.version, **parts.packages}


def environment(device: str) -> Mapping[str, str]:
    """What the image's environment has beside that of every image; the server reads the device from it."""
    parts = parts_of(device)
    return {"MARKET_DEVICE": device, **parts.environment} if device != "cpu" else {}


def architectures(device: str) -> tuple[str, ...]:
    """The architectures that there are packages for, as images name them."""
    return parts_of(device).architectures


def base(device: str, wanted: str) -> str:
    """The base to build on: what is wanted, if it can be it.

    Raises TerminalNotSupported for a device whose libraries only an image of its vendor brings.
    """
    brings = parts_of(device).base_brings
    if brings and wanted in OWN_BASES:
        en, zh, example = brings
        raise TerminalNotSupported(
            terminal=profile(device).title_en,
            task="the container image",
            why=f"it stands on {en}, which no package index holds: set MARKET_RUNTIME_BASE to an image that "
            f"has them, such as {example}",
            why_zh=f"它依赖 {zh}，而软件包索引里没有：请把 MARKET_RUNTIME_BASE 设为带有它们的镜像，"
            f"例如 {example}",
        )
    return wanted


def run_options(device: str) -> list[str]:
    """Options of `docker run` that a container for the device needs."""
    parts = parts_of(device)
    host = parts.host
    options = ["--gpus", "all"] if host.gpus else []
    options += [word for path in host.devices for word in ("--device", path)]
    options += [word for name in host.groups for word in ("--group-add", name)]
    options += [word for path in host.mounts for word in ("--volume", f"{path}:{path}:ro")]
    return options
