"""How much of the sandbox works here, found by trying: a child in it does what it must not do."""

import contextlib
import ctypes
import errno
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployer.runtimes.launch import child_environment, command
from deployer.runtimes.policies import policy
from deployer.spec import Sandbox

EVERYBODYS = "/tmp"  # noqa: S108 (the probe must find that it cannot write there)
PTRACE_SEIZE = 0x4206  # unlike attaching, it does not stop what it traces


def _signal_parent() -> None:
    os.kill(os.getppid(), 0)


def _trace_parent() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, os.getppid(), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def _read(path: str) -> Callable[[], object]:
    return lambda: list(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes()


def _connect(family: int, address: str | tuple[str, int]) -> Callable[[], None]:
    def attempt() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as outgoing:
            outgoing.settimeout(2)
            outgoing.connect(address)

    return attempt


def _send_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outgoing:
        outgoing.sendto(b"x", ("127.0.0.1", 9))


def _write_and_remove() -> None:
    path = Path(EVERYBODYS, f"probe-{os.getpid()}")
    path.touch()
    path.unlink()


def attempts(home: str, port: int, unix: str) -> dict[str, Callable[[], object]]:
    """What a server must not be able to do, by name; each raises OSError where it is denied."""
    return {
        "read /etc/passwd": _read("/etc/passwd"),
        "list the home": _read(home),
        "list /tmp": _read(EVERYBODYS),
        "write /tmp": _write_and_remove,
        "read another process": _read(f"/proc/{os.getppid()}/environ"),
        "connect over TCP": _connect(socket.AF_INET, ("127.0.0.1", port)),
        "connect to a unix socket": _connect(socket.AF_UNIX, unix),
        "listen on TCP": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        "send a datagram": _send_datagram,
        "signal the shop": _signal_parent,
        "trace the shop": _trace_parent,
        "start a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "start a process": lambda: os.waitpid(os.fork() or os._exit(0), 0),
        "change a file's mode": lambda: os.fchmod(os.open(".", os.O_RDONLY), 0o755),
    }


def try_all(home: str, port: int, unix: str) -> dict[str, str]:
    """Make every attempt; the answer per name is "denied", "allowed", or the error that came instead."""
    seen = {}
    for name, attempt in attempts(home, port, unix).items():
        try:
            attempt()
            seen[name] = "allowed"
        except OSError as error:
            denied = error.errno in {errno.EPERM, errno.EACCES}
            seen[name] = "denied" if denied else f"{type(error).__name__}: {error}"
    return seen


@dataclass(frozen=True)
class Probe:
    """What a child in the sandbox reached; `outcome` per attempt."""

    grade: Sandbox
    landlock: int
    seccomp: bool
    missing: tuple[str, ...]
    outcome: dict[str, str]


@functools.cache
def probe(enabled: bool = True) -> Probe:
    """Start a child in the sandbox that tries what it must not do; costs about 0.1 s, once.

    The grade is lowered to partial when anything was not denied that should have been.
    """
    if os.name != "posix":
        return Probe(Sandbox.none, 0, False, ("landlock", "seccomp"), {})
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        here = Path(folder)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        unix.bind(str(here / "listening"))
        unix.listen()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        run = here / "run"
        run.mkdir(mode=0o700)
        wanted = policy((), (run,), memory=1 << 30, files=256, enabled=enabled)
        arguments = ("--probe", str(Path.home()), str(tcp.getsockname()[1]), str(here / "listening"))
        done = subprocess.run(  # noqa: S603 (our own interpreter and module)
            command(wanted, -1, -1, arguments),
            cwd=run,
            env=child_environment(run, threads=1),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
    if done.returncode:
        return Probe(Sandbox.none, 0, False, (f"the probe failed: {done.stderr.strip()[-300:]}",), {})
    found = json.loads(done.stdout)
    grade = Sandbox(found["grade"])
    leaks = [name for name, outcome in found["outcome"].items() if outcome != "denied"]
    if leaks and grade is Sandbox.full:
        grade = Sandbox.partial
    missing = tuple(found["missing"]) + (tuple(leaks) if grade is Sandbox.partial else ())
    return Probe(grade, found["landlock"], found["seccomp"], missing, found["outcome"])
