"""`python -m tests.benchmarks.catalogue.importing [--bytes N]`: what importing a large file costs in memory.

A child plans, fetches and hashes a file from a server in this process, exactly as an import does, and tells
the most memory that it ever held; beside it a child that does the same with one small file is the floor.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGE = 1 << 30
SMALL = 1 << 20
AIM = 100 << 20  # bytes that the import of a large file may hold
PIECE = bytes(range(256)) * 4096  # 1 MiB

_CHILD = """
import json, resource, sys, time
from pathlib import Path
from catalog.importers.plans import Gate, fetch, planned
from catalog.importers.reach import read_reach
from catalog.importers.sources import read_sources
from catalog.storage import sha256_of
began = time.monotonic()
gate = Gate(reach=read_reach("127.0.0.1"))
with planned(read_sources(sys.argv[1]), gate) as plan:
    fetch(plan, Path(sys.argv[2]))
    digest = sha256_of(Path(sys.argv[2]) / plan.remotes[0].path)
seconds = time.monotonic() - began
status = Path("/proc/self/status")  # what getrusage tells begins with the most that the parent ever held
if status.exists():
    peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"peak": peak, "seconds": seconds, "sha256": digest}))
"""


@contextmanager
def served() -> Iterator[str]:
    """An address under which /<n>.onnx is a file of n bytes, made while it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(Path(self.path).stem)
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", f'"{size}"')
            self.end_headers()
            try:
                for sent in range(0, size, len(PIECE)):
                    self.wfile.write(PIECE[: size - sent])
            except OSError:
                self.close_connection = True  # a look reads the head alone

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def fetched(address: str, size: int) -> dict[str, Any]:
    """Peak memory and seconds of a child that imports a file of so many bytes."""
    with tempfile.TemporaryDirectory(prefix="importing-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, f"{address}/{size}.onnx", folder],
            env=os.environ | {"PYTHONPATH": os.fspath(Path(__file__).parents[3])},
            capture_output=True,
            text=True,
            check=True,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def measure(size: int = LARGE) -> dict[str, Any]:
    """The large file beside the small one."""
    with served() as address:
        small, large = fetched(address, SMALL), fetched(address, size)
    return {
        "bytes": size,
        "peak": large["peak"],
        "floor": small["peak"],
        "ratio": round(large["peak"] / small["peak"], 3),
        "rate": round(size / large["seconds"]),
        "aim": AIM,
        "met": large["peak"] <= AIM,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bytes", type=int, default=LARGE)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    told = measure(chosen.bytes)
    if chosen.json:
        print(json.dumps(told))
        return
    print(f"importing {told['bytes'] / 1e6:.0f} MB: at most {told['peak'] / 1e6:.1f} MB of memory")
    print(f"  floor (1 MB file)  {told['floor'] / 1e6:.1f} MB, ratio {told['ratio']:.2f}")
    print(f"  aim                {told['aim'] / 1e6:.0f} MB: {'met' if told['met'] else 'missed'}")
    print(f"  rate               {told['rate'] / 1e6:.0f} MB/s, with hashing, on this machine's loopback")


if __name__ == "__main__":
    main()
