"""The market's own models are checked and measured on the machine that they are offered on."""

from pathlib import Path
from typing import Any

import pytest

from tests.shop import Shop, wait_until

pytestmark = pytest.mark.network

NAME = "opc-market/doc-orientation"


def test_a_full_shelf_is_measured_beside_everything_else(tmp_path: Path) -> None:
    only = {"MARKET_SHELF_ONLY": "doc-orientation", "MARKET_SHELF_CHECK": "yes"}
    with Shop.start(tmp_path / "home", **only) as shop, shop.api as api:

        def listing() -> dict[str, Any] | None:
            found = api.get("/api/listings").json()["items"]
            return found[0] if found else None

        wait_until(listing, within=120, what="the shelf is full")
        badges = f"/api/reviews/{NAME}/1.0.0/badges"
        assert {badge["verdict"] for badge in api.get(badges).json()["items"]} == {"unknown"}
        wait_until(lambda: (listing() or {})["latency_ms"], within=120, what="its latency was measured")
        assert {badge["verdict"] for badge in api.get(badges).json()["items"]} == {"pass"}
        assert listing() is not None
