"""Runs a conversion in a child process (`deployer.optimizer.worker`): shut in, bounded, gone with its parent.

Whatever goes wrong there comes back as a ConversionFailed.
"""

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deployer.errors import ConversionFailed, DeployerError
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed
from deployer.spec import Progress


def run(module: str, inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Call `module`.convert with these arguments in a child process; raises ConversionFailed."""
    arguments = {
        "module": module,
        "inputs": {name: str(path.absolute()) for name, path in inputs.items()},
        "out": out,
        "options": options,
    }
    # The folder itself is made by the converter, once there is something to put into it.
    call(
        f"{__name__}:convert",
        arguments,
        source=module.rpartition(".")[2],
        read=list(inputs.values()),
        write=[out.absolute().parent],
        progress=progress,
    )


def call(
    function: str,
    arguments: dict[str, Any],
    *,
    source: str,
    read: Sequence[Path],
    write: Sequence[Path],
    progress: Progress,
) -> worker.Done:
    """Call "module:function" in a child that may touch these paths only; raises ConversionFailed."""
    memory = worker.room() // 2
    try:
        return worker.run(function, arguments, read=read, write=write, memory=memory, tick=progress)
    except WorkerFailed as error:
        how, log = error.facts["how"], error.facts["log"]
        why, why_zh = f"the converter ended early ({how})", f"转换程序提前结束（{how}）"
        raise ConversionFailed(source=source, why=why, why_zh=why_zh, log=log) from None
    except DeployerError as error:
        if error.code != ConversionFailed.code:
            raise
        raise ConversionFailed(**error.facts) from None


def convert(
    module: str, inputs: dict[str, str], out: str, options: dict[str, Any], progress: Progress
) -> None:
    """In the child: call the converter."""
    files = {name: Path(path) for name, path in inputs.items()}
    with named_files(module.rpartition(".")[2]):
        importlib.import_module(module).convert(files, Path(out), options, progress)


@contextlib.contextmanager
def named_files(source: str) -> Iterator[None]:
    """Turn what the system refuses into a ConversionFailed that names the file, but not its folder."""
    try:
        yield
    except OSError as error:
        cause = f"{Path(error.filename).name}: {error.strerror}" if error.filename else str(error)
        raise ConversionFailed(source=source, why=cause, why_zh=cause) from None
