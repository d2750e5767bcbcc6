"""A model's graphs in this machine's form, made once before its first server starts.

The server makes them itself (`--prepare`), shut in like one that serves, since the model may come from
anybody; only servers of the same model read them. A model whose graphs cannot be prepared is noted, and
served as it came.
"""

import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from deployer.runtimes.launch import child_environment, command
from deployer.runtimes.policies import policy
from deployer.runtimes.records import used_memory
from deployer.server import machine
from deployer.spec import Progress, ReplicaSpec

SECONDS = 300.0  # for all graphs of a model
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,99}")
GRAPH = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}\.(?:onnx|bin)")
LONGEST_REPORT, LONGEST_LOG = 64 << 10, 1 << 20  # bytes
ROOM = 3  # times the model's size that must be free on the disk


def ensure(spec: ReplicaSpec, progress: Progress, make: Callable[[Path], str]) -> None:
    """Have the graphs prepared unless this machine has had its turn.

    `make` fills a folder and returns why it failed, if it did. Without room on the disk nothing is done.
    """
    folder = spec.prepared
    if folder is None or _is_prepared(folder):
        return
    size = sum(path.stat().st_size for path in spec.model_dir.rglob("*") if path.is_file())
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if _is_prepared(folder) or shutil.disk_usage(folder).free < ROOM * size:
            return
        progress(0, 1, "graphs")
        work = folder / ".work"
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed
        work.mkdir(mode=0o755)
        _keep(folder, work, make(work))
        progress(1, 1, "graphs")


def _keep(folder: Path, work: Path, failed: str) -> None:
    """Take over what was made, or note why there is nothing, so that it is not tried again.

    Whoever made it may be hostile: only plain files of expected names are moved out of their folder.
    """
    report = _read_report(work / machine.REPORT)
    name = _machine()
    if sys.platform != "linux" and NAME.fullmatch(str(report.get("machine", ""))):
        name = str(report["machine"])  # a container's there, which runs on a machine of its own
    if not report:
        failed = failed or "no report"
    made = folder / ".made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o755)
    if not failed:
        for entry in os.scandir(work):
            if GRAPH.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                Path(entry.path).replace(made / entry.name)
                (made / entry.name).chmod(0o644)
    graphs = report.get("graphs") if not failed else None
    told = {"failed": failed[-500:]} if failed else {"machine": name, "graphs": graphs}
    (made / machine.REPORT).write_text(json.dumps(told))
    shutil.rmtree(folder / name, ignore_errors=True)
    made.rename(folder / name)
    shutil.rmtree(work, ignore_errors=True)


def _read_report(path: Path) -> dict[str, Any]:
    """The report of a child, empty when it left none that can be believed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return {}
            found = json.loads(file.read(LONGEST_REPORT))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_prepared(folder: Path) -> bool:
    # Elsewhere containers run on a machine of their own, whose name only they know.
    pattern = _machine() if sys.platform == "linux" else "*"
    return any(folder.glob(f"{pattern}/{machine.REPORT}"))


def _machine() -> str:
    return machine.name(importlib.metadata.version("onnxruntime"))


def in_process(spec: ReplicaSpec, folder: Path, *, sandbox: bool) -> str:
    """Prepare in a sandboxed child that may write this folder and nothing else; why it failed, or nothing."""
    limits = spec.limits
    wanted = policy(
        (spec.model_dir,),
        (folder,),
        memory=limits.memory,
        files=limits.files,
        largest_file=limits.memory,
        enabled=sandbox,
    )
    arguments = (str(spec.model_dir.resolve()), "--prepare", str(folder.resolve()))
    lifeline_end, lifeline = os.pipe()
    try:
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                command(wanted, -1, lifeline_end, arguments),
                cwd=folder,
                env=child_environment(folder, 1),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(lifeline_end,),
                start_new_session=True,
            )
            why = _watch(child, log, limits.memory)
            log.seek(max(0, os.fstat(log.fileno()).st_size - LONGEST_LOG))
            said = log.read().decode(errors="replace").strip()
    finally:
        os.close(lifeline_end)
        os.close(lifeline)
    return why or ((said or f"exit {child.returncode}") if child.returncode else "")


def _watch(child: "subprocess.Popen[bytes]", log: IO[bytes], memory: int) -> str:
    """Wait for the child's end; one that takes too much time, memory or log is ended, and the cause told."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            child.wait(0.1)
            return ""
        except subprocess.TimeoutExpired:
            why = ""
            if time.monotonic() > until:
                why = f"it took more than {SECONDS:.0f} s"
            elif used_memory(child.pid) > memory:
                why = f"it took more than {memory / 1e9:.2f} GB"
            elif os.fstat(log.fileno()).st_size > LONGEST_LOG:
                why = "it said too much"
            if why:
                child.kill()
                child.wait()
                return why
