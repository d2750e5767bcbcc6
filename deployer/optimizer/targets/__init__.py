"""Runs graphs on other devices, and says ahead of time what a device will not take.

`executor` gives an Executor for a device that this machine can play, by the device's own runtime in the
version that its users have: what one runtime loads another refuses, and what counts is the answer there.
`check` looks at the file alone, for every device. The grades are those of deployer.devices.

`prepare` fetches what a device needs and has to be called where there is a network; `executor` calls it too.
Both start processes, which the sandbox of a worker forbids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from deployer.devices import DEVICES
from deployer.errors import UnknownDevice
from deployer.optimizer.targets import environments
from deployer.optimizer.targets.checks import Finding, check
from deployer.optimizer.targets.errors import TargetRefused, TargetUnavailable
from deployer.optimizer.targets.players import Player, players
from deployer.optimizer.targets.remote import Remote
from deployer.spec import Progress, silent

__all__ = [
    "Executor",
    "Finding",
    "TargetRefused",
    "TargetUnavailable",
    "check",
    "executor",
    "is_prepared",
    "prepare",
]

Feeds = dict[str, Any]  # arrays by name


class Executor(Protocol):
    """Runs the graphs of one variant on a target; not for several threads at once."""

    versions: dict[str, str]
    """Packages of the target that matter for its answers."""
    cpu: float
    """Seconds of the processor in the last run."""

    def open(self, role: str, graph: Path) -> float:
        """Load a graph in place of the role's former one; seconds that it took. Raises TargetRefused."""
        ...

    def run(self, role: str, feeds: Feeds, outputs: Sequence[str] = ()) -> tuple[Feeds, float]:
        """Outputs by name (all when none is named), and wall seconds inside the target."""
        ...

    def close(self) -> None:
        """End it; may be called twice."""
        ...


def _player(device: str) -> Player:
    known = [each.id for each in DEVICES]
    if device not in known:
        raise UnknownDevice(device=device, known=known)
    found = players().get(device)
    if found is None:
        raise TargetUnavailable(
            device=device,
            why="nothing on this machine can play this device; it can only be checked",
            why_zh="这台机器上没有能运行该设备的软件，只能做静态检查",
            next="Take the checked variant to the device itself and measure it there.",
            next_zh="请把通过检查的版本拿到该设备上实际测量。",
        )
    if refusal := found.missing():
        raise refusal
    return found


def is_prepared(device: str, home: Path) -> bool:
    """Whether `executor` would start without fetching anything; raises TargetUnavailable."""
    player = _player(device)
    return player.environment is None or environments.is_ready(home, player.environment())


def prepare(device: str, home: Path, progress: Progress = silent) -> None:
    """Fetch what playing the device needs into home/environments; raises TargetUnavailable."""
    player = _player(device)
    if player.environment is not None:
        environments.prepare(home, player.environment(), player.steps, progress)


def executor(device: str, home: Path, progress: Progress = silent) -> Executor:
    """The device, played on this machine; fetches its environment at need.

    Raises TargetUnavailable when this machine cannot play it, TargetRefused when its process does not start.
    """
    prepare(device, home, progress)
    return Remote(_player(device).launch(environments.folder_of(home, device)))
