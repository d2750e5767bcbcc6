"""Finding a model: without scripts, and by keyboard alone."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opener

pytestmark = [pytest.mark.browser, pytest.mark.network]


def test_browsing_without_scripts(tab: Opener) -> None:
    view = tab(lang="en", script=False)
    page = view.page
    view.open("/")
    assert page.locator(".tag").count() >= 10
    page.get_by_role("searchbox").fill("invoice")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Search: invoice")
    page.get_by_role("link", name="Chinese and English text recognition (OCR)").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("OCR")
    page.locator("details.how summary").first.click()
    expect(page.locator("details.how p").first).to_be_visible()
    page.get_by_role("link", name="Sign in to deploy").click()
    expect(page).to_have_url(re.compile("/login"))


def test_facets_narrow_and_widen(tab: Opener) -> None:
    view = tab(lang="en")
    page = view.page
    view.open("/search")
    every = page.locator(".tag").count()
    page.get_by_role("link", name=re.compile("^Embeddings")).first.click()
    expect(page.locator(".tag")).to_have_count(2)
    expect(page.locator(".facets a[aria-current]").first).to_contain_text("Embeddings")
    page.locator(".active-filters a").first.click()
    expect(page.locator(".tag")).to_have_count(every)


def test_keyboard_alone(tab: Opener) -> None:
    view = tab(lang="en")
    page = view.page
    view.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("sentiment")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Search: sentiment")
    link = page.locator(".tag a").first
    for _ in range(60):
        page.keyboard.press("Tab")
        if link.evaluate("e => e === document.activeElement"):
            break
    outline = link.evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("sentiment")


def test_facts_that_nobody_measured_say_so(tab: Opener) -> None:
    view = tab(lang="zh")
    view.open("/listings/opc-market/zh-sentiment")
    facts = view.page.locator(".facts.wide details")
    expect(facts).to_have_count(5)
    assert facts.filter(has_text="未测").count() == 4
    facts.first.locator("summary").click()
    expect(facts.first.locator("p")).to_be_visible()
    expect(facts.first.locator("p")).to_contain_text("还没有人测过")


def test_touch_targets_on_a_phone(tab: Opener) -> None:
    view = tab(width=375)
    view.open("/listings/opc-market/zh-sentiment")
    boxes = view.page.evaluate(
        """[...document.querySelectorAll(
             "button, a.button, .doors a, .self a, input:not([type=radio]), summary")]
           .map((e) => [e.textContent.trim() || e.name, e.getBoundingClientRect().height])"""
    )
    assert [box for box in boxes if 0 < box[1] < 44] == []
