"""The audit page says facts in words: keys, states, roles, ways in and sizes."""

import pytest

from marketplace.pages.people import _facts
from marketplace.problems import problem


@pytest.mark.parametrize(
    ("facts", "zh", "en"),
    [
        ({"method": "link"}, [("方式", "链接")], [("by", "a link")]),
        ({"bytes": 7_000_000}, [("大小", "7.0\u00a0MB")], [("size", "7.0\u00a0MB")]),
        (
            {"before": "submitted", "after": "listed", "why": ""},
            [("此前", "待审"), ("此后", "在架")],
            [("before", "Submitted"), ("after", "Listed")],
        ),
        ({"roles": ["opc", "operator"]}, [("角色", "一人公司, 运营者")], [("roles", "OPC, Operator")]),
        ({"source": "hf://a/b", "wanted": ""}, [("来源", "hf://a/b")], [("source", "hf://a/b")]),
        ({"findings": ["licence"]}, None, [("findings", "The licence is unclear or does not fit")]),
        ({"lived": False, "again": True}, [("重试", "是")], [("again", "yes")]),
    ],
)
def test_facts_are_said_in_words(
    facts: dict[str, object], zh: list[tuple[str, str]] | None, en: list[tuple[str, str]]
) -> None:
    assert zh is None or _facts(facts, "zh") == zh
    assert _facts(facts, "en") == en


def test_a_role_that_is_needed_is_named_and_typed() -> None:
    assert problem("not-allowed", "zh", role="vendor").detail == "此操作需要商家（vendor）角色。"
    assert problem("not-allowed", "en", role="vendor").detail == "This needs the role vendor."
