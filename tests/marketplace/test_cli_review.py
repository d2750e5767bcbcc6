"""`market review` against a real shop: the queue, one version, the decisions, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.marketplace.offered import VENDOR, make_vendor, offer_folder
from tests.shop import Shop


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("reviews") / "home", MARKET_SHELF="none") as started:
        make_vendor(started)
        yield started


def submit(shop: Shop, folder: Path, name: str, **sheet: Any) -> str:
    done = shop.market("publish", str(offer_folder(folder, name, **sheet)))
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{VENDOR}/{name}"


def output(shop: Shop, *arguments: str, **env: str) -> str:
    done = shop.market("review", *arguments, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_empty_queue_says_so(market: Shop) -> None:
    done = market.market("review")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing waits" in done.stderr


def test_the_queue_has_the_oldest_first_and_leads_on(market: Shop, tmp_path: Path) -> None:
    first, second = submit(market, tmp_path / "a", "zebra"), submit(market, tmp_path / "b", "aardvark")
    page = json.loads(output(market, "list", "--json"))
    assert [item["name"] for item in page["items"]] == [first, second]
    assert page["total"] == 2
    assert set(page["findings"]) == {"licence", "description", "quality", "safety", "duplicate", "other"}
    shown = market.market("review")
    assert shown.stdout.index("zebra@1.0.0") < shown.stdout.index("aardvark@1.0.0")
    assert f"market review show {first}@1.0.0" in shown.stderr
    for name in (first, second):
        output(market, "reject", name, "--finding", "other:only a test")


def test_one_version_is_shown_with_checks_and_measurements(market: Shop, tmp_path: Path) -> None:
    name = submit(market, tmp_path / "offer", "shown", license={"package": "MIT", "weights": "CC-BY-NC-4.0"})
    told = output(market, "show", name)
    assert "Dry run in the sandbox" in told
    assert "non-commercial" in told
    assert "3/3" in told
    chinese = output(market, "show", name, LANG="zh_CN.UTF-8")
    assert "沙箱试运行" in chinese
    assert "不得商用" in chinese
    output(market, "approve", name, "--why", "looks right")
    with market.api as api:
        listing = api.get(f"/api/listings/{name}").json()
        assert listing["name"] == name
        audit = api.get("/api/audit", params={"subject": name}).json()["items"]
    assert "version:approve" in {event["action"] for event in audit}


def test_rejecting_needs_findings_which_the_vendor_reads(market: Shop, tmp_path: Path) -> None:
    name = submit(market, tmp_path / "offer", "refused")
    assert market.market("review", "reject", name).returncode == 2
    assert market.market("review", "reject", name, "--finding", "licence").returncode == 2
    strange = market.market("review", "reject", name, "--finding", "taste:ugly")
    assert strange.returncode == 1
    assert "taste" in strange.stderr
    findings = ("--finding", "licence:where is the licence of the data?", "--finding", "quality:too slow")
    assert "rejected" in output(market, "reject", name, *findings, "--why", "see findings")
    with market.api as api:
        told = api.get(f"/api/publications/{name}/1.0.0").json()
    assert told["state"] == "rejected"
    assert [(found["kind"], found["text"]) for found in told["findings"]] == [
        ("licence", "where is the licence of the data?"),
        ("quality", "too slow"),
    ]
    again = market.market("review", "approve", f"{name}@1.0.0")
    assert again.returncode == 1
    assert "rejected" in again.stderr


def test_a_vendor_reads_on_the_terminal_why_a_version_was_rejected(market: Shop, tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "offer", "bitter")
    assert market.market("publish", str(folder)).returncode == 0
    name = f"{VENDOR}/bitter"
    rejected = market.market("review", "reject", name, "--finding", "licence:where is that of the data?")
    assert f"market versions {name}@1.0.0" in rejected.stderr
    for listed in (name, f"{name}@1.0.0"):
        assert "where is that of the data?" in market.market("versions", listed).stdout
    chinese = market.market("versions", f"{name}@1.0.0", LANG="zh_CN.UTF-8").stdout
    assert "待审 → 未通过" in chinese and "rejected" not in chinese and " pass" not in chinese
    again = market.market("publish", str(folder))
    assert again.returncode == 1
    assert "where is that of the data?" in again.stderr and "choose a new version" in again.stderr


def test_names_that_do_not_wait_are_told(market: Shop) -> None:
    assert market.market("review", "approve", f"{VENDOR}/nothing").returncode == 2
    unknown = market.market("review", "show", f"{VENDOR}/nothing@1.0.0")
    assert unknown.returncode == 1
    assert "nothing" in unknown.stderr


def test_what_waits_or_is_listed_is_checked_again(market: Shop, tmp_path: Path) -> None:
    name = submit(market, tmp_path / "offer", "waits")
    assert output(market, "rescan", f"{name}@1.0.0").strip() == f"{name}@1.0.0"
    drafted = market.market("publish", str(offer_folder(tmp_path / "draft", "early")), "--draft", "--json")
    assert json.loads(drafted.stdout)["check_state"] == "passed"
    early = market.market("review", "rescan", f"{VENDOR}/early@1.0.0")
    assert early.returncode == 1
    assert "draft" in early.stderr
    output(market, "approve", name)
    assert output(market, "rescan", name).strip() == f"{name}@1.0.0"
    assert market.market("review", "rescan").returncode == 1  # it asks, and nobody answers
    assert f"{name}@1.0.0" in output(market, "rescan", "-y")


def test_a_token_that_may_only_publish_decides_nothing(market: Shop, tmp_path: Path) -> None:
    name = submit(market, tmp_path / "offer", "guarded")
    made = market.market("tokens", "create", "ci", "--scope", "publish", "--json")
    key = json.loads(made.stdout)["token"]
    for command in (["list"], ["approve", f"{name}@1.0.0"], ["rescan", "-y"]):
        done = market.market("review", *command, MARKET_URL=market.url, MARKET_KEY=key)
        assert done.returncode == 1, command
    with market.api as api:
        assert api.get(f"/api/publications/{name}/1.0.0").json()["state"] == "submitted"
        assert api.post(f"/api/reviews/{name}/1.0.0/reject", json={"findings": []}).status_code == 422
