"""The pick on its target: real servers of baseline and variant side by side, asked in turns.

The search measures graphs; this measures what a caller gets: latency, processor time and memory of the
whole server, its cold start, and whether its answers are those that were judged.
"""

import contextlib
import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer import health
from deployer.errors import ReplicaUnreachable
from deployer.optimizer.report import Confirmation, Interval
from deployer.runtimes import Runtime
from deployer.spec import Limits, Progress, Replica, ReplicaSpec

if TYPE_CHECKING:
    import httpx


BASE, TWIN, VARIANT = "base", "twin", "variant"
CALLERS = 4
LEAST = 0.5  # seconds of processor time that can be compared
NEAR = 1e-3  # of numbers in answers: the same graph in another process adds in another order
START_DEADLINE = 120.0


@dataclass
class _Server:
    """A replica with what was seen of it; seconds."""

    replica: Replica
    client: "httpx.Client"
    cold_start: float
    latencies: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    memory: int = 0


@contextlib.contextmanager
def _servers(
    runtime: Runtime, folders: dict[str, Path], work: Path, key: str, progress: Progress
) -> Iterator[dict[str, _Server]]:
    servers: dict[str, _Server] = {}
    try:
        for number, (name, folder) in enumerate(folders.items()):
            progress(number, len(folders), name)
            servers[name] = _start(runtime, name, folder, work, key, progress)
        yield servers
    finally:
        for name, server in servers.items():
            server.client.close()
            runtime.stop(_id(work, name), grace=1.0)


def _id(work: Path, name: str) -> str:
    """Unique among replicas: a job's folder is named by its id."""
    plain = "".join(c for c in work.name.lower() if c.isalnum())[:12] or "job"
    return f"optimize-{plain}-{name}"


def _start(runtime: Runtime, name: str, folder: Path, work: Path, key: str, progress: Progress) -> _Server:
    # The twin is the very same as the baseline, prepared graphs included.
    prepared = work / "prepared" / (BASE if name == TWIN else name)
    spec = ReplicaSpec(
        id=_id(work, name),
        deployment=_id(work, name),
        model_dir=folder,
        limits=Limits(),
        key=key,
        prepared=prepared,
    )
    runtime.prepare(spec, progress)
    began = time.monotonic()
    replica = runtime.start(spec)
    own = key if replica.transport == "tcp" else ""
    health.wait_ready(
        replica,
        lambda: runtime.inspect(spec.id),
        lambda: runtime.logs(spec.id),
        key=own,
        deadline=START_DEADLINE,
    )
    return _Server(replica, health.client(replica.address, key=own, timeout=120.0), time.monotonic() - began)


def confirm(
    runtime: Runtime,
    base: Path,
    variant: Path,
    work: Path,
    asked: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    *,
    key: str,
    seconds: float,
    progress: Progress,
) -> Confirmation:
    """Ask baseline, its twin and the variant the same requests in turns, for about `seconds`.

    `asked` are requests with the answers that the search saw from the variant.
    """
    folders = {BASE: base, TWIN: base, VARIANT: variant}
    with _servers(runtime, folders, work, key, progress) as servers:
        same = sum(_alike(_ask(servers[VARIANT], request), expected) for request, expected in asked)
        for server in servers.values():
            for request, _ in asked[:4]:
                _ask(server, request)
        requests = _take_turns(runtime, servers, [request for request, _ in asked], seconds * 0.6, progress)
        _together(servers, [request for request, _ in asked], seconds * 0.4, progress)
        for server in servers.values():
            stats = runtime.stats(server.replica.id)
            server.memory = stats.memory if stats else 0
    ours, theirs = servers[VARIANT], servers[BASE]
    return Confirmation(
        runtime=runtime.name,
        latency_ms=_quantiles(ours.latencies),
        baseline_latency_ms=_quantiles(theirs.latencies + servers[TWIN].latencies),
        cpu=_ratio(servers[BASE].cpu + servers[TWIN].cpu, servers[VARIANT].cpu, 2),
        control=_ratio(servers[BASE].cpu, servers[TWIN].cpu, 1),
        memory=ours.memory,
        baseline_memory=theirs.memory,
        cold_start=round(ours.cold_start, 3),
        baseline_cold_start=round(min(theirs.cold_start, servers[TWIN].cold_start), 3),
        throughput=round(statistics.median(ours.rates), 2) if ours.rates else 0.0,
        baseline_throughput=round(statistics.median(theirs.rates), 2) if theirs.rates else 0.0,
        same_answers=same / max(1, len(asked)),
        requests=requests,
    )


def _ask(server: _Server, request: dict[str, Any]) -> Any:
    content = json.dumps(request, ensure_ascii=False).encode()
    response = server.client.post("/predict", content=content, headers={"Content-Type": "application/json"})
    if response.status_code != 200:
        raise ReplicaUnreachable(replica=server.replica.id, why=response.text[:300])
    return response.json()


def _take_turns(
    runtime: Runtime, servers: dict[str, _Server], requests: list[Any], seconds: float, progress: Progress
) -> int:
    """Each round asks every server every request; CPU time is read round by round."""
    began, rounds = time.monotonic(), 0
    while rounds < 3 or (time.monotonic() - began < seconds and rounds < 2000):
        for name in (BASE, VARIANT, TWIN) if rounds % 2 else (TWIN, VARIANT, BASE):
            server = servers[name]
            before = runtime.stats(server.replica.id)
            for request in requests:
                asked = time.perf_counter()
                _ask(server, request)
                server.latencies.append(time.perf_counter() - asked)
            after = runtime.stats(server.replica.id)
            if before and after:
                server.cpu.append(after.cpu - before.cpu)
        rounds += 1
        progress(int(time.monotonic() - began), int(seconds), "target")
        if rounds == 1 and time.monotonic() - began > seconds:
            break
    return rounds * len(requests)


def _together(servers: dict[str, _Server], requests: list[Any], seconds: float, progress: Progress) -> None:
    """Requests a second with several callers at once, in turns."""
    turns = 2
    each = seconds / (2 * turns)
    for turn in range(turns):
        for name in (BASE, VARIANT) if turn % 2 else (VARIANT, BASE):
            until, began = time.monotonic() + each, time.monotonic()

            def call(first: int, server: _Server = servers[name], until: float = until) -> int:
                count = 0
                while time.monotonic() < until:
                    _ask(server, requests[(first + count) % len(requests)])
                    count += 1
                return count

            with ThreadPoolExecutor(CALLERS) as pool:
                answered = sum(pool.map(call, range(CALLERS)))
            servers[name].rates.append(answered / max(1e-9, time.monotonic() - began))
            progress(turn, turns, "throughput")


def _ratio(base: list[float], other: list[float], times: int) -> Interval | None:
    """Processor time of `base`, which took `times` as many turns, over that of `other`, over all rounds.

    The clock of a process ticks in hundredths of a second: single rounds say nothing, and less than LEAST
    in all says nothing either.
    """
    theirs, ours = sum(base) / times, sum(other)
    if ours < LEAST or theirs < LEAST:
        return None
    tick = 0.02 * max(len(other), 1) ** 0.5
    value = theirs / ours
    return Interval(value, (theirs - tick) / (ours + tick), (theirs + tick) / max(ours - tick, 1e-9))


def _quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        name: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }


def _alike(one: Any, other: Any) -> bool:
    """Whether answers say the same; numbers may differ by what another order of additions does."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float):
        return bool(one == other)
    if not isinstance(other, int | float):
        return False
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)
