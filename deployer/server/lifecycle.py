"""The life of a server process: its log, its socket, its parent's lifeline and its graceful stop."""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.server.front import Front

if TYPE_CHECKING:
    from deployer.server.app import App

DRAIN_SECONDS = 30.0
BACKLOG = 1024
log = logging.getLogger("market.server")
SWITCH = 0.0005  # seconds after which a thread that computes in Python lets another in
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, event, and whatever was passed as extra."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging() -> logging.Logger:
    """Send all logs to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log = logging.getLogger("market.server")
    log.setLevel(logging.INFO)
    return log


def hold_lifeline(fd: int, uds: str | None) -> None:
    """Exit at once when the other end of `fd` closes: the process that wanted this one is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(fd, 4096):
                pass
        if uds:
            with contextlib.suppress(OSError):
                Path(uds).unlink()
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def listen(uds: str | None, host: str, port: int | None) -> socket.socket:
    """A listening socket. A unix socket appears under its name only once it listens."""
    if uds is None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port or 0))
        listener.listen(BACKLOG)
        return listener
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unborn = f"{uds}~"
    Path(unborn).unlink(missing_ok=True)
    listener.bind(unborn)
    # Whoever may enter the folder may connect: the folder is the guard.
    Path(unborn).chmod(0o666)
    listener.listen(BACKLOG)
    Path(unborn).rename(uds)
    return listener


def settle() -> None:
    """After loading: what is here stays, and need not be looked at again; scraps go back to the system."""
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)


def serve(app: "App", listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is in flight; a second signal ends at once."""
    sys.setswitchinterval(SWITCH)
    settle()
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_serve(app, listener))


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(app: "App", listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    asked, again = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        if asked.is_set():
            again.set()
        asked.set()
        app.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    app.start(loop)
    front = Front(app, loop)
    server = await _listen(loop, front, listener)
    sweeping = asyncio.create_task(_sweep(app, front))
    try:
        await asked.wait()
        deadline = loop.time() + DRAIN_SECONDS
        await _until(lambda: not front.busy, deadline, again)
        server.close()
        front.close()
        await _until(lambda: not front.connections, deadline, again)  # what was written is sent
    finally:
        sweeping.cancel()
        server.close()
        front.close()
        app.close()


async def _listen(
    loop: asyncio.AbstractEventLoop, front: Front, listener: socket.socket
) -> asyncio.AbstractServer:
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(front.connect, sock=listener)
    return await loop.create_server(front.connect, sock=listener)


async def _sweep(app: "App", front: Front) -> None:
    while True:
        await asyncio.sleep(1.0)
        try:
            front.sweep()
            app.sweep()
        except Exception:
            log.exception("a sweep failed")


async def _until(done: Callable[[], bool], deadline: float, again: asyncio.Event) -> None:
    """Return once it is done, a second signal comes, or the time is over."""
    loop = asyncio.get_running_loop()
    while not done() and not again.is_set() and loop.time() < deadline:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(again.wait(), 0.02)
