"""Checks after a restart: what a killed shop left is cleared first, and one refusal is enough."""

import asyncio
import os
from pathlib import Path

import pytest
from dbos import DBOS

from marketplace import app as apps
from marketplace.settings import load
from tests.marketplace.offered import offer_folder
from tests.marketplace.test_checking import _change, codes, detail, make_vendor, publish
from tests.shop import Shop, wait_until


class _Launched(Exception):
    """The queues of the shop before are open from here on."""


def test_what_a_killed_shop_left_is_gone_before_its_checks_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its work holds links to staged files, which would count as hard links within an upload."""
    services = apps.open_services(load({"MARKET_HOME": str(tmp_path / "home"), "MARKET_SHELF": "none"}))
    staged = tmp_path / "home" / "staging" / "a version" / "model.onnx"
    work = tmp_path / "home" / "cache" / "checks" / "work-0" / "model.onnx"
    for path in (staged, work):
        path.parent.mkdir(parents=True)
    staged.write_bytes(b"x")
    os.link(staged, work)

    def launch() -> None:
        raise _Launched

    monkeypatch.setattr(DBOS, "launch", launch)

    async def begin() -> None:
        async with apps._lifespan(apps.create_app(services)):
            pass

    try:
        with pytest.raises(_Launched):
            asyncio.run(begin())
        assert not work.parent.exists()
        assert staged.stat().st_nlink == 1
    finally:
        DBOS.destroy()
        services.engine.dispose()


def test_a_refusal_counts_although_something_is_missing_here(tmp_path: Path) -> None:
    """A scanner that is not there says nothing of a version; what stands beside it does."""
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop:
        make_vendor(shop)
        for name in ("good", "worse"):
            assert publish(shop, offer_folder(tmp_path / name, name), "--list")["state"] == "listed"
        shop.stop()
        _change(shop, "good", rules="0")
        _change(shop, "worse", rules="0", license_weights="whatever you like")
        shop.env |= {"MARKET_SCANNER": "modelaudit", "PIP_NO_INDEX": "1"}
        shop.env |= dict.fromkeys(("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"), str(tmp_path))
        shop.launch()
        wait_until(
            lambda: detail(shop, "worse")["review"]["check_state"] == "failed", within=120, what="it fails"
        )
        assert codes(detail(shop, "worse")) == {"licence-unreadable", "scanner-missing"}
        assert detail(shop, "worse")["history"][-1]["why"].startswith("recheck: licence-unreadable")
        good = detail(shop, "good")["review"]  # looked at before, as it is older
        assert (good["check_state"], good["rules"]) == ("passed", "0")
