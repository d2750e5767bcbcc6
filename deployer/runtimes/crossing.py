"""Do unix sockets cross from a container to this machine? Found by trying, once per engine.

They do where engine and shop share a kernel; in a desktop's virtual machine they lie in the shared folder
but nobody can connect. Then servers are reached over TCP on the loopback address, with a key.
"""

import contextlib
import json
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.runtimes.folders import replica_folder

if TYPE_CHECKING:
    import docker

UNIX, TCP = "unix", "tcp"
DEADLINE = 10.0  # seconds for the probe's container to say hello
HELLO = b"hello"
PROGRAM = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind("/run/market/probe.sock"); s.listen(); s.settimeout(15)
s.accept()[0].sendall(b"hello")
"""


def transport(
    client: "docker.DockerClient", home: Path, run_dir: Path, image: str, options: dict[str, Any], owner: int
) -> str:
    """`unix` or `tcp` for this engine; a container of `image` with the replicas' own `options` tries it."""
    engine = str(client.api.info().get("ID") or "engine")
    note = home / "cache" / "engine.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(note.read_text()).get(engine)
        if known in {UNIX, TCP}:
            return str(known)
    found = UNIX if _crosses(client, run_dir, image, options, owner) else TCP
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({engine: found}))
    return found


def _crosses(
    client: "docker.DockerClient", run_dir: Path, image: str, options: dict[str, Any], owner: int
) -> bool:
    from docker.errors import DockerException

    folder = replica_folder(run_dir, f"probe-{uuid.uuid4().hex[:8]}")
    make_folder(folder, owner)
    container = None
    try:
        container = client.containers.run(
            image,
            ["-c", PROGRAM],
            entrypoint="python3",
            detach=True,
            volumes={str(folder): {"bind": "/run/market", "mode": "rw"}},
            **options,
        )
        return _greeted(folder / "probe.sock")
    except DockerException:
        return False
    finally:
        if container is not None:
            with contextlib.suppress(DockerException):
                container.remove(force=True)
        shutil.rmtree(folder, ignore_errors=True)


def _greeted(path: Path) -> bool:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(1)
            caller.connect(str(path))
            return caller.recv(5) == HELLO
        time.sleep(0.02)
    return False


def make_folder(folder: Path, owner: int) -> None:
    """A private folder for a socket, owned by the user that the container runs as."""
    import os

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.getuid() != owner:
        os.chown(folder, owner, owner)
