"""Runs a function of ours in a child process: shut in, bounded in memory and time, gone with its parent.

Models and data may be hostile, and what reads them may hang, crash or eat memory; all of it stays in the
child. The parent writes one JSON line (function, arguments, policy) to the child's stdin and keeps it open:
its end tells the child that the parent is gone. The child answers with JSON lines: progress, and at the
end the result or the code and facts of a named refusal.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from deployer.errors import DeployerError
from deployer.optimizer.errors import WorkerFailed
from deployer.runtimes.policies import policy
from deployer.runtimes.sandbox import Policy
from deployer.spec import Progress, silent

_NICENESS = 5  # the shop and the servers are to stay quick meanwhile
TICK = 0.5  # seconds between two looks at whether the work is still wanted
LONGEST_LOG = 4 << 20  # bytes
LONGEST_ANSWER = 64 << 20
_FRAME = re.compile(r'\s*File ".*[/\\]([^/\\"]+)", line (\d+), in (\S+)')
SECONDS = 1800.0
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TZ", "PATH")


class Done(NamedTuple):
    """What a child came to."""

    result: Any
    peak: int
    """Bytes of memory that it held at most."""
    seconds: float


class RefusedInChild(DeployerError):
    """A named refusal that a child raised: same code and facts as the original."""

    def __init__(self, code: str, facts: dict[str, Any]) -> None:
        super().__init__(**facts)
        self.code = code  # type: ignore[misc]


def run(
    function: str,
    arguments: dict[str, Any],
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    sandbox: bool = True,
    memory: int = 0,
    seconds: float = SECONDS,
    tick: Progress = silent,
) -> Done:
    """Call "module:function" with JSON arguments, and `progress`, in a child that may touch these paths only.

    Raises what the function refuses (by code and facts), and WorkerFailed when the child ends otherwise.
    `tick` is also called while nothing happens; what it raises ends the child.
    """
    memory = memory or room() // 4  # two work at once, and the shop and its servers need some too
    wanted = policy(
        (Path(__file__).parents[1], *read),
        tuple(write),
        memory=memory,
        files=4096,
        largest_file=1 << 40,
        enabled=sandbox,
    )
    wanted = dataclasses.replace(wanted, folders=True)
    request = {"function": function, "arguments": _plain(arguments), "policy": wanted.to_json()}
    home = write[0] if write else Path(tempfile.gettempdir())
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "deployer.optimizer.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=home,
            env=_environment(home),
            # Ctrl-C on the shop's terminal is for the shop; the child sees its parent's end by its stdin.
            start_new_session=True,
        )
        with child:
            assert child.stdin and child.stdout
            try:
                child.stdin.write(json.dumps(request).encode() + b"\n")
                child.stdin.flush()
                ended = _follow(child, log, began + seconds, tick)
                if "failed" not in ended and "result" not in ended:
                    child.wait(timeout=10)
            except BrokenPipeError:
                child.wait(timeout=10)
                ended = {}
            finally:  # also when tick raises, which is how a watcher cancels
                child.kill()
        if "error" in ended:
            raise RefusedInChild(ended["error"]["code"], ended["error"]["facts"])
        if "result" not in ended:
            raise _failure(function, child.returncode, ended.get("failed", ""), log)
    return Done(ended["result"], int(ended["peak"]), time.monotonic() - began)


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    return {k: str(v.absolute()) if isinstance(v, Path) else v for k, v in arguments.items()}


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        **_THREADS,
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


def _follow(child: "subprocess.Popen[bytes]", log: IO[str], until: float, tick: Progress) -> dict[str, Any]:
    """The child's last message; {"failed": why} for one that takes too long or says too much."""
    assert child.stdout
    pipe, rest = child.stdout.fileno(), bytearray()
    told = (0, 0, "")
    while True:
        ready, _, _ = select.select([pipe], [], [], TICK)
        if time.monotonic() > until:
            return {"failed": "it took too long"}
        if os.fstat(log.fileno()).st_size > LONGEST_LOG:
            return {"failed": "it said too much"}
        if ready:
            part = os.read(pipe, 1 << 16)
            if not part:
                return {}
            rest += part
            if len(rest) > LONGEST_ANSWER:
                return {"failed": "it said too much"}
            if b"\n" not in part:
                continue
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                message: dict[str, Any] = json.loads(line)
                if "done" not in message:
                    return message
                told = (message["done"], message["total"], message["note"])
                tick(*told)
        else:
            tick(*told)


def _failure(function: str, code: int, why: str, log: IO[str]) -> WorkerFailed:
    log.seek(max(0, os.fstat(log.fileno()).st_size - 6000))
    tail = log.read()
    how = why or (f"signal {-code}" if code < 0 else f"exit {code}")
    if not why and "MemoryError" in tail:
        how = "not enough memory"
    return WorkerFailed(step=function.rpartition(".")[2].replace(":", "."), how=how, log=_places(tail))


def _places(log: str) -> str:
    """Where a traceback was, and the name of its error; not its text, which may hold a row."""
    lines = log.strip().splitlines()
    places = [f"{m[1]}:{m[2]} {m[3]}" for line in lines if (m := _FRAME.match(line))]
    name = lines[-1].partition(":")[0] if lines else ""
    return "\n".join([*places[-6:], name if re.fullmatch(r"[\w.]+", name) else ""]).strip()


def room() -> int:
    """Bytes of memory that this machine, or the container around us, has."""
    room = psutil.virtual_memory().total
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            room = min(room, int(Path(limit).read_text()))
    return room


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """The child: read the request, watch for the parent's end, shut itself in, work, answer."""
    request = json.loads(requests.readline())
    threading.Thread(target=_leave_with_parent, args=[requests], daemon=True).start()
    os.nice(_NICENESS)
    from deployer.runtimes import sandbox

    sandbox.apply(Policy.from_json(request["policy"]))

    def say(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def progress(done: int, total: int, note: str = "") -> None:
        say(done=done, total=total, note=note)

    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        result = function(**request["arguments"], progress=progress)
    except DeployerError as error:
        facts = {k: v if isinstance(v, str | int | float | list) else str(v) for k, v in error.facts.items()}
        say(error={"code": error.code, "facts": facts})
    else:
        say(result=result, peak=_peak())


def _peak() -> int:
    """Bytes that this process held at most; getrusage would count the parent's from before the exec too."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


def _leave_with_parent(requests: IO[str]) -> None:
    requests.read()  # returns at the end of file only
    os._exit(1)


def _main() -> None:
    # Libraries print; what the parent reads is a copy of stdout that nobody else has.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(sys.stdin, answers)
    answers.flush()
    os._exit(0)  # threads of libraries must not keep it


if __name__ == "__main__":
    _main()
