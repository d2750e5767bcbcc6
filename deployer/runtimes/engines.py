"""Finding a Docker engine on this machine, and its refusals in our words.

The SDK is imported late: it takes 0.2 s, and a machine without an engine never needs it.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.errors import RuntimeUnavailable

if TYPE_CHECKING:
    import docker

TIMEOUT = 60  # seconds for one answer of the engine
KNOCK = 2  # seconds for the engine's socket to let us in, and for a sign of life


def endpoints() -> list[str]:
    """Where an engine may listen, the environment's choice first; sockets that are not there are left out."""
    chosen = os.environ.get("DOCKER_HOST")
    if chosen:
        return [chosen]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    sockets = [Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock"]
    sockets += [Path(runtime, "docker.sock")] if runtime else []
    sockets += [Path.home() / ".colima/default/docker.sock", Path.home() / ".orbstack/run/docker.sock"]
    found = [f"unix://{path}" for path in sockets if path.exists()]
    return found or (["npipe:////./pipe/docker_engine"] if os.name == "nt" else [])


def is_local(endpoint: str) -> bool:
    """Whether the engine sees this machine's folders; one that is reached over a network may not."""
    return endpoint.startswith(("unix://", "npipe://"))


def connect(timeout: float = TIMEOUT) -> "docker.DockerClient":
    """A client of the first engine that answers; refuses with the reason where none does."""
    found = endpoints()
    if not found:
        raise RuntimeUnavailable(runtime="docker", why="no Docker engine's socket on this machine")
    if not is_local(found[0]):
        raise RuntimeUnavailable(
            runtime="docker", why=f"the engine at {found[0]} is remote; models are mounted from local folders"
        )
    reasons = {endpoint: closed for endpoint in found if (closed := _closed(endpoint))}
    if len(reasons) == len(found):
        raise RuntimeUnavailable(runtime="docker", why=_listed(reasons))
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    for endpoint in (name for name in found if name not in reasons):
        client = None
        try:
            client = docker.DockerClient(base_url=endpoint, timeout=timeout, version="auto")
            client.ping()
        except (DockerException, RequestException) as error:
            reasons[endpoint] = brief(error)
            if client is not None:
                client.close()
        else:
            return client
    raise RuntimeUnavailable(runtime="docker", why=_listed(reasons))


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{endpoint}: {why}" for endpoint, why in reasons.items())


def _closed(endpoint: str) -> str:
    """Why nobody listens on a unix socket; empty when somebody does. The SDK would leave sockets open."""
    if not endpoint.startswith("unix://"):
        return ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(KNOCK)
        try:
            knock.connect(endpoint.removeprefix("unix://"))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def brief(error: BaseException) -> str:
    """The innermost cause of an engine's error, on one line."""
    explanation = getattr(error, "explanation", None)
    if isinstance(explanation, bytes | str) and explanation:
        return explanation.decode() if isinstance(explanation, bytes) else explanation
    text = str(error)
    for known in ("Permission denied", "Connection refused", "No such file or directory", "timed out"):
        if known in text:
            return known
    return text.splitlines()[0] if text else type(error).__name__


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what the SDK and its HTTP client raise into RuntimeUnavailable with the cause."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise RuntimeUnavailable(runtime="docker", why=brief(error)) from error
