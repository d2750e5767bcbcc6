"""Talks to a running server over its unix socket or TCP port: is it ready, and does it answer.

httpx is imported late: it takes a third of a second, which a starting shop need not wait for.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import NotReady, ReplicaUnreachable, StartFailed
from deployer.spec import Replica, ReplicaState

if TYPE_CHECKING:
    import httpx

POLL = 0.005  # seconds; until its socket is there, a server is not even asked
LOOK = 0.1  # seconds between two looks at whether it still runs


def client(address: str, *, key: str = "", timeout: float = 60.0) -> "httpx.Client":
    """An HTTP client for a replica's address, unix:/path or tcp:host:port."""
    import httpx

    scheme, _, place = address.partition(":")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Replicas speak plain HTTP: reading the machine's certificates would cost more than the request.
    transport = httpx.HTTPTransport(uds=place if scheme == "unix" else None, verify=False)
    base = "http://replica" if scheme == "unix" else f"http://{place}"
    return httpx.Client(transport=transport, base_url=base, headers=headers, timeout=timeout, trust_env=False)


def wait_ready(
    replica: Replica,
    look: Callable[[], Replica | None],
    logs: Callable[[], str],
    *,
    key: str = "",
    deadline: float,
) -> float:
    """Wait until the server says that it is ready; returns the seconds that it took.

    `look` gives the replica as its runtime sees it. Raises StartFailed when the server ends first,
    NotReady after `deadline` seconds; both carry the last lines of its log.
    """
    began = looked = time.monotonic()
    with client(replica.address, key=key, timeout=5.0) as http:
        while True:
            if _listens(replica.address) and _is_ready(http):
                return time.monotonic() - began
            time.sleep(POLL)
            if time.monotonic() - looked < LOOK:
                continue
            looked, seen = time.monotonic(), look()
            if seen is None or seen.state == ReplicaState.gone:
                raise StartFailed(
                    replica=replica.id, exit=seen.exit if seen else "gone", log=_last_lines(logs())
                )
            if time.monotonic() - began > deadline:
                raise NotReady(replica=replica.id, seconds=deadline, log=_last_lines(logs()))


def _listens(address: str) -> bool:
    """Whether there is a socket to ask; a server puts its own in place when it is loaded."""
    scheme, _, place = address.partition(":")
    return scheme != "unix" or Path(place).exists()


def _is_ready(http: "httpx.Client") -> bool:
    import httpx

    try:
        return http.get("/v2/health/ready").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def predict(
    replica_id: str, address: str, body: dict[str, Any], *, key: str = "", lang: str = "en"
) -> "httpx.Response":
    """POST a body to the server's /predict.

    Raises ValueError for a body that JSON cannot carry, and ReplicaUnreachable when no answer comes.
    """
    import httpx

    content = _encode(body)
    headers = {"Accept-Language": lang, "Content-Type": "application/json"}
    try:
        with client(address, key=key, timeout=120.0) as http:
            return http.post("/predict", content=content, headers=headers)
    except httpx.TransportError as error:
        raise ReplicaUnreachable(replica=replica_id, why=str(error) or type(error).__name__) from error


def _encode(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deep") from None


def _last_lines(log: str, count: int = 12) -> str:
    return "\n".join(log.strip().splitlines()[-count:])
