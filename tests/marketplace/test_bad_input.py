"""What no name or word can be is refused with words, on every database, before anything looks it up."""

import pytest
from sqlalchemy import Engine

from marketplace import hub
from marketplace.db import read_session, transaction
from tests.marketplace import shelves
from tests.marketplace.inside import Inside


@pytest.mark.parametrize(
    "path",
    [
        "/api/listings/a/b%00",
        "/api/compare?names=a/b%00",
        "/hf/api/models?search=%00",
        "/hf/api/models?author=a%00",
        "/hf/a/b/resolve/main/x%00y",
        "/v0.1/servers?search=%00",
        "/listings/a/b%00",
    ],
)
def test_no_name_holds_a_nul(inside: Inside, path: str) -> None:
    answer = inside.ask("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


def test_a_page_says_so_in_words(inside: Inside) -> None:
    page = inside.page("GET", "/search?q=%00")
    assert page.status_code == 400
    assert "The request is not of the expected form" in page.text


def test_a_cursor_without_a_zone_is_taken_for_utc(engine: Engine) -> None:
    with transaction(engine) as db:
        shelves.listed(db)
    with read_session(engine) as db:
        assert hub.list_models(db, hub.Wanted(cursor="2000-01-01~x")).items == []
        assert len(hub.list_models(db, hub.Wanted(cursor="2999-01-01~x")).items) == 1
        assert len(hub.list_models(db, hub.Wanted(cursor="2999-01-01T00:00:00+08:00~x")).items) == 1


@pytest.mark.parametrize("cursor", ["2026-01-01~x", "9999-12-31~", "0001-01-01T00:00:00+14:00~x"])
def test_any_time_is_a_cursor(inside: Inside, cursor: str) -> None:
    for sort in ("", "lastModified"):
        answer = inside.ask("GET", "/hf/api/models", params={"cursor": cursor, "sort": sort})
        assert answer.status_code in (200, 400), answer.text


def test_what_is_no_time_is_no_cursor(inside: Inside) -> None:
    for cursor in ("x", "2026-13-01~x", "~"):
        assert inside.ask("GET", "/hf/api/models", params={"cursor": cursor}).status_code == 400
