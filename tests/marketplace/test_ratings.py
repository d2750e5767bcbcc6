"""Ratings: only from accounts that have deployed, never of one's own, hidden ones count for nothing."""

from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from catalog.listings import search_listings
from catalog.models import Listing, VersionState
from deployer import deployments
from deployer.models import Deployment, DeploymentState
from marketplace import audit, ratings
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.models import Account
from tests.marketplace import shelves
from tests.marketplace.inside import Inside


def deploy(
    db: Session, account: Account, listing: Listing, version: str = "1.0.0", *, failed: bool = False
) -> Deployment:
    """A deployment that came to life, or failed before."""
    name = f"d-{uuid4().hex[:8]}"
    row = deployments.create_deployment(
        db,
        deployments.NewDeployment(
            name=name,
            listing=listing.name,
            version=version,
            version_digest=f"sha256:{'1' * 64}",
            task="tensors",
            runtime="process",
            device="cpu",
            variant="",
            owner=account.id,
        ),
    )
    audit.record(db, account, AuditAction.begin_deployment, name, listing=listing.name, version=version)
    deployments.set_state(db, row, DeploymentState.failed if failed else DeploymentState.live)
    return row


def remove(db: Session, account: Account, row: Deployment) -> None:
    """Stop and forget a deployment, as the shop does."""
    if row.state != DeploymentState.failed:
        deployments.set_state(db, row, DeploymentState.stopped)
    lived = deployments.has_lived(db, row)
    deployments.remove_deployment(db, row)
    audit.record(db, account, AuditAction.remove_deployment, row.name, lived=lived)
    db.flush()


def test_only_who_has_deployed_it_may_rate_it(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        other, _ = shelves.listed(db, "acme/other")
        person = shelves.account(db, "li", "opc")
        deploy(db, person, other)
        with pytest.raises(ratings.NotDeployed):
            ratings.rate(db, listing, person, stars=5)
        deploy(db, person, listing, "1.2.0")
        row = ratings.rate(db, listing, person, stars=4, text="  快，准。 ")
        assert (row.stars, row.text, row.version, row.author) == (4, "快，准。", "1.2.0", "li")


def test_one_may_still_rate_what_one_has_removed(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        remove(db, person, deploy(db, person, listing))
        assert ratings.rate(db, listing, person, stars=3).version == "1.0.0"


def test_what_never_ran_is_not_rated(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        row = deploy(db, person, listing, failed=True)
        with pytest.raises(ratings.NotDeployed):
            ratings.rate(db, listing, person, stars=1)
        remove(db, person, row)
        with pytest.raises(ratings.NotDeployed):
            ratings.rate(db, listing, person, stars=1)
        deployments.set_state(db, deploy(db, person, listing, "1.1.0"), DeploymentState.failed)
        assert ratings.rate(db, listing, person, stars=2).version == "1.1.0"


def test_searching_by_stars_follows_each_rating(engine: Engine) -> None:
    def found(db: Session) -> int:
        return search_listings(db, filters={"rating": ["4"]}).total

    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        deploy(db, person, listing)
        assert found(db) == 0
        row = ratings.rate(db, listing, person, stars=5)
        assert found(db) == 1
        ratings.hide(db, listing, row.id)
        assert found(db) == 0
        ratings.hide(db, listing, row.id, hidden=False)
        assert found(db) == 1
        ratings.remove(db, listing, person.id)
        assert found(db) == 0


def test_nobody_rates_their_own(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        vendor = shelves.account(db, "acme-person", "opc", "vendor")
        shelves.join(db, listing, vendor, "publisher")
        deploy(db, vendor, listing)
        with pytest.raises(ratings.OwnListing):
            ratings.rate(db, listing, vendor, stars=5)


@pytest.mark.parametrize(("stars", "text"), [(0, ""), (6, ""), (-1, ""), (3, "x" * 2001), (3, "a\0b")])
def test_what_is_no_rating_is_refused(engine: Engine, stars: int, text: str) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        deploy(db, person, listing)
        with pytest.raises(ratings.InvalidRating):
            ratings.rate(db, listing, person, stars=stars, text=text)


def test_one_of_each_account_which_it_may_change_and_take_back(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        deploy(db, person, listing)
        first = ratings.rate(db, listing, person, stars=2)
        again = ratings.rate(db, listing, person, stars=5, text="好了")
        assert first.id == again.id
        assert [row.stars for row in ratings.ratings_of(db, listing)] == [5]
        ratings.remove(db, listing, person.id)
        assert ratings.ratings_of(db, listing) == []
        with pytest.raises(ratings.UnknownRating):
            ratings.remove(db, listing, person.id)


def test_the_mean_comes_with_its_count_and_without_hidden_ones(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        assert ratings.summary(db, listing).count == 0
        for name, stars in (("a", 5), ("b", 4), ("c", 1)):
            person = shelves.account(db, name, "opc")
            deploy(db, person, listing)
            row = ratings.rate(db, listing, person, stars=stars)
        ratings.hide(db, listing, row.id)
    with read_session(engine) as db:
        listing = db.get(Listing, listing.id)  # type: ignore[assignment]
        found = ratings.summary(db, listing)
        assert (found.count, found.mean) == (2, 4.5)
        assert found.by_stars == {5: 1, 4: 1, 3: 0, 2: 0, 1: 0}
        assert len(ratings.ratings_of(db, listing)) == 2
        assert len(ratings.ratings_of(db, listing, hidden=True)) == 3


def test_a_hidden_rating_stays_hidden_when_its_author_changes_it(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        person = shelves.account(db, "li", "opc")
        deploy(db, person, listing)
        row = ratings.rate(db, listing, person, stars=1, text="…")
        ratings.hide(db, listing, row.id)
        assert ratings.rate(db, listing, person, stars=5).hidden
        assert not ratings.hide(db, listing, row.id, hidden=False).hidden


def test_a_rating_is_hidden_under_its_own_listing_only(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, _ = shelves.listed(db)
        other, _ = shelves.listed(db, "acme/other")
        person = shelves.account(db, "li", "opc")
        deploy(db, person, listing)
        row = ratings.rate(db, listing, person, stars=1)
        with pytest.raises(ratings.UnknownRating):
            ratings.hide(db, other, row.id)


@pytest.mark.parametrize("path", ["/api/ratings/{}", "/api/analytics/{}"])
def test_nobody_learns_of_a_draft_by_its_name(inside: Inside, path: str) -> None:
    with transaction(inside.engine) as db:
        listing, _ = shelves.listed(db, state=VersionState.draft)
        person, member = shelves.account(db, "li", "opc"), shelves.account(db, "acme-person", "vendor")
        shelves.join(db, listing, member)

    def told(name: str) -> tuple[int, object]:
        answer = inside.ask("GET", path.format(name), token=inside.token(person).text)
        return answer.status_code, answer.json().get("code")

    assert told(listing.name) == told("acme/nothing") == (404, "unknown-listing")
    assert inside.ask("GET", path.format(listing.name), token=inside.token(member).text).status_code == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_draft_is_no_listing_to_who_would_rate_it(inside: Inside, method: str) -> None:
    with transaction(inside.engine) as db:
        shelves.listed(db, state=VersionState.draft)
        person = shelves.account(db, "li", "opc")
    sent = {"json": {"stars": 5}} if method == "PUT" else {}
    for name in ("acme/reader", "acme/nothing"):
        answer = inside.ask(method, f"/api/ratings/{name}", token=inside.token(person).text, **sent)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-listing")
    for path in ("ratings", "ratings/remove"):
        page = inside.page(
            "POST", f"/listings/acme/reader/{path}", inside.cookie(person), data={"stars": "5"}
        )
        assert page.status_code == 404
