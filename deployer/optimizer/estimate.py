"""What a deployment of a model will need in memory, told before anything runs; and whether a device has it.

A server's resident memory is the interpreter with its libraries, the words of dictionaries, the nodes of the
graphs, the weights as the session holds them, and what runs need at the size of an example. Prepared weights
are mapped from their file: packed ones are read whole, of tables only the pages of the rows that are asked
for. The constants were measured on the starter shelf (tests/benchmarks/optimizing/memory.py does it again).
"""

import math
import mmap
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import psutil

from deployer.optimizer.architecture import ArchitectureReport, GraphReport
from deployer.optimizer.architecture.wiring import ARENA
from deployer.optimizer.effort import JobEstimate, job

__all__ = ["DeviceFacts", "Fit", "JobEstimate", "MemoryEstimate", "fit", "job", "mapping_step", "memory"]

MIB = 1 << 20
BASE = 71 * MIB  # interpreter, numpy, ONNX Runtime and the server's own modules, after its first answers
TOKENIZERS = 6 * MIB  # the tokenizers library
PICTURES = 13 * MIB  # Pillow, and a picture on its way to a tensor
ENTRY = 250  # bytes of a word in a dictionary, Python's or the tokenizer's
NODE = 4608  # bytes of a node in a session
LEFT = 63 * MIB  # of a graph that gives memory back after each run: regions that malloc does not map
_PAGES = 64 << 10  # of a mapped file that the kernel maps at a touch, where it cannot be found out
_REMEMBERED = 128  # tokens that a decoder has read in one answer


@dataclass(frozen=True)
class MemoryEstimate:
    """Resident bytes of a deployment on the processor, by what they are for.

    `resident` is what stays after requests one after another; `busy` with requests on all threads at once;
    `peak` is reached for a moment in a run. `at_least` when sizes depend on what is computed.
    """

    base: int
    libraries: int
    dictionaries: int
    files: int
    graphs: int
    weights: int
    tables: int
    activations: int
    resident: int
    busy: int
    peak: int
    mapped: int
    """Of `resident`, what several servers of the same model share."""
    at_least: bool


def memory(
    report: ArchitectureReport, threads: int = 1, *, prepared: bool = True, pages: int | None = None
) -> MemoryEstimate:
    """Predict a deployment's memory; `pages` are the bytes that a touch maps (measured here when not given).

    With `prepared` the larger graphs lie in this machine's form and are mapped, as the runtimes have it done.
    """
    step = pages or mapping_step()
    serving = report.serving
    libraries = (TOKENIZERS if serving.tokenizer else 0) + (PICTURES if serving.reads == "image" else 0)
    words = serving.entries * ENTRY
    files = sum(size for role, size in report.files.items() if role not in serving.dictionaries)
    weights = sum(_held(graph) for graph in report.graphs)
    tables = sum(_tables(graph, step if prepared else 0) for graph in report.graphs)
    activations = sum(_kept_arena(graph, report) for graph in report.graphs)
    shared = [graph for graph in report.graphs if graph.role not in serving.exclusive]
    nodes = sum(graph.nodes for graph in report.graphs) * NODE
    resident = BASE + libraries + words + files + nodes + weights + tables + activations
    each = sum(_arena(graph) for graph in shared)
    busy = resident + (threads - 1) * each
    alone = max((_arena(graph) for graph in report.graphs if graph.role in serving.exclusive), default=0)
    return MemoryEstimate(
        base=BASE,
        libraries=libraries,
        dictionaries=words,
        files=files,
        graphs=nodes,
        weights=weights,
        tables=tables,
        activations=activations,
        resident=resident,
        busy=busy,
        peak=busy + max(0, alone - min(alone, LEFT)),
        mapped=weights + tables if prepared else 0,
        at_least=any(graph.activations.unknown for graph in report.graphs),
    )


def _held(graph: GraphReport) -> int:
    kept = graph.kept
    return kept.packed + kept.convolutions + kept.other


def _tables(graph: GraphReport, step: int) -> int:
    """Bytes of tables that are read: words are asked for by Zipf's law, and common ones stand first."""
    kept = graph.kept
    if not step or not kept.row_bytes:
        return kept.tables
    parts = math.ceil(kept.tables / step)
    asked = max(kept.tables_read, _REMEMBERED if graph.cache_bytes_per_token else 0)
    rows = max(kept.tables // kept.row_bytes, 2)
    touched = 0.0
    for part in range(min(parts, 4096)):
        first, last = part * rows / parts, (part + 1) * rows / parts
        share = math.log((last + 1) / (first + 1)) / math.log(rows + 1)
        touched += 1 - (1 - min(share, 1.0)) ** asked
    return min(kept.tables, round(touched * step))


def _arena(graph: GraphReport) -> int:
    live = graph.activations
    return round(ARENA * max(0, live.known - live.fed))


def _kept_arena(graph: GraphReport, report: ArchitectureReport) -> int:
    taken = _arena(graph)
    return min(taken, LEFT) if graph.role in report.serving.exclusive else taken


@cache
def mapping_step() -> int:
    """Bytes of a mapped file that one touch brings in on this machine: 64 KB, or a large page."""
    if sys.platform != "linux":
        return _PAGES
    size = 8 * MIB
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"\1" * size)
            file.flush()
            with mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
                before = _file_pages()
                touched = mapped[size // 2 + 12_345]
                return max(_PAGES, min(size, touched * (_file_pages() - before)))
    except (OSError, ValueError):
        return _PAGES


def _file_pages() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no RssFile")


class DeviceFacts(Protocol):
    """What is asked of a device's profile; memory in bytes, None for this machine's own."""

    @property
    def id(self) -> str:
        """Its id, as in cpu or cuda."""

    @property
    def memory(self) -> int | None:
        """Bytes for models."""


@dataclass(frozen=True)
class Fit:
    """Whether a model fits a device: verdict is fits, tight or too-large; all numbers are bytes."""

    device: str
    verdict: str
    needed: int
    available: int
    weights: int
    activations: int
    cache: int
    """Of keys and values, for the context that was asked for."""
    overhead: int
    """Of the runtime."""
    at_least: bool


TIGHT, FULL = 0.7, 0.95  # parts of a device's memory
_CONTEXT = 2048  # tokens
_OVERHEADS = {  # of a runtime with its libraries, by the beginning of a device's id; the processor's is BASE
    "cuda": 500 * MIB,
    "tensorrt": 900 * MIB,
    "openvino": 160 * MIB,
    "directml": 200 * MIB,
    "browser": 40 * MIB,
    "wasm": 40 * MIB,
    "web": 40 * MIB,
    "android": 30 * MIB,
    "ios": 30 * MIB,
}


def fit(
    report: ArchitectureReport, devices: Iterable[DeviceFacts], *, context: int = _CONTEXT, threads: int = 1
) -> list[Fit]:
    """For each device what the model needs against what there is, all its graphs loaded, tables whole."""
    weights = sum(_held(graph) + graph.kept.tables for graph in report.graphs)
    busiest = max((_arena(graph) + graph.activations.fed for graph in report.graphs), default=0)
    cache = context * sum(graph.cache_bytes_per_token or 0 for graph in report.graphs)
    at_least = any(graph.activations.unknown for graph in report.graphs)
    found = []
    for device in devices:
        there = device.memory if device.memory is not None else psutil.virtual_memory().total
        overhead = _overhead(device.id, report)
        needed = weights + busiest * threads + cache + overhead
        verdict = "fits" if needed <= TIGHT * there else "tight" if needed <= FULL * there else "too-large"
        found.append(
            Fit(device.id, verdict, needed, there, weights, busiest * threads, cache, overhead, at_least)
        )
    return found


def _overhead(device: str, report: ArchitectureReport) -> int:
    for start, size in _OVERHEADS.items():
        if device.startswith(start):
            return size
    told = memory(report, pages=_PAGES)
    return told.base + told.libraries + told.dictionaries + told.files + told.graphs
