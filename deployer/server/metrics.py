"""Counts of one server in Prometheus' text format. Written by the event loop alone, so no locks."""

import resource
import time
from collections import defaultdict
from pathlib import Path

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """Requests by route and status, their latencies, what is in flight, tokens, and the process itself."""

    def __init__(self, load_seconds: float) -> None:
        self.load_seconds = load_seconds
        self.started = time.time()
        self.requests: dict[tuple[str, int], int] = defaultdict(int)
        self.latency: dict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self.seconds: dict[str, float] = defaultdict(float)
        self.tokens = 0
        self.in_flight = 0
        self.queued = 0

    def observe(self, route: str, status: int, seconds: float, tokens: int) -> None:
        """Count one answered request; `route` is a pattern, never a caller's text."""
        self.requests[route, status] += 1
        slot = next((index for index, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.latency[route][slot] += 1
        self.seconds[route] += seconds
        self.tokens += tokens

    def text(self) -> str:
        """All series in the text format 0.0.4."""
        lines = [*self._requests(), *self._latency()]
        lines += _single("market_requests_in_flight", "gauge", "Requests being answered.", self.in_flight)
        lines += _single("market_queue_length", "gauge", "Inferences waiting or running.", self.queued)
        lines += _single("market_tokens_total", "counter", "Tokens read by the model.", self.tokens)
        lines += _single("market_model_load_seconds", "gauge", "Time to load the model.", self.load_seconds)
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
        for route, slots in sorted(self.latency.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), slots, strict=True):
                total += count
                lines.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{route="{route}"}} {self.seconds[route]:.6f}')
            lines.append(f'{name}_count{{route="{route}"}} {total}')
        return lines


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
