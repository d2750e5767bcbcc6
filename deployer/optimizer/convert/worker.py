"""Runs a conversion in a process of its own, so that its memory goes back and a crash stays there.

The parent writes one JSON line (module, inputs, out, options) to the child's stdin and keeps it open: its
end tells the child that the parent is gone. The child answers with JSON lines on stdout: progress, and at
the end either done or the facts of a ConversionFailed.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from deployer.errors import ConversionFailed
from deployer.spec import Progress

# The shop and the servers are to stay quick while a conversion runs.
_NICENESS = 5
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}


def run(module: str, inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Call `module`.convert with these arguments in a child process; raises ConversionFailed."""
    request = {
        "module": module,
        "inputs": {name: str(path.absolute()) for name, path in inputs.items()},
        "out": str(out.absolute()),
        "options": options,
    }
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "deployer.optimizer.convert.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env={**os.environ, **_ENVIRONMENT},
        )
        with child:
            assert child.stdin and child.stdout
            try:
                child.stdin.write(json.dumps(request) + "\n")
                child.stdin.flush()
                done = _follow(child.stdout, progress)
                if not done:  # it closed its side, so its own exit code is at hand
                    child.wait(timeout=10)
            except BrokenPipeError:
                done = False
            finally:  # also when progress raises, which is how a watcher cancels
                child.kill()
        if not done:
            raise _ended(module, child.returncode, log)


def _follow(lines: IO[str], progress: Progress) -> bool:
    """Pass progress on; True when the child said that it is done."""
    for line in lines:
        message = json.loads(line)
        if "error" in message:
            raise ConversionFailed(**message["error"])
        if message.get("end"):
            return True
        progress(message["done"], message["total"], message["note"])
    return False


def _ended(module: str, code: int, log: IO[str]) -> ConversionFailed:
    log.seek(0)
    tail = log.read()[-2000:]
    how = f"signal {-code}" if code < 0 else f"exit {code}"
    why, why_zh = f"the converter ended early ({how})", f"转换程序提前结束（{how}）"
    return ConversionFailed(source=module.rpartition(".")[2], why=why, why_zh=why_zh, log=tail)


def _serve(requests: IO[str], answers: IO[str]) -> None:
    """The child: read the request, watch for the parent's end, convert, answer."""
    request = json.loads(requests.readline())
    threading.Thread(target=_leave_with_parent, args=[requests], daemon=True).start()
    os.nice(_NICENESS)

    def say(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def progress(done: int, total: int, note: str = "") -> None:
        say(done=done, total=total, note=note)

    convert = importlib.import_module(request["module"]).convert
    inputs = {name: Path(path) for name, path in request["inputs"].items()}
    try:
        convert(inputs, Path(request["out"]), request["options"], progress)
    except ConversionFailed as error:
        say(error=error.facts)
    except OSError as error:
        cause = f"{Path(error.filename).name}: {error.strerror}" if error.filename else str(error)
        say(error={"source": request["module"].rpartition(".")[2], "why": cause, "why_zh": cause})
    else:
        say(end=True)


def _leave_with_parent(requests: IO[str]) -> None:
    requests.read()  # returns at the end of file only
    os._exit(1)


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
