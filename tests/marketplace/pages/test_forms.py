"""Nobody is led to another site by a link or a form."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.pages.forms import index_of, inside


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/search?q=ocr", "/search?q=ocr"),
        ("/listings/a/b%3Fc", "/listings/a/b%3Fc"),
        ("/search?q=R%26D", "/search?q=R%26D"),
        ("/search?q=a+b", "/search?q=a+b"),
        ("/search?q=文", "/search?q=%E6%96%87"),
        ("/search?q=%E6%96%87", "/search?q=%E6%96%87"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/%2Fevil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("/%0d%0aSet-Cookie: x=y", "/"),
        ("/%09/evil.example", "/"),
        ("%2F%2Fevil.example", "/"),
        ("//[evil", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ],
)
def test_only_paths_of_the_shop(target: str, expected: str) -> None:
    assert inside(target) == expected


@given(st.text() | st.text("/%2F5C\\"))
def test_always_a_plain_path(target: str) -> None:
    result = inside(target)
    assert result.startswith("/") and not result.startswith("//")
    assert result.isascii() and "\n" not in result and "\\" not in result
    assert not unquote(result).startswith(("//", "/\\"))


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("2", 2), ("3", None), ("-1", None), ("", None), ("9" * 5000, None)]
)
def test_a_number_of_a_list(text: str, expected: int | None) -> None:
    assert index_of(text, 3) == expected
