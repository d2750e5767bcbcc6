"""The sandbox of the process runtime: what a model server may see, use and do.

`apply` is called in the server's own process before the server is loaded. It does what this system can
and says honestly how much that was: full (Landlock that watches every write, and seccomp), partial (one
of the two, or an old Landlock) or none. Only what a starting server needs is imported here: each
millisecond counts at every start.
"""

import contextlib
import ctypes
import json
import os
import signal
import struct
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from deployer.runtimes import landlock, seccomp
from deployer.spec import Sandbox

if sys.platform != "win32":
    import resource

LARGEST_FILE = 64 << 20  # bytes; a wall for a log that floods between two looks of the watchdog
STACKS = 64 << 20  # bytes that threads reserve without using them
CAP_DAC_READ_SEARCH = 2
CAPABILITY_VERSION = 0x20080522


@dataclass(frozen=True)
class Policy:
    """What one process is left with; sizes in bytes."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    memory: int = 0
    files: int = 1024
    enabled: bool = True
    largest_file: int = LARGEST_FILE
    folders: bool = False
    """Whether it may make folders where it may write."""

    def to_json(self) -> str:
        """As one argument of the launcher."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """The launcher's argument read again."""
        fields = json.loads(text)
        return cls(tuple(fields.pop("read")), tuple(fields.pop("write")), **fields)


@dataclass(frozen=True)
class Applied:
    """What is in force after `apply`."""

    grade: Sandbox
    landlock: int = 0
    seccomp: bool = False
    missing: tuple[str, ...] = ()


def _set_limits(wanted: Policy) -> None:
    if sys.platform == "win32":
        return
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, wanted.largest_file)]
    if wanted.files:
        limits.append((resource.RLIMIT_NOFILE, wanted.files))
    if wanted.memory:
        # The watchdog ends a server at its limit; this wall only stops a leap between two looks.
        # RLIMIT_AS would also count mapped weights and break them.
        limits.append((resource.RLIMIT_DATA, wanted.memory + wanted.memory // 4 + STACKS))
    for kind, value in limits:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    """A root shop's child keeps only the right to read what lies in other people's folders.

    Landlock says which of those it may read; that right is what lets a shop started with sudo serve
    models and packages from its user's home.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    header = struct.pack("Ii", CAPABILITY_VERSION, 0)
    kept = 1 << CAP_DAC_READ_SEARCH
    sets = struct.pack("IIIIII", kept, kept, 0, 0, 0, 0)
    ctypes.CDLL(None).capset(ctypes.c_char_p(header), ctypes.c_char_p(sets))


def apply(wanted: Policy) -> Applied:
    """Bind this process to the policy for good; never raises, says what could be done."""
    _set_limits(wanted)
    if not wanted.enabled:
        return Applied(Sandbox.none, missing=("switched off",))
    if not seccomp.forbid_new_privileges():
        return Applied(Sandbox.none, missing=("landlock", "seccomp"))
    abi = landlock.restrict(map(Path, wanted.read), map(Path, wanted.write), folders=wanted.folders)
    _drop_capabilities()
    filtered = seccomp.install()
    missing = []
    if abi < landlock.WATCHES_ALL_WRITES:
        missing.append("landlock" if not abi else f"landlock abi {landlock.WATCHES_ALL_WRITES}")
    if not filtered:
        missing.append("seccomp")
    grade = Sandbox.full if not missing else Sandbox.partial if abi or filtered else Sandbox.none
    return Applied(grade, abi, filtered, tuple(missing))


def ignore_hangup() -> None:
    """A closed terminal must not end a server; its shop decides."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
