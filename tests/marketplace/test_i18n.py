"""Every word that a person can see is there in both languages, with the same facts in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from marketplace import i18n

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [("web/templates/**.html", "jinja2.ext:babel_extract"), ("marketplace/**.py", "python")]
FACT = re.compile(r"\{(\w+)\}")


def _marked() -> Iterator[tuple[str, str]]:
    """Every marked text with the file that it is in; the first form of a plural stands for it."""
    found = extract_from_dir(
        ROOT,
        SOURCES,
        {},
        keywords={"_": None, "ngettext": (1, 2)},
        directory_filter=lambda folder: Path(folder).name not in ("node_modules", ".venv", "tests"),
    )
    for file, _line, message, _comments, _context in found:
        yield (message if isinstance(message, str) else message[0]), file


MARKED = dict(_marked())


def _chinese() -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in sorted((i18n.LOCALE_DIR / "zh_CN" / "LC_MESSAGES").glob("*.po")):
        with path.open("rb") as file:
            catalogue = read_po(file, locale="zh_CN")
        for message in catalogue:
            key = message.id if isinstance(message.id, str) else message.id[0]
            assert not key or key not in texts, f"{path.name} has {key!r} again"
            texts[key] = message.string if isinstance(message.string, str) else message.string[0]
    texts.pop("", None)
    return texts


def test_texts_are_found_in_templates_and_code() -> None:
    assert len(MARKED) > 200
    assert MARKED["Deploy"].endswith(".html")
    assert MARKED["No such listing"].endswith("problem_words.py")


def test_every_text_has_a_chinese_one() -> None:
    chinese = _chinese()
    missing = {text: file for text, file in MARKED.items() if not chinese.get(text)}
    assert not missing


def test_no_chinese_text_is_left_over() -> None:
    assert set(_chinese()) - set(MARKED) == set()


def test_facts_are_the_same_in_both_languages() -> None:
    for english, chinese in _chinese().items():
        assert set(FACT.findall(english)) == set(FACT.findall(chinese)), english


def test_templates_speak_only_through_marks() -> None:
    """Outside marks, templates hold no Chinese but names of languages and the sample of the type."""
    for path in (ROOT / "web" / "templates").rglob("*.html"):
        text = path.read_text(encoding="utf-8").replace("中文", "").replace("挑一个模型，用 Docker 部署", "")
        assert not re.search(r"[\u4e00-\u9fff]", text), path


@pytest.mark.parametrize(
    ("cookie", "header", "expected"),
    [
        ("", "", "zh"),
        ("", "en-GB,en;q=0.9", "en"),
        ("", "en;q=0.3, zh-TW;q=0.8", "zh"),
        ("", "fr, en;q=0", "zh"),
        ("", "de;q=1, en;q=0.1", "en"),
        ("", ";;q=x,en;q=nonsense,,", "zh"),
        ("en", "zh", "en"),
        ("xx", "en", "en"),
    ],
)
def test_language_is_the_chosen_or_the_accepted_one(cookie: str, header: str, expected: str) -> None:
    asked = SimpleNamespace(
        cookies={"lang": cookie} if cookie else {}, headers={"accept-language": header} if header else {}
    )
    assert i18n.negotiate(asked) == expected


def test_translation_fills_in_facts() -> None:
    assert i18n.gettext("en", "Search: {q}", q="{x}") == "Search: {x}"
    assert i18n.gettext("zh", "Search: {q}", q="发票") == "搜索：发票"
    assert i18n.ngettext("en", "{n} listing", "{n} listings", 1) == "1 listing"
    assert i18n.ngettext("en", "{n} listing", "{n} listings", 2) == "2 listings"
    assert i18n.ngettext("zh", "{n} listing", "{n} listings", 2) == "2 件商品"
    assert i18n.translator("zh")("Deploy") == "部署"
