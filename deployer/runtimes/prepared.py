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
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from deployer.runtimes.launch import child_environment, command
from deployer.runtimes.policies import policy
from deployer.server import machine
from deployer.spec import Progress, ReplicaSpec

SECONDS = 300.0  # for all graphs of a model
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,99}")
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
    """Move what was made to its machine's name, or note why there is nothing; it is not tried again."""
    name = _machine()
    try:
        name = str(json.loads((work / machine.REPORT).read_text())["machine"])
    except (OSError, ValueError, KeyError, TypeError):
        failed = failed or "no report"
    if failed or not NAME.fullmatch(name):  # whoever made it may be hostile
        shutil.rmtree(work)
        work.mkdir(mode=0o755)
        (work / machine.REPORT).write_text(json.dumps({"failed": failed[-500:]}))
        name = _machine()
    shutil.rmtree(folder / name, ignore_errors=True)
    work.rename(folder / name)


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
        done = subprocess.run(  # noqa: S603 (our own interpreter and module)
            command(wanted, -1, lifeline_end, arguments),
            cwd=folder,
            env=child_environment(folder, 1),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            pass_fds=(lifeline_end,),
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS:.0f} s"
    finally:
        os.close(lifeline_end)
        os.close(lifeline)
    return (done.stderr.strip() or f"exit {done.returncode}") if done.returncode else ""
