"""What the best variant is to be, and the bounds that it must keep."""

from typing import Literal, get_args

import msgspec

from deployer import devices
from deployer.optimizer.errors import ObjectiveRefused

Kind = Literal["fastest", "smallest", "cheapest"]
KINDS: tuple[str, ...] = get_args(Kind)
LARGEST_DROP = 0.5


class Objective(msgspec.Struct, frozen=True):
    """What to search for, and what no variant may cost; a bound of 0 is none, but for `max_drop`."""

    kind: Kind = "fastest"
    max_drop: float = 0.01
    """How much of the task's metric may be lost, as a share: 0.01 is one point."""
    max_latency_ms: float = 0.0
    """Of one row in one thread, median."""
    max_memory: int = 0
    """Bytes that the running server may hold."""
    max_size: int = 0
    """Bytes of the model's graphs."""


def check_for(device: str, objective: Objective, *, confirmed: bool) -> None:
    """Refuse what could not be measured for this device; `confirmed` when real servers will be asked here.

    Raises UnknownDevice and ObjectiveRefused.
    """
    check(objective)
    timed = devices.profile(device).runs_here == "measured"
    if not timed and objective.kind != "smallest":
        only = f"smallest ({device})"
        raise ObjectiveRefused(bound="objective", value=objective.kind, expected=only)
    if not timed and objective.max_latency_ms:
        raise ObjectiveRefused(bound="max_latency_ms", value=objective.max_latency_ms, expected="0")
    if objective.max_memory and (device != "cpu" or not confirmed):
        raise ObjectiveRefused(bound="max_memory", value=objective.max_memory, expected=f"0 ({device})")


def check(objective: Objective, *, smallest_size: int = 0) -> None:
    """Refuse bounds that no variant can keep; `smallest_size` is the least that the graphs could have."""
    if objective.kind not in KINDS:
        raise ObjectiveRefused(bound="objective", value=objective.kind, expected=", ".join(KINDS))
    if not 0 <= objective.max_drop <= LARGEST_DROP:  # NaN is refused as well
        raise ObjectiveRefused(bound="max_drop", value=objective.max_drop, expected=f"0 – {LARGEST_DROP}")
    for bound in ("max_latency_ms", "max_memory", "max_size"):
        value = getattr(objective, bound)
        if not 0 <= value < float("inf"):
            raise ObjectiveRefused(bound=bound, value=value, expected="≥ 0")
    if objective.max_size and objective.max_size < smallest_size:
        raise ObjectiveRefused(bound="max_size", value=objective.max_size, expected=f"≥ {smallest_size}")
    if objective.max_memory and objective.max_size > objective.max_memory:
        raise ObjectiveRefused(bound="max_memory", value=objective.max_memory, expected="≥ max_size")
