import pytest
from sqlmodel import Session, select

from catalog import review
from catalog.errors import InvalidManifest, UnknownListing, UnknownVersion, VersionTaken
from catalog.listings import (
    current_version,
    get_listing,
    get_version,
    versions_of,
)
from catalog.models import Artifact, Vendor, Version
from tests.catalog.offers import publish


def test_publish_writes_everything_once(db: Session) -> None:
    first = publish(db, "acme/reader", title_en="Reader")
    again = publish(db, "acme/reader", title_en="Better reader")
    assert first.id == again.id
    assert len(db.exec(select(Vendor)).all()) == 1
    assert len(db.exec(select(Version)).all()) == 1
    assert [(a.path, a.size) for a in db.exec(select(Artifact))] == [("model.onnx", 100)]
    assert get_listing(db, "acme/reader").title_en == "Better reader"
    assert first.size == 100
    assert first.digest.startswith("sha256:")


def test_what_is_put_there_at_once_has_its_event(db: Session) -> None:
    listed = publish(db, "acme/reader")
    publish(db, "acme/reader")
    (event,) = review.events_of(db, listed)
    assert (event.before, event.after, event.by) == ("draft", "listed", None)
    assert review.events_of(db, publish(db, "acme/reader", "2.0.0", content="2", state="draft")) == []


def test_number_stands_for_one_content(db: Session) -> None:
    publish(db, "acme/reader")
    with pytest.raises(VersionTaken) as refusal:
        publish(db, "acme/reader", content="other")
    assert refusal.value.facts == {"name": "acme/reader", "version": "1.0.0"}


def test_name_must_be_the_vendors(db: Session) -> None:
    with pytest.raises(InvalidManifest):
        publish(db, "acme/Reader with blanks")


def test_newest_listed_version_is_current(db: Session) -> None:
    for number in ("1.2.0", "1.10.0", "1.9.0"):
        publish(db, "acme/reader", number, content=number)
    publish(db, "acme/reader", "2.0.0", content="2", state="draft")
    listing = get_listing(db, "acme/reader")
    assert current_version(db, listing).number == "1.10.0"
    assert [v.number for v in versions_of(db, listing)] == ["2.0.0", "1.10.0", "1.9.0", "1.2.0"]
    assert get_version(db, "acme/reader")[1].number == "1.10.0"
    assert get_version(db, "acme/reader@1.2.0")[1].number == "1.2.0"
    assert get_version(db, "acme/reader@2.0.0", all_states=True)[1].state == "draft"


def test_unknown_version(db: Session) -> None:
    publish(db, "acme/reader")
    for number in ("9.9.9", "", "latest"):
        with pytest.raises(UnknownVersion) as refusal:
            get_version(db, f"acme/reader@{number}")
        assert refusal.value.facts == {"name": "acme/reader", "version": number}


@pytest.mark.parametrize("asked", ["acme/raeder", "reader", "acne/reader", "reader-small", "other/reader"])
def test_unknown_listing_names_what_is_close(db: Session, asked: str) -> None:
    publish(db, "acme/reader-small")
    publish(db, "acme/something-else")
    with pytest.raises(UnknownListing) as refusal:
        get_version(db, asked)
    assert refusal.value.facts == {"name": asked, "near": ["acme/reader-small"]}


def test_unknown_listing_with_nothing_close(db: Session) -> None:
    with pytest.raises(UnknownListing) as refusal:
        get_listing(db, "'; drop table listing; --")
    assert refusal.value.facts["near"] == []
