"""The engine at a million listings: its times beside other engines, freshness, and the size of the index."""

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from sqlmodel import Session

from catalog import search, search_index, search_keeping
from catalog.models import Listing, Version
from marketplace.db import open_engine, write_session
from tests.benchmarks.catalogue import engines, shelves
from tests.benchmarks.catalogue.questions import Asked
from tests.benchmarks.serving.peers import Unavailable

SLOW = {"LIKE, as it was": 12}  # questions that it is asked, where one takes seconds


@dataclass(frozen=True)
class Times:
    """Milliseconds of one engine: the median and what 99 of 100 stay under."""

    name: str
    p50: float
    p99: float
    most: float
    asked: int
    note: str = ""

    @classmethod
    def of(cls, name: str, taken: Sequence[float], note: str = "") -> "Times":
        """From single times."""
        late = statistics.quantiles(taken, n=100, method="inclusive")[98]
        return cls(name, statistics.median(taken), late, max(taken), len(taken), note)


def beside(path: Path, asked: Sequence[Asked], peers: bool) -> list[Times]:
    """Ours with nothing kept, ours asked again, and the others; they take turns, question by question."""
    engine = open_engine(f"sqlite:///{path}")
    note = "all facets counted"
    contenders: dict[str, Callable[[str], float]] = {}
    missing = []
    if peers:
        ways: Mapping[str, Callable[[], engines.Search]] = {
            "FTS5 ORDER BY bm25": lambda: engines.fts5(path, "bm25"),
            "FTS5 trigram, bm25": lambda: engines.fts5(path, "trigram"),
            "tantivy BM25": lambda: engines.tantivy(path),
            "LIKE, as it was": lambda: engines.like(path),
        }
        for name, make in ways.items():
            try:
                contenders[name] = make()
            except Unavailable as error:
                missing.append(Times(name, 0, 0, 0, 0, f"not here: {error}"))
    taken: dict[str, list[float]] = defaultdict(list)
    gc.collect()
    with Session(engine) as db:
        for one in asked:
            search_keeping.forget()
            began = time.process_time()
            taken["ours"].append(_ours(db, one))
            taken["ours, CPU time"].append((time.process_time() - began) * 1000)
            taken["ours, asked again"].append(_ours(db, one))
            for name, way in contenders.items():
                if one.q and not one.filters and len(taken[name]) < SLOW.get(name, len(asked)):
                    taken[name].append(way(one.q))
    engine.dispose()
    notes = {name: note for name in taken if name.startswith("ours")}
    return [Times.of(name, times, notes.get(name, "")) for name, times in taken.items() if times] + missing


def by_kind(path: Path, asked: Sequence[Asked]) -> list[Times]:
    """Ours with nothing kept, by the kind of question."""
    engine = open_engine(f"sqlite:///{path}")
    taken: dict[str, list[float]] = defaultdict(list)
    with Session(engine) as db:
        for one in asked:
            search_keeping.forget()
            taken[one.kind + (", filtered" if one.filters else "")].append(_ours(db, one))
    engine.dispose()
    return [Times.of(name, times) for name, times in sorted(taken.items()) if len(times) > 1]


def _ours(db: Session, one: Asked) -> float:
    began = time.perf_counter()
    found = search.find(db, q=one.q, filters=one.filters, facets=True, limit=engines.FIRST)
    search.cards(db, found.ids)
    return (time.perf_counter() - began) * 1000


def fresh(path: Path, rounds: int = 20) -> tuple[bool, float]:
    """Whether a new listing is found in its own transaction, and the milliseconds to index one."""
    engine = open_engine(f"sqlite:///{path}")
    seen, taken = [], []
    with write_session(engine) as db:
        for _ in range(rounds):
            mark = f"zq{uuid4().hex[:10]}"
            listing = _new(db, mark)
            began = time.perf_counter()
            search_index.refresh(db, listing)
            taken.append((time.perf_counter() - began) * 1000)
            seen.append([row.name for row in search.search_listings(db, q=mark).items] == [listing.name])
        db.rollback()
    engine.dispose()
    return all(seen), statistics.median(taken)


def _new(db: Session, mark: str) -> Listing:
    vendor = db.execute(search.select(Listing.vendor_id).limit(1)).scalar_one()
    listing = Listing(
        name=f"new/{mark}",
        vendor_id=vendor,
        task="tensors",
        title_zh="新品发票识别",
        title_en=f"New {mark} invoice recognition",
        summary_zh="刚刚上架",
        summary_en="Just listed",
        created=datetime.now(UTC),
    )
    db.add(listing)
    db.flush()
    version = Version(
        listing_id=listing.id,
        number="1.0.0",
        state="listed",
        digest=f"sha256:{mark}",
        size=1,
        license_package="MIT",
        license_weights="MIT",
    )
    db.add(version)
    db.flush()
    return listing


def sizes(path: Path) -> tuple[float, float]:
    """Bytes of everything that search keeps, and of the texts that people wrote."""
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        kept = connection.exec_driver_sql(
            "SELECT sum(pgsize) FROM dbstat WHERE aggregate = TRUE AND "
            "(name LIKE 'search%' OR name LIKE 'sqlite_autoindex_search%')"
        ).scalar()
    raw = shelves.raw_bytes(engine)
    engine.dispose()
    return float(kept or 0), float(raw)
