"""The home page while the starter shelf fills: the strip moves, and each listing comes by itself."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener
from tests.shop import Shop

pytestmark = [pytest.mark.browser, pytest.mark.network]


def test_listings_come_onto_the_open_page(tab: Opener, tmp_path: Path) -> None:
    only = "doc-orientation,vad-silero-6,filetype-magika"
    with Shop.start(tmp_path / "home", MARKET_SHELF_ONLY=only) as filling:
        view = tab(lang="en", of=filling)
        view.open("/")
        expect(view.page.locator(".tag")).to_have_count(3, timeout=120_000)
        expect(view.page.locator(".strip")).to_have_count(0)
        assert view.errors == []


def test_a_shop_without_a_shelf_says_how_to_fill_it(tab: Opener, tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as bare:
        view = tab(lang="en", of=bare)
        view.open("/")
        expect(view.page.get_by_role("heading", name="The shelf is empty")).to_be_visible()
        view.open("/search?q=x")
        expect(view.page.get_by_role("heading", name="Nothing found")).to_be_visible()
