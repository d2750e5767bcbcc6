"""Ratings: only from accounts that have deployed, never of one's own, hidden ones count for nothing."""

from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from catalog.models import Listing
from deployer import deployments
from deployer.models import Deployment, DeploymentState
from marketplace import audit, ratings
from marketplace.audit import AuditAction
from marketplace.db import read_session, transaction
from marketplace.models import Account
from tests.marketplace import shelves


def deploy(db: Session, account: Account, listing: Listing, version: str = "1.0.0") -> Deployment:
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
    return row


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
        row = deploy(db, person, listing)
        deployments.set_state(db, row, DeploymentState.stopped)
        deployments.remove_deployment(db, row)
        db.flush()
        assert ratings.rate(db, listing, person, stars=3).version == "1.0.0"


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
