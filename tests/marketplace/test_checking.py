"""The job in a real shop: rows come, files enter the store or vanish, a killed shop ends what it began."""

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog.scan import CHECKS, RULES
from tests.marketplace.offered import VENDOR, make_vendor, offer_folder
from tests.marketplace.test_examining import _endless
from tests.shop import Shop, wait_until

ENDED = ("passed", "failed")
Told = dict[str, Any]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("checks") / "home", MARKET_SHELF="none") as started:
        make_vendor(started)
        yield started


def publish(shop: Shop, folder: Path, *options: str) -> Told:
    done = shop.market("publish", str(folder), *options, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def path_of(name: str, number: str = "1.0.0") -> str:
    return f"{VENDOR}/{name}/{number}"


def state_of(shop: Shop, name: str) -> Told:
    with shop.api as api:
        return api.get(f"/api/publications/{path_of(name)}").raise_for_status().json()


def detail(shop: Shop, name: str) -> Told:
    with shop.api as api:
        return api.get(f"/api/reviews/{path_of(name)}").raise_for_status().json()


def begin(shop: Shop, folder: Path, name: str, *options: str) -> Told:
    """Send a folder and start its checks, without waiting for them."""
    return publish(shop, folder, "--no-wait", *options)


def ended(shop: Shop, name: str, within: float = 120) -> Told:
    def look() -> Told | None:
        with contextlib.suppress(OSError, ValueError, httpx.HTTPError):
            told = state_of(shop, name)
            return told if told["check_state"] in ENDED else None
        return None

    return wait_until(look, within=within, what=f"the checks of {name} end; {shop.tell()}")


@contextlib.contextmanager
def database(shop: Shop) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(shop.home / "market.db", timeout=30)) as db, db:
        yield db


def codes(told: Told) -> set[str]:
    return {row["code"] for row in told["checks"] if row["verdict"] == "fail"}


def blobs(shop: Shop) -> set[str]:
    return {path.name for path in (shop.home / "blobs" / "sha256").glob("*")}


def nothing_left(shop: Shop) -> None:
    """No file of a vendor's lies about once its checks have ended."""
    for place in ("staging", "cache/checks"):
        left = [path for path in (shop.home / place).rglob("*") if path.is_file() and ".log" not in path.name]
        assert [path for path in left if "compiled" not in path.parts] == []


def test_what_passes_enters_the_store_signed_and_waits_for_a_decision(market: Shop, tmp_path: Path) -> None:
    told = publish(market, offer_folder(tmp_path / "offer", "fine", claims={"latency_ms": 5000.0}))
    assert (told["state"], told["check_state"]) == ("submitted", "passed")
    assert list(dict.fromkeys(row["check"] for row in detail(market, "fine")["checks"])) == list(CHECKS)
    seen = detail(market, "fine")
    assert {file["sha256"] for file in seen["files"]} <= blobs(market)
    digest = told["digest"].removeprefix("sha256:")
    assert (market.home / "signatures" / f"{digest}.json").is_file()
    assert (market.home / "models" / digest / "manifest.json").is_file()
    assert seen["measured"]["examples"] == {"right": 3, "of": 3}
    assert seen["measured"]["latency_ms"]["n"] >= 3
    assert seen["measured"]["rules"] == seen["review"]["rules"] == RULES
    nothing_left(market)


def test_each_file_has_a_badge(market: Shop, tmp_path: Path) -> None:
    publish(market, offer_folder(tmp_path / "offer", "badged"), "--list")
    answer = httpx.get(
        f"{market.url}/api/reviews/{path_of('badged')}/badges", headers={"Accept-Language": "en"}
    )
    assert answer.status_code == 200
    (badge,) = answer.json()["items"]
    assert (badge["path"], badge["verdict"]) == ("model.onnx", "pass")
    assert (badge["scanner"], badge["scanner_version"]) == ("opc-market", RULES)
    assert badge["at"]


def test_an_operator_lists_at_once(market: Shop, tmp_path: Path) -> None:
    told = publish(market, offer_folder(tmp_path / "offer", "quick"), "--list")
    assert (told["state"], told["check_state"]) == ("listed", "passed")
    assert [change["after"] for change in told["history"]] == ["submitted", "listed"]


def test_a_draft_stays_a_draft(market: Shop, tmp_path: Path) -> None:
    told = publish(market, offer_folder(tmp_path / "offer", "own", cards=("短", "Short")), "--draft")
    assert (told["state"], told["check_state"]) == ("draft", "passed")


def test_what_fails_leaves_nothing(market: Shop, tmp_path: Path) -> None:
    before = blobs(market)
    folder = offer_folder(tmp_path / "offer", "evil")
    (folder / "model.onnx").write_bytes(
        b"\x80\x04cposix\nsystem\n(S'touch /tmp/opc-canary'\ntR." + os.urandom(64)
    )
    told = publish(market, folder)
    assert (told["state"], told["check_state"]) == ("draft", "failed")
    assert codes(told)
    assert all(row["next"] for row in told["checks"] if row["verdict"] == "fail")
    assert blobs(market) == before
    assert not Path("/tmp/opc-canary").exists()
    nothing_left(market)


def test_others_are_answered_while_something_hostile_is_checked(market: Shop, tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "offer", "hang", graph=_endless)
    begin(market, folder, "hang")
    answered = 0
    with httpx.Client(base_url=market.url, timeout=10) as client:
        while state_of(market, "hang")["check_state"] not in ENDED:
            assert client.get("/api/listings").status_code == 200
            assert client.get("/healthz").status_code == 200
            answered += 1
    told = ended(market, "hang")
    assert told["check_state"] == "failed"
    assert codes(told) & {"dry-run-hang", "onnx-loop-endless"} or any(
        c.startswith("onnx-") for c in codes(told)
    )
    assert answered > 3
    nothing_left(market)


def test_rows_come_one_after_another_as_events(market: Shop, tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "offer", "watched")
    begin(market, folder, "watched")
    with (
        market.api as api,
        api.stream("GET", f"/api/publications/{path_of('watched')}/events", timeout=120) as news,
    ):
        lines = [line for line in news.iter_lines() if line.startswith("data: {") and '"checks"' in line]
    seen = [len(json.loads(line[6:])["checks"]) for line in lines]
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert seen[-1] >= len(CHECKS)


def test_a_run_that_was_superseded_changes_nothing_more(market: Shop, tmp_path: Path) -> None:
    begin(market, offer_folder(tmp_path / "offer", "twice"), "twice")

    def running() -> bool:
        return state_of(market, "twice")["check_state"] == "running"

    wait_until(running, within=30, what="the checks run")
    with database(market) as db:  # as starting again does
        db.execute(
            "UPDATE version SET check_run = check_run + 1, check_state = '' "
            "WHERE listing_id = (SELECT id FROM listing WHERE name = ?)",
            [f"{VENDOR}/twice"],
        )
    assert publish(market, tmp_path / "offer")["state"] == "submitted"
    rows = state_of(market, "twice")["checks"]
    assert len({(row["check"], row["path"], row["code"]) for row in rows}) == len(rows)


def test_a_killed_shop_goes_on_with_the_checks(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop:
        make_vendor(shop)
        begin(shop, offer_folder(tmp_path / "offer", "killed", shelf="zh-sentiment"), "killed")

        def far() -> bool:  # its dry run is under way
            return any(row["check"] == "card" for row in state_of(shop, "killed")["checks"])

        wait_until(far, within=60, what="most rows are there")
        shop.kill()
        shop.launch()
        told = ended(shop, "killed")
        assert (told["state"], told["check_state"]) == ("submitted", "passed")
        rows = told["checks"]
        assert len({(row["check"], row["path"], row["code"]) for row in rows}) == len(rows)
        assert [change["after"] for change in told["history"]] == ["submitted"]
        nothing_left(shop)


def _change(shop: Shop, name: str, **columns: str) -> None:
    """What nobody can do through the shop: older rules, and words that newer rules refuse."""
    names = ", ".join(f"{column} = ?" for column in columns)
    with database(shop) as db:
        db.execute(
            f"UPDATE version SET {names} WHERE listing_id = (SELECT id FROM listing WHERE name = ?)",
            [*columns.values(), f"{VENDOR}/{name}"],
        )


def test_versions_of_older_rules_are_checked_again_at_the_start(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop:
        make_vendor(shop)
        for name in ("good", "worse"):
            assert publish(shop, offer_folder(tmp_path / name, name), "--list")["state"] == "listed"
        assert publish(shop, offer_folder(tmp_path / "waits", "waits"))["state"] == "submitted"
        assert publish(shop, offer_folder(tmp_path / "own", "own"), "--draft")["check_state"] == "passed"
        shop.stop()
        for name in ("good", "waits", "own"):
            _change(shop, name, rules="0")
        _change(shop, "worse", rules="0", license_weights="whatever you like")
        shop.launch()

        def checked() -> bool:
            names = ("good", "worse", "waits")
            return all(detail(shop, name)["review"]["rules"] == RULES for name in names)

        wait_until(checked, within=120, what=f"all three were checked again; {shop.tell()}")
        assert detail(shop, "waits")["review"]["state"] == "submitted"
        assert detail(shop, "own")["review"]["rules"] == "0"  # until somebody wants more of it
        assert publish(shop, tmp_path / "own")["state"] == "submitted"
        assert detail(shop, "own")["review"]["rules"] == RULES
        good, worse = detail(shop, "good")["review"], detail(shop, "worse")
        assert (good["state"], good["check_state"], good["marked"]) == ("listed", "passed", False)
        review = worse["review"]
        assert (review["state"], review["check_state"], review["marked"]) == ("listed", "failed", True)
        assert codes(worse) == {"licence-unreadable"}
        assert worse["history"][-1]["why"].startswith("recheck: licence-unreadable")
        with shop.api as api:
            waiting = api.get("/api/reviews").json()["items"]
            expected = [("waits", False), ("own", False), ("worse", True)]
            told = [(item["name"], item["marked"]) for item in waiting]
            assert told == [(f"{VENDOR}/{name}", marked) for name, marked in expected]
            assert found(shop) == {f"{VENDOR}/good"}
            assert api.get(f"/api/listings/{VENDOR}/worse").status_code == 200
            refused = api.post("/api/deployments", json={"listing": f"{VENDOR}/worse"})
            assert refused.status_code in (409, 422)

        _change(shop, "worse", license_weights="Apache-2.0")
        assert shop.market("review", "rescan", f"{VENDOR}/worse@1.0.0").returncode == 0
        wait_until(
            lambda: detail(shop, "worse")["review"]["check_state"] == "passed",
            within=60,
            what="it passes again",
        )
        assert found(shop) == {f"{VENDOR}/good", f"{VENDOR}/worse"}


def found(shop: Shop) -> set[str]:
    """What a search for everything finds."""
    with shop.api as api:
        return {item["name"] for item in api.get("/api/listings").json()["items"]}


def test_the_shop_measures_its_own_shelf_when_it_is_asked(own_shop: Shop) -> None:
    name = "opc-market/doc-orientation"
    before = own_shop.market("review", "rescan", name, "--json")
    assert before.returncode == 0, before.stderr
    number = json.loads(before.stdout)["items"][0]["version"]

    def measured() -> Told | None:
        with own_shop.api as api:
            told = api.get(f"/api/reviews/{name}/{number}").json()
        return told["measured"] or None

    found = wait_until(measured, within=90, what="it was measured")
    assert found["examples"] == {"right": 3, "of": 3}
    assert found["latency_ms"]["p50"] > 0
    with own_shop.api as api:
        items = api.get("/api/listings", params={"q": "doc-orientation"}).json()["items"]
    assert [item["latency_ms"] for item in items if item["name"] == name] == [found["latency_ms"]["p50"]]


def test_running_a_step_twice_is_running_it_once(tmp_path: Path) -> None:
    """The step itself, as DBOS may call it: beside itself, and after it has ended."""
    from sqlmodel import col, select

    from catalog.models import Check, Version
    from catalog.offer import read
    from catalog.vendors import NewVendor
    from marketplace import accounts, checking, publishing, vendoring, workflows
    from marketplace.app import open_services
    from marketplace.db import read_session, transaction, write_session
    from marketplace.settings import load

    folder = offer_folder(tmp_path / "offer", "again")
    services = open_services(load({"MARKET_HOME": str(tmp_path / "home"), "MARKET_SHELF": "none"}))
    with transaction(services.engine) as db:
        account = accounts.first_account(db)
        vendoring.create(db, account, account, NewVendor(VENDOR, "敏捷", "Nimble"), vouch=True)
    with write_session(services.engine) as db:
        version = publishing.begin(services, db, db.merge(account), read(folder))
        staging = publishing.staging(services, version)
        (staging / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
        version.check_state, version.check_run, version.wanted = "waiting", 1, "listed"
        db.add(version)
        db.commit()
        identity = str(version.id)
    workflows._bound[:] = [services]
    outcomes: list[str] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(checking.look.__wrapped__(identity, 1)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes.append(checking.look.__wrapped__(identity, 1))
    assert "passed" in outcomes
    assert outcomes[-1] == "superseded"
    with read_session(services.engine) as db:
        fresh = db.get_one(Version, version.id)
        assert (fresh.state, fresh.check_state) == ("listed", "passed")
        rows = db.exec(select(Check).where(col(Check.version_id) == version.id)).all()
        assert {row.check for row in rows} == set(CHECKS)
        assert len({row.position for row in rows}) == len(rows)
    workflows._bound.clear()
    services.engine.dispose()
