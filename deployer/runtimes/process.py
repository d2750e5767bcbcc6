"""Servers as supervised children of the shop, each in the sandbox, each on a unix socket of its own.

They end with the shop: the kernel and the server itself watch a pipe that the shop holds. What a killed
shop leaves behind all the same is found by its record and ended. One thread looks after all children of
a runtime twice a second: memory, logs, and reaping.
"""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from deployer.errors import RuntimeUnavailable, StartFailed
from deployer.runtimes import Availability, prepared, records
from deployer.runtimes.folders import SOCKET, last_lines, replica_folder
from deployer.runtimes.launch import child_environment, command
from deployer.runtimes.policies import policy
from deployer.runtimes.probe import probe
from deployer.runtimes.records import Record, used_memory
from deployer.spec import Progress, Replica, ReplicaSpec, Stats

LOOK_EVERY = 0.5  # seconds between two looks of the watchdog
LOG_LIMIT = 5 << 20  # bytes of a log before it is put aside
LAUNCH_DEADLINE = 30.0  # seconds for the interpreter to start and enter the sandbox

KILL_DEADLINE = 5.0  # seconds for the kernel to take a killed process down

WARM_UP = """
import contextlib, importlib, pkgutil
import onnxruntime, deployer.server
for module in pkgutil.walk_packages(deployer.server.__path__, "deployer.server."):
    with contextlib.suppress(ImportError):
        importlib.import_module(module.name)
"""


@dataclasses.dataclass
class _Child:
    """A server that this runtime started: its handle, the shop's end of the lifeline, its record."""

    process: subprocess.Popen[bytes]
    lifeline: int
    record: Record
    cause: str = ""  # why the watchdog ended it

    def let_go(self) -> None:
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


def exit_text(code: int) -> str:
    """A return code of subprocess in words: `exit 1` or `signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"exit {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


class ProcessRuntime:
    """Runs servers as sandboxed processes; `sandbox=False` switches the sandbox off and says so."""

    name = "process"

    def __init__(self, home: Path, run_dir: Path | None = None, *, sandbox: bool = True) -> None:
        self.home = home
        self.run_dir = run_dir or home / "run"
        self.log_dir = home / "logs"
        self.sandbox = sandbox
        self._children: dict[str, _Child] = {}
        self._lock = threading.Lock()
        self._in_turn: dict[str, threading.Lock] = {}
        self._watchdog: threading.Thread | None = None

    def available(self) -> Availability:
        """Always on a POSIX system; the detail says how much of the sandbox there is."""
        if os.name != "posix":
            return Availability(False, "needs Linux, macOS or WSL: servers answer on unix sockets")
        try:
            found = probe(self.sandbox)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return Availability(False, f"a child process cannot be started: {error}")
        detail = {"sandbox": str(found.grade), "missing": list(found.missing), "landlock": found.landlock}
        return Availability(True, "", detail)

    def prepare(self, spec: ReplicaSpec, progress: Progress) -> None:
        """Compile the server's modules once, as it could not in its sandbox; prepare the graphs."""
        stamp = self.home / "cache" / "compiled" / _build()
        if not stamp.exists():
            progress(0, 1, "server")
            environment = child_environment(self.home, 1)
            del environment["PYTHONDONTWRITEBYTECODE"]
            subprocess.run(  # noqa: S603 (our own interpreter and program)
                [sys.executable, "-P", "-s", "-c", WARM_UP],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=120,
                check=False,
            )
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.touch()
        progress(1, 1, "server")
        prepared.ensure(
            spec, progress, lambda folder: prepared.in_process(spec, folder, sandbox=self.sandbox)
        )

    def start(self, spec: ReplicaSpec) -> Replica:
        """Start the server and return once it is in its sandbox; refuses what ends before."""
        if os.name != "posix":
            raise RuntimeUnavailable(runtime=self.name, why=self.available().why)
        with self._turn(spec.id):
            self._end_leftover(records.load(self._record_path(spec.id)))
            seen = self.inspect(spec.id)
            if seen and not seen.exit:
                return seen
            self._remove(spec.id)
            record = self._launch(spec)
            return record.replica(gone=False)

    def inspect(self, id: str) -> Replica | None:
        """The replica now; a dead one keeps its cause until it is stopped or started again."""
        record = records.load(self._record_path(id))
        if record is None:
            return None
        if not record.exit and record.alive():
            return record.replica(gone=False)
        self._reap(id, record.pid)
        noted = records.load(self._record_path(id)) or record
        if noted.pid != record.pid:  # replaced while we looked
            return self.inspect(id)
        cause = noted.exit or "ended with its shop"
        return dataclasses.replace(noted, exit=cause).replica(gone=True)

    def list(self) -> list[Replica]:
        """Those that run; leftovers of a shop that was killed are ended on the way."""
        running = []
        for path in sorted(self.run_dir.glob("*.json")):
            record = records.load(path)
            if record is None or self._end_leftover(record):
                continue
            if (seen := self.inspect(record.id)) and not seen.exit:
                running.append(seen)
        return running

    def stop(self, id: str, grace: float = 10.0) -> None:
        """SIGTERM, `grace` seconds to finish, SIGKILL; the log stays."""
        with self._turn(id):
            record = records.load(self._record_path(id))
            told = record and records.send(record.pid, record.born, signal.SIGTERM)
            if record and told and not self._ends_within(record, grace):
                records.send(record.pid, record.born, signal.SIGKILL)
                self._ends_within(record, KILL_DEADLINE)
            self._remove(id)

    def logs(self, id: str, tail: int = 200) -> str:
        """The last lines that the server wrote, also after it ended."""
        text = ""
        for path in (self._log_path(id).with_suffix(".log.1"), self._log_path(id)):
            with contextlib.suppress(OSError):
                text += path.read_text(encoding="utf-8", errors="replace")
        return last_lines(text, tail)

    def stats(self, id: str) -> Stats | None:
        """Memory that is its own, and processor seconds."""
        record = records.load(self._record_path(id))
        if record is None or record.exit or not record.alive():
            return None
        try:
            times = psutil.Process(record.pid).cpu_times()
        except psutil.Error:
            return None
        return Stats(memory=used_memory(record.pid), cpu=times.user + times.system)

    def close(self) -> None:
        """Stop every server that this runtime started, all at once."""
        with self._lock:
            children = list(self._children.values())
        for child in children:
            records.send(child.record.pid, child.record.born, signal.SIGTERM)
        for child in children:
            self.stop(child.record.id)

    def _record_path(self, id: str) -> Path:
        return replica_folder(self.run_dir, id).with_suffix(".json")

    def _log_path(self, id: str) -> Path:
        return self.log_dir / f"{replica_folder(self.run_dir, id).name}.log"

    def _launch(self, spec: ReplicaSpec) -> Record:
        folder = replica_folder(self.run_dir, spec.id)
        folder.mkdir(mode=0o700, parents=True)
        self.log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        report, report_end = os.pipe()
        lifeline_end, lifeline = os.pipe()
        try:
            child = self._spawn(spec, folder, report_end, lifeline_end, lifeline)
        except OSError as error:
            os.close(report)
            os.close(lifeline)
            shutil.rmtree(folder, ignore_errors=True)
            raise StartFailed(replica=spec.id, exit=str(error), log="") from error
        finally:
            os.close(report_end)
            os.close(lifeline_end)
        try:
            applied = _read_report(report)
        finally:
            os.close(report)
        child.record = dataclasses.replace(child.record, sandbox=applied.get("grade", "none"))
        if not applied:
            child.process.kill()
            code = child.process.wait()
            child.let_go()
            self._remove(spec.id)
            raise StartFailed(replica=spec.id, exit=exit_text(code), log=self.logs(spec.id, 20))
        child.record.save(self._record_path(spec.id))
        with self._lock:
            self._children[spec.id] = child
            self._watch()
        return child.record

    def _spawn(
        self, spec: ReplicaSpec, folder: Path, report: int, lifeline_end: int, lifeline: int
    ) -> _Child:
        limits = spec.limits
        ready = (spec.prepared,) if spec.prepared and spec.prepared.is_dir() else ()
        wanted = policy(
            (spec.model_dir, *ready),
            (folder,),
            memory=limits.memory,
            files=limits.files,
            enabled=self.sandbox,
        )
        socket = folder / SOCKET
        where = (str(spec.model_dir.resolve()), "--uds", str(socket))
        graphs = tuple(word for path in ready for word in ("--prepared", str(path.resolve())))
        arguments = (*where, "--name", spec.deployment, "--threads", str(limits.threads), *graphs)
        with self._log_path(spec.id).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                command(wanted, report, lifeline_end, arguments),
                cwd=folder,
                env=child_environment(folder, limits.threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(report, lifeline_end),
                # Ctrl-C on the shop's terminal is for the shop, which then drains its servers.
                start_new_session=True,
            )
        record = Record(
            id=spec.id,
            deployment=spec.deployment,
            address=f"unix:{socket}",
            folder=str(folder),
            sandbox="none",
            memory=limits.memory,
            pid=process.pid,
            born=records.birth(process.pid) or "",
            shop_pid=os.getpid(),
            shop_born=records.birth(os.getpid()) or "",
        )
        record.save(self._record_path(spec.id))
        return _Child(process, lifeline, record)

    def _turn(self, id: str) -> threading.Lock:
        """The lock under which one replica starts and stops."""
        with self._lock:
            return self._in_turn.setdefault(id, threading.Lock())

    def _end_leftover(self, record: Record | None) -> bool:
        """End what a shop that is gone left running; False when there is nothing of the kind."""
        if record is None or not record.orphaned():
            return False
        records.send(record.pid, record.born, signal.SIGKILL)
        self._remove(record.id)
        return True

    def _ends_within(self, record: Record, seconds: float) -> bool:
        child = self._children.get(record.id)
        if child:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(seconds)
            return child.process.returncode is not None
        deadline = time.monotonic() + seconds
        while record.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not record.alive()

    def _reap(self, id: str, pid: int) -> None:
        """Note the end of a child that ended, with its cause."""
        with self._lock:  # so that a note which another thread is writing is there afterwards
            child = self._children.get(id)
        if child is None or child.process.pid != pid:
            return
        # Not poll(): it says "running" of a dead child while another thread waits for it.
        code = child.process.wait(KILL_DEADLINE)
        with self._lock:
            if self._children.get(id) is not child:
                return
            del self._children[id]
            child.let_go()
            path = self._record_path(id)
            if path.exists():
                dataclasses.replace(child.record, exit=child.cause or exit_text(code)).save(path)

    def _remove(self, id: str) -> None:
        """Forget a replica that does not run any more; its log stays."""
        with self._lock:
            child = self._children.pop(id, None)
            if child:
                child.let_go()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(KILL_DEADLINE)  # it may have ended by itself, unnoticed so far
            self._record_path(id).unlink(missing_ok=True)
            shutil.rmtree(replica_folder(self.run_dir, id), ignore_errors=True)

    def _watch(self) -> None:
        """Have the watchdog run; it ends by itself when no child is left."""
        if self._watchdog is None or not self._watchdog.is_alive():
            self._watchdog = threading.Thread(target=self._look_after, name="process-watchdog", daemon=True)
            self._watchdog.start()

    def _look_after(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                children = list(self._children.values())
                if not children:
                    self._watchdog = None
                    return
            for child in children:
                self._hold_to_memory(child)
                with contextlib.suppress(OSError):
                    cap_log(self._log_path(child.record.id))
                if child.process.poll() is not None:
                    self._reap(child.record.id, child.process.pid)

    def _hold_to_memory(self, child: _Child) -> None:
        used, limit = used_memory(child.process.pid), child.record.memory
        if limit and used > limit and child.process.poll() is None:
            child.cause = f"memory {used / 1e9:.2f} GB of {limit / 1e9:.2f} GB"
            child.process.kill()
            child.process.wait()


def _build() -> str:
    """What the compiled modules depend on: the interpreter and the age of the server's sources."""
    package = Path(__file__).parents[1] / "server"
    newest = max(path.stat().st_mtime_ns for path in package.rglob("*.py"))
    return f"{sys.implementation.cache_tag}-{newest}"


def _read_report(pipe: int) -> dict[str, Any]:
    """What the launcher says is in force; nothing when it ended or took too long."""
    text = b""
    deadline = time.monotonic() + LAUNCH_DEADLINE
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(pipe, 4096) if ready else b""
        if not part:
            return {}
        text += part
    found: dict[str, Any] = json.loads(text)
    return found


def cap_log(path: Path) -> None:
    """Put a long log aside and begin anew; the server appends, so its next line is the first."""
    if path.stat().st_size > LOG_LIMIT:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)
