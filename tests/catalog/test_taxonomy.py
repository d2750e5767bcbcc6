import pytest

from catalog import taxonomy
from catalog.errors import UnknownTask


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("ocr", "image-to-text"),
        ("OCR", "image-to-text"),
        ("vad", "voice-activity-detection"),
        ("text-embedding", "feature-extraction"),
        ("image-to-text", "image-to-text"),
        ("sentence-similarity", "sentence-similarity"),
        ("文本相似度", "sentence-similarity"),
        (" ner ", "token-classification"),
        ("文字识别", "image-to-text"),
    ],
)
def test_other_names_of_tasks(name: str, task: str) -> None:
    assert taxonomy.task(name).id == task


def test_unknown_task() -> None:
    with pytest.raises(UnknownTask) as refusal:
        taxonomy.task("juggling")
    assert refusal.value.facts == {"task": "juggling"}


def test_every_alias_means_one_task() -> None:
    aliases = [alias.casefold() for term in taxonomy.TASKS.values() for alias in term.aliases]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(taxonomy.TASKS)


@pytest.mark.parametrize("table", [taxonomy.TASKS, taxonomy.VERTICALS, taxonomy.LANGUAGES])
def test_every_term_has_both_titles(table: dict[str, taxonomy.Term]) -> None:
    for key, term in table.items():
        assert key == term.id
        assert term.title("zh") == term.title_zh != term.title_en == term.title("en")
        assert not term.title_zh.isascii() and term.title_en.isascii()


def test_mentions() -> None:
    assert taxonomy.mentioned(taxonomy.VERTICALS, "电商") == ["retail_and_ecommerce"]
    assert taxonomy.mentioned(taxonomy.TASKS, "asr") == ["automatic-speech-recognition"]
    assert taxonomy.mentioned(taxonomy.TASKS, "juggling") == []


def test_what_people_look_for_is_no_name_of_a_task() -> None:
    assert taxonomy.mentioned(taxonomy.TASKS, "票据") == ["image-to-text"]
    with pytest.raises(UnknownTask):
        taxonomy.task("receipts")


@pytest.mark.parametrize("name", ["retail_and_ecommerce", "零售与电商", "零售", "Retail and E-commerce"])
def test_other_names_of_verticals(name: str) -> None:
    assert taxonomy.vertical(name) == "retail_and_ecommerce"
    assert taxonomy.vertical("no such thing") == "no such thing"
