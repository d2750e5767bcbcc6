"""Other servers of ONNX graphs, each in a virtual environment of its own outside the repository.

The scripts beside this file run there: they take the graph from $MODEL and the port from $PORT, listen on
loopback only, and import nothing of ours.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from catalog.storage import only_one
from tests.benchmarks.serving.load import Address
from tests.benchmarks.serving.models import Graph
from tests.benchmarks.serving.servers import Contender
from tests.benchmarks.serving.wires import JSON, Wire, plain
from tests.shelf_files import cache_dir

HERE = Path(__file__).parent
# The same ONNX Runtime for everybody, or the figures would compare two of them.
_SAME = tuple(f"{name}=={version(name)}" for name in ("onnxruntime", "numpy"))


class Unavailable(Exception):
    """A peer cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """A server of somebody else."""

    name: str
    requirements: tuple[str, ...]
    wire: Wire
    python: str = sys.executable

    @property
    def folder(self) -> Path:
        """Its virtual environment: another one as soon as a requirement changes."""
        python = sys.version if self.python == sys.executable else self.python
        mark = hashlib.sha256("\n".join([python, *self.requirements]).encode()).hexdigest()[:12]
        return cache_dir() / "peers" / f"{self.name}-{mark}"

    def install(self) -> None:
        """Have it installed; raises Unavailable when that cannot be done."""
        with only_one(cache_dir() / "peers" / f".{self.name}.lock"):
            if (self.folder / ".ready").exists():
                return
            for old in self.folder.parent.glob(f"{self.name}-????????????"):
                shutil.rmtree(old)
            print(f"installing {self.name} for the comparison", file=sys.stderr, flush=True)
            self._run(self.python, "-m", "venv", str(self.folder))
            self._run(str(self._python), "-m", "pip", "install", "--quiet", *self.requirements)
            (self.folder / ".ready").touch()

    def _run(self, *command: str) -> None:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise Unavailable(f"{command[0]} is not here") from error
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout).strip().splitlines()
            raise Unavailable(said[-1] if said else f"{command[:4]} failed") from error

    @property
    def _python(self) -> Path:
        return self.folder / "bin" / "python"

    def contender(self) -> Contender:
        """How it is started and asked."""
        return Contender(self.name, self.wire, self._start)

    def _start(self, graph: Graph, at: Address, scratch: Path) -> tuple[list[str], dict[str, str]]:
        assert isinstance(at, tuple)
        host, port = at[0], str(at[1])
        settings = {
            "MODEL": str(graph.path),
            "PORT": port,
            "MOSEC_ADDRESS": host,
            "MOSEC_PORT": port,
            "MOSEC_LOG_LEVEL": "error",
            "TMPDIR": str(scratch),
            "XDG_CACHE_HOME": str(scratch),
            "PYTHONPATH": "",
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        return [str(self._python), str(HERE / f"{self.name}_server.py")], settings


PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "fastapi",
            ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", *_SAME),
            plain("/predict"),
        ),
        Peer("litserve", ("litserve==0.2.19", *_SAME), plain("/predict")),
        Peer("mosec", ("mosec==0.9.8", "msgspec==0.22.0", *_SAME), plain("/inference")),
        # Its stub is linked to the system's Python 3.11, and it takes no numpy 2.
        Peer("triton", ("nvidia-pytriton==0.7.0", _SAME[0]), JSON, "/usr/bin/python3.11"),
    )
}
