"""Accelerators as terminals: the platforms of their images, and which models they take.

What such an image is made of stands in `deployer.packager.wheels_devices`; how far each was seen to work, in
`deployer.devices`. A device that runs what it does not take on the processor beside it refuses little: graphs
that are newer than its runtime, and those that its compiler wants in another form.
"""

import functools
from pathlib import Path

from deployer.devices import profile
from deployer.errors import TerminalNotSupported
from deployer.optimizer.targets import TargetRefused, check
from deployer.packager import wheels_devices
from deployer.packager.release import Release


def platforms(device: str) -> tuple[str, ...]:
    """The platforms that images for a device are made for, such as linux/amd64.

    Raises UnknownDevice and TerminalNotSupported.
    """
    return tuple(f"linux/{arch}" for arch in wheels_devices.architectures(device))


def supports(release: Release, device: str) -> None:
    """Raise TerminalNotSupported when the device's runtime refuses one of the release's graphs."""
    wheels_devices.parts_of(device)
    for name in sorted(release.manifest["files"].values()):
        if not str(name).endswith(".onnx"):
            continue
        if found := _refusal(device, release.folder / name, release.digest):
            why, why_zh = found
            raise TerminalNotSupported(
                terminal=profile(device).title_en,
                task=release.task,
                why=f"{name}: {why}",
                why_zh=f"{name}：{why_zh}",
            )


@functools.lru_cache(256)
def _refusal(device: str, graph: Path, digest: str) -> tuple[str, str] | None:
    """Why a device does not take a graph, en and zh; a release's files never change."""
    try:
        failures = [each for each in check(device, graph) if each.level == "fail"]
    except TargetRefused as refused:
        why = str(refused.facts["why"])
        return why, str(refused.facts.get("why_zh", why))
    if not failures:
        return None
    return "; ".join(each.why_en for each in failures), "；".join(each.why_zh for each in failures)
