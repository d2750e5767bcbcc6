"""What is measured of the catalogue, and the report."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.catalogue import downloads, importing, searching, serving, shelves
from tests.benchmarks.catalogue.questions import questions
from tests.benchmarks.catalogue.searching import Times
from tests.benchmarks.harness import Row, align, table
from tests.benchmarks.packaging.report import MB, Figure

LISTINGS = 1_000_000
ENGINE_P99, HTTP_P50, HTTP_P99, PAGE_P99 = 30.0, 5.0, 50.0, 20.0
SIZE = 3.0  # times the texts


@dataclass(frozen=True)
class Report:
    """All of it."""

    engines: list[Times]
    kinds: list[Times]
    served: list[Times]
    figures: list[Figure]
    sent: list[Row]
    notes: list[str]

    @property
    def kept(self) -> bool:
        """Whether every aim is reached."""
        return all(one.kept for one in self.figures) and all(one.kept for one in self.sent)

    def text(self) -> str:
        """As it is printed."""
        base = next((one for one in self.engines if one.name == "ours"), None)
        lines = [("figure", "value", "", "limit", "")]
        for one in self.figures:
            limit = "" if one.limit is None else f"{one.limit:g}"
            mark = "" if one.limit is None else "ok" if one.kept else "OVER"
            lines.append((one.name, f"{one.value:.2f}", one.unit, limit, mark))
        tables = [_table(self.engines, base), _table(self.kinds), _table(self.served)]
        tables += [table(self.sent), "\n".join(self.notes), align(lines, right=(1, 3))]
        return "\n\n".join(filter(None, tables))

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            name: [dataclasses.asdict(one) for one in getattr(self, name)]
            for name in ("engines", "kinds", "served", "figures", "sent")
        } | {"notes": self.notes}


def _table(rows: Sequence[Times], base: Times | None = None) -> str:
    lines = [("engine or request", "p50 ms", "p99 ms", "most", "p99 ratio", "asked", "")]
    for one in rows:
        ratio = f"{one.p99 / base.p99:.2f}" if base and base.p99 and one.asked else ""
        times = (f"{one.p50:.2f}", f"{one.p99:.2f}", f"{one.most:.1f}") if one.asked else ("", "", "")
        lines.append((one.name, *times, ratio, str(one.asked), one.note))
    return align(lines, right=(1, 2, 3, 4, 5)) if rows else ""


def run(count: int = LISTINGS, *, asked: int = 1000, seconds: float = 30, peers: bool = True) -> Report:
    """Make the listings where they are not there yet, and measure."""
    path, took = shelves.database(count)
    mixed = questions(asked)
    engines = searching.beside(path, mixed, peers)
    kinds = searching.by_kind(path, mixed[: asked // 2])
    found, indexed = searching.fresh(path)
    kept, raw = searching.sizes(path)
    with serving.shop_over(path) as shop:
        http = serving.searches(shop, seconds)
        pages = serving.pages(shop, serving.some_names(path), max(60, asked // 3))
    ours, cpu = (next(one for one in engines if one.name == name) for name in ("ours", "ours, CPU time"))
    listing = next(one for one in pages if one.name == "listing page")
    figures = [
        Figure("listings", count, ""),
        Figure("engine with facets, p99", ours.p99, "ms", ENGINE_P99),
        Figure("the same in CPU time", cpu.p99, "ms"),
        Figure("search over HTTP at 200/s, p50", http.times.p50, "ms", HTTP_P50),
        Figure("search over HTTP at 200/s, p99", http.times.p99, "ms", HTTP_P99),
        Figure("errors among those", http.errors, "", 0),
        Figure("CPU of the shop for one of those", http.shop_cpu, "ms"),
        Figure("CPU of the gateway for one of those", http.gateway_cpu, "ms"),
        Figure("listing page, p99", listing.p99, "ms", PAGE_P99),
        Figure("new listings not found in their transaction", 0 if found else 1, "", 0),
        Figure("to index one listing, median", indexed, "ms"),
        Figure("index to texts", kept / raw, "×", SIZE),
        Figure("index", kept / 1e6, "MB"),
        Figure("texts", raw / 1e6, "MB"),
    ]
    if took:
        figures.append(Figure("to make the listings and their index", took, "s"))
    sent, taken = downloads.run(), importing.measure()
    figures += [
        *sent.figures,
        Figure("memory of importing 1 GiB, at most", taken["peak"] / MB, "MB", taken["aim"] / MB),
        Figure("memory of importing 1 MB", taken["floor"] / MB, "MB"),
    ]
    return Report(engines, kinds, [http.times, *pages], figures, sent.rows, sent.notes)
