"""Runs the gateway: `python -m marketplace.gateway`, with the settings of the environment.

MARKET_LISTEN_FD names a listening socket that is handed down, so that the port survives a restart of
this process. With MARKET_LIFELINE=stdin the process ends when its standard input does: its parent is gone.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys

from marketplace import settings
from marketplace.gateway.proxy import Gateway
from marketplace.gateway.routes import follow
from marketplace.gateway.wire import Limits, log

_DRAIN_SECONDS = 10.0


def main() -> int:
    """Serve until a signal or the end of the lifeline; returns the exit status."""
    config = settings.load()
    files = _raise_file_limit()
    limits = Limits(connections=max(64, min(Limits.connections, files // 2 - 64)))
    try:
        listener = _listener(config.host, config.port)
    except OSError as error:
        log("cannot-listen", "error", host=config.host, port=config.port, why=str(error))
        return 1
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_serve(config, limits, listener))
    return uvloop.run(_serve(config, limits, listener))


async def _serve(config: settings.Settings, limits: Limits, listener: socket.socket) -> int:
    loop = asyncio.get_running_loop()
    shop = f"unix:{config.shop_socket}"
    gateway = Gateway(shop, limits, config.lang, config.home, config.trusted_proxies)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get("MARKET_LIFELINE") == "stdin":
        await loop.connect_read_pipe(lambda: _Lifeline(stop), sys.stdin)
    server = await loop.create_server(gateway.connect, sock=listener, backlog=1024)
    log("listening", address=listener.getsockname()[:2])
    jobs = [
        asyncio.ensure_future(follow(gateway.pools, gateway.shop, gateway.swap)),
        asyncio.ensure_future(gateway.usage.deliver()),
        asyncio.ensure_future(gateway.sweep()),
    ]
    await stop.wait()
    server.close()
    for job in jobs:
        job.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*jobs)
    await gateway.drain(_DRAIN_SECONDS)
    return 0


class _Lifeline(asyncio.Protocol):
    """Stops the gateway when the other end of a pipe is closed."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop.set()


def _listener(host: str, port: int) -> socket.socket:
    handed_down = os.environ.pop("MARKET_LISTEN_FD", "")
    if handed_down:
        listener = socket.socket(fileno=int(handed_down))
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    listener.setblocking(False)
    return listener


def _raise_file_limit() -> int:
    """Take as many open files as the system gives without asking; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


if __name__ == "__main__":
    sys.exit(main())
