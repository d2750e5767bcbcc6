"""Notes about running processes that outlive the shop, and processes that are surely the noted ones.

A process is known by its number and its birth: numbers come again, so nothing is signalled unless both
agree. The notes lie beside the run folders and not in them, out of the reach of what they describe.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deployer.spec import Replica, ReplicaState, Sandbox


def birth(pid: int) -> str | None:
    """When a process began, in a form that no clock change moves; None when it does not run."""
    try:
        if sys.platform != "linux":
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, psutil.Error):
        return None
    return None if fields[0] in {"Z", "X"} else f"{_boot()}:{fields[19]}"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def send(pid: int, born: str, number: signal.Signals) -> bool:
    """Signal the process that was born then; False when it is gone or another has its number."""
    if not hasattr(os, "pidfd_open"):
        if birth(pid) != born:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if birth(pid) != born:
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


@dataclass(frozen=True)
class Record:
    """A started server: its process, the shop that started it, and what it was given."""

    id: str
    deployment: str
    address: str
    folder: str
    sandbox: str
    memory: int
    pid: int
    born: str
    shop_pid: int
    shop_born: str
    exit: str = ""

    def alive(self) -> bool:
        """Whether the very process still runs."""
        return birth(self.pid) == self.born

    def orphaned(self) -> bool:
        """Whether the shop that started it is gone."""
        return birth(self.shop_pid) != self.shop_born

    def replica(self, *, gone: bool) -> Replica:
        """As a runtime reports it."""
        state = ReplicaState.gone if gone else ReplicaState.starting
        cause = self.exit if gone else ""
        return Replica(self.id, self.deployment, state, self.address, "unix", Sandbox(self.sandbox), cause)

    def save(self, path: Path) -> None:
        """Write it in one piece."""
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as file:
            json.dump(asdict(self), file)
        Path(file.name).replace(path)


def load(path: Path) -> Record | None:
    """The record in a file; None when there is none or it cannot be read."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def used_memory(pid: int) -> int:
    """Bytes that only this process holds: mapped weights do not count, swapped pages do; 0 when gone."""
    try:
        if sys.platform != "linux":
            return int(psutil.Process(pid).memory_info().rss)
        status = Path(f"/proc/{pid}/status").read_text()
    except (OSError, psutil.Error):
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields.get(name, "0").split()[0]) for name in ("RssAnon", "RssShmem", "VmSwap")) * 1024
