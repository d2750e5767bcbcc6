"""`python -m deployer.runtimes.launch`: enter the sandbox, then be the model server.

The same interpreter goes on as deployer.server, so that the sandbox costs no second start. Arguments:
the policy as JSON, the number of a pipe to report to (-1: none), the number of the lifeline pipe
(-1: none), then what the server gets.
"""

import json
import os
import runpy
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from deployer.runtimes import sandbox

# Settings of the interpreter and of the machine that a server may inherit; secrets of the shop stay behind.
INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "TZ")
F_SETSIG = 10


def child_environment(folder: Path, threads: int) -> dict[str, str]:
    """The whole environment of a server: nothing of the shop's own but how to find its packages."""
    count = str(threads)
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
    }
    environment.update({name: os.environ[name] for name in INHERITED if name in os.environ})
    return environment


def command(wanted: sandbox.Policy, report: int, lifeline: int, arguments: tuple[str, ...]) -> list[str]:
    """The command line of the launcher; -P keeps the working folder out of the import path."""
    head = [sys.executable, "-P", "-s", "-m", "deployer.runtimes.launch"]
    return [*head, wanted.to_json(), str(report), str(lifeline), *arguments]


def _die_with_shop(lifeline: int) -> None:
    """Have the kernel kill this process when the other end of the pipe closes.

    The server also watches the pipe; this holds before it is up and when its interpreter hangs.
    """
    if lifeline < 0 or sys.platform != "linux":
        return
    import fcntl

    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def main(argv: list[str]) -> None:
    """Enter the sandbox, report what is in force, go on as the server (or as the probe)."""
    wanted, report, lifeline = sandbox.Policy.from_json(argv[0]), int(argv[1]), int(argv[2])
    arguments = argv[3:]
    _die_with_shop(lifeline)
    sandbox.ignore_hangup()
    applied = sandbox.apply(wanted)
    if report >= 0:
        os.write(report, json.dumps(asdict(applied)).encode() + b"\n")
        os.close(report)
    if arguments[0] == "--probe":
        home, port, unix = arguments[1:4]
        from deployer.runtimes.probe import try_all

        outcome = try_all(home, int(port), unix)
        sys.stdout.write(json.dumps({**asdict(applied), "outcome": outcome}))
        return
    if lifeline >= 0:
        arguments += ["--lifeline", str(lifeline)]
    sys.argv = ["deployer.server", *arguments]
    runpy.run_module("deployer.server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
