"""What is to run and what is seen to run: plain values shared by packager, runtimes and lifecycle."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Called with bytes or items done and in all, and a short note; total 0 means not known."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """Report."""


def silent(done: int, total: int, note: str = "") -> None:
    """A Progress that nobody watches."""


class Sandbox(StrEnum):
    """How much of the sandbox is in force around a replica."""

    full = "full"
    partial = "partial"
    none = "none"


class ReplicaState(StrEnum):
    """States of a replica as a runtime sees it; healthy and unhealthy come from probes."""

    starting = "starting"
    healthy = "healthy"
    unhealthy = "unhealthy"
    draining = "draining"
    gone = "gone"


@dataclass(frozen=True)
class Limits:
    """What one replica may use."""

    memory: int = 2 << 30  # bytes
    threads: int = 1  # intra-op threads, passed to the server explicitly
    cpus: float = 1.0
    pids: int = 128
    files: int = 1024


@dataclass(frozen=True)
class ReplicaSpec:
    """One server to start: a model folder (with manifest.json) served under a deployment's name."""

    id: str  # <deployment>-<revision>-<n>, unique among running replicas
    deployment: str
    model_dir: Path
    limits: Limits = field(default_factory=Limits)
    labels: dict[str, str] = field(default_factory=dict)
    key: str = ""  # the server checks it when it listens on TCP
    prepared: Path | None = None  # folder for the graphs in the forms of machines; None keeps none


@dataclass(frozen=True)
class Replica:
    """A server as its runtime sees it now."""

    id: str
    deployment: str
    state: ReplicaState
    address: str  # unix:/path/to.sock or tcp:127.0.0.1:port
    transport: str  # unix | tcp
    sandbox: Sandbox
    exit: str = ""  # why it ended, when gone: "signal 9", "exit 1", "memory 2.1 GB of 2 GB"


@dataclass(frozen=True)
class Stats:
    """Resource use of a replica; memory in bytes, cpu in seconds since its start."""

    memory: int
    cpu: float


Alive = Callable[[], Replica | None]
