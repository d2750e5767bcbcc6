"""What models can be made to run on. The ids are fixed: scripts and deployments name them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A kind of hardware with the words for it; only those that this version can serve are listed."""

    id: str
    title_zh: str
    title_en: str


CPU = Device("cpu", "处理器（CPU）", "Processor (CPU)")

DEVICES: tuple[Device, ...] = (CPU,)
