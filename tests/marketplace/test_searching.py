"""Words, filters and hostile questions, on each database that the shop runs on."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlmodel import Session

from catalog import review, search
from catalog.listings import get_listing, search_listings
from catalog.models import Rating, Vendor, Version, VersionState
from marketplace.db import transaction
from tests.catalog.offers import publish
from tests.catalog.shelf import fill


@pytest.fixture
def db(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        fill(session)
        yield session


def _names(db: Session, q: str = "", **asked: object) -> list[str]:
    return [row.name for row in search_listings(db, q=q, **asked).items]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("", ["acme/ocr", "acme/mood", "beta/helper"]),
        ("文字", ["acme/ocr"]),
        ("发票", ["acme/ocr"]),
        ("票", ["acme/ocr"]),
        ("读发票和合同", ["acme/ocr"]),
        ("recognition", ["acme/ocr"]),
        ("RECOGNITION", ["acme/ocr"]),
        ("ｒｅｃｏｇｎｉｔｉｏｎ", ["acme/ocr"]),
        ("recog", ["acme/ocr"]),
        ("invoice", ["acme/ocr"]),
        ("ocr", ["acme/ocr"]),
        ("acme/ocr", ["acme/ocr"]),
        ("发票 ocr", ["acme/ocr"]),
        ("ocr发票", ["acme/ocr"]),
        ("发票ocr", ["acme/ocr"]),
        ("文字的识别", ["acme/ocr"]),
        ("图片转文字", ["acme/ocr"]),
        ("image-to-text", ["acme/ocr"]),
        ("image to text", ["acme/ocr"]),
        ("the invoices of contracts", ["acme/ocr"]),
        ("法律", ["acme/ocr"]),
        ("ecommerce", ["acme/mood"]),
        ("reads invoices", ["acme/ocr"]),
        ("invoices reads", ["acme/ocr"]),
        ("invoices mood", []),
        ("mood", ["acme/mood", "beta/helper"]),
        ("100%", ["acme/mood"]),
        ("100", ["acme/mood"]),
        ("reads_nothing", ["acme/mood"]),
        ("%", []),
        ("' or 1=1 --", []),
        ("nothing like this", []),
    ],
)
def test_words(db: Session, q: str, names: list[str]) -> None:
    assert _names(db, q) == names


@pytest.mark.parametrize(
    ("q", "corrected"),
    [
        ("recogniton", {"recogniton": "recognition"}),
        ("recogintoin", {"recogintoin": "recognition"}),
        ("invocie", {"invocie": "invoice"}),
        ("contarct", {"contarct": "contract"}),
        ("invocie contarct", {"invocie": "invoice", "contarct": "contract"}),
    ],
)
def test_typos_are_mended_and_told(db: Session, q: str, corrected: dict[str, str]) -> None:
    found = search_listings(db, q=q)
    assert [row.name for row in found.items] == ["acme/ocr"]
    assert found.corrected == corrected


@pytest.mark.parametrize("q", ["recognition", "xyzzy", "ocx", "发飘"])
def test_nothing_else_is_mended(db: Session, q: str) -> None:
    assert search_listings(db, q=q).corrected == {}


def test_long_stretches_are_taken_apart_when_nothing_has_them_whole(db: Session) -> None:
    found = search_listings(db, q="合同发票")
    assert ([row.name for row in found.items], found.loose) == (["acme/ocr"], True)
    found = search_listings(db, q="发票和合同")
    assert ([row.name for row in found.items], found.loose) == (["acme/ocr"], False)


def test_title_comes_before_summary(db: Session) -> None:
    publish(db, "acme/zz", title_en="All about contracts", title_zh="合同")
    assert _names(db, "contracts") == ["acme/zz", "acme/ocr"]


def test_facets_narrow_and_count(db: Session) -> None:
    publish(
        db, "beta/paid", title_zh="识别", title_en="Paid", license_weights="CC-BY-NC-4.0", languages=["en"]
    )
    found = search.find(db, facets=True)
    told = {name: [(each.value, each.count) for each in values] for name, values in found.facets.items()}
    assert told["kind"] == [("model", 3), ("agent", 1)]
    assert told["terms"] == [("commercial", 3), ("noncommercial", 1)]
    assert told["licence"] == [("Apache-2.0", 3), ("CC-BY-NC-4.0", 1)]
    assert told["language"] == [("en", 2), ("zh", 1)]
    assert told["size"] == [("10MB", 4)]
    assert told["latency"] == [("none", 4)]
    assert not any(each.at_least for values in found.facets.values() for each in values)
    assert _names(db, filters={"terms": ["commercial"], "language": ["zh"]}) == ["acme/ocr"]
    assert _names(db, filters={"licence": ["CC-BY-NC-4.0"]}) == ["beta/paid"]
    assert len(_names(db, filters={"licence": ["CC-BY-NC-4.0", "Apache-2.0"]})) == 4
    assert _names(db, "识别", filters={"licence": ["Apache-2.0"]}) == ["acme/ocr"]
    assert _names(db, filters={"size": ["1GB"]}) == []
    assert _names(db, vendor="beta") == ["beta/helper", "beta/paid"]


def test_a_chosen_facet_shows_what_else_could_be_chosen(db: Session) -> None:
    found = search.find(db, filters={"kind": ["agent"]}, facets=True)
    assert [(each.value, each.count, each.chosen) for each in found.facets["kind"]] == [
        ("model", 2, False),
        ("agent", 1, True),
    ]
    assert [each.value for each in found.facets["task"]] == ["tensors"]
    nothing = search.find(db, q="发票", filters={"kind": ["agent"]}, facets=True)
    assert nothing.total == 0
    assert [(each.value, each.count) for each in nothing.facets["kind"]] == [("model", 1), ("agent", 0)]


def test_measured_numbers_and_ratings_are_facets(db: Session) -> None:
    listing = get_listing(db, "acme/ocr")
    version = db.exec(search.select(Version).where(Version.listing_id == listing.id)).one()
    version.measured = {"latency_ms": {"p50": 12.5}, "memory": 3 * 10**8}
    db.add(Rating(listing_id=listing.id, account_id=uuid4(), author="a", stars=5))
    db.add(Rating(listing_id=listing.id, account_id=uuid4(), author="b", stars=1, hidden=True))
    search.refresh(db, listing)
    assert _names(db, filters={"latency": ["20ms"]}) == ["acme/ocr"]
    assert _names(db, filters={"memory": ["500MB"]}) == ["acme/ocr"]
    assert _names(db, filters={"rating": ["4"]}) == ["acme/ocr"]
    assert _names(db, sort=search.Sort.latency)[0] == "acme/ocr"
    assert search.cards(db, search.find(db, q="ocr").ids)[0].latency == 12.5


def test_orders(db: Session) -> None:
    for place, name in enumerate(["acme/ocr", "acme/mood", "beta/helper"]):
        db.execute(
            text(
                "UPDATE search_entry SET created = :created, size = :size "
                "WHERE id = (SELECT id FROM search_source WHERE title LIKE :title)"
            ),
            {"created": 1000 + place, "size": 100 - place, "title": f"%{name.replace('/', ' ')}%"},
        )
    assert _names(db, sort=search.Sort.newest) == ["beta/helper", "acme/mood", "acme/ocr"]
    assert _names(db, "", sort=search.Sort.size, limit=1, offset=1) == ["acme/mood"]


def test_unlisted_is_gone_at_once_and_back_when_listed_again(db: Session) -> None:
    listing = get_listing(db, "acme/ocr")
    version = db.exec(search.select(Version).where(Version.listing_id == listing.id)).one()
    db.get_one(Vendor, listing.vendor_id).verified = True
    review.change(db, version, VersionState.yanked, by=None)
    assert _names(db, "文字") == [] and search.find(db).total == 2
    review.change(db, version, VersionState.listed, by=None)
    assert _names(db, "文字") == ["acme/ocr"] and search.find(db).total == 3


HOSTILE = [
    '"',
    '""',
    "'",
    "''",
    "a'b",
    'a"b',
    "AND",
    "OR NOT",
    "NEAR(a b)",
    "a*",
    "*",
    "^a",
    "{title}:a",
    "a:b",
    "-a",
    "(",
    ")",
    "((((",
    "a AND (b",
    "\\",
    "\\'",
    "&",
    "|",
    "!",
    "<->",
    ":*",
    "a:*",
    "%",
    "_",
    ";",
    "\0",
    "a\0b",
    "\x1b[31m",
    "\ud7ff",
    "😀",
    "👩‍👩‍👧",
    "﷽",
    "\u202egnitset",
    "مرحبا",
    "שלום",
    "नमस्ते",
    "ไทย",
    "é",
    "e\u0301",
    "ß",
    "ﬁ",
    "①",
    "²",
    "x" * 10_000,
    "票" * 10_000,
    "a " * 5_000,
    "=ocr",
    "k:model",
    "n:acme",
    "t:image-to-text",
    "1",
    "0x00",
    "NULL",
    "select",
    "null\n\n",
    "\t",
    "\u3000",
    "\ufeff",
    "/",
    "//",
    "a/b/c",
    "..",
    "a.b",
]


@pytest.mark.parametrize("q", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_questions_find_or_do_not(db: Session, q: str) -> None:
    found = search.find(db, q=q, facets=True, vendor=q[:50], filters={"licence": [q], "device": [q]})
    assert found.total == 0
    assert search.find(db, q=q, facets=True).total in range(4)
    search.suggest(db, q)
    search.names_like(db, q)


def test_words_of_the_index_cannot_be_asked_for_directly(db: Session) -> None:
    assert _names(db, "k:agent") == _names(db, "k agent") == []


LETTERS = st.sampled_from("发票识别合同文字语音图片车牌的abz1 -_ＡÉ")
TEXTS = st.text(LETTERS, min_size=1, max_size=12)


@given(TEXTS, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_chinese_part_of_a_text_is_found(engine: Engine, title: str, data: st.DataObject) -> None:
    """What LIKE finds for Chinese characters, the index finds."""
    first = data.draw(st.integers(0, len(title) - 1))
    part = title[first : data.draw(st.integers(first + 1, len(title)))]
    with Session(engine) as db:
        publish(db, "acme/drawn", title_zh=title, title_en="x", commit=False)
        if all("\u4e00" <= letter <= "\u9fff" for letter in part):
            assert "acme/drawn" in _names(db, part)
        whole = [word for word in title.split() if any(letter.isalnum() for letter in word)]
        if whole:
            assert "acme/drawn" in _names(db, " ".join(whole))
        db.rollback()


def test_writers_beside_each_other_leave_a_whole_index(engine: Engine) -> None:
    import threading

    failures: list[Exception] = []

    def add(name: str) -> None:
        try:
            for number in range(5):
                with transaction(engine) as db:
                    publish(db, f"{name}/reader-{number}", title_en=f"Reader {name}", commit=False)
        except Exception as error:
            failures.append(error)

    with transaction(engine) as db:
        for name in "abcd":
            publish(db, f"vendor-{name}/first", commit=False)
    threads = [threading.Thread(target=add, args=(f"vendor-{name}",)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Session(engine) as db:
        assert search.find(db).total == 24
        assert search.find(db, q="reader").total == 20
        words = db.execute(text("SELECT n FROM search_word WHERE word = 'reader'")).scalar()
        assert words == 20
