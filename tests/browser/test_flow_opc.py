"""Flow 1 in a real browser: sign in, find, deploy, watch, try, copy, call, see the usage, stop."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from deployer.examples import check
from tests.browser.conftest import Opener
from tests.shop import Shop, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.network]
COMES_UP = 120_000  # milliseconds
EXAMPLES = Path(__file__).resolve().parents[2] / "catalog" / "starter"


def _deploy(page: Page, name: str, runtime: str) -> str:
    """Fill in the offer's form and wait until the deployment is live; returns the key."""
    page.locator(f"input[name=runtime][value={runtime}]").check()
    page.locator("#name").fill(name)
    page.get_by_role("button", name="部署").click()
    expect(page).to_have_url(re.compile(f"/deployments/{name}$"))
    expect(page.locator("#status .state").first).to_have_text(re.compile("在线"), timeout=COMES_UP)
    return page.locator("#key").inner_text()


def _answer(page: Page) -> str:
    expect(page.locator(".answer")).to_be_visible(timeout=60_000)
    return page.locator(".answer").inner_text()


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.engine)])
def test_one_click_to_a_model_that_answers(tab: Opener, shop: Shop, runtime: str) -> None:
    view = tab(lang="zh")
    page = view.page
    view.open("/")
    page.get_by_role("searchbox").fill("情感")
    page.get_by_role("searchbox").press("Enter")
    page.get_by_role("link", name="中文评论情感判断").click()
    expect(page.locator(".facts .none").first).to_have_text("未测")
    view.sign_in()
    view.open("/listings/opc-market/zh-sentiment")
    name = f"browser-{runtime}"
    key = _deploy(page, name, runtime)
    assert key.startswith("mk_")
    expect(page.locator("#try textarea")).to_be_visible()

    page.locator("#try textarea").fill("质量很差，再也不买了\n非常满意，推荐给朋友")
    page.get_by_role("button", name="试用", exact=True).click()
    assert {"负面", "正面"} <= set(re.findall("负面|正面", _answer(page)))
    expect(page.locator("#try textarea")).to_have_value("质量很差，再也不买了\n非常满意，推荐给朋友")
    page.locator(".quick button").first.click()
    expect(page.locator(".answer")).to_contain_text("与预期答案一致", timeout=60_000)

    endpoint = page.locator("#endpoint").inner_text()
    assert key in (page.locator("#code-curl").text_content() or "")
    called = httpx.post(
        f"{endpoint}/predict", json={"text": "很好"}, headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    assert check(called.json(), {"results": [{"label": "positive"}]}) == []
    expect(page.locator("#requests")).to_have_text("3", timeout=30_000)
    page.get_by_role("button", name="已存好，隐藏").click()
    expect(page.locator("#key")).to_have_count(0)
    assert key not in page.content()

    page.locator("details.confirm summary", has_text="停止").click()
    page.get_by_role("button", name="确定停止").click()
    expect(page.locator("#status .state").first).to_have_text(re.compile("已停止"), timeout=30_000)
    assert view.errors == []


def test_steps_are_live_and_survive_a_reload(tab: Opener) -> None:
    view = tab(lang="en", signed_in=True)
    page = view.page
    view.open("/listings/opc-market/ocr-ppocrv6-small")
    page.locator("#name").fill("reloaded")
    page.get_by_role("button", name="Deploy").click()
    expect(page.locator(".step")).to_have_count(6)
    page.reload()
    expect(page.locator("#status .state").first).to_have_text(re.compile("Live"), timeout=COMES_UP)
    expect(page.locator("#key")).to_be_visible()
    page.locator("#status details.how > summary").first.click()
    expect(page.locator(".step.done")).to_have_count(6)

    page.locator("#try input[type=file]").set_input_files(
        EXAMPLES / "ocr-ppocrv6-small" / "examples" / _first_picture()
    )
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.locator(".answer .read")).not_to_be_empty(timeout=60_000)
    expect(page.locator(".answer svg polygon").first).to_be_visible()
    page.locator(".log-of summary").click()
    expect(page.locator("#log pre")).to_be_visible(timeout=10_000)
    assert view.errors == []


def _first_picture() -> str:
    folder = EXAMPLES / "ocr-ppocrv6-small" / "examples"
    return sorted(p.name for p in folder.iterdir() if p.suffix in (".png", ".jpg", ".webp"))[0]


def test_deploy_and_try_without_scripts(tab: Opener) -> None:
    view = tab(lang="en", script=False, signed_in=True)
    page = view.page
    view.open("/listings/opc-market/filetype-magika")
    page.locator("#name").fill("scriptless")
    page.get_by_role("button", name="Deploy").click()
    page.wait_for_url("**/deployments/scriptless*")  # a page that is still on its way cannot be loaded anew

    def live() -> bool:
        page.reload()
        return "Live" in page.locator("#status .state").first.inner_text()

    wait_until(live, within=60, what="live")
    page.locator(".quick button").first.click()
    assert "This is the expected answer." in _answer(page)


def test_a_name_that_is_taken_says_what_next(tab: Opener, running: str) -> None:
    view = tab(lang="en", signed_in=True)
    page = view.page
    view.open("/listings/opc-market/zh-sentiment")
    page.locator("#name").fill(running)
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The name is taken")
    page.locator("main a.button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(running)


def test_an_answer_that_the_model_refuses_is_explained(tab: Opener, running: str) -> None:
    view = tab(lang="en", signed_in=True)
    page = view.page
    view.open(f"/deployments/{running}")
    page.locator("#try textarea").fill("")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.locator("#try [role=alert]")).to_contain_text("Nothing was filled in")
    expect(page.locator("#try textarea")).to_be_visible()
    assert view.errors == []


def test_board_moves_by_itself_and_teaches_when_empty(tab: Opener, own_shop: Shop) -> None:
    view = tab(lang="en", of=own_shop, signed_in=True)
    page = view.page
    view.open("/deployments")
    expect(page.get_by_role("heading", name="Nothing is deployed yet")).to_be_visible()
    own_shop.deploy("opc-market/doc-orientation", "--name", "seen")
    row = page.locator("#row-seen")
    expect(row).to_contain_text("Live", timeout=20_000)
    own_shop.market("stop", "seen", "-y")
    expect(row).to_contain_text("Stopped", timeout=20_000)


def test_signing_in_and_out(tab: Opener, shop: Shop) -> None:
    view = tab(lang="en")
    page = view.page
    view.open("/deployments")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.locator("#link").fill(shop.login_url())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/deployments$"))
    view.open("/settings")
    page.get_by_role("button", name="Link for another browser").click()
    link = page.locator("#login-link").inner_text()
    other = tab(lang="en")
    other.page.goto(link)
    other.open("/settings")
    expect(other.page.get_by_role("heading", level=1)).to_have_text("Settings")
    again = tab(lang="en")
    again.page.goto(link)
    expect(again.page.get_by_role("heading", level=1)).to_have_text("This sign-in link does not work")
    page.get_by_role("button", name="Sign out", exact=True).click()
    view.open("/settings")
    expect(page).to_have_url(re.compile("/login"))
