"""The shop on PostgreSQL, its tables and its durable workflows both."""

from pathlib import Path

import httpx
import pytest

from tests import postgres
from tests.shop import Shop, wait_until


@pytest.mark.network
@pytest.mark.postgres
def test_deploy_and_count_on_postgresql(tmp_path: Path) -> None:
    with (
        postgres.server() as url,
        Shop.start(
            tmp_path / "home",
            MARKET_DATABASE_URL=url,
            MARKET_WORKFLOW_DATABASE_URL=url,
            MARKET_SHELF_ONLY="doc-orientation",
        ) as shop,
    ):
        shop.wait_shelf()
        made = shop.deploy("opc-market/doc-orientation")
        key = {"Authorization": f"Bearer {made['key']}"}
        assert httpx.get(f"{made['endpoint']}/v2/health/ready", headers=key).status_code == 200

        def counted() -> bool:
            with shop.api as api:
                return bool(api.get("/api/deployments/doc-orientation").json()["usage"]["requests"] == 1)

        wait_until(counted, within=10, what="the call is counted")
        assert not (shop.home / "market.db").exists()
        assert not (shop.home / "workflows.db").exists()
