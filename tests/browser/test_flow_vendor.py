"""Flow 2 in a real browser: publish with the form, see the checks, be approved, found, deployed and rated."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from catalog import blobs
from tests.browser.conftest import Opener, Tab
from tests.shop import Shop

pytestmark = [pytest.mark.browser, pytest.mark.network]

CHECKED = 90_000  # milliseconds until the checks have ended
STARTER = Path(__file__).resolve().parents[2] / "catalog" / "starter"
CARD_ZH = """## 适合谁

网店、民宿和课程的卖家，想尽早看到不满意的顾客。只分好坏两类，没有中立。

## 局限

读不懂反话；在商品、图书、酒店以外的行业会差一些，使用前请先用自己的评论试过。

## 数据、评测与许可

用公开的评论训练，留出四千条没有学过的评论评测，正确率约 0.85。权重与软件包的许可见上。
"""
CARD_EN = """## For whom

Shops, inns and teachers who want to see unhappy customers early. It tells good from bad, nothing between.

## Limits

It does not understand irony, and is worse outside of shops, books and hotels. Try it on your own first.

## Data, evaluation and licence

Trained on public reviews; judged on four thousand that it never saw, about 0.85 are right. The licences of
weights and package are stated above.
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("v") / "home"
    with Shop.start(home, MARKET_SHELF_ONLY="zh-sentiment,doc-orientation") as shop:
        shop.wait_shelf()
        with shop.api as api:
            for name, roles in (("mai", ["vendor"]), ("shen", ["operator"]), ("li", ["opc"])):
                api.post("/api/accounts", json={"name": name, "roles": roles}).raise_for_status()
        yield shop


def enter(view: Tab, name: str) -> Page:
    """Sign in as somebody, by a link that an operator made."""
    with view.shop.api as api:
        made = api.post(f"/api/accounts/{name}/login-link").raise_for_status().json()
    view.page.goto(made["url"])
    return view.page


def model_folder(shop: Shop, listing: str) -> Path:
    with shop.api as api:
        found = api.get(f"/api/listings/{listing}").raise_for_status().json()
    from catalog import manifest as manifests

    return blobs.model_dir(shop.home, manifests.digest(found["manifest"]))


def options_of(entry: str) -> str:
    return json.dumps(json.loads((STARTER / entry / "model.json").read_text())["options"])


def become_vendor(page: Page, shop: Shop, name: str) -> None:
    page.goto(f"{shop.url}/vendor")
    if page.get_by_role("button", name="Become a vendor").is_visible():
        page.locator("#vendor-name").fill(name)
        page.locator("#vendor-zh").fill("麦记")
        page.locator("#vendor-en").fill("Mai & Co")
        page.get_by_role("button", name="Become a vendor").click()
        expect(page.locator(f"#{name}-title")).to_have_text("Mai & Co")


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.locator(f"[name='{name.replace('__', '.')}']").first.fill(text)


def fill_review_model(page: Page, name: str, number: str, *, expect_label: str = "positive") -> None:
    page.locator("#task").select_option("text-classification")
    fill(
        page,
        name=name,
        version=number,
        title__zh="评论好坏",
        title__en="Good or bad review",
        summary__zh="判断一条评论是好评还是差评，适合网店与民宿。",
        summary__en="Tells whether a review is good or bad, for shops and inns.",
        license__weights="Apache-2.0",
        license__package="MIT",
        claims__latency_ms="500",
        card__zh=CARD_ZH,
        card__en=CARD_EN,
    )
    fill(
        page,
        **{
            "examples.0.title.zh": "好评",
            "examples.0.title.en": "Praise",
            "examples.0.text": "物流很快，包装完好，质量比想象中好，下次还会再来。",
            "examples.0.expect": json.dumps({"results": [{"label": expect_label}]}),
        },
    )
    page.locator("summary", has_text="Roles, settings").click()
    fill(page, options=options_of("zh-sentiment"), languages="zh")
    page.locator("[name='vertical.retail_and_ecommerce']").check()


def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=Path(folder) / f"vendor-{name}.png", full_page=True)


def choose(page: Page, folder: Path, *names: str) -> None:
    page.locator("#files-input").set_input_files([folder / name for name in names])


def verdicts(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("#checks .check")].map(
             (each) => [each.id.replace("check-", ""), each.className.replace("check is-", "")]))"""
    )
    return found


def test_from_the_form_to_a_rating(tab: Opener, market: Shop, tmp_path: Path) -> None:
    folder = model_folder(market, "opc-market/zh-sentiment")
    vendor_tab = tab(lang="en", of=market)
    vendor = enter(vendor_tab, "mai")
    become_vendor(vendor, market, "mai")
    expect(vendor.locator("#mai")).to_contain_text("name not proved yet")
    expect(vendor.locator("#mai")).to_contain_text("opc-market-vendor=")

    # an operator, in a browser of their own, vouches for the name
    operator_tab = tab(lang="en", of=market)
    operator = enter(operator_tab, "shen")
    operator.goto(f"{market.url}/reviews")
    operator.locator("summary", has_text="Vouch").click()
    operator.get_by_role("button", name="Vouch for mai").click()
    expect(operator.locator("main")).to_contain_text("Every vendor's name is proved.")

    # the form
    vendor.goto(f"{market.url}/vendor")
    vendor.get_by_role("link", name="Publish a model").first.click()
    choose(vendor, folder, "model.onnx", "samples.jsonl")
    fill_review_model(vendor, "good-or-bad", "1.0.0")
    vendor.get_by_role("button", name="Send and check").click()
    expect(vendor).to_have_url(re.compile("/vendor/listings/mai/good-or-bad/1.0.0$"))
    expect(vendor.locator("#checks h2").first).to_have_text("Waits for an operator", timeout=CHECKED)
    seen = verdicts(vendor)
    assert len(seen) == 12 and set(seen.values()) <= {"pass", "warn", "unknown"}
    assert seen["dry-run"] == seen["examples"] == seen["format"] == "pass"
    expect(vendor.locator(".figures")).to_contain_text("500 ms")
    shot(vendor, "waits")
    assert vendor_tab.errors == []

    # the review
    operator.goto(f"{market.url}/")
    expect(operator.locator(".doors .count")).to_contain_text("1")
    operator.get_by_role("link", name=re.compile("^Review")).click()
    operator.get_by_role("link", name="Good or bad review 1.0.0").click()
    expect(operator.locator("main")).to_contain_text("The first version")
    shot(operator, "review")
    operator.get_by_role("button", name="Approve: put it on the shelf").click()
    expect(operator.locator("main")).to_contain_text("Nothing waits")

    # found, deployed, rated
    buyer_tab = tab(lang="en", of=market)
    buyer = enter(buyer_tab, "li")
    buyer.goto(f"{market.url}/search?q=review")
    buyer.get_by_role("link", name="Good or bad review").click()
    expect(buyer.locator(".figures")).to_contain_text("500 ms")
    expect(buyer.locator("main")).to_contain_text("Commercial use allowed")
    expect(buyer.locator("main")).to_contain_text("vouched for by an operator")
    expect(buyer.locator("[name=stars]")).to_have_count(0)
    shot(buyer, "listing")
    buyer.locator("#name").fill("reviews")
    buyer.get_by_role("button", name="Deploy", exact=True).click()
    expect(buyer.locator("#status .state").first).to_have_text(re.compile("Live"), timeout=120_000)
    buyer.locator("#try textarea").fill("质量很差，再也不买了")
    buyer.get_by_role("button", name="Try", exact=True).click()
    expect(buyer.locator(".answer")).to_be_visible(timeout=60_000)
    buyer.goto(f"{market.url}/listings/mai/good-or-bad")
    buyer.locator("[name=stars][value='4']").check()
    buyer.locator("#rating-text").fill("快，反话不行。")
    buyer.get_by_role("button", name="Rate it").click()
    expect(buyer.locator(".ratings")).to_contain_text("快，反话不行。")
    expect(buyer.locator(".by").first).to_contain_text("4.0")
    assert buyer_tab.errors == [] and operator_tab.errors == []

    # the passport, kept and verified with nothing but its file and the fingerprint
    buyer.get_by_role("link", name=re.compile("^Passport: ")).click()
    shot(buyer, "passport")
    command = buyer.locator("#verify").inner_text()
    with buyer.expect_download() as fetched:
        buyer.get_by_role("link", name="Download the passport").click()
    file = tmp_path / fetched.value.suggested_filename
    fetched.value.save_as(file)
    words = command.split()
    assert words[:3] == ["market", "verify", file.name]
    checked = market.market("verify", str(file), *words[3:], MARKET_HOME=str(tmp_path / "elsewhere"))
    assert checked.returncode == 0, checked.stderr
    assert "mai/good-or-bad 1.0.0" in checked.stdout
    spoiled = tmp_path / "spoiled.zip"
    spoiled.write_bytes(file.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05", 1))
    assert market.market("verify", str(spoiled), *words[3:]).returncode == 1

    # a further version keeps the files, and shows what changed
    vendor.goto(f"{market.url}/vendor/listings/mai/good-or-bad")
    sums = vendor.locator(".sums")
    expect(sums).to_contain_text(re.compile(r"Deployed\s*1"))
    expect(sums).not_to_contain_text(re.compile(r"Views\s*0"))
    expect(vendor.locator("#views rect")).to_have_count(1)
    shot(vendor, "analytics")
    vendor.get_by_role("link", name="New version").click()
    expect(vendor.locator("[name=version]")).to_have_value("1.1.0")
    fill(vendor, summary__en="Tells good reviews from bad ones, for shops and inns.")
    vendor.get_by_role("button", name="Send and check").click()
    expect(vendor.locator("#checks h2").first).to_have_text("Waits for an operator", timeout=CHECKED)
    operator.goto(f"{market.url}/reviews/mai/good-or-bad/1.1.0")
    expect(operator.locator(".changed")).to_contain_text("Summary in English")
    expect(operator.locator(".changed")).not_to_contain_text("New files")
    operator.get_by_role("button", name="Approve: put it on the shelf").click()

    # deprecated, with a reason that everybody reads
    vendor.goto(f"{market.url}/vendor/listings/mai/good-or-bad/1.0.0")
    vendor.locator("summary", has_text="Deprecate").click()
    vendor.locator("#why-deprecate").fill("1.1.0 is better worded")
    vendor.get_by_role("button", name="Deprecate").click()
    expect(vendor.locator("#status .state").first).to_have_text(re.compile("Deprecated"))
    buyer.goto(f"{market.url}/listings/mai/good-or-bad")
    expect(buyer.locator("main")).to_contain_text("1.1.0 is better worded")


def test_a_bad_model_shows_which_check_failed_and_what_to_do(
    tab: Opener, market: Shop, tmp_path: Path
) -> None:
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    folder = model_folder(market, "opc-market/zh-sentiment")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:100_000])
    page.goto(f"{market.url}/vendor/publish")
    choose(page, tmp_path, "model.onnx")
    fill_review_model(page, "broken", "1.0.0")
    page.get_by_role("button", name="Send and check").click()
    expect(page.locator("#checks h2").first).to_have_text(re.compile("not pass"), timeout=CHECKED)
    assert verdicts(page)["format"] == "fail"
    row = page.locator("#check-format .check-row").first
    expect(row).to_contain_text("model.onnx")
    assert len(row.locator(".next").inner_text()) > 10
    shot(page, "broken")
    assert not list((market.home / "staging").glob("*/*"))

    # mended under the same number
    page.get_by_role("link", name="Publish again").click()
    expect(page.locator("[name='title.en']")).to_have_value("Good or bad review")
    expect(page.locator(".choice.off")).to_contain_text("model.onnx")
    choose(page, folder, "model.onnx")
    page.get_by_role("button", name="Send and check").click()
    expect(page.locator("#checks h2").first).to_have_text(
        re.compile("Waits for an operator|All checks passed"), timeout=CHECKED
    )
    assert view.errors == []


def test_a_wrong_answer_is_said_at_its_example(tab: Opener, market: Shop) -> None:
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    folder = model_folder(market, "opc-market/zh-sentiment")
    page.goto(f"{market.url}/vendor/publish")
    choose(page, folder, "model.onnx")
    fill_review_model(page, "wrong-answer", "1.0.0", expect_label="neutral")
    page.get_by_role("button", name="Send and check").click()
    expect(page.locator("#checks h2").first).to_have_text(re.compile("not pass"), timeout=CHECKED)
    assert verdicts(page)["examples"] == "fail"


@pytest.mark.parametrize(
    ("field", "text", "where"),
    [
        ("version", "1.0", "version"),
        ("name", "Not A Name", "name"),
        ("options", "{no json", "options"),
        ("claims__latency_ms", "fast", "claims.latency_ms"),
        ("title__en", "", "title.en"),
    ],
)
def test_what_is_filled_in_wrong_is_said_at_its_field(
    tab: Opener, market: Shop, field: str, text: str, where: str
) -> None:
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    choose(page, model_folder(market, "opc-market/zh-sentiment"), "model.onnx")
    fill_review_model(page, "wrongly-filled", "1.0.0")
    fill(page, **{field: text})
    page.get_by_role("button", name="Send and check").click()
    expect(page.locator(f"[id='{where}-wrong']")).to_be_visible()
    expect(page.locator("[name='title.zh']")).to_have_value("评论好坏")
    expect(page.get_by_role("alert")).to_have_count(1)


def test_without_a_script_it_works_all_the_same(tab: Opener, market: Shop) -> None:
    view = tab(lang="en", of=market, script=False)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    expect(page.locator(".unscripted")).to_be_visible()
    choose(page, model_folder(market, "opc-market/zh-sentiment"), "model.onnx")
    fill_review_model(page, "no-script", "1.0.0")
    page.locator("[name=wanted][value=draft]").check()
    page.get_by_role("button", name="Send and check").click()
    for _ in range(60):
        if "All checks passed" in page.locator("#checks h2").first.inner_text():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator("#checks h2").first).to_have_text("All checks passed")
    page.locator("summary", has_text="Discard").click()
    page.get_by_role("button", name="Discard").click()
    expect(page).to_have_url(re.compile("/vendor#mai$"))


def test_a_market_yaml_fills_the_form_in(tab: Opener, market: Shop, tmp_path: Path) -> None:
    from marketplace.pages.publish_form import SAMPLE

    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    page.locator("summary", has_text="Fill it in").click()
    sheet = tmp_path / "market.yaml"
    sheet.write_text(SAMPLE)
    page.locator("#sheet").set_input_files(sheet)
    page.get_by_role("button", name="Fill in").click()
    expect(page.get_by_role("status").first).to_be_visible()
    expect(page.locator("[name='title.en']")).to_have_value("Words of invoices")
    expect(page.locator("[name='examples.0.text']")).to_have_value("合计 1,280.00 元")
    sheet.write_text(SAMPLE.replace("version: 1.0.0", "version: one"))
    page.locator("summary", has_text="Fill it in").click()
    page.locator("#sheet").set_input_files(sheet)
    page.get_by_role("button", name="Fill in").click()
    expect(page.locator("#sheet-wrong")).to_contain_text("market.yaml:3 version")


def test_a_large_file_goes_in_pieces_and_goes_on_where_it_broke_off(
    tab: Opener, market: Shop, tmp_path: Path
) -> None:
    folder = model_folder(market, "opc-market/doc-orientation")
    assert (folder / "model.onnx").stat().st_size > 4 << 20
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    sent: list[Any] = []

    def once_broken(route: Any) -> None:
        sent.append(route.request.headers.get("upload-offset"))
        if len(sent) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/api/uploads/*", once_broken)
    choose(page, folder, "model.onnx")
    fill_review_model(page, "which-way-up", "1.0.0")
    page.locator("#task").select_option("image-classification")
    fill(page, options=options_of("doc-orientation"))
    fill(page, **{"examples.0.text": "", "examples.0.expect": ""})
    page.locator("summary", has_text="A picture or JSON").first.click()
    pictures = sorted((STARTER / "doc-orientation").rglob("*.[jp]*g"))
    page.locator("[name='examples.0.image']").set_input_files(pictures[0])
    page.get_by_role("button", name="Send and check").click()
    expect(page).to_have_url(re.compile("/vendor/listings/mai/which-way-up/1.0.0$"), timeout=60_000)
    assert len(sent) >= 2
    expect(page.locator("#checks h2").first).to_have_text(
        re.compile("Waits for an operator|All checks passed|not pass"), timeout=CHECKED
    )
    assert verdicts(page)["digests"] == verdicts(page)["dry-run"] == "pass"


def test_a_folder_with_its_sheet_needs_no_form(tab: Opener, market: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "cards").mkdir(parents=True)
    model = model_folder(market, "opc-market/zh-sentiment")
    (folder / "model.onnx").write_bytes((model / "model.onnx").read_bytes())
    (folder / "cards" / "zh.md").write_text(CARD_ZH)
    (folder / "cards" / "en.md").write_text(CARD_EN)
    (folder / "market.yaml").write_text(
        f"""schema: 1
name: mai/from-a-folder
version: 1.0.0
task: text-classification
title: {{zh: 来自文件夹, en: From a folder}}
summary: {{zh: 判断一条评论是好评还是差评。, en: Tells good reviews from bad ones.}}
license: {{package: MIT, weights: Apache-2.0}}
files: {{model: model.onnx}}
options: {options_of("zh-sentiment")}
examples:
  - title: {{zh: 好评, en: Praise}}
    request: {{text: 非常满意}}
    expect: {{results: [{{label: positive}}]}}
card: {{zh: cards/zh.md, en: cards/en.md}}
"""
    )
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    page.locator("summary", has_text="Or a folder").click()
    page.locator("#folder").set_input_files(folder)
    page.get_by_role("button", name="Send and check").click()
    expect(page).to_have_url(re.compile("/vendor/listings/mai/from-a-folder/1.0.0$"), timeout=60_000)
    expect(page.locator("#checks h2").first).to_have_text(
        re.compile("Waits for an operator|All checks passed"), timeout=CHECKED
    )


def test_rejected_with_findings_that_the_vendor_reads(tab: Opener, market: Shop) -> None:
    view = tab(lang="en", of=market)
    page = enter(view, "mai")
    become_vendor(page, market, "mai")
    page.goto(f"{market.url}/vendor/publish")
    choose(page, model_folder(market, "opc-market/zh-sentiment"), "model.onnx")
    fill_review_model(page, "to-be-rejected", "1.0.0")
    page.get_by_role("button", name="Send and check").click()
    expect(page.locator("#checks h2").first).to_have_text(
        re.compile("Waits for an operator|All checks passed"), timeout=CHECKED
    )
    with market.api as api:
        api.post("/api/vendors/mai/vouch")
    if page.get_by_role("button", name="Submit for review").is_visible():
        page.get_by_role("button", name="Submit for review").click()
    other = tab(lang="en", of=market)
    operator = enter(other, "shen")
    operator.goto(f"{market.url}/reviews/mai/to-be-rejected/1.0.0")
    operator.locator("summary", has_text="Reject").click()
    operator.get_by_role("button", name="Reject with these findings").click()
    expect(operator.get_by_role("alert")).to_be_visible()  # findings are needed
    operator.locator("[name=kind-quality]").check()
    operator.locator("#text-quality").fill("Irony is read wrongly in 3 of 10 reviews.")
    operator.get_by_role("button", name="Reject with these findings").click()
    expect(operator).to_have_url(re.compile("/reviews$"))
    page.goto(f"{market.url}/vendor/listings/mai/to-be-rejected/1.0.0")
    expect(page.locator(".findings")).to_contain_text("Irony is read wrongly")
    expect(page.get_by_role("link", name="New version")).to_be_visible()
