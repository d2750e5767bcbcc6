"""A model folder started once as a server of ours, without network, and asked its listing's examples.

The server runs as one of a deployment would: shut into the sandbox, bounded in memory, and each wait is
bounded in time. What it answers is not believed: answers are read up to a size, and held against what the
listing expects in a child of their own, since an expectation may be as hostile as a model.
"""

import contextlib
import json
import re
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer import examples, health
from deployer.errors import DeployerError, NotReady, StartFailed
from deployer.runtimes import Runtime
from deployer.spec import Limits, Progress, Replica, ReplicaSpec, Sandbox, silent

if TYPE_CHECKING:
    import httpx

DEVICE = "cpu"
LONGEST_ANSWER = 8 << 20  # bytes
LOOK = 0.02  # seconds between two looks at its memory
LEAST, MOST = 20, 200  # requests that a latency is taken from, where there is time for them
ROWS = 200  # of a labelled sample
LONGEST_SAMPLE = 4 << 20  # bytes
NUMBERS = frozenset({"score", "similarity", "value", "prediction", "probability"})
"""Keys whose value is always a number; null there is how JSON writes NaN."""
SAMPLED = frozenset({"text-classification", "image-classification"})
"""Tasks whose answers name a label first, so that labelled rows can be counted."""
_NO_MEMORY = re.compile(r"MemoryError|bad_alloc|bad allocation|[Ff]ailed to allocate|Cannot allocate memory")


class DryRunFailed(DeployerError):
    """Root of what may go wrong with a model that is tried. Facts: why."""

    code = "dry-run-failed"


class DryRunUnsafe(DryRunFailed):
    """This machine has no full sandbox, and what nobody has looked at runs in nothing less. Facts: grade."""

    code = "dry-run-no-sandbox"


class DryRunRefused(DryRunFailed):
    """Our server cannot serve the model. Facts: why."""

    code = "dry-run-refused"


class DryRunCrashed(DryRunFailed):
    """The server ended by itself. Facts: exit, log."""

    code = "dry-run-crashed"


class DryRunHung(DryRunFailed):
    """It was not ready, or did not answer, in time. Facts: seconds, example (number; 0 while it started)."""

    code = "dry-run-hang"


class DryRunOutOfMemory(DryRunFailed):
    """It took more memory than it may. Facts: limit (bytes)."""

    code = "dry-run-memory"


class ExampleRefused(DryRunFailed):
    """The server refused an example. Facts: example, status, why."""

    code = "example-refused"


class AnswerTooLong(DryRunFailed):
    """An answer was longer than anybody would read. Facts: example, limit (bytes)."""

    code = "example-answer-too-long"


class AnswerNotANumber(DryRunFailed):
    """An answer holds NaN or an infinity where a number belongs. Facts: example, at."""

    code = "example-nan"


@dataclass(frozen=True)
class Bounds:
    """What a dry run may cost: bytes and seconds."""

    memory: int = 2 << 30
    start: float = 60.0
    answer: float = 20.0
    measuring: float = 5.0
    in_all: float = 180.0


@dataclass
class Outcome:
    """What was seen of a model; answers stand in the order of the requests."""

    runtime: str
    cold_start_ms: float = 0.0
    memory: int = 0  # bytes at most
    answers: list[Any] = field(default_factory=list)
    sample: list[Any] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def latency(self) -> dict[str, float]:
        """Median and 95th percentile in milliseconds, of n requests."""
        if not self.latencies_ms:
            return {}
        ordered = sorted(self.latencies_ms)
        late = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return {"p50": round(statistics.median(ordered), 3), "p95": round(late, 3), "n": len(ordered)}


def try_out(
    runtime: Runtime,
    folder: Path,
    requests: Sequence[dict[str, Any]],
    *,
    id: str,
    key: str = "",
    sample: Sequence[dict[str, Any]] = (),
    bounds: Bounds | None = None,
    tick: Progress = silent,
) -> Outcome:
    """Start the folder, ask every request and the labelled rows, then measure; raises DryRunFailed.

    `tick` is called all along; what it raises ends the server.
    """
    bounds = bounds or Bounds()
    require_full_sandbox(runtime)
    spec = ReplicaSpec(
        id=id, deployment="dry-run", model_dir=folder, limits=Limits(memory=bounds.memory), key=key
    )
    outcome = Outcome(runtime.name)
    until = time.monotonic() + bounds.in_all
    runtime.prepare(spec, tick)
    try:
        with _Watched(runtime, spec, outcome), _started(runtime, spec, bounds, outcome, tick) as server:
            for number, request in enumerate(requests, 1):
                tick(number - 1, len(requests), "examples")
                outcome.answers.append(server.ask(request, number, until))
            for number, request in enumerate(sample, 1):
                tick(number - 1, len(sample), "sample")
                outcome.sample.append(server.ask(request, number, until))
            _measure(server, requests, outcome, min(until, time.monotonic() + bounds.measuring), tick)
    finally:
        runtime.stop(id, grace=0.5)
    return outcome


def require_full_sandbox(runtime: Runtime) -> None:
    """Refuse a runtime that would give a stranger's model more than a full sandbox allows."""
    found = runtime.available()
    grade = str(found.detail.get("sandbox", Sandbox.none)) if found.ok else str(Sandbox.none)
    if grade != Sandbox.full:
        raise DryRunUnsafe(grade=grade)


class _Watched:
    """Keeps the most memory that was seen."""

    def __init__(self, runtime: Runtime, spec: ReplicaSpec, outcome: Outcome) -> None:
        self._runtime, self._id, self._outcome = runtime, spec.id, outcome
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="dry-run-memory", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            stats = self._runtime.stats(self._id)
            if stats is not None:
                self._outcome.memory = max(self._outcome.memory, stats.memory)


@contextlib.contextmanager
def _started(
    runtime: Runtime, spec: ReplicaSpec, bounds: Bounds, outcome: Outcome, tick: Progress
) -> "Iterator[_Server]":
    began = time.monotonic()

    def look() -> Replica | None:
        tick(0, 0, "start")
        return runtime.inspect(spec.id)

    try:
        replica = runtime.start(spec)
        own = spec.key if replica.transport == "tcp" else ""
        health.wait_ready(replica, look, lambda: runtime.logs(spec.id), key=own, deadline=bounds.start)
    except NotReady as error:
        raise DryRunHung(seconds=bounds.start, example=0) from error
    except StartFailed as error:
        log = str(error.facts.get("log", ""))
        raise cause(str(error.facts.get("exit", "")), log, bounds.memory) from error
    outcome.cold_start_ms = round(1000 * (time.monotonic() - began), 1)
    with health.client(replica.address, key=own, timeout=bounds.answer) as http:
        yield _Server(runtime, spec, http, bounds)


def cause(exit: str, log: str, memory: int) -> DryRunFailed:
    """Why a server ended: too much memory, a model that cannot be served, or a crash."""
    if exit.startswith("memory ") or _NO_MEMORY.search(log):
        return DryRunOutOfMemory(limit=memory)
    if exit == "exit 3":
        return DryRunRefused(why=_said(log))
    return DryRunCrashed(exit=exit, log=_places(log))


def _said(log: str) -> str:
    """The cause that the server logged last, in one line."""
    for line in reversed(log.splitlines()):
        with contextlib.suppress(ValueError, AttributeError):
            told = json.loads(line)
            text = told.get("cause") or (told.get("traceback") or "").strip().splitlines()[-1:]
            if text:
                return (text if isinstance(text, str) else text[0])[:300]
    return "no cause was logged"


def _places(log: str) -> str:
    return "\n".join(line[:200] for line in log.strip().splitlines()[-4:])


@dataclass
class _Server:
    runtime: Runtime
    spec: ReplicaSpec
    http: "httpx.Client"
    bounds: Bounds

    def ask(self, request: dict[str, Any], number: int, until: float) -> Any:
        """The answer as JSON; raises DryRunFailed."""
        body, _ = self.time(request, number, until)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ExampleRefused(example=number, status=200, why=type(error).__name__) from error

    def time(self, request: dict[str, Any], number: int, until: float) -> tuple[bytes, float]:
        """The answer's bytes, and the milliseconds that it took."""
        import httpx

        seconds = min(self.bounds.answer, until - time.monotonic())
        if seconds <= 0:
            raise DryRunHung(seconds=self.bounds.in_all, example=number)
        try:
            content = json.dumps(request, ensure_ascii=False, allow_nan=False).encode()
            began = time.perf_counter()
            body, status = self._post(content, number, began + seconds)
        except httpx.TimeoutException as error:
            raise DryRunHung(seconds=round(seconds), example=number) from error
        except httpx.TransportError as error:
            raise self._ended() from error
        took = 1000 * (time.perf_counter() - began)
        if status != 200:
            raise self._refusal(body, status, number)
        return body, took

    def _post(self, content: bytes, number: int, until: float) -> tuple[bytes, int]:
        import httpx

        headers = {"Content-Type": "application/json", "Accept-Language": "en"}
        seconds = max(0.1, until - time.perf_counter())
        with self.http.stream(
            "POST", "/predict", content=content, headers=headers, timeout=seconds
        ) as answer:
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > LONGEST_ANSWER:
                    raise AnswerTooLong(example=number, limit=LONGEST_ANSWER)
                if time.perf_counter() > until:
                    raise httpx.ReadTimeout("the answer trickles")
            return bytes(body), answer.status_code

    def _ended(self) -> DryRunFailed:
        for _ in range(100):  # the connection may break before the process is seen to be gone
            seen = self.runtime.inspect(self.spec.id)
            if seen is None or seen.exit:
                break
            time.sleep(LOOK)
        exit = seen.exit if seen is not None and seen.exit else "gone"
        return cause(exit, self._log(), self.bounds.memory)

    def _log(self) -> str:
        return self.runtime.logs(self.spec.id, 20)

    def _refusal(self, body: bytes, status: int, number: int) -> DryRunFailed:
        told: Any = {}
        with contextlib.suppress(ValueError, RecursionError):
            told = json.loads(body)
        why = str(told.get("detail") or told.get("title") or "") if isinstance(told, dict) else ""
        if _NO_MEMORY.search(why) or (status >= 500 and _NO_MEMORY.search(self._log())):
            return DryRunOutOfMemory(limit=self.bounds.memory)
        return ExampleRefused(example=number, status=status, why=why[:300])


def _measure(
    server: _Server, requests: Sequence[dict[str, Any]], outcome: Outcome, until: float, tick: Progress
) -> None:
    """Ask the examples in turns: at least one round more, and as many as there is time for."""
    if not requests:
        return
    while len(outcome.latencies_ms) < MOST and (time.monotonic() < until or not outcome.latencies_ms):
        for number, request in enumerate(requests, 1):
            tick(len(outcome.latencies_ms), MOST, "latency")
            hard = time.monotonic() + server.bounds.answer
            outcome.latencies_ms.append(server.time(request, number, hard)[1])


# In a child of their own: answers and expectations are both other people's


def compare(answers: list[Any], expects: list[Any], progress: Progress = silent) -> list[list[str]]:
    """For each answer, where it is not as expected; the first five places, and "NaN at …" first of all."""
    found = []
    for number, (answer, expect) in enumerate(zip(answers, expects, strict=True)):
        progress(number, len(answers))
        wrong = [f"NaN: {at}" for at in not_a_number(answer)][:1]
        found.append(wrong + (examples.check(answer, expect)[:5] if expect is not None else []))
    return found


def not_a_number(answer: Any, at: str = "") -> Iterator[str]:
    """Places where JSON's null stands for NaN or an infinity: in lists, and under keys of numbers."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            place = f"{at}.{key}" if at else str(key)
            if value is None and key in NUMBERS:
                yield place
            else:
                yield from not_a_number(value, place)
    elif isinstance(answer, list):
        for index, value in enumerate(answer):
            if value is None:
                yield f"{at}[{index}]"
            else:
                yield from not_a_number(value, f"{at}[{index}]")


def read_sample(path: str, progress: Progress = silent) -> list[dict[str, Any]]:
    """The first rows of a labelled sample (JSONL, each an object with `label`); bounded in rows and bytes."""
    rows: list[dict[str, Any]] = []
    with Path(path).open("rb") as file:
        for line in file.read(LONGEST_SAMPLE).splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if isinstance(row, dict) and isinstance(row.get("label"), str | int):
                    rows.append(row)
            if len(rows) == ROWS:
                break
    return rows


def hits(answers: list[Any], labels: list[Any], progress: Progress = silent) -> int:
    """How many answers name the label first."""
    return sum(_label(answer) == str(label) for answer, label in zip(answers, labels, strict=True))


def _label(answer: Any) -> str:
    """The likeliest label of an answer of one text, picture or row."""
    results = answer.get("results") if isinstance(answer, dict) else None
    first = results[0] if isinstance(results, list) and results else None
    while isinstance(first, list) and first:
        first = first[0]
    return str(first.get("label")) if isinstance(first, dict) else ""
