"""`market deploy` of what the shelf has yet to come: told, or waited for."""

from pathlib import Path

import pytest

from catalog.models import ShelfItem
from marketplace.db import open_engine, transaction
from tests.shop import Shop, wait_until


def test_what_is_still_being_shelved_is_told_from_what_there_is_not(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop:
        engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
        with transaction(engine) as db:
            db.add(ShelfItem(id="slow-model"))
        early = shop.market("deploy", "opc-market/slow-model")
        assert early.returncode == 1
        assert "on its way to the shelf" in early.stderr and "0/1" in early.stderr
        assert "--wait" in early.stderr and "No such listing" not in early.stderr
        chinese = shop.market("deploy", "slow-model", "--wait", "--timeout", "1", LANG="zh_CN.UTF-8")
        assert chinese.returncode == 1 and "还在上架" in chinese.stderr
        absent = shop.market("deploy", "opc-market/nothing", "--wait")
        assert absent.returncode == 1 and "No such listing" in absent.stderr
        with transaction(engine) as db:
            item = db.get_one(ShelfItem, "slow-model")
            item.state, item.error_code = "failed", "unknown-version"
        engine.dispose()
        failed = shop.market("deploy", "slow-model", "--wait")
        assert failed.returncode == 1 and "could not be shelved" in failed.stderr


def test_a_shop_that_starts_again_tells_its_shelf_in_one_line(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop:
        engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
        with transaction(engine) as db:
            db.add_all([ShelfItem(id=name, state="ready") for name in ("first", "second")])
        engine.dispose()
        shop.stop()
        shop.launch()
        wait_until(lambda: "Next:" in shop.tell(), within=30, what="it has told all")
        assert shop.tell().count("On the shelf") == 1
        assert "On the shelf 2/2" in shop.tell()


@pytest.mark.network
def test_the_first_command_may_be_typed_at_once(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF_ONLY="doc-orientation") as shop:
        made = shop.deploy("opc-market/doc-orientation")
        assert made["state"] == "live"
