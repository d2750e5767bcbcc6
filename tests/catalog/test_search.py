"""Finding listings in a SQLite file; tests/marketplace/test_searching.py asks PostgreSQL the same."""

import pytest
from sqlmodel import Session, select

from catalog import search, search_index, search_typos, search_words
from catalog.errors import UnknownTask
from catalog.listings import get_listing, search_listings
from catalog.models import Listing
from tests.catalog.offers import publish
from tests.catalog.shelf import fill


@pytest.fixture(autouse=True)
def shelf(db: Session) -> None:
    fill(db)


def _names(db: Session, q: str = "", **filters: str) -> list[str]:
    return [o.name for o in search_listings(db, q=q, **filters).items]  # type: ignore[arg-type]


def test_a_listing_is_found_in_the_transaction_that_lists_it(db: Session) -> None:
    publish(db, "acme/new", title_zh="新品", title_en="Novelty", commit=False)
    assert _names(db, "novelty") == ["acme/new"]
    db.rollback()
    assert _names(db, "novelty") == []


def test_what_was_found_before_a_change_is_not_shown_after_it(db: Session) -> None:
    before = search.find(db, q="发票", facets=True)
    publish(db, "acme/receipts", title_zh="发票查验", title_en="Invoice check")
    after = search.find(db, q="发票", facets=True)
    assert (before.total, after.total) == (1, 2)


def test_filters(db: Session) -> None:
    assert _names(db, task="ocr") == _names(db, task="image-to-text") == ["acme/ocr"]
    assert _names(db, vertical="legal") == ["acme/ocr"]
    assert _names(db, vertical="leg") == []
    assert _names(db, kind="agent") == ["beta/helper"]
    with pytest.raises(UnknownTask):
        _names(db, task="juggling")


@pytest.mark.parametrize("q", ["票据", "名片", "认字", "read receipts", "扫描件"])
def test_what_people_look_for_leads_to_the_task_that_does_it(db: Session, q: str) -> None:
    assert "acme/ocr" in _names(db, q)


def test_pages(db: Session) -> None:
    first = search_listings(db, limit=2)
    second = search_listings(db, limit=2, offset=2)
    assert (first.total, second.total) == (3, 3)
    assert (first.more, second.more) == (True, False)
    assert [o.name for o in first.items + second.items] == _names(db)


def test_pages_go_on_from_titles_to_summaries(db: Session) -> None:
    for number in range(5):
        publish(db, f"acme/title-{number}", title_en="Gear")
        publish(db, f"acme/text-{number}", summary_en="For a gear")
    whole = _names(db, "gear")
    assert [name[:10] for name in whole] == ["acme/title"] * 5 + ["acme/text-"] * 5
    paged = [
        o.name for at in range(0, 12, 3) for o in search_listings(db, q="gear", limit=3, offset=at).items
    ]
    assert paged == whole


def test_very_long_question(db: Session) -> None:
    assert _names(db, "文字 " * 5000) == ["acme/ocr"]
    assert _names(db, "文字票" * 5000) == []


def test_popular_ones_come_first_and_move_when_that_changes(db: Session) -> None:
    ids = {row.name: row.id for row in db.exec(select(Listing))}
    assert _names(db) == ["acme/ocr", "acme/mood", "beta/helper"]
    moved = search_index.rescore(
        db, {ids["beta/helper"]: 900.0, ids["acme/mood"]: 30.0, ids["acme/ocr"]: 0.0}
    )
    assert moved == 2
    assert _names(db) == ["beta/helper", "acme/mood", "acme/ocr"]
    assert search_index.rescore(db, {ids["beta/helper"]: 901.0}) == 0
    assert _names(db, "mood") == ["acme/mood", "beta/helper"]  # a title goes before popularity
    publish(db, "beta/helper", "2.0.0", content="2", title_zh="助手", title_en="New words")
    assert _names(db)[0] == "beta/helper"


def test_an_index_of_another_version_is_built_anew(db: Session) -> None:
    search_index.rebuild(db)
    db.commit()
    steps = 1
    while not search_index.catch_up(db, batch=1):
        db.commit()
        steps += 1
    db.commit()
    assert steps == 5  # four listings, one at a time, one of them not on the shelf
    assert sorted(_names(db)) == ["acme/mood", "acme/ocr", "beta/helper"]
    assert _names(db, "发票") == ["acme/ocr"]
    assert search_index.catch_up(db)
    assert search.find(db).total == 3


def test_words_are_forgotten_with_their_last_listing(db: Session) -> None:
    publish(db, "acme/tiger", title_en="Tiger counter")
    assert search_typos.completions(db, "tig") == ["tiger"]
    assert search_typos.corrections(db, "tigre") == ["tiger"]
    search.remove(db, get_listing(db, "acme/tiger"))
    assert search_typos.completions(db, "tig") == []
    assert search_typos.corrections(db, "tigre") == []
    assert search_typos.completions(db, "count") == []
    assert search_typos.completions(db, "inv") == ["invoice"]


@pytest.mark.parametrize(
    ("one", "two", "away"),
    [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abcd", "abd", 1), ("abc", "xyz", 3), ("ab", "", 2)],
)
def test_distance(one: str, two: str, away: int) -> None:
    assert search_typos.distance(one, two) == search_typos.distance(two, one) == away


def test_tokens() -> None:
    assert search_words.tokens("ＯＣＲ 发票") == {"ocr", "发", "票", "发票"}
    assert search_words.tokens("Invoices; bus, analysis glass") == {"invoice", "bus", "analysis", "glass"}
    assert search_words.tokens("") == set()


def test_related_listings_share_task_and_words(db: Session) -> None:
    publish(db, "acme/reader", task="image-to-text", title_zh="文字识别小号", title_en="Small recognition")
    publish(db, "acme/plates", task="image-to-text", title_zh="车牌", title_en="Plates")
    publish(db, "acme/other", task="translation", title_zh="文字识别", title_en="Recognition")
    found = search.related(db, get_listing(db, "acme/ocr"))
    assert [card.name for card in found] == ["acme/reader", "acme/plates"]


def test_suggestions(db: Session) -> None:
    found = search.suggest(db, "recog")
    assert found.words == ["recognition"]
    assert [card.name for card in found.cards] == ["acme/ocr"]
    assert search.suggest(db, "") == search.suggest(db, "\0 ;") == search.Suggestions()


def test_shelves_by_vertical(db: Session) -> None:
    publish(db, "acme/one", verticals=["legal", "education"])
    publish(db, "acme/hidden", verticals=["energy"], state="draft")
    assert search.verticals(db) == {
        "legal": 2,
        "education": 1,
        "finance_and_business": 1,
        "retail_and_ecommerce": 1,
    }
    assert [card.name for card in search.shelf(db, "legal", 12)] == ["acme/ocr", "acme/one"]
    assert len(search.shelf(db, "legal", 1)) == 1
