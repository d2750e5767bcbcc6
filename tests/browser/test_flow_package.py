"""Taking a model along in a real browser: one button, live steps, a file that is what it says."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from catalog.listings import get_version
from deployer import packages
from deployer.models import Package, PackageState
from marketplace.accounts import first_account
from marketplace.db import open_engine, transaction
from tests.browser.conftest import Opener
from tests.flows.test_flow_package import prepared
from tests.shop import Shop

pytestmark = [pytest.mark.browser, pytest.mark.network]

MODEL = "opc-market/zh-sentiment"
PAGE = f"/listings/{MODEL}/package"
LOOKS = [("zh", "light", 1280), ("en", "dark", 1280), ("zh", "dark", 375), ("en", "light", 375)]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = prepared(tmp_path_factory.mktemp("w") / "home", "images")
    with Shop.start(home, MARKET_SHELF_ONLY="zh-sentiment,doc-orientation") as shop:
        shop.wait_shelf()
        yield shop


def test_one_button_to_a_file_that_is_what_it_says(tab: Opener, workshop: Shop, tmp_path: Path) -> None:
    view = tab(lang="zh", of=workshop, signed_in=True)
    page = view.page
    view.open(f"/listings/{MODEL}")
    page.get_by_role("link", name="容器镜像").click()
    expect(page).to_have_url(re.compile(f"{PAGE}#to-image$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("带走")
    expect(page.locator("#to-image .place-what")).to_contain_text("已实测")
    expect(page.locator("#to-cann")).to_contain_text("不能打包")
    assert page.locator("#to-cann form").count() == 0
    page.locator("#to-image .place-do button").click()

    made = page.locator("#to-image .made")
    expect(made).to_be_visible()
    page.reload()
    expect(made.locator(".state")).to_have_text(re.compile("就绪"), timeout=90_000)
    expect(made).to_contain_text("未测")
    with page.expect_download() as fetched:
        made.get_by_role("link", name="下载").click()
    file = tmp_path / fetched.value.suggested_filename
    fetched.value.save_as(file)
    short = made.locator("code[title]").get_attribute("title")
    assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == short
    made.locator("summary", has_text="怎么用").click()
    verify = made.locator("code", has_text="market verify").inner_text()
    assert verify == f"market verify {file.name}"
    checked = workshop.market("verify", str(file))
    assert checked.returncode == 0, checked.stderr
    expect(made.locator("code", has_text="docker run")).to_contain_text(f"{MODEL}:1.0.0")

    made.locator("summary", has_text="移除").click()
    made.get_by_role("button", name="移除").click()
    expect(page.locator("#to-image .made")).to_have_count(0)
    assert view.errors == []


def test_it_goes_on_by_itself_while_one_watches(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    view.open(PAGE)
    row = view.page.locator("#to-modelpack")
    row.get_by_role("button", name="Package it").click()
    expect(row.locator(".state")).to_have_text(re.compile("Ready"), timeout=60_000)
    expect(row.get_by_role("button", name="Package it")).to_have_count(0)
    assert view.errors == []


def test_without_a_script_it_works_all_the_same(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop, signed_in=True, script=False)
    page = view.page
    view.open("/listings/opc-market/doc-orientation/package")
    page.locator("#to-modelpack button").click()
    expect(page).to_have_url(re.compile("/package#to-modelpack$"))
    for _ in range(60):
        if page.locator("#to-modelpack a[download]").count():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator("#to-modelpack a[download]")).to_be_visible()


def test_a_visitor_sees_where_it_goes_and_signs_in_first(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop)
    view.open(PAGE)
    assert view.page.locator(".made").count() == 0
    view.page.locator("#to-image").get_by_role("button", name="Sign in to package").click()
    expect(view.page).to_have_url(re.compile(r"/login\?next="))


def test_what_cannot_be_made_is_said_on_the_page(tab: Opener, workshop: Shop) -> None:
    view = tab(lang="en", of=workshop, signed_in=True)
    view.open(PAGE)
    view.page.locator("#to-image select option").first.evaluate("option => option.value = 'linux/riscv64'")
    view.page.locator("#to-image .place-do button").click()
    expect(view.page.get_by_role("alert")).to_contain_text("linux/riscv64")
    expect(view.page.locator("#to-image .place-do button")).to_be_visible()


@pytest.fixture
def states(workshop: Shop) -> Iterator[None]:
    """A package in every state, on one page."""
    engine = open_engine(f"sqlite:///{workshop.home / 'market.db'}")
    ids = []
    with transaction(engine) as db:
        offer, version = get_version(db, "opc-market/doc-orientation")
        for terminal, device, state in (
            ("image", "cpu", "building"),
            ("modelpack", "cpu", "ready"),
            ("browser", "browser-wasm", "failed"),
            ("android", "android", "cancelled"),
            ("ios", "ios", "pending"),
            ("image", "openvino", "stopping"),
        ):
            row = Package(
                key=uuid4().hex * 2,
                listing=offer.name,
                version=version.number,
                version_digest=version.digest,
                task=offer.task,
                terminal=terminal,
                device=device,
                platforms=["linux/amd64"] if terminal == "image" else [],
                owner=first_account(db).id,
            )
            db.add(row)
            _bring(db, row, state)
            ids.append(row.id)
    yield
    with transaction(engine) as db:
        for identity in ids:
            db.delete(packages.get_package(db, identity))
    engine.dispose()


def _bring(db, row: Package, state: str) -> None:  # type: ignore[no-untyped-def]
    if state == "pending":
        return
    packages.set_state(db, row, PackageState.building)
    packages.begin_step(db, row, "fetch")
    packages.begin_step(db, row, "assemble")
    if state == "ready":
        file = {"file_name": "doc-orientation-1.0.0-modelpack.tar", "media_type": "application/x-tar"}
        packages.set_ready(db, row, **file, size=6_990_000, digest=f"sha256:{'5a' * 32}", facts={})
    elif state == "failed":
        facts = {"path": "/srv/market", "needed": 180_000_000, "free": 0}
        packages.set_failed(db, row, "packaging-disk-full", facts)
    elif state == "cancelled":
        packages.set_cancelled(db, row)
    else:
        row.cancel = state == "stopping"


@pytest.mark.parametrize(("lang", "theme", "width"), LOOKS)
def test_every_state_is_accessible_and_never_too_wide(
    tab: Opener, workshop: Shop, states: None, lang: str, theme: str, width: int
) -> None:
    view = tab(lang=lang, theme=theme, width=width, of=workshop, signed_in=True, strict=False)
    view.open("/listings/opc-market/doc-orientation/package")
    expect(view.page.locator(".made")).to_have_count(6)
    expect(view.page.get_by_role("alert")).to_have_count(1)
    for summary in view.page.locator(".made details.how > summary").all():
        summary.click()
    if folder := os.environ.get("SHOTS"):
        view.page.screenshot(path=Path(folder) / f"states-{lang}-{theme}-{width}.png", full_page=True)
    assert view.violations() == []
    assert view.overflow() == 0
    assert view.errors == []
    strict = tab(lang=lang, of=workshop, signed_in=True)  # under the page's own policy
    strict.open("/listings/opc-market/doc-orientation/package")
    strict.page.wait_for_function("window.htmx !== undefined")
    assert strict.errors == []
    targets = view.page.locator(".place button:visible, .place a.button:visible, .place select:visible").all()
    assert len(targets) > 8
    assert all((box := each.bounding_box()) and box["height"] >= 44 for each in targets)
    view.open("/listings/opc-market/doc-orientation")
    assert view.violations() == []
    assert view.overflow() == 0
