"""Nobody is led to another site by a link or a form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.pages.forms import inside


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/search?q=ocr", "/search?q=ocr"),
        ("/listings/a/b%3Fc", "/listings/a/b?c"),
        ("/search?q=%E6%96%87", "/search?q=%E6%96%87"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/%2Fevil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%5Cevil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ],
)
def test_only_paths_of_the_shop(target: str, expected: str) -> None:
    assert inside(target) == expected


@given(st.text())
def test_always_a_plain_path(target: str) -> None:
    result = inside(target)
    assert result.startswith("/") and not result.startswith("//")
    assert result.isascii() and "\n" not in result and "\\" not in result
