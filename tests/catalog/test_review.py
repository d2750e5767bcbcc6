from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, delete
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import Session

from catalog import review
from catalog.errors import UnknownListing, UnknownVersion, VersionNotReady, VersionStateRefused
from catalog.listings import current_version, get_listing, get_version, require_ready
from catalog.models import (
    Artifact,
    CheckState,
    Listing,
    Vendor,
    VendorMember,
    Version,
    VersionEvent,
    VersionState,
)
from catalog.review import ALLOWED, UnknownFinding
from catalog.search import search_listings
from catalog.vendors import VendorUnproved
from tests.catalog.offers import publish

S = VersionState
ME, COLLEAGUE, STRANGER, OPERATOR = (uuid4() for _ in range(4))


def draft(
    db: Session, number: str = "1.0.0", *, proved: bool = True, title: str = "读图", name: str = "acme/reader"
) -> Version:
    made = publish(db, name, number, state="draft", content=number)
    vendor = db.get_one(Vendor, db.get_one(Listing, made.listing_id).vendor_id)
    vendor.verified = proved
    made.check_state, made.created_by, made.reviewed = CheckState.passed, ME, False
    made.offer = {
        "title_zh": title,
        "title_en": title,
        "kind": "model",
        "verticals": ["legal"],
        "price": {"plan": "free"},
    }
    db.add_all([made, vendor])
    db.commit()
    return made


def listed(db: Session, number: str = "1.0.0", **words: str) -> Version:
    made = draft(db, number, **words)
    review.change(db, made, S.submitted, by=ME)
    review.approve(db, made, by=OPERATOR)
    db.commit()
    return made


@pytest.mark.parametrize("before", list(S))
@pytest.mark.parametrize("after", list(S))
def test_only_the_changes_of_the_table_are_made(
    db: Session, before: VersionState, after: VersionState
) -> None:
    version = draft(db)
    version.state = before
    if after in ALLOWED[before]:
        review.change(db, version, after, by=ME, why="so")
        (event,) = review.events_of(db, version)
        assert (event.before, event.after, event.by, event.why) == (before, after, ME, "so")
        assert version.state == after
    else:
        with pytest.raises(VersionStateRefused):
            review.change(db, version, after, by=ME)
        assert version.state == before and review.events_of(db, version) == []


@pytest.mark.parametrize(
    "state", [CheckState.none, CheckState.waiting, CheckState.running, CheckState.failed]
)
def test_nothing_unchecked_goes_on(db: Session, state: CheckState) -> None:
    version = draft(db)
    version.check_state = state
    with pytest.raises(VersionStateRefused):
        review.change(db, version, S.submitted, by=ME)
    version.state = S.submitted
    with pytest.raises(VersionStateRefused):
        review.approve(db, version, by=OPERATOR)


def test_nothing_of_an_unproved_vendor_is_submitted_or_listed(db: Session) -> None:
    version = draft(db, proved=False)
    with pytest.raises(VendorUnproved):
        review.change(db, version, S.submitted, by=ME)
    version.state = S.submitted
    with pytest.raises(VendorUnproved):
        review.approve(db, version, by=OPERATOR)


def test_what_was_listed_stays_when_a_proof_is_taken_back_and_does_not_come_back(db: Session) -> None:
    version, taken = listed(db), listed(db, "1.1.0")
    review.change(db, taken, S.yanked, by=ME, why="old")
    draft(db, "2.0.0", proved=False)
    assert get_version(db, "acme/reader")[1].id == version.id
    review.change(db, version, S.deprecated, by=ME, why="old")
    for each in (version, taken):
        with pytest.raises(VendorUnproved):
            review.change(db, each, S.listed, by=ME, why="not so old")


def test_a_change_is_decided_on_the_row_as_it_is_now(db: Session, engine: Engine) -> None:
    version = draft(db)
    review.change(db, version, S.submitted, by=ME)
    db.commit()
    assert version.state == S.submitted  # as somebody read it
    db.rollback()
    with Session(engine) as other:
        review.approve(other, other.get_one(Version, version.id), by=OPERATOR)
        other.commit()
    set_committed_value(version, "state", S.submitted)  # what a transaction that began before still holds
    with pytest.raises(VersionStateRefused) as refused:
        review.change(db, version, S.draft, by=ME)
    assert refused.value.facts["state"] == S.listed


def test_a_version_that_is_gone_is_unknown(db: Session, engine: Engine) -> None:
    version = draft(db)
    db.rollback()
    with Session(engine) as other:
        other.execute(delete(Artifact))
        other.delete(other.get_one(Version, version.id))
        other.commit()
    with pytest.raises(UnknownVersion) as refused:
        review.change(db, version, S.submitted, by=ME)
    assert refused.value.facts == {"name": "acme/reader", "version": "1.0.0"}


def test_words_change_with_the_newest_listed_version_only(db: Session) -> None:
    first = listed(db, "1.0.0", title="一")
    second = draft(db, "2.0.0", title="二")
    listing = get_listing(db, "acme/reader")
    listing.title_zh = "一"  # publishing the draft through the shop's own door wrote its words
    review.change(db, second, S.submitted, by=ME)
    assert listing.title_zh == "一"
    review.approve(db, second, by=OPERATOR)
    assert (listing.title_zh, listing.verticals) == ("二", ["legal"])
    old = draft(db, "1.5.0", title="一点五")
    review.change(db, old, S.submitted, by=ME)
    review.approve(db, old, by=OPERATOR)
    assert listing.title_zh == "二"
    review.change(db, second, S.yanked, by=ME, why="broken")
    assert listing.title_zh == "一点五"
    review.change(db, old, S.yanked, by=ME, why="broken")
    assert listing.title_zh == "一"
    review.change(db, first, S.yanked, by=ME, why="broken")
    assert listing.title_zh == "一"


def test_rejected_for_findings(db: Session) -> None:
    version = draft(db)
    review.change(db, version, S.submitted, by=ME)
    with pytest.raises(UnknownFinding):
        review.reject(db, version, by=OPERATOR, findings=[("smell", "")])
    assert version.state == S.submitted and review.findings_of(db, version) == []
    review.reject(db, version, by=OPERATOR, findings=[("quality", "0.4"), ("licence", "")], why="see below")
    assert sorted(f.kind for f in review.findings_of(db, version)) == ["licence", "quality"]
    with pytest.raises(VersionStateRefused):
        review.change(db, version, S.draft, by=ME)


def test_a_reason_has_bounds(db: Session) -> None:
    version = listed(db)
    review.change(db, version, S.yanked, by=ME, why="  x" * 5000)
    assert len(review.events_of(db, version)[-1].why) <= review.WHY


# Who sees what


def test_a_draft_is_seen_by_those_who_make_it_and_nobody_else(db: Session) -> None:
    version = draft(db)
    listing = get_listing(db, "acme/reader")
    db.add(VendorMember(vendor_id=listing.vendor_id, account_id=COLLEAGUE, role="publisher"))
    db.commit()
    for asker in (ME, COLLEAGUE):
        assert get_version(db, "acme/reader", asker)[1].id == version.id
        assert get_version(db, "acme/reader@1.0.0", asker)[1].id == version.id
    assert get_version(db, "acme/reader@1.0.0", all_states=True)[1].id == version.id
    for stranger in (STRANGER, None):
        for reference in ("acme/reader", "acme/reader@1.0.0"):
            with pytest.raises(UnknownListing):
                get_version(db, reference, stranger)
    with pytest.raises(UnknownListing):
        current_version(db, listing)
    assert search_listings(db, q="读图").total == 0


def test_an_unchecked_draft_is_not_what_a_name_means(db: Session) -> None:
    version = draft(db)
    version.check_state = CheckState.running
    db.commit()
    with pytest.raises(UnknownVersion):
        get_version(db, "acme/reader", ME)
    with pytest.raises(VersionNotReady):
        require_ready(*get_version(db, "acme/reader@1.0.0", ME))


def test_the_newest_listed_version_comes_before_ones_own_draft(db: Session) -> None:
    first = listed(db)
    second = draft(db, "2.0.0")
    assert get_version(db, "acme/reader", ME)[1].id == first.id
    assert get_version(db, "acme/reader@2.0.0", ME)[1].id == second.id
    with pytest.raises(UnknownVersion):
        get_version(db, "acme/reader@2.0.0", STRANGER)


def test_yanked_and_deprecated_versions_are_there_for_those_who_name_them(db: Session) -> None:
    first, second = listed(db, "1.0.0"), listed(db, "2.0.0")
    review.change(db, second, S.yanked, by=ME, why="broken")
    assert get_version(db, "acme/reader", STRANGER)[1].id == first.id
    assert get_version(db, "acme/reader@2.0.0", STRANGER)[1].id == second.id
    review.change(db, first, S.deprecated, by=ME, why="old")
    assert get_version(db, "acme/reader", STRANGER)[1].id == first.id  # with a warning
    assert current_version(db, get_listing(db, "acme/reader")).id == first.id
    assert get_version(db, "acme/reader@1.0.0", STRANGER)[1].id == first.id
    require_ready(*get_version(db, "acme/reader@1.0.0", STRANGER))
    assert search_listings(db).total == 0
    review.change(db, first, S.listed, by=ME, why="again")
    assert search_listings(db).total == 1
    review.change(db, first, S.yanked, by=ME, why="broken")
    with pytest.raises(UnknownVersion):
        get_version(db, "acme/reader", STRANGER)
    with pytest.raises(UnknownVersion):
        current_version(db, get_listing(db, "acme/reader"))


def test_a_rejected_version_runs_nowhere(db: Session) -> None:
    version = draft(db)
    review.change(db, version, S.submitted, by=ME)
    review.reject(db, version, by=OPERATOR, findings=[("safety", "")])
    with pytest.raises(UnknownVersion):
        get_version(db, "acme/reader", ME)
    with pytest.raises(VersionNotReady):
        require_ready(*get_version(db, "acme/reader@1.0.0", ME))


def test_what_newer_rules_refuse_is_given_to_nobody_new(db: Session) -> None:
    version = listed(db)
    refuse(db, version)
    assert search_listings(db).total == 0
    assert current_version(db, get_listing(db, "acme/reader")).id == version.id  # its page says why
    with pytest.raises(VersionNotReady):
        require_ready(*get_version(db, "acme/reader", STRANGER))


def refuse(db: Session, version: Version) -> None:
    """As a check by newer rules does it."""
    version.check_state = CheckState.failed
    db.add(version)
    review.write_words(db, version.listing_id)


def test_where_newer_rules_refuse_the_newest_the_one_before_it_is_offered(db: Session) -> None:
    old, new = listed(db, "1.0.0", title="一"), listed(db, "2.0.0", title="二")
    listing = get_listing(db, "acme/reader")
    assert listing.title_zh == "二"
    refuse(db, new)
    assert get_version(db, "acme/reader", STRANGER)[1].id == old.id
    assert current_version(db, listing).id == old.id
    assert (listing.title_zh, search_listings(db, q="一").total) == ("一", 1)
    review.change(db, old, S.deprecated, by=ME, why="old")
    assert current_version(db, listing).id == old.id
    refuse(db, old)
    assert current_version(db, listing).id == new.id


# Who took it off


def test_what_an_operator_did_holds_until_it_is_listed_again(db: Session) -> None:
    version = listed(db)
    listing = get_listing(db, "acme/reader")
    db.add(VendorMember(vendor_id=listing.vendor_id, account_id=ME, role="owner"))
    steps: list[tuple[VersionState, UUID, bool]] = [
        (S.deprecated, ME, False),
        (S.listed, ME, False),
        (S.deprecated, OPERATOR, True),
        (S.yanked, ME, True),  # what its vendor does later takes nothing of it back
        (S.listed, OPERATOR, False),
        (S.yanked, ME, False),
        (S.listed, OPERATOR, False),
        (S.yanked, OPERATOR, True),
    ]
    for after, by, held in steps:
        review.change(db, version, after, by=by, why="so")
        assert review.taken_off_by_operator(db, version) is held, after
    db.add(VersionEvent(version_id=version.id, before=S.yanked, after=S.yanked, why="recheck: passed"))
    assert review.taken_off_by_operator(db, version)


def test_a_check_that_came_again_is_nobodys_decision(db: Session) -> None:
    version = listed(db)
    listing = get_listing(db, "acme/reader")
    db.add(VendorMember(vendor_id=listing.vendor_id, account_id=ME, role="owner"))
    review.change(db, version, S.deprecated, by=ME, why="old")
    db.add(
        VersionEvent(version_id=version.id, before=S.deprecated, after=S.deprecated, why="recheck: passed")
    )
    assert not review.taken_off_by_operator(db, version)
