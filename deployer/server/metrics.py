"""Counts of one server in Prometheus' text format. Written by the event loop alone, so no locks.

Tokens also go by OpenTelemetry's semantic conventions for generative AI, in their Prometheus form.
"""

import resource
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.server.providers import Device

if TYPE_CHECKING:
    from deployer.server.batching import Scheduler

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)  # those of the conventions, as far as needed
OPERATIONS = {"/v1/embeddings": "embeddings"}  # gen_ai.operation.name by route; others are custom


class Histogram:
    """Observations counted by the bounds that they lie under."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.slots = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.slots[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> list[str]:
        """Its samples; `labels` without braces, or empty."""
        lines, count, comma = [], 0, "," if labels else ""
        for bound, slot in zip((*map(str, self.bounds), "+Inf"), self.slots, strict=True):
            count += slot
            lines.append(f'{name}_bucket{{{labels}{comma}le="{bound}"}} {count}')
        braced = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{braced} {self.total:.6f}", f"{name}_count{braced} {count}"]


class Metrics:
    """Requests by route and status, their latencies, what is in flight, tokens, and the process itself."""

    def __init__(self, load_seconds: float, model: str, device: Device) -> None:
        self.load_seconds = load_seconds
        self.model = model
        self.device = device
        self.started = time.time()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.latency: dict[str, Histogram] = defaultdict(lambda: Histogram(BUCKETS))
        self.token_usage: dict[str, Histogram] = defaultdict(lambda: Histogram(TOKEN_BUCKETS))
        self.tokens = 0
        self.in_flight = 0
        self.scheduler: Scheduler | None = None

    def observe(self, route: str, status: int, seconds: float, tokens: int) -> None:
        """Count one answered request; `route` is a pattern, never a caller's text."""
        self.requests[route, status] += 1
        self.latency[route].observe(seconds)
        if tokens:
            self.tokens += tokens
            self.token_usage[OPERATIONS.get(route, "predict")].observe(tokens)

    def text(self) -> str:
        """All series in the text format 0.0.4."""
        queued = len(self.scheduler.jobs) if self.scheduler else 0
        lines = [*self._requests(), *self._latency(), *self._tokens(), *self._batches()]
        lines += _single("market_requests_in_flight", "gauge", "Requests being answered.", self.in_flight)
        lines += _single("market_queue_length", "gauge", "Inferences waiting or running.", queued)
        lines += _single("market_tokens_total", "counter", "Tokens read by the model.", self.tokens)
        lines += _single("market_model_load_seconds", "gauge", "Time to load the model.", self.load_seconds)
        lines += self._placement()
        lines += _process(self.started)
        return "\n".join(lines) + "\n"

    def _requests(self) -> list[str]:
        lines = _head("market_requests_total", "counter", "Answered requests.")
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'market_requests_total{{route="{route}",status="{status}"}} {count}')
        return lines

    def _latency(self) -> list[str]:
        name = "market_request_seconds"
        lines = _head(name, "histogram", "Time from the whole body to the answer.")
        for route, histogram in sorted(self.latency.items()):
            lines += histogram.lines(name, f'route="{route}"')
        return lines

    def _tokens(self) -> list[str]:
        name = "gen_ai_client_token_usage"
        lines = _head(name, "histogram", "Tokens of a request.")
        for operation, histogram in sorted(self.token_usage.items()):
            labels = (
                f'gen_ai_operation_name="{operation}",gen_ai_provider_name="opc-market",'
                f'gen_ai_request_model="{self.model}",gen_ai_token_type="input"'
            )
            lines += histogram.lines(name, labels)
        return lines

    def _placement(self) -> list[str]:
        name = "market_execution_provider"
        lines = _head(f"{name}_info", "gauge", "The device, and the execution provider asked for it.")
        lines.append(f'{name}_info{{device="{self.device.id}",provider="{self.device.provider}"}} 1')
        if self.device.nodes:
            lines += _head(f"{name}_nodes", "gauge", "Nodes of the graphs by the provider that runs them.")
        for provider, count in sorted(self.device.nodes.items()):
            lines.append(f'{name}_nodes{{provider="{provider}"}} {count}')
        return lines

    def _batches(self) -> list[str]:
        if self.scheduler is None:
            return []
        name = "market_batch_requests"
        lines = _head(name, "histogram", "Requests that shared one run of the graph.")
        histogram = Histogram((1, 2, 4, 8, 16, 32, 64))
        for size, count in sorted(self.scheduler.batches.copy().items()):
            histogram.slots[bisect_left(histogram.bounds, size)] += count
            histogram.total += size * count
        lines += histogram.lines(name, "")
        what = "CPU time spent on requests that are done: decoding, the model, encoding."
        spent = round(self.scheduler.seconds, 6)
        return [*lines, *_single("market_work_cpu_seconds_total", "counter", what, spent)]


def _head(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]


def _single(name: str, kind: str, help: str, value: float) -> list[str]:
    return [*_head(name, kind, help), f"{name} {value}"]


def _process(started: float) -> list[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = usage.ru_utime + usage.ru_stime
    lines = _single("process_cpu_seconds_total", "counter", "User and system time.", round(cpu, 3))
    lines += _single("process_start_time_seconds", "gauge", "Start, since 1970.", round(started, 3))
    status = Path("/proc/self/statm")
    if status.exists():
        pages = int(status.read_text().split()[1])
        memory = pages * resource.getpagesize()
        lines += _single("process_resident_memory_bytes", "gauge", "Memory in use.", memory)
    return lines
