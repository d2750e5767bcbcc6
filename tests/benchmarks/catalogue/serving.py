"""The shop at a million listings over HTTP, through the gateway: so many requests a second, come what may.

Requests are due at fixed moments, whether or not earlier ones were answered, and a latency counts from the
moment that its request was due: a stall is charged to everyone who would have come meanwhile.
"""

import http.client
import select
import shutil
import socket
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.benchmarks.catalogue.questions import questions
from tests.benchmarks.catalogue.searching import Times
from tests.benchmarks.serving.load import connect, read_head
from tests.shop import Shop

RATE = 200
HEAD = "GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\nAccept-Language: zh\r\n\r\n"


@contextmanager
def shop_over(database: Path) -> Iterator[Shop]:
    """A running shop over a copy of the database."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        shutil.copyfile(database, home / "market.db")
        with Shop.start(home, MARKET_SHELF="none") as shop:
            yield shop


@dataclass(frozen=True)
class Served:
    """What a run over HTTP came to."""

    times: Times
    errors: int
    shop_cpu: float  # milliseconds of a request
    gateway_cpu: float


def searches(shop: Shop, seconds: float, rate: int = RATE, seed: int = 11) -> Served:
    """Searches with all facets, a mixed set."""
    asked = [f"/api/listings?{one.query}" for one in questions(int(rate * seconds), seed)]
    return _served(shop, f"search, {rate}/s", [HEAD.format(path=path).encode() for path in asked], rate)


def pages(shop: Shop, names: Sequence[str], count: int) -> list[Times]:
    """Pages asked for one after the other: listings, the home page, searches."""
    ask = [
        ("listing page", [f"/listings/{names[at % len(names)]}" for at in range(count)]),
        ("home page", ["/"] * max(20, count // 10)),
        ("search page", [f"/search?{one.query}" for one in questions(count, 13)]),
    ]
    return [Times.of(name, _one_by_one(shop, paths)) for name, paths in ask]


def _one_by_one(shop: Shop, paths: Sequence[str]) -> list[float]:
    where = urlsplit(shop.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    taken = []
    for path in [*paths[:3], *paths]:  # the first ones warm up
        began = time.perf_counter()
        connection.request("GET", path, headers={"Accept": "text/html", "Accept-Language": "zh"})
        answer = connection.getresponse()
        answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
    connection.close()
    return taken[3:]


def _served(shop: Shop, name: str, requests: Sequence[bytes], rate: int) -> Served:
    where = urlsplit(shop.url)
    processes = [psutil.Process(shop.pid_of(f"marketplace.{part}")) for part in ("app", "gateway")]
    run = _OpenLoop((where.hostname or "", where.port or 0), requests, rate)
    run.warm()
    before = [sum(process.cpu_times()[:2]) for process in processes]
    latencies = run.all()
    cpu = [
        (sum(process.cpu_times()[:2]) - had) * 1000 / len(requests)
        for process, had in zip(processes, before, strict=True)
    ]
    return Served(Times.of(name, latencies), run.errors, cpu[0], cpu[1])


class _OpenLoop:
    """Sends each request when it is due, on any connection that is free or a new one."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], rate: int) -> None:
        self.address, self.requests, self.rate = address, requests, rate
        self.errors = 0
        self._poll = select.epoll()
        self._free: deque[socket.socket] = deque()
        self._busy: dict[int, tuple[socket.socket, float, bytes]] = {}

    def warm(self, count: int = 40) -> None:
        """A few requests that do not count."""
        _OpenLoop(self.address, self.requests[:count], self.rate)._run()

    def all(self) -> list[float]:
        """Milliseconds of every request, from the moment that it was due."""
        return self._run()

    def _run(self) -> list[float]:
        taken: list[float] = []
        start, sent, count = time.perf_counter() + 0.05, 0, len(self.requests)
        while len(taken) + self.errors < count:
            due = start + sent / self.rate if sent < count else None
            now = time.perf_counter()
            if due is not None and now >= due:
                self._send(self.requests[sent], due)
                sent += 1
                continue
            wait = 10.0 if due is None else max(0.0, due - now)
            ready = self._poll.poll(wait)
            if not ready and due is None:
                raise TimeoutError(f"no answer for 10 s after {len(taken)} of {count}")
            for fd, _ in ready:
                taken += self._receive(fd)
        self._close()
        return taken

    def _send(self, request: bytes, due: float) -> None:
        connection = self._free.popleft() if self._free else connect(self.address)
        self._busy[connection.fileno()] = (connection, due, b"")
        self._poll.register(connection.fileno(), select.EPOLLIN)
        connection.sendall(request)

    def _receive(self, fd: int) -> list[float]:
        connection, due, had = self._busy[fd]
        data = had + (new := connection.recv(1 << 18))
        end = data.find(b"\r\n\r\n")
        if new and (end < 0 or len(data) < end + 4 + read_head(data[:end])[0]):
            self._busy[fd] = (connection, due, data)
            return []
        del self._busy[fd]
        self._poll.unregister(fd)
        if not new or not read_head(data[:end])[1]:
            connection.close()
            self.errors += 1
            return []
        self._free.append(connection)
        return [(time.perf_counter() - due) * 1000]

    def _close(self) -> None:
        for connection in self._free:
            connection.close()
        self._poll.close()


def some_names(database: Path, count: int = 200) -> list[str]:
    """Names of listings from all over the shelf."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    rows = connection.execute("SELECT name FROM listing WHERE rowid % 4999 = 7 LIMIT ?", (count,)).fetchall()
    connection.close()
    return [row[0] for row in rows] or ["none/none"]
