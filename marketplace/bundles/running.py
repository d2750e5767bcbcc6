"""A shop to talk to: the one that runs on this home, or one that runs while it is needed."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from marketplace.client import Refused, Shop, Unreachable, opened
from marketplace.terminal import hint, say

SECONDS = 120.0  # for a shop to answer
GRACE = 40.0  # seconds for it to end


@contextmanager
def running_shop() -> Iterator[Shop]:
    """The shop of this home; one that was started here ends with the block. Raises Unreachable."""
    if _answers():
        with opened() as shop:
            yield shop
        return
    hint("商店没有运行，为自检临时启动。", "No shop runs; starting one for the self-test.")
    # Nothing is fetched meanwhile: the machine may reach nothing, and the shelf is not what is tried.
    settings = os.environ | {"MARKET_SHELF": "none", "ORT_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "marketplace.cli", "serve"],
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            _wait(process, said)
            with opened() as shop:
                yield shop
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers() -> bool:
    try:
        with opened() as shop:
            shop.call("GET", "/readyz", timeout=5)
    except (Unreachable, Refused):
        return False
    return True


def _wait(process: "subprocess.Popen[bytes]", said: IO[bytes]) -> None:
    end = time.monotonic() + SECONDS
    while not _answers():
        if process.poll() is not None or time.monotonic() > end:
            said.seek(0)
            why = said.read()[-2000:].decode(errors="replace").strip()
            raise Unreachable(say(f"商店没有启动：{why}", f"The shop did not start: {why}"))
        time.sleep(0.1)
