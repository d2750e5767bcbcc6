"""Cards: what they must tell, and that nothing in their Markdown does more than be read."""

import re

import pytest

from catalog import cards
from tests.marketplace.offered import CARD_EN, CARD_ZH


def codes(zh: str, en: str, *, strict: bool = True) -> dict[str, str]:
    rows = cards.check({"card_zh": zh, "card_en": en}, strict=strict)
    return {row["code"]: str(row["verdict"]) for row in rows}


def test_whole_cards_pass() -> None:
    assert codes(CARD_ZH, CARD_EN) == {}


@pytest.mark.parametrize(
    ("zh", "en", "expected"),
    [
        ("", CARD_EN, {"card-missing": "fail"}),
        (CARD_ZH, "", {"card-missing": "fail"}),
        ("判断方向。", CARD_EN, {"card-too-short": "fail"}),
        (CARD_ZH, CARD_ZH * 2, {"card-language": "fail"}),
        (CARD_EN, CARD_EN, {"card-language": "fail", "card-same-twice": "fail"}),
        (CARD_ZH, CARD_EN + "x" * 70_000, {"card-too-long": "fail"}),
        (CARD_ZH, "This text goes on and on and says nothing. " * 8, {"card-incomplete": "warn"}),
    ],
)
def test_what_the_check_says(zh: str, en: str, expected: dict[str, str]) -> None:
    assert codes(zh, en) == expected


def test_a_draft_may_be_unfinished() -> None:
    assert codes("", "", strict=False) == {"card-missing": "warn"}


def test_what_is_missing_is_named_in_both_languages() -> None:
    text = "模型用于识别文档的方向，请放心使用。" * 6
    row = next(
        r for r in cards.check({"card_zh": text, "card_en": CARD_EN}) if r["code"] == "card-incomplete"
    )
    assert "局限" in row["facts"]["missing_zh"]
    assert "its limits" in row["facts"]["missing_en"]


ACTIVE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil>",
    "<iframe src='https://x'></iframe>",
    "<svg onload=alert(1)>",
    '<p onclick="alert(1)">x</p>',
    "[x](javascript:alert(1))",
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    "<style>body{display:none}</style>",
    "<form action='https://x'><input></form>",
    "<object data=x></object>",
    "<meta http-equiv=refresh content=0>",
]


@pytest.mark.parametrize("text", ACTIVE)
def test_what_wants_to_run_is_refused_also_in_a_draft(text: str) -> None:
    assert codes(CARD_ZH, f"{CARD_EN}\n\n{text}\n", strict=False)["card-active"] == "fail"


@pytest.mark.parametrize(
    "text", [*ACTIVE, "![x](https://t.example/pixel.png)", "<img src=x onerror=alert(1)>"]
)
def test_and_when_it_is_shown_all_the_same_it_does_nothing(text: str) -> None:
    html = cards.render(f"Before\n\n{text}\n\nAfter")
    tags = {tag.lower() for tag in re.findall(r"<\s*/?\s*([a-zA-Z0-9]+)", html)}
    assert tags <= cards.TAGS
    inside = " ".join(re.findall(r"<[^>]*>", html)).lower()
    assert "javascript:" not in inside
    assert "data:" not in inside
    assert not re.search(r"\son\w+\s*=", inside)
    assert "src=" not in inside


@pytest.mark.parametrize(
    "text",
    ["![plot](https://elsewhere.example/a.png)", "![a][b]\n\n[b]: //t.example/x.gif", "<img src='//t/x'>"],
)
def test_pictures_from_elsewhere_are_refused(text: str) -> None:
    assert codes(CARD_ZH, f"{CARD_EN}\n\n{text}")["card-picture"] == "fail"


def test_code_may_speak_of_anything() -> None:
    code = "```html\n<script>alert(1)</script>\n![x](https://a/b.png)\n```\n\nand `<iframe>` too"
    assert codes(CARD_ZH, f"{CARD_EN}\n\n{code}") == {}


def test_links_lead_out_without_telling_from_where() -> None:
    html = cards.render("# Title\n\n[home](https://example.org)\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    assert '<a href="https://example.org" rel="nofollow noopener noreferrer">home</a>' in html
    assert "<h2>Title</h2>" in html
    assert "<td>1</td>" in html


@pytest.mark.parametrize(
    "text",
    ["[" * 60_000, "*a " * 20_000, "`" * 60_000, "> " * 30_000, "- " * 30_000, "<" * 60_000, "&#" * 30_000],
)
def test_a_text_made_to_be_slow_is_read_all_the_same(text: str) -> None:
    assert cards.render(text)
    assert codes(text, text)
