"""`python -m tests.benchmarks.catalogue.downloads [--rounds N]`: /hf beside nginx, for a large file.

The same file on the same disk is read by the same client over loopback, in rounds that take turns. nginx
sends it with one worker, sendfile and no log; it comes from the system (apt-get install nginx-light), and
where there is none the row is left out and the report says so. A bare loop over os.sendfile stands beside
both. CPU seconds are those of the gateway and the shop together, or of nginx's worker.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from catalog import blobs
from tests.benchmarks.harness import Case, Row, Timing, interleave, row, table
from tests.benchmarks.packaging.report import Figure
from tests.marketplace.hubs import put
from tests.shop import Shop, wait_until

SIZE = 100_000_000
LIMIT = 1.10  # times what nginx takes
TIMES = 10  # downloads behind one figure: the system counts CPU in hundredths of a second
PARALLEL = 10
GROWTH = 16.0  # MB that the gateway and the shop may grow by while ten download
LISTING, FILE = "bench/large", "large.onnx"
OURS, NGINX, FLOOR = "/hf through the gateway", "nginx, sendfile", "bare sendfile"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Report:
    """What was measured, and what could not be."""

    rows: list[Row]
    figures: list[Figure]
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every aim is reached."""
        return all(one.kept for one in self.rows) and all(one.kept for one in self.figures)

    def text(self) -> str:
        """As it is printed."""
        told = [f"{one.name}: {one.value:.1f} {one.unit} (limit {one.limit:g})" for one in self.figures]
        return "\n".join([table(self.rows), "", *told, *self.notes])


@dataclass(frozen=True)
class Place:
    """Where the file is had, and the processes that send it."""

    port: int
    path: str
    processes: list[psutil.Process]

    def fetch(self) -> int:
        """Read the file once over a connection of its own, and throw it away; its bytes."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece:
                    raise RuntimeError(f"{self.path}: closed before an answer")
                head += piece
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"{self.path}: {head[:300]!r}")
            got = len(head) - head.index(b"\r\n\r\n") - 4
            buffer = bytearray(_PIECE)
            while got < SIZE:
                count = connection.recv_into(buffer)
                if not count:
                    raise RuntimeError(f"{self.path}: cut short at {got}")
                got += count
        return got

    def timed(self) -> Timing:
        """One download, as the mean of a few one after another."""
        before, began = self._cpu(), time.perf_counter()
        for _ in range(TIMES):
            self.fetch()
        wall = time.perf_counter() - began
        return Timing(wall / TIMES, (self._cpu() - before) / TIMES)

    def _cpu(self) -> float:
        times = [process.cpu_times() for process in self.processes]
        return sum(one.user + one.system for one in times)

    def resident(self) -> float:
        """Memory of the processes in MB."""
        return sum(process.memory_info().rss for process in self.processes) / 1e6


def run(rounds: int = 15) -> Report:
    """Measure; the aim is a download in no more than 1.1 times what nginx takes."""
    notes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-")))
        shop = stack.enter_context(Shop.start(folder / "home", MARKET_SHELF="none"))
        ours, blob = _ours(shop, folder)
        places = {OURS: ours, FLOOR: stack.enter_context(_bare(blob))}
        if shutil.which("nginx"):
            places[NGINX] = stack.enter_context(_nginx(blob, folder))
        else:
            notes.append("no nginx here, so nothing was measured against it: apt-get install nginx-light")
        cases: dict[str, Case] = {name: place.timed for name, place in places.items()}
        found = interleave(cases, rounds, warm_ups=2)
        figures = _memory(ours)
    rows = [row(found, FLOOR)]
    if NGINX in found:
        rows += [row(found, NGINX, FLOOR), row(found, OURS, NGINX, LIMIT)]
    return Report([*rows, row(found, OURS, FLOOR, LIMIT)], figures, notes)


def _ours(shop: Shop, folder: Path) -> tuple[Place, Path]:
    """The listing with the large file, and where its blob lies."""
    content = os.urandom(_PIECE) * (SIZE // _PIECE + 1)
    put(shop, folder, {FILE: content[:SIZE]}, LISTING, signed=False)
    parts = [psutil.Process(shop.pid_of(name)) for name in ("marketplace.gateway", "marketplace.app")]
    place = Place(int(shop.url.rpartition(":")[2]), f"/hf/{LISTING}/resolve/main/{FILE}", parts)
    blob = next(path for path in blobs.store(shop.home).iterdir() if path.stat().st_size == SIZE)
    return place, blob


def _memory(place: Place) -> list[Figure]:
    """How much the senders grow while ten download at once."""
    before = most = place.resident()
    threads = [threading.Thread(target=place.fetch) for _ in range(PARALLEL)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, place.resident())
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    return [Figure(f"growth while {PARALLEL} download at once", most - before, "MB", GROWTH)]


_CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@contextmanager
def _nginx(blob: Path, folder: Path) -> Iterator[Place]:
    port = _free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, root=blob.parent))
    for path in (folder, blob.parent, *blob.parents[1:4]):
        path.chmod(path.stat().st_mode | 0o055)  # the worker is another user where we are root
    command = ["nginx", "-p", str(folder), "-c", str(configuration)]
    with _started(command, port) as master:
        workers = wait_until(master.children, within=10, what="nginx has its worker")
        yield Place(port, f"/{blob.name}", workers)


_BARE = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
file = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(file).st_size
while True:
    connection, _ = listener.accept()
    with connection:
        if not connection.recv(65536):
            continue
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size)
        sent = 0
        try:
            while sent < size:
                sent += os.sendfile(connection.fileno(), file, sent, size - sent)
        except OSError:
            pass
"""


@contextmanager
def _bare(blob: Path) -> Iterator[Place]:
    port = _free_port()
    with _started([sys.executable, "-c", _BARE, str(blob), str(port)], port) as process:
        yield Place(port, "/", [process])


@contextmanager
def _started(command: list[str], port: int) -> Iterator[psutil.Process]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(partial(_answers, port), within=20, what=f"{command[0]} listens")
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(timeout=10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> int:
    """Print the report; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    report = run(parser.parse_args().rounds)
    print(report.text())
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
