"""How often listings are looked at, deployed, called and rated, day by day, for those who publish them.

Only sums are kept and shown: nothing here says who looked, who called or from where. Views are counted in
memory and written together, so that opening a page writes nothing.
"""

import logging
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, select

from catalog.models import Listing, ListingDay, Rating, VendorMember
from deployer.models import Deployment
from marketplace.audit import AuditAction
from marketplace.db import transaction
from marketplace.models import AuditEvent, UsageEvent

log = logging.getLogger(__name__)

DAYS = 30
PERIOD = 5.0  # seconds between two writes of views
MACHINES = re.compile(
    r"bot\b|bots\b|crawl|spider|slurp|preview|monitor|curl/|wget/|python|httpx|aiohttp|go-http|java/|okhttp",
    re.IGNORECASE,
)


class Views:
    """Views that were counted and not yet written; written by a thread of its own while the shop runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: Counter[tuple[UUID, str]] = Counter()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def count(self, listing_id: UUID, agent: str, purpose: str = "") -> None:
        """Count one view today, unless a machine looked or a browser only fetched ahead."""
        if not agent or MACHINES.search(agent) or "prefetch" in purpose:
            return
        with self._lock:
            self._counted[listing_id, today()] += 1

    def flush(self, engine: Engine) -> None:
        """Write what was counted; what cannot be written now is kept for the next time."""
        with self._lock:
            counted, self._counted = self._counted, Counter()
        try:
            if counted:
                with transaction(engine) as db:
                    for (listing_id, day), views in counted.items():
                        _add(db, listing_id, day, views)
        except SQLAlchemyError:
            log.warning("views could not be written", exc_info=True)
            with self._lock:
                self._counted.update(counted)

    def start(self, engine: Engine) -> None:
        """Write every few seconds from now on."""
        self._end.clear()
        self._thread = threading.Thread(target=self._run, args=(engine,), name="views", daemon=True)
        self._thread.start()

    def stop(self, engine: Engine) -> None:
        """Write what is left and end."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self.flush(engine)

    def _run(self, engine: Engine) -> None:
        while not self._end.wait(PERIOD):
            self.flush(engine)


def today() -> str:
    """The day in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _add(db: Session, listing_id: UUID, day: str, views: int) -> None:
    own = col(ListingDay.listing_id) == listing_id, col(ListingDay.day) == day
    more = update(ListingDay).where(*own).values(views=col(ListingDay.views) + views)
    if db.execute(more).rowcount:  # type: ignore[attr-defined]
        return
    if db.get(Listing, listing_id) is None:
        return  # removed meanwhile
    try:
        with db.begin_nested():
            db.add(ListingDay(listing_id=listing_id, day=day, views=views))
    except IntegrityError:  # another process of the shop was first
        db.execute(more)


@dataclass(frozen=True)
class Day:
    """The sums of one day."""

    day: str
    views: int = 0
    deployments: int = 0
    calls: int = 0
    errors: int = 0
    ratings: int = 0


@dataclass(frozen=True)
class Report:
    """The last days of a listing, the oldest first, and their sums."""

    name: str
    days: list[Day]

    def total(self, what: str) -> int:
        """The sum of one column over all days."""
        return sum(int(getattr(day, what)) for day in self.days)

    @property
    def totals(self) -> dict[str, int]:
        """The sums of all columns."""
        return {what: self.total(what) for what in ("views", "deployments", "calls", "errors", "ratings")}


@dataclass(frozen=True)
class Sums:
    """What a list of listings shows of each: the sums of the last days."""

    views: int = 0
    deployments: int = 0
    calls: int = 0


def report(db: Session, listing: Listing, *, days: int = DAYS) -> Report:
    """A listing's last days, today among them."""
    return reports(db, [listing], days=days)[listing.name]


def reports(db: Session, listings: Iterable[Listing], *, days: int = DAYS) -> dict[str, Report]:
    """The last days of several listings, by name, without what their vendors' own members deploy and call."""
    rows = list(listings)
    last = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = last - timedelta(days=days - 1)
    names = [f"{since + timedelta(days=n):%Y-%m-%d}" for n in range(days)]
    views = _views(db, [row.id for row in rows], names[0])
    began = _began(db, {row.name for row in rows})
    members = _members(db, rows)
    counted = {one for one in began if one.listing in members and one.by not in members[one.listing]}
    calls = _calls(db, began, counted, since)
    ratings = _ratings(db, [row.id for row in rows], since)
    deployed: Counter[tuple[str, str]] = Counter(
        (one.listing, f"{one.at:%Y-%m-%d}") for one in counted if one.at >= since
    )
    return {
        row.name: Report(
            row.name,
            [
                Day(
                    day,
                    views[row.id, day],
                    deployed[row.name, day],
                    calls[row.name, day][0],
                    calls[row.name, day][1],
                    ratings[row.id, day],
                )
                for day in names
            ],
        )
        for row in rows
    }


def _views(db: Session, ids: list[UUID], since: str) -> Counter[tuple[UUID, str]]:
    rows = db.exec(select(ListingDay).where(col(ListingDay.listing_id).in_(ids), ListingDay.day >= since))
    return Counter({(row.listing_id, row.day): row.views for row in rows})


def _ratings(db: Session, ids: list[UUID], since: datetime) -> Counter[tuple[UUID, str]]:
    rows = db.exec(
        select(Rating.listing_id, Rating.created).where(
            col(Rating.listing_id).in_(ids), Rating.created >= since, col(Rating.hidden).is_(False)
        )
    )
    return Counter((listing_id, f"{_utc(created):%Y-%m-%d}") for listing_id, created in rows)


@dataclass(frozen=True)
class _Began:
    """A deployment's name began to stand for a listing."""

    name: str
    listing: str
    at: datetime
    by: UUID | None


def _began(db: Session, names: set[str]) -> list[_Began]:
    """When each deployment of these listings began, and what its name stood for before and after.

    Deployments that were removed are known from the audit log; those older than the log from their row.
    """
    of_listing = col(AuditEvent.facts)["listing"].as_string()  # null where one was begun again: it stays
    began = AuditEvent.action == AuditAction.begin_deployment
    touched = set(db.exec(select(AuditEvent.subject).where(began, of_listing.in_(names)).distinct()))
    rows = list(db.exec(select(Deployment).where(col(Deployment.listing).in_(names))))
    touched |= {row.name for row in rows}
    events = db.exec(
        select(AuditEvent)
        .where(began, of_listing.is_not(None), col(AuditEvent.subject).in_(touched))
        .order_by(col(AuditEvent.id))
    )
    found = [_Began(e.subject, str(e.facts["listing"]), _utc(e.at), e.account_id) for e in events]
    logged = {one.name for one in found}
    found += [
        _Began(row.name, row.listing, _utc(row.created), row.owner) for row in rows if row.name not in logged
    ]
    return sorted(found, key=lambda one: one.at)


def _members(db: Session, listings: list[Listing]) -> dict[str, set[UUID]]:
    """Who acts for the vendor of each listing, by its name."""
    found: dict[UUID, set[UUID]] = defaultdict(set)
    vendors = {row.vendor_id for row in listings}
    for member in db.exec(select(VendorMember).where(col(VendorMember.vendor_id).in_(vendors))):
        found[member.vendor_id].add(member.account_id)
    return {row.name: found[row.vendor_id] for row in listings}


def _calls(
    db: Session, began: list[_Began], counted: set[_Began], since: datetime
) -> dict[tuple[str, str], tuple[int, int]]:
    """Requests and errors by listing and day; a name may have stood for one listing and then another."""
    lives: dict[str, list[_Began]] = defaultdict(list)
    for one in began:
        lives[one.name].append(one)
    sums: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    rows = db.exec(
        select(UsageEvent.deployment, UsageEvent.at, UsageEvent.requests, UsageEvent.errors).where(
            UsageEvent.at >= since, col(UsageEvent.deployment).in_(list(lives))
        )
    )
    for name, at, requests, errors in rows:
        before = [one for one in lives[name] if one.at <= _utc(at)]
        life = before[-1] if before else lives[name][0]
        if life in counted:
            key = life.listing, f"{_utc(at):%Y-%m-%d}"
            sums[key] = sums[key][0] + requests, sums[key][1] + errors
    return sums


def _utc(moment: datetime) -> datetime:
    """SQLite gives times back without their zone."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
