"""The life of a server process: its log, its socket, its parent's lifeline and its graceful stop."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from deployer.server.app import App

DRAIN_SECONDS = 30.0
BACKLOG = 1024
_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


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


class Server(uvicorn.Server):
    """uvicorn that turns readiness off and drains before it closes its listener."""

    def __init__(self, config: uvicorn.Config, app: "App") -> None:
        super().__init__(config)
        self.app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: leave now."""
        # Not super(): it would raise the signal again after the stop, and the exit would not be 0.
        if self.app.stopping:
            self.force_exit = self.should_exit = True
        self.app.stopping = True

    async def main_loop(self) -> None:
        """Serve; once stopping, until the last request in flight is answered or the drain's time is over."""
        counter = 0
        deadline = None
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864_000
            if self.app.stopping:
                deadline = deadline or time.monotonic() + DRAIN_SECONDS
                if not self.app.metrics.in_flight or time.monotonic() > deadline:
                    return
            await asyncio.sleep(0.02 if self.app.stopping else 0.1)


def serve(app: "App", listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,  # longer than the gateway keeps its end, so that it never meets a closed one
        timeout_graceful_shutdown=2,
    )
    server = Server(config, app)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
