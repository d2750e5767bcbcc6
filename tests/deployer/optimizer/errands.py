"""Functions for a worker's child to run."""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from deployer.optimizer.errors import NothingToOptimize


def adds(*, one: int, other: int, progress: Any) -> dict[str, int]:
    return {"sum": one + other}


def chatters(*, progress: Any) -> str:
    print("{not for the parent}")
    os.write(1, b"nor this\n")
    print("a warning", file=sys.stderr)
    return "said enough"


def counts(*, progress: Any) -> None:
    for number in range(4):
        progress(number, 3, "rows")


def refuses(*, progress: Any) -> None:
    raise NothingToOptimize(model="m")


def crashes(*, progress: Any) -> None:
    os.abort()


def fails(*, progress: Any) -> float:
    return 1 / 0


def waits(*, progress: Any) -> None:
    Path("pid").write_text(str(os.getpid()))
    time.sleep(60)


def grows(*, progress: Any) -> int:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def looks_around(*, private: str, progress: Any) -> dict[str, str]:
    def tried(what: Any) -> str:
        try:
            what()
        except OSError as error:
            return type(error).__name__
        return "done"

    return {
        "private": tried(lambda: Path(private).read_text()),
        "network": tried(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
        "program": tried(lambda: os.execv("/bin/true", ["true"])),
    }


def environment(*, progress: Any) -> list[str]:
    return sorted(os.environ)


def blurts(*, progress: Any) -> None:
    raise ValueError("a private row")


def answers(*, size: int, progress: Any) -> str:
    return "x" * size
