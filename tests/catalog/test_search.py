import pytest
from sqlmodel import Session

from catalog.errors import UnknownTask
from catalog.listings import search_listings
from tests.catalog.offers import publish


@pytest.fixture(autouse=True)
def shelf(db: Session) -> None:
    publish(
        db,
        "acme/ocr",
        task="image-to-text",
        title_zh="中英文文字识别",
        title_en="Text recognition",
        summary_zh="读发票和合同",
        summary_en="Reads invoices and contracts",
        verticals=["finance_and_business", "legal"],
        languages=["zh", "en"],
    )
    publish(
        db,
        "acme/mood",
        task="text-classification",
        title_zh="评论情感",
        title_en="Review mood",
        summary_zh="好评还是差评，100% 离线",
        summary_en="Good or bad review, reads_nothing else",
        verticals=["retail_and_ecommerce"],
    )
    publish(
        db, "beta/helper", title_zh="助手", title_en="Helper", summary_en="Text about moods", kind="agent"
    )
    publish(db, "beta/secret", title_zh="评论", title_en="Review", state="draft")


def _names(db: Session, q: str = "", **filters: str) -> list[str]:
    return [o.name for o in search_listings(db, q=q, **filters).items]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("", ["acme/mood", "acme/ocr", "beta/helper"]),
        ("文字", ["acme/ocr"]),
        ("发票", ["acme/ocr"]),
        ("recognition", ["acme/ocr"]),
        ("RECOGNITION", ["acme/ocr"]),
        ("ocr", ["acme/ocr"]),
        ("图片转文字", ["acme/ocr"]),
        ("image-to-text", ["acme/ocr"]),
        ("法律", ["acme/ocr"]),
        ("ecommerce", ["acme/mood"]),
        ("reads invoices", ["acme/ocr"]),
        ("invoices reads", ["acme/ocr"]),
        ("invoices mood", []),
        ("mood", ["acme/mood", "beta/helper"]),
        ("100%", ["acme/mood"]),
        ("%", ["acme/mood"]),
        ("reads_nothing", ["acme/mood"]),
        ("s_n", ["acme/mood"]),
        ("' or 1=1 --", []),
        ("nothing like this", []),
    ],
)
def test_words(db: Session, q: str, names: list[str]) -> None:
    assert _names(db, q) == names


def test_title_comes_before_summary(db: Session) -> None:
    publish(db, "acme/zz", title_en="All about contracts", title_zh="合同")
    assert _names(db, "contracts") == ["acme/zz", "acme/ocr"]


def test_filters(db: Session) -> None:
    assert _names(db, task="ocr") == _names(db, task="image-to-text") == ["acme/ocr"]
    assert _names(db, vertical="legal") == ["acme/ocr"]
    assert _names(db, vertical="leg") == []
    assert _names(db, kind="agent") == ["beta/helper"]
    with pytest.raises(UnknownTask):
        _names(db, task="juggling")


def test_pages(db: Session) -> None:
    first = search_listings(db, limit=2)
    second = search_listings(db, limit=2, offset=2)
    assert (first.total, second.total) == (3, 3)
    assert [o.name for o in first.items + second.items] == _names(db)


def test_very_long_question(db: Session) -> None:
    assert _names(db, "文字 " * 5000) == ["acme/ocr"]
