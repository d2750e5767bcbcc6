"""The table of terminals: where a model can be taken, what is made for it, how far it was seen to work."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployer import devices
from deployer.devices import Grade
from deployer.errors import DeployerError, PlatformNotSupported, UnknownDevice
from deployer.packager.release import Release

PLATFORMS = {"x86-64": "linux/amd64", "arm64": "linux/arm64"}
"""The platforms of images, by the device that is their processor."""


class UnknownTerminal(DeployerError):
    """No such terminal. Facts: terminal, known."""

    code = "unknown-terminal"


@dataclass(frozen=True)
class Terminal:
    """A kind of place that a model is taken to, and what is made for it."""

    id: str
    title_zh: str
    title_en: str
    gives_zh: str
    gives_en: str
    runs_zh: str
    runs_en: str
    form: Literal["tar", "zip"]
    """An OCI layout in a .tar, or a folder in a .zip."""
    devices: tuple[str, ...] = ("cpu",)
    """Ids of `deployer.devices`; the first is meant where none is named."""
    maker: str = ""
    """Module of deployer.terminals that makes the folder."""
    most: Grade = "measured"
    """What the terminal itself was seen to do, whatever the device can."""

    def grade(self, device: str, platforms: Sequence[str] = ()) -> Grade:
        """How far this machine has seen it work: the least that holds for any of the platforms."""
        found = [self.most, devices.profile(device).runs_here]
        for processor, platform in PLATFORMS.items():
            if device == "cpu" and platform in platforms and processor != devices.machine():
                found.append(devices.profile(processor).runs_here)
        return max(found, key=tuple(devices.GRADES).index)


ACCELERATORS = ("openvino", "cuda", "tensorrt", "migraphx", "cann", "qnn")


def _terminal(
    id: str, titles: str, gives: str, runs: str, form: Literal["tar", "zip"], **more: Any
) -> Terminal:
    """A row of the table below; texts are "zh | en"."""
    title_zh, title_en = titles.split(" | ")
    gives_zh, gives_en = gives.split(" | ")
    runs_zh, runs_en = runs.split(" | ")
    return Terminal(id, title_zh, title_en, gives_zh, gives_en, runs_zh, runs_en, form, **more)


TERMINALS: tuple[Terminal, ...] = (
    _terminal(
        "image",
        "容器镜像 | Container image",
        "一个封好的镜像：模型、服务器和运行库都在里面，无需联网 | "
        "One sealed image: model, server and runtime inside; it needs no network",
        "Docker、Podman、Kubernetes，或任意镜像仓库 | Docker, Podman, Kubernetes, or any registry",
        "tar",
        devices=("cpu", *ACCELERATORS),
    ),
    _terminal(
        "modelpack",
        "模型制品（ModelPack） | Model artifact (ModelPack)",
        "只有模型，按 CNCF ModelPack 存放；可推到镜像仓库 | "
        "The model alone as a CNCF ModelPack, to be pushed to a registry",
        "读 OCI 的工具；Kubernetes 镜像卷 | Tools that read OCI; Kubernetes image volumes",
        "tar",
    ),
    _terminal(
        "box",
        "边缘盒子 | Edge box",
        "一个目录：两种处理器的镜像、安装脚本、systemd 单元和 compose 文件 | "
        "A folder: the image for both processors, an installer, systemd units and a compose file",
        "任意 Linux 盒子，x86-64 或 ARM64 | Any Linux box, x86-64 or ARM64",
        "zip",
        maker="box",
    ),
    _terminal(
        "browser",
        "浏览器 | Browser",
        "一个静态网页：模型在访客的浏览器里运行，可离线 | "
        "A static page: the model runs in the visitor's browser, offline too",
        "任意文件服务器 | Any file server",
        "zip",
        devices=("browser-wasm",),
        maker="browser",
    ),
    _terminal(
        "android",
        "安卓 | Android",
        "一个 Kotlin 示例工程，已接好模型的输入和输出 | "
        "A Kotlin sample project, wired to the model's inputs and outputs",
        "安卓手机和平板 | Android phones and tablets",
        "zip",
        devices=("android",),
        maker="phone",
    ),
    _terminal(
        "ios",
        "苹果 iOS | iOS",
        "一个 Swift 示例工程，已接好模型的输入和输出 | "
        "A Swift sample project, wired to the model's inputs and outputs",
        "iPhone 和 iPad | iPhone and iPad",
        "zip",
        devices=("ios",),
        maker="phone",
    ),
)
MEDIA_TYPES = {"tar": "application/x-tar", "zip": "application/zip"}


def terminal(id: str) -> Terminal:
    """The terminal of this id; raises UnknownTerminal."""
    for each in TERMINALS:
        if each.id == id:
            return each
    raise UnknownTerminal(terminal=id, known=[each.id for each in TERMINALS])


# What is asked for


@dataclass(frozen=True)
class Order:
    """A terminal with its device, and the platforms of an image, in their fixed order."""

    terminal: Terminal
    device: str
    platforms: tuple[str, ...] = ()


def order(id: str, *, platforms: Sequence[str] = (), device: str = "") -> Order:
    """What these words ask for; an image is for this machine's platform unless told otherwise.

    Raises UnknownTerminal, UnknownDevice and PlatformNotSupported.
    """
    found = terminal(id)
    chosen = device or found.devices[0]
    if chosen not in found.devices:
        raise UnknownDevice(device=chosen, known=list(found.devices))
    if id != "image":
        if platforms:
            raise PlatformNotSupported(
                platform=", ".join(platforms),
                known="–",
                why="only images are made for platforms",
                why_zh="只有镜像才分平台",
            )
        return Order(found, chosen)
    offered = platforms_of(chosen)
    wanted = {_spelt(each) for each in platforms} or {_own_platform(offered)}
    for each in sorted(wanted.difference(offered)):
        raise PlatformNotSupported(
            platform=each,
            known=", ".join(offered),
            why=f"nothing is made for it with {chosen}",
            why_zh=f"{chosen} 没有这个平台的镜像",
        )
    return Order(found, chosen, tuple(each for each in offered if each in wanted))


def platforms_of(device: str) -> tuple[str, ...]:
    """The platforms that images for a device are made for."""
    if device == "cpu":
        return tuple(PLATFORMS.values())
    from deployer.terminals import devices as accelerators

    return tuple(accelerators.platforms(device))


def _spelt(platform: str) -> str:
    """linux/amd64, also of amd64 and x86_64."""
    name = platform.strip().lower().removeprefix("linux/")
    return "linux/" + {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}.get(name, name)


def _own_platform(offered: Sequence[str]) -> str:
    own = PLATFORMS.get(devices.machine(), "")
    return own if own in offered else offered[0]


def require(release: Release, wanted: Order, base: str = "debian") -> None:
    """Raise TerminalNotSupported where the release cannot be packaged so, on this base of images; quick."""
    if wanted.device in ACCELERATORS:
        from deployer.packager import wheels_devices
        from deployer.terminals import devices as accelerators

        wheels_devices.base(wanted.device, base)
        accelerators.supports(release, wanted.device)
    elif wanted.terminal.maker:
        maker = importlib.import_module(f"deployer.terminals.{wanted.terminal.maker}")
        named = (wanted.terminal.id,) if wanted.terminal.maker == "phone" else ()
        maker.supports(release, *named)
