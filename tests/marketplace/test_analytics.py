"""What publishers see of their listings: views, deployments, calls and ratings by day, and no persons."""

import threading
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy
from sqlalchemy import Engine
from sqlmodel import Session, select

from catalog.models import Listing, ListingDay
from deployer import deployments
from deployer.models import Deployment, DeploymentState
from marketplace import analytics, audit
from marketplace.analytics import Views
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.metering import UsageItem, UsageReport, take
from marketplace.models import Account, AuditEvent, UsageEvent
from tests.marketplace import shelves
from tests.marketplace.inside import Inside

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def views_of(db: Session, listing: Listing) -> int:
    return sum(row.views for row in db.exec(select(ListingDay).where(ListingDay.listing_id == listing.id)))


def began(db: Session, name: str, listing: str, at: datetime, by: Account | None = None) -> None:
    row = by or shelves.account(db, f"of-{uuid4().hex[:6]}", "opc")
    audit.record(db, row, AuditAction.begin_deployment, name, listing=listing, version="1.0.0")
    db.flush()
    event = db.exec(select(AuditEvent).where(AuditEvent.account_id == row.id)).one()
    event.at = at
    db.add(event)


def used(db: Session, name: str, at: datetime, requests: int, errors: int = 0) -> None:
    batch = uuid4()
    item = UsageItem(deployment=name, key_id="k", requests=requests, errors=errors)
    take(db, UsageReport(batch=batch, items=[item]))
    db.flush()
    event = db.exec(select(UsageEvent).where(UsageEvent.batch_id == batch)).one()
    event.at = at
    db.add(event)


def test_views_are_counted_in_memory_and_written_together(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
    views = Views()
    for _ in range(3):
        views.count(listing.id, FIREFOX)
    with read_session(engine) as db:
        assert views_of(db, listing) == 0
    views.flush(engine)
    views.flush(engine)
    views.count(listing.id, FIREFOX)
    views.flush(engine)
    with read_session(engine) as db:
        assert views_of(db, listing) == 4


def test_machines_and_browsers_that_fetch_ahead_are_not_counted(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
    views = Views()
    for agent in ("", "curl/8.5", "python-httpx/0.28", "Mozilla/5.0 (compatible; Googlebot/2.1)", "Wget/1.2"):
        views.count(listing.id, agent)
    views.count(listing.id, FIREFOX, "prefetch;prerender")
    views.flush(engine)
    with read_session(engine) as db:
        assert views_of(db, listing) == 0


def test_many_at_once_lose_nothing(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
    views = Views()

    def look() -> None:
        for _ in range(50):
            views.count(listing.id, FIREFOX)
            views.flush(engine)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    views.flush(engine)
    with read_session(engine) as db:
        assert views_of(db, listing) == 200


def test_a_listing_that_is_gone_takes_no_others_with_it(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
    views = Views()
    views.count(uuid4(), FIREFOX)
    views.count(listing.id, FIREFOX)
    views.flush(engine)
    with read_session(engine) as db:
        assert views_of(db, listing) == 1


def test_the_thread_writes_what_is_left_when_it_ends(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
    views = Views()
    views.start(engine)
    views.count(listing.id, FIREFOX)
    views.stop(engine)
    with read_session(engine) as db:
        assert views_of(db, listing) == 1


def test_days_of_a_listing(engine: Engine) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        other, _ = shelves.listed(db, "acme/other")
        db.add(ListingDay(listing_id=listing.id, day=analytics.today(), views=7))
        db.add(ListingDay(listing_id=listing.id, day=f"{now - timedelta(days=60):%Y-%m-%d}", views=100))
        began(db, "reader", listing.name, now - timedelta(days=3))
        began(db, "other", other.name, now - timedelta(days=3))
        began(db, "old", listing.name, now - timedelta(days=45))
        used(db, "reader", now - timedelta(days=2), 10, 1)
        used(db, "reader", now - timedelta(days=2), 5)
        used(db, "old", now, 3)
        used(db, "other", now, 99)
    with read_session(engine) as db:
        found = analytics.report(db, db.get(Listing, listing.id) or listing)
        assert len(found.days) == 30 and found.days[-1].day == analytics.today()
        assert found.totals == {"views": 7, "deployments": 1, "calls": 18, "errors": 1, "ratings": 0}
        assert found.days[-3].calls == 15
        assert set(asdict(found.days[0])) == {"day", "views", "deployments", "calls", "errors", "ratings"}
        assert analytics.reports(db, []) == {}


def test_a_name_that_stood_for_two_listings_gives_each_its_own_calls(engine: Engine) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        other, _ = shelves.listed(db, "acme/other")
        began(db, "x", listing.name, now - timedelta(days=5))
        used(db, "x", now - timedelta(days=4), 4)
        began(db, "x", other.name, now - timedelta(days=2))
        used(db, "x", now - timedelta(days=1), 1)
    with read_session(engine) as db:
        rows = [row for each in (listing, other) if (row := db.get(Listing, each.id))]
        found = analytics.reports(db, rows)
        assert found["acme/reader"].total("calls") == 4
        assert found["acme/other"].total("calls") == 1


def test_a_deployment_older_than_the_log_counts_by_its_row(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        row = Deployment(
            name="quiet",
            listing=listing.name,
            version="1.0.0",
            version_digest=f"sha256:{'1' * 64}",
            task="tensors",
            runtime="process",
            owner=person.id,
        )
        db.add(row)
        deployments.set_state(db, row, DeploymentState.live)
        used(db, "quiet", datetime.now(UTC), 2)
    with read_session(engine) as db:
        found = analytics.report(db, db.get(Listing, listing.id) or listing)
        assert (found.total("deployments"), found.total("calls")) == (1, 2)


def test_what_the_vendor_itself_deploys_and_calls_is_not_counted(engine: Engine) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        member = shelves.account(db, "acme-person", "opc", "vendor")
        shelves.join(db, listing, member, "publisher")
        began(db, "trial", listing.name, now - timedelta(days=2), member)
        used(db, "trial", now, 50)
        began(db, "theirs", listing.name, now - timedelta(days=2))
        used(db, "theirs", now, 3)
    with read_session(engine) as db:
        found = analytics.report(db, db.get(Listing, listing.id) or listing)
        assert (found.total("deployments"), found.total("calls")) == (1, 3)


def test_what_others_deploy_is_not_read(engine: Engine) -> None:
    """A listing's report costs what happened to the listing, not what happened in the whole shop."""
    now = datetime.now(UTC)
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        other, _ = shelves.listed(db, "acme/other")
        began(db, "mine", listing.name, now)
        for number in range(20):
            began(db, f"other-{number}", other.name, now)
    read: list[str] = []

    def note(row: AuditEvent, _context: object) -> None:
        read.append(row.subject)

    sqlalchemy.event.listen(AuditEvent, "load", note)
    try:
        with read_session(engine) as db:
            row = db.get(Listing, listing.id) or listing
            assert analytics.report(db, row).total("deployments") == 1
    finally:
        sqlalchemy.event.remove(AuditEvent, "load", note)
    assert read == ["mine"]


@pytest.mark.parametrize(("role", "views"), [("opc", 1), ("vendor", 1), ("operator", 0), ("member", 0)])
def test_a_page_counts_views_of_people_outside(inside: Inside, role: str, views: int) -> None:
    with transaction(inside.engine) as db:
        listing, _ = shelves.listed(db)
    person = inside.account("li", "vendor" if role == "member" else role)
    if role == "member":
        with transaction(inside.engine) as db:
            shelves.join(db, listing, person)
    headers = {"User-Agent": FIREFOX}
    page = inside.page("GET", f"/listings/{listing.name}", inside.cookie(person), headers=headers)
    assert page.status_code == 200
    inside.services.views.flush(inside.engine)
    with read_session(inside.engine) as db:
        assert views_of(db, listing) == views
