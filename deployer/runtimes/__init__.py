"""Where servers run: one small protocol, with a process and a Docker container behind it.

A runtime starts, inspects, stops and reads one replica at a time; it keeps no record but what it can
see again after a restart. Whether a server answers is not its business: it reports a replica that is
alive as `starting` and one that ended as `gone`, with the cause; probes tell healthy from unhealthy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deployer.errors import UnknownRuntime
from deployer.spec import Progress, Replica, ReplicaSpec, Stats


@dataclass(frozen=True)
class Availability:
    """Whether a runtime works here; `why` says what is in the way, empty when nothing is."""

    ok: bool
    why: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class Runtime(Protocol):
    """What a place to run servers can do. All calls may come from several threads and may come twice."""

    name: str

    def available(self) -> Availability:
        """Whether it works here; cheap, never raises."""

    def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        """Have ready what a start needs and what may take long."""

    def start(self, spec: ReplicaSpec) -> Replica:
        """Start a server; a running one of this id is returned as it is, a dead one replaced."""

    def inspect(self, id: str) -> Replica | None:
        """The replica as it is now, gone ones with the cause; None when there was none or it was stopped."""

    def list(self) -> list[Replica]:
        """Every replica of this home that runs."""

    def stop(self, id: str, grace: float = 10.0) -> None:
        """Let it finish for `grace` seconds, then end it, and remove what it left but its log."""

    def logs(self, id: str, tail: int = 200) -> str:
        """The last lines of its log."""

    def stats(self, id: str) -> Stats | None:
        """What it uses now; None when it does not run."""

    def close(self) -> None:
        """The shop ends: stop what must not outlive it, let go of the rest."""


def _process(home: Path, run_dir: Path | None, options: dict[str, Any]) -> Runtime:
    from deployer.runtimes.process import ProcessRuntime

    return ProcessRuntime(home, run_dir, sandbox=options.get("sandbox", True))


def _docker(home: Path, run_dir: Path | None, options: dict[str, Any]) -> Runtime:
    # A late import: the SDK takes 0.2 s.
    from deployer.runtimes.docker import DockerRuntime

    return DockerRuntime(home, run_dir, base=options.get("base", "auto"))


RUNTIMES: dict[str, Callable[[Path, Path | None, dict[str, Any]], Runtime]] = {
    "process": _process,
    "docker": _docker,
}


def get_runtime(name: str, home: Path, run_dir: Path | None = None, **options: Any) -> Runtime:
    """The runtime of this name for a home; refuses a name that is not in RUNTIMES.

    Options: `sandbox` (process; False switches it off), `base` (docker; base of the runtime image).
    """
    if name not in RUNTIMES:
        raise UnknownRuntime(runtime=name, known=list(RUNTIMES))
    return RUNTIMES[name](home, run_dir, options)
