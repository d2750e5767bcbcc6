"""Our end of a target: starts the process that plays a device, sends it graphs and inputs, notices its end.

The process is gone when this one is (a pipe is its lifeline), when it hangs beyond its deadline, and when it
writes more than it should; each of these is a TargetRefused that says at what stage, why, and what
the process said last.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from deployer.optimizer.targets import child as frames
from deployer.optimizer.targets.errors import TargetRefused
from deployer.optimizer.targets.graphs import external_files

LONGEST_LOG = 4 << 20  # bytes on stderr before the process is ended
TAIL = 2000  # characters of it that go into a refusal
PIECE = 1 << 16  # bytes; what a pipe takes at once
TICK = 0.5  # seconds between two looks at the process and its log
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")

Feeds = dict[str, Any]


@dataclass(frozen=True)
class Deadlines:
    """Seconds that each stage may take."""

    start: float = 60.0
    open: float = 300.0
    run: float = 120.0


@dataclass(frozen=True)
class Launch:
    """How the process of a device is started; pipe numbers are put behind `command`."""

    device: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    deadlines: Deadlines = Deadlines()
    wants_external: bool = False  # whether files of weights beside a graph are to be named when it is opened


class Remote:
    """An Executor whose graphs run in a process of their own; not for several threads at once."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.cpu = 0.0  # seconds of the processor in the last run, as the process itself counts
        self.folder = Path(tempfile.mkdtemp(prefix=f"target-{launch.device}-"))
        self.log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self.child: subprocess.Popen[bytes] | None = None
        try:
            self._start()
            self.versions: dict[str, str] = self._answer("start", launch.deadlines.start)[0]["versions"]
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        theirs, self.answers = os.pipe()[::-1]
        lifeline, self.lifeline = os.pipe()
        try:
            self.child = subprocess.Popen(  # noqa: S603 (a command of our own making)
                [*self.launch.command, str(theirs), str(lifeline)],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=self.log,
                pass_fds=(theirs, lifeline),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self.lifeline)
            os.close(self.answers)
            raise TargetRefused(device=self.launch.device, stage="start", why=str(error), log="") from error
        finally:
            os.close(theirs)
            os.close(lifeline)
        assert self.child.stdin
        os.set_blocking(self.child.stdin.fileno(), False)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "ORT_DISABLE_TELEMETRY": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            **self.launch.environment,
        }

    def open(self, role: str, graph: Path) -> float:
        """Load a graph as `role`; seconds that it took. Raises TargetRefused."""
        request: dict[str, Any] = {"op": "open", "role": role, "path": str(graph.resolve())}
        if self.launch.wants_external:
            request["external"] = external_files(graph)
        return float(self._ask("open", request, {}, self.launch.deadlines.open)[0]["seconds"])

    def run(self, role: str, feeds: Feeds, outputs: Sequence[str] = ()) -> tuple[Feeds, float]:
        """Outputs by name (all when none is named) and the wall seconds inside the target."""
        request = {"op": "run", "role": role, "outputs": list(outputs)}
        answer, made = self._ask("run", request, feeds, self.launch.deadlines.run)
        self.cpu = float(answer["cpu"])
        return made, float(answer["seconds"])

    def _ask(
        self, stage: str, request: dict[str, Any], feeds: Feeds, seconds: float
    ) -> tuple[dict[str, Any], Feeds]:
        if self.child is None:
            raise self._refused(stage, "it has been closed")
        try:
            parts = frames.encode(request, feeds)
        except frames.BadFrame as error:
            raise self._refused(stage, str(error)) from error
        until = time.monotonic() + seconds
        for part in parts:
            self._send(stage, part, until)
        return self._answer(stage, until - time.monotonic())

    def _send(self, stage: str, part: Any, until: float) -> None:
        assert self.child and self.child.stdin
        pipe, left = self.child.stdin.fileno(), memoryview(part)
        while left:
            if select.select([], [pipe], [], TICK)[1]:
                try:
                    left = left[os.write(pipe, left[:PIECE]) :]
                except BrokenPipeError:
                    raise self._ended(stage) from None
            self._look(stage, until)

    def _answer(self, stage: str, seconds: float) -> tuple[dict[str, Any], Feeds]:
        until = time.monotonic() + seconds

        def read(size: int) -> bytearray:
            whole, at = bytearray(size), 0
            view = memoryview(whole)
            while at < size:
                if select.select([self.answers], [], [], TICK)[0]:
                    count = os.readv(self.answers, [view[at : at + (1 << 20)]])
                    if not count:
                        raise self._ended(stage)
                    at += count
                self._look(stage, until)
            return whole

        try:
            answer, made = frames.decode(read)
        except (frames.BadFrame, ValueError, KeyError) as error:
            self._kill()
            raise self._refused(stage, f"its answer cannot be read: {error}") from error
        if not answer.get("ok"):
            raise self._refused(stage, str(answer.get("why", "")))
        return answer, made

    def _look(self, stage: str, until: float) -> None:
        """End a process that takes too long or says too much."""
        if time.monotonic() > until:
            self._kill()
            raise self._refused(stage, "it took too long")
        if os.fstat(self.log.fileno()).st_size > LONGEST_LOG:
            self._kill()
            raise self._refused(stage, "it wrote too much to its log")

    def _ended(self, stage: str) -> TargetRefused:
        assert self.child
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(timeout=10)
        code = self.child.returncode
        self._kill()
        return self._refused(stage, f"it ended with {_name_of(code)}")

    def _refused(self, stage: str, why: str) -> TargetRefused:
        return TargetRefused(device=self.launch.device, stage=stage, why=why, log=self._tail())

    def _tail(self) -> str:
        if self.log.closed:
            return ""
        # The child writes to the same file from its own end; pread leaves that end where it is.
        size = os.fstat(self.log.fileno()).st_size
        said = os.pread(self.log.fileno(), 4 * TAIL, max(0, size - 4 * TAIL))
        return said.decode(errors="replace").strip()[-TAIL:]

    def _kill(self) -> None:
        """End the process and what it started."""
        if self.child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        assert self.child.stdin
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        os.close(self.lifeline)
        os.close(self.answers)
        self.child = None

    def close(self) -> None:
        """End the process and remove what it wrote; may be called twice."""
        self._kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _name_of(code: int | None) -> str:
    if code is None:
        return "no exit code"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
