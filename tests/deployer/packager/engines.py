"""A second Docker engine on this machine, in a network of its own: the first one's must not be touched."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.shop import wait_until

UNSHARED = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@dataclass(frozen=True)
class Elsewhere:
    """The engine, and a registry in its network, at `host`."""

    client: docker.DockerClient
    host: str
    pid: int

    def run(self, *command: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run a command in that network."""
        inside = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        return subprocess.run(inside, env={**os.environ, **env}, capture_output=True, text=True, timeout=300)


@contextlib.contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A second engine with a registry beside it; needs root."""
    if os.getuid() != 0:
        pytest.skip("no second engine can be started here")
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as name:
        folder = Path(name)  # short, since a socket's path is
        with _started([*UNSHARED, *_engine(folder)], folder / "log") as process:
            wait_until(lambda: _listens(folder / "docker.sock"), within=60, what="the second engine listens")
            client = docker.DockerClient(base_url=f"unix://{folder}/docker.sock", timeout=120)
            joined = ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
            with _started([*joined, *_registry(folder)], folder / "registry.log"):
                yield Elsewhere(client, "127.0.0.1:5000", process.pid)
            client.close()


def _engine(folder: Path) -> list[str]:
    program = shutil.which("dockerd")
    assert program, "no dockerd here"
    (folder / "none.json").write_text("{}")
    return [
        *(program, "--host", f"unix://{folder}/docker.sock", "--config-file", f"{folder}/none.json"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"),
        *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs"),
    ]


def _registry(folder: Path) -> list[str]:
    program = shutil.which("docker-registry")
    assert program, "no docker-registry here"
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "kept")}},
        "http": {"addr": "127.0.0.1:5000", "secret": "not-secret"},
    }
    path = folder / "registry.yml"
    path.write_text(str(config).replace("'", '"'))
    return [program, "serve", str(path)]


def _listens(path: Path) -> bool:
    """Asked before the SDK is, which leaves the socket open when nobody listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knock:
        knock.connect(str(path))
        return True
    return False


@contextlib.contextmanager
def _started(command: list[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        process.terminate()
        process.wait(timeout=60)
