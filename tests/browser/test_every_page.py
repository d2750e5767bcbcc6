"""What holds on every page: accessible, not too wide, light, under its own policy, in both languages."""

import pytest

from tests.browser.conftest import Opener

pytestmark = [pytest.mark.browser, pytest.mark.network]

OPEN = {
    "home": "/",
    "search": "/search",
    "found": "/search?q=ocr",
    "nothing": "/search?q=zzzz",
    "listing": "/listings/opc-market/ocr-ppocrv6-small",
    "compare": "/compare?name=opc-market/zh-sentiment&name=opc-market/en-minilm-l6-fp32",
    "compare-four": "/compare?name=opc-market/zh-sentiment&name=opc-market/doc-orientation"
    "&name=opc-market/ocr-ppocrv6-small&name=opc-market/vad-silero-6&name=opc-market/filetype-magika",
    "login": "/login",
    "design": "/design",
    "api": "/api/docs",
}
SIGNED_IN = {
    "board": "/deployments",
    "offer": "/listings/opc-market/doc-orientation",
    "deployment": "/deployments/looked-at",
    "log": "/deployments/looked-at/logs",
    "settings": "/settings",
    "accounts": "/accounts",
    "audit": "/audit",
    "optimise": "/listings/opc-market/zh-sentiment/optimize",
    "optimisations": "/optimizations",
    "package": "/listings/opc-market/zh-sentiment/package",
}
MISSING = {"missing": "/nothing-here", "no-listing": "/listings/opc-market/zh-sentimen"}
LOOKS = [("light", 1280), ("dark", 1280), ("light", 375), ("dark", 375)]
MOST_BYTES = 100_000


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_accessible_and_never_too_wide(
    tab: Opener,
    running: str,
    optimised: dict[str, str],
    published: dict[str, str],
    recorded: None,
    lang: str,
    theme: str,
    width: int,
) -> None:
    view = tab(lang=lang, theme=theme, width=width, signed_in=True, strict=False)
    visitor = tab(lang=lang, theme=theme, width=width, strict=False)
    wrong = {}
    for name, path in {**OPEN, **MISSING, **SIGNED_IN, **optimised, **published}.items():
        seen = view if name in SIGNED_IN or name in optimised or name in published else visitor
        seen.open(path)
        assert seen.page.locator("html").get_attribute("lang") == {"zh": "zh-CN", "en": "en"}[lang]
        if found := seen.violations():
            wrong[name] = found
        if seen.overflow() > 0:
            wrong[f"{name} too wide"] = [str(seen.overflow())]
    assert not wrong


def test_two_listings_stand_side_by_side_on_a_telephone(tab: Opener) -> None:
    """Both columns are in the window; of four the edge of the third shows that there is more."""
    view = tab(lang="zh", width=375)
    view.open(OPEN["compare"])
    for column in view.page.locator(".compare thead th").all():
        box = column.bounding_box()
        assert box is not None and box["x"] + box["width"] <= 375
    view.open(OPEN["compare-four"])
    third = view.page.locator(".compare thead th").nth(2).bounding_box()
    assert third is not None and third["x"] < 335 < third["x"] + third["width"]
    other = view.page.locator(".note a")
    assert other.inner_text() == "opc-market/filetype-magika"  # ticked as well: it finds its way in
    other.click()
    assert view.page.locator(".compare thead th").count() == 4
    assert view.page.locator(".compare thead a[href$=filetype-magika]").count() == 1


def test_commands_break_between_words_and_copy_whole(tab: Opener) -> None:
    view = tab(lang="zh", width=375)
    view.open("/login")
    word = view.page.locator("#cli span").last
    assert word.evaluate("node => node.getClientRects().length") == 1
    assert view.page.locator("#cli").text_content() == ".venv/bin/market login-link"


def test_the_check_sees_a_planted_fault(tab: Opener) -> None:
    view = tab(strict=False)
    view.open("/login")
    view.page.evaluate("document.querySelector('main').append(new Image())")
    assert any(found.startswith("image-alt") for found in view.violations())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_light_and_without_errors_under_the_policy(
    tab: Opener, running: str, optimised: dict[str, str], published: dict[str, str], lang: str
) -> None:
    visitor, view = tab(lang=lang), tab(lang=lang, signed_in=True)
    for name, path in {**OPEN, **SIGNED_IN, **optimised, **published}.items():
        inside = name in SIGNED_IN or name in optimised or name in published
        seen = view if inside else visitor
        answer = seen.open(path)
        assert answer is not None and answer.status == 200
        seen.page.wait_for_function("window.htmx !== undefined")
        assert seen.errors == [], name
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'self'" in policy
        seen.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        fresh = tab(lang=lang, signed_in=inside)  # nothing cached
        fresh.open(path)
        fresh.page.wait_for_load_state("load")
        assert sum(fresh.loaded.values()) <= MOST_BYTES, (name, fresh.loaded)


def test_nothing_inline(
    tab: Opener, running: str, optimised: dict[str, str], published: dict[str, str]
) -> None:
    view = tab(signed_in=True)
    for path in (*OPEN.values(), *SIGNED_IN.values(), *optimised.values(), *published.values()):
        view.open(path)
        inline = view.page.evaluate(
            """[...document.querySelectorAll("*")]
               .filter((e) => e.matches("style, script:not([src]), [style]")
                 || [...e.attributes].some((a) => a.name.startsWith("on")))
               .map((e) => e.outerHTML)"""
        )
        assert inline == [], path


@pytest.mark.parametrize("path", MISSING.values())
def test_a_problem_is_a_page_with_a_next_step(tab: Opener, path: str) -> None:
    view = tab(lang="en")
    answer = view.open(path)
    assert answer is not None and answer.status == 404
    assert view.page.locator("h1").inner_text()
    assert view.page.locator("main a.button").count() == 1
    if "listings" in path:
        assert view.page.get_by_role("link", name="opc-market/zh-sentiment").is_visible()


def test_language_switch_stays_on_the_page_and_is_kept(tab: Opener) -> None:
    view = tab(lang="zh")
    view.open("/search?q=ocr&task=image-to-text")
    view.page.get_by_role("link", name="English").click()
    assert view.page.url.endswith("/search?q=ocr&task=image-to-text")
    assert view.page.locator("html").get_attribute("lang") == "en"
    view.open("/")
    assert view.page.locator("html").get_attribute("lang") == "en"
    view.page.get_by_role("link", name="中文").click()
    assert view.page.locator("html").get_attribute("lang") == "zh-CN"


def test_language_switch_does_not_lead_away(tab: Opener) -> None:
    view = tab()
    view.open("/lang/en?next=//example.com/")
    assert view.page.url == f"{view.shop.url}/"
