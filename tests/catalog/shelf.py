"""A small shelf that the tests of searching share."""

from sqlmodel import Session

from tests.catalog.offers import publish


def fill(db: Session) -> None:
    """Three listings on the shelf, and one that is not."""
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
