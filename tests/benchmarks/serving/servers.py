"""Servers as processes: started, waited for, their CPU time and memory read, and stopped by their ids."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployer.server import machine
from tests.benchmarks.harness import Timing
from tests.benchmarks.serving.load import Address, drive
from tests.benchmarks.serving.models import Graph
from tests.benchmarks.serving.wires import JSON, Wire

ROOT = Path(__file__).parents[3]
THREADS = 2
START = 120.0  # seconds to a first good answer
STOP = 10.0  # seconds to end after SIGTERM
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S{4} [0-9a-f]+ \S+ \d+\s*(.*)")


# The command that serves a graph at an address with a folder for scratch, and what its environment needs.
Start = Callable[[Graph, Address, Path], tuple[list[str], dict[str, str]]]


@dataclass(frozen=True)
class Contender:
    """Somebody who serves a graph."""

    name: str
    wire: Wire
    start: Start
    unix: bool = False


def prepare(graph: Graph) -> Graph:
    """Have our server bring the graph to this machine's form, as a deployment does before its first start."""
    work = graph.prepared / "work"
    work.mkdir(parents=True)
    command = [sys.executable, "-m", "deployer.server", str(graph.folder), "--prepare", str(work)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **QUIET}, check=True, capture_output=True)
    work.rename(graph.prepared / json.loads((work / machine.REPORT).read_text())["machine"])
    return graph


def ours(name: str = "ours", *, unix: bool = False, prepared: bool = True) -> Contender:
    """The server of this repository, over TCP or a unix socket, on prepared graphs or those that came."""

    def start(graph: Graph, at: Address, scratch: Path) -> tuple[list[str], dict[str, str]]:
        place = ["--uds", str(at)] if isinstance(at, Path) else ["--port", str(at[1])]
        command = [sys.executable, "-m", "deployer.server", str(graph.folder), "--name", "m", *place]
        form = ["--prepared", str(graph.prepared)] if prepared and graph.prepared.exists() else []
        return [*command, "--threads", str(THREADS), *form], {}

    return Contender(name, JSON, start, unix)


@dataclass
class Server:
    """A contender that runs and has answered once."""

    contender: Contender
    process: "subprocess.Popen[bytes]"
    address: Address
    log: Path
    first: Timing = field(default_factory=lambda: Timing(0, 0))
    """From the start of its process to its first good answer."""

    @property
    def pids(self) -> list[int]:
        """Its processes: those below the first one, and those that lost their parent."""
        return sorted(process.pid for process in _family(self.process.pid))

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        return cpu_clock(self.pids)

    def memory(self) -> float:
        """Bytes of all its processes, as `memory` counts them."""
        return memory(self.pids)

    def pss(self) -> float:
        """Bytes of all its processes as the kernel shares them out, the benchmark taking a part."""
        return sum(size for pid in self.pids for _, size in _mappings(pid).values())

    def settle(self, within: float = 15.0) -> None:
        """Wait until it rests: workers beside the one that answered first may still be loading."""
        end = time.monotonic() + within
        before = self.cpu()
        while time.monotonic() < end:
            time.sleep(0.25)
            now = self.cpu()
            if now - before < 0.02:
                return
            before = now

    def ended(self, why: str) -> RuntimeError:
        """What to raise when it does not do its work, with the end of its log."""
        said = self.log.read_text("utf-8", "replace")[-800:] if self.log.exists() else ""
        return RuntimeError(f"{self.contender.name}: {why}\n{said}")


@contextlib.contextmanager
def serving(contender: Contender, graph: Graph, request: bytes) -> Iterator[Server]:
    """A server of the graph, from its first good answer to `request` to the end of all its processes."""
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    at: Address = scratch / "socket" if contender.unix else ("127.0.0.1", free_port())
    command, settings = contender.start(graph, at, scratch)
    log = scratch / "log"
    try:
        with log.open("wb") as out:
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **QUIET, **settings},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        server = Server(contender, process, at, log)
        try:
            _await_answer(server, request)
            server.first = Timing(time.perf_counter() - began, server.cpu())
            yield server
        finally:
            _stop(server)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _await_answer(server: Server, request: bytes) -> None:
    end = time.monotonic() + START
    complaint = "nobody listened"
    while time.monotonic() < end and server.process.poll() is None:
        try:
            once = drive(server.address, [request], 1, 1)
        except (OSError, TimeoutError):
            time.sleep(0.002)
            continue
        if not once.errors:
            return
        complaint = once.complaint
        time.sleep(0.02)
    raise server.ended(f"no good answer: {complaint}")


def _family(leader: int, known: Iterable[psutil.Process] = ()) -> set[psutil.Process]:
    """Whoever descends from a process, and whoever is in a session of theirs: some lost their parent."""
    found = {process for process in known if process.is_running()}
    with contextlib.suppress(psutil.NoSuchProcess):
        found |= {psutil.Process(leader), *psutil.Process(leader).children(recursive=True)}
    sessions = {leader, *(_session(process.pid) for process in found)} - {_session(0), None}
    for pid in psutil.pids():
        if _session(pid) in sessions:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.add(psutil.Process(pid))
    return found


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _stop(server: Server) -> None:
    """SIGTERM to the first process; what is left of its family is killed, each by its id, until none is.

    Nothing interrupts it: a second signal would leave the family running.
    """
    leader = server.process.pid
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        family = _family(leader)
        server.process.terminate()
        patience = time.monotonic() + STOP
        while server.process.poll() is None and time.monotonic() < patience:
            family = _family(leader, family)
            time.sleep(0.02)
        patience = time.monotonic() + 1
        while (left := _living(_family(leader, family))) and time.monotonic() < patience + STOP:
            if time.monotonic() > patience:
                for process in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            time.sleep(0.02)
        server.process.wait(STOP)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a dead one that nobody collects does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def free_port() -> int:
    """A TCP port of loopback that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_clock(pids: Sequence[int]) -> float:
    """CPU seconds of processes, from the kernel's own clock of each: in ns, not in ticks of 10 ms."""
    total = 0.0
    for pid in pids:
        # What clock_getcpuclockid(3) makes of a process id.
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
    return total


def memory(pids: Sequence[int]) -> float:
    """Proportional set size of processes in bytes as if this benchmark were not there.

    It maps the same libraries as our server, and plain PSS gives it a part of them: what it maps itself is
    shared out among `pids` alone.
    """
    mine = set(_mappings(os.getpid()))
    found = [_mappings(pid) for pid in pids]
    users = Counter(path for one in found for path in one)
    total = 0.0
    for one in found:
        for path, (resident, proportional) in one.items():
            shared = resident / users[path]
            total += max(shared, proportional) if path and path in mine else proportional
    return total


def _mappings(pid: int) -> dict[str, tuple[float, float]]:
    """For each mapped file (and "" for what is none): resident and proportional bytes."""
    found: dict[str, tuple[float, float]] = {}
    path = ""
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    for line in lines:
        if start := _MAPPING.match(line):
            path = start[1] if start[1].startswith("/") else ""
        elif line.startswith(("Rss:", "Pss:")):
            size = float(line.split()[1]) * 1024
            resident, proportional = found.get(path, (0.0, 0.0))
            added = (resident + size, proportional) if line[0] == "R" else (resident, proportional + size)
            found[path] = added
    return found
