"""A client that costs little: many different requests on few connections, each run to its last answer.

One thread waits for all connections at once and sends the next request of a connection as soon as its
answer is complete. Nothing is decoded meanwhile: heads are looked up among those seen before, and answers
are kept as bytes to be checked afterwards. A run has a fixed count and drains, so that the CPU time of the
server divided by the count is exact.
"""

import gc
import select
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int] | Path
PATIENCE = 60.0  # seconds without any answer
_CHUNK = 1 << 18
_HEADS = 4096  # distinct heads remembered; a Date makes a new one each second


@dataclass
class Load:
    """What one run saw. Moments and latencies are in seconds, in the order of completion."""

    concurrency: int
    moments: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    answers: dict[int, bytes] = field(default_factory=dict)
    """Whole responses by the number of the request, those that were to be kept."""
    errors: int = 0
    complaint: str = ""
    """The first answer that was none."""
    client: float = 0.0
    """CPU seconds of this client."""

    @property
    def steady(self) -> slice:
        """Completions without the ramps: after the first from each connection, before the last of each."""
        count, ramp = len(self.moments), self.concurrency
        return slice(ramp, count - ramp) if count >= 4 * ramp else slice(1, count)

    @property
    def rate(self) -> float:
        """Answers a second between the ramps."""
        part = self.steady
        return (part.stop - part.start) / (self.moments[part.stop - 1] - self.moments[part.start - 1])

    def latency(self, percent: int) -> float:
        """A percentile of the latencies between the ramps."""
        seen = self.latencies[self.steady]
        return float(statistics.quantiles(seen, n=100, method="inclusive")[percent - 1])

    def checked(self) -> "Load":
        """This run, unless a request of it failed."""
        if self.errors:
            raise RuntimeError(f"{self.errors} of {len(self.moments)} requests failed: {self.complaint}")
        return self


@dataclass
class _Caller:
    """One connection and the request that is under way on it."""

    socket: socket.socket
    number: int = 0
    started: float = 0.0
    received: bytes = b""


def drive(
    address: Address, requests: Sequence[bytes], count: int, concurrency: int, keep_every: int = 0
) -> Load:
    """Send `count` requests, `requests` in turn, over `concurrency` connections, and read every answer.

    Keeps the answers whose number `keep_every` divides. Raises TimeoutError when nothing comes any more.
    """
    run = _Run(address, requests, count, keep_every, Load(concurrency))
    paused = gc.isenabled()
    gc.disable()
    began = time.process_time()
    try:
        run.all(min(concurrency, count))
    finally:
        run.close()
        if paused:
            gc.enable()
    run.load.client = time.process_time() - began
    return run.load


class _Run:
    def __init__(
        self, address: Address, requests: Sequence[bytes], count: int, keep_every: int, load: Load
    ) -> None:
        self.address, self.requests, self.count = address, requests, count
        self.keep_every = keep_every
        self.load = load
        self.issued = 0
        self.callers: dict[int, _Caller] = {}
        self.poll = select.epoll()
        self.heads: dict[bytes, tuple[int, bool]] = {}

    def all(self, concurrency: int) -> None:
        """Connect, then send and receive until every request is answered."""
        for _ in range(concurrency):
            self._connect()
        for caller in list(self.callers.values()):
            self._next(caller)
        callers, load, count = self.callers, self.load, self.count
        wait, clock = self.poll.poll, time.perf_counter
        while len(load.moments) < count:
            ready = wait(PATIENCE)
            if not ready:
                raise TimeoutError(f"no answer for {PATIENCE:.0f} s after {len(load.moments)} of {count}")
            for fd, _ in ready:
                caller = callers[fd]
                data = _receive(caller.socket)
                if data and not self._complete(caller, data):
                    continue
                now = clock()
                load.moments.append(now)
                load.latencies.append(now - caller.started)
                if not data:
                    caller = self._reconnect(caller)
                self._next(caller)

    def _connect(self) -> _Caller:
        made = connect(self.address)
        caller = self.callers[made.fileno()] = _Caller(made)
        self.poll.register(made.fileno(), select.EPOLLIN)
        return caller

    def _reconnect(self, caller: _Caller) -> _Caller:
        """A connection in the place of one that the server closed before it answered: an error."""
        self._fail(caller.received or b"connection closed")
        self._drop(caller)
        return self._connect()

    def _drop(self, caller: _Caller) -> None:
        del self.callers[caller.socket.fileno()]
        self.poll.unregister(caller.socket.fileno())
        caller.socket.close()

    def _next(self, caller: _Caller) -> None:
        """Send the next request, if any is left."""
        number = self.issued
        if number == self.count:
            return
        self.issued = number + 1
        caller.number = number
        caller.received = b""
        caller.started = time.perf_counter()
        caller.socket.sendall(self.requests[number % len(self.requests)])

    def _complete(self, caller: _Caller, data: bytes) -> bool:
        """Take what came; True when the answer is whole."""
        if caller.received:
            data = caller.received + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            caller.received = data
            return False
        head = data[:end]
        known = self.heads.get(head)
        if known is None:
            known = self._learn(head)
        if len(data) < end + 4 + known[0]:
            caller.received = data
            return False
        if not known[1]:
            self._fail(data)
        elif self.keep_every and caller.number % self.keep_every == 0:
            self.load.answers[caller.number] = data
        return True

    def _learn(self, head: bytes) -> tuple[int, bool]:
        if len(self.heads) >= _HEADS:
            self.heads.clear()
        known = self.heads[head] = read_head(head)
        return known

    def _fail(self, said: bytes) -> None:
        self.load.errors += 1
        self.load.complaint = self.load.complaint or said[-300:].decode("utf-8", "replace")

    def close(self) -> None:
        """Close what is open."""
        for caller in list(self.callers.values()):
            self._drop(caller)
        self.poll.close()


def connect(address: Address) -> socket.socket:
    """A blocking connection without Nagle's delay."""
    if isinstance(address, Path):
        made = socket.socket(socket.AF_UNIX)
    else:
        made = socket.socket()
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        made.connect(str(address) if isinstance(address, Path) else address)
    except OSError:
        made.close()
        raise
    return made


def _receive(connection: socket.socket) -> bytes:
    """What is there; nothing when the other side has closed, however it did that."""
    try:
        return connection.recv(_CHUNK)
    except ConnectionError:
        return b""


def read_head(head: bytes) -> tuple[int, bool]:
    """The length of the body that follows, and whether the status is 200; refuses a body without a length."""
    status, *lines = head.split(b"\r\n")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value), status.split(b" ", 2)[1] == b"200"
    raise RuntimeError(f"an answer without Content-Length: {head[:300]!r}")
