"""Keeps the search index whole and its order fresh, in a thread beside the shop.

An index of another version is built anew, a few hundred listings in a transaction, while the shop serves
what is there. Once an hour popularity is counted again; only listings that passed into another level move.
Both go on where they were after a stop.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from catalog import search_index
from catalog.models import Listing, ListingDay, Rating
from catalog.search_tables import SearchSource
from deployer.models import Deployment
from marketplace.db import read_session, transaction

log = logging.getLogger(__name__)

PERIOD = 3600.0
BREATH = 0.02  # seconds between two transactions, for the other writers
BATCH = 500
DAYS = 30
PER_DEPLOYMENT, PER_STAR = 20.0, 2.0
"""Views that a deployment that is there, and each star above two of a rating, count as."""


class Indexer:
    """The thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        """Index some listings at once, so that a small shop is whole before it opens; then go on beside."""
        self.whole = self._catch_up()
        self._thread.start()

    def stop(self) -> None:
        """End, after the transaction under way."""
        self._end.set()
        self._thread.join(timeout=5)

    def _catch_up(self) -> bool:
        with transaction(self._engine) as db:
            return search_index.catch_up(db)

    def _run(self) -> None:
        try:
            while not self.whole and not self._end.wait(BREATH):
                self.whole = self._catch_up()
            while not self._end.wait(PERIOD):
                rerank(self._engine, self._end)
        except Exception:
            log.exception("indexer")


def rerank(engine: Engine, end: threading.Event | None = None) -> int:
    """Count popularity again and move what passed into another level; how many listings were moved."""
    moved = 0
    with read_session(engine) as db:
        scores = popularity(db)
    for some in _batches(_candidates(engine, scores)):
        if end is not None and end.wait(BREATH):
            return moved
        with transaction(engine) as db:
            moved += search_index.rescore(db, {id: scores.get(id, 0.0) for id in some})
    return moved


def popularity(db: Session) -> dict[UUID, float]:
    """A number for each listing that anybody looked at, deployed or rated, as views of the last days."""
    scores: dict[UUID, float] = defaultdict(float)
    since = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    views = (
        select(ListingDay.listing_id, func.sum(ListingDay.views))
        .where(ListingDay.day >= since)
        .group_by(col(ListingDay.listing_id))
    )
    for id, count in db.exec(views):
        scores[id] += float(count)
    deployed = (
        select(Listing.id, func.count())
        .join(Deployment, col(Deployment.listing) == Listing.name)
        .group_by(col(Listing.id))
    )
    for id, count in db.exec(deployed):
        scores[id] += PER_DEPLOYMENT * count
    stars = (
        select(Rating.listing_id, func.sum(Rating.stars - 2))
        .where(col(Rating.hidden).is_(False))
        .group_by(col(Rating.listing_id))
    )
    for id, sum_of_stars in db.exec(stars):
        scores[id] += PER_STAR * float(sum_of_stars)
    return dict(scores)


def _candidates(engine: Engine, scores: dict[UUID, float]) -> Iterator[UUID]:
    """Listings with a score, and those that had one and may have lost it."""
    yield from scores
    last = -1
    while True:
        with read_session(engine) as db:
            rows = db.exec(
                select(SearchSource.id, SearchSource.listing_id)
                .where(col(SearchSource.id) > last, col(SearchSource.id) < search_index.first_place(0))
                .order_by(col(SearchSource.id))
                .limit(BATCH)
            ).all()
        if not rows:
            return
        yield from (listing_id for _, listing_id in rows if listing_id not in scores)
        last = rows[-1][0]


def _batches(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    waiting = iter(ids)
    while some := list(islice(waiting, BATCH)):
        yield some
