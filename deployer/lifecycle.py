"""The steps that bring one replica up, each of which may run twice: package, start, health, warm-up."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from deployer import health
from deployer.errors import ReplicaUnreachable
from deployer.examples import check
from deployer.runtimes import Runtime
from deployer.spec import Progress, Replica, ReplicaSpec


def package(runtime: Runtime, spec: ReplicaSpec, progress: Progress) -> dict[str, Any]:
    """Make what the runtime needs besides the model, for instance its image."""
    runtime.prepare(spec, progress)
    return {"runtime": runtime.name}


def start(runtime: Runtime, spec: ReplicaSpec) -> Replica:
    """Start the replica, or find it running; raises StartFailed or RuntimeUnavailable."""
    return runtime.start(spec)


def wait_healthy(
    runtime: Runtime, replica: Replica, *, key: str, deadline: float, go_on: Callable[[], None]
) -> dict[str, Any]:
    """Wait until the server is ready; `go_on` is called now and then and may raise to give up."""
    asked = [0.0]

    def look() -> Replica | None:
        if time.monotonic() - asked[0] > 0.25:  # cheap enough to notice a cancel at once
            asked[0] = time.monotonic()
            go_on()
        return runtime.inspect(replica.id)

    seconds = health.wait_ready(replica, look, lambda: runtime.logs(replica.id), key=key, deadline=deadline)
    return {"ready_after": round(seconds, 3)}


def warm_up(replica: Replica, manifest: Mapping[str, Any], *, key: str) -> dict[str, Any]:
    """Send the version's first example, so that the first caller does not pay for lazy work.

    Says whether the answer was the expected one; a wrong answer is shown, not hidden, and the
    deployment goes on: the examples' tolerances are the author's, not a measured bound.
    """
    examples = manifest.get("examples") or []
    if not examples:
        return {"example": "none"}
    began = time.perf_counter()
    response = health.predict(replica.id, replica.address, examples[0]["request"], key=key)
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    if response.status_code >= 500:
        raise ReplicaUnreachable(
            replica=replica.id, why=f"HTTP {response.status_code}: {response.text[:200]}"
        )
    wrong = check(response.json(), examples[0]["expect"])
    return {"example": "wrong" if wrong else "right", "why": wrong[:3], "milliseconds": milliseconds}
