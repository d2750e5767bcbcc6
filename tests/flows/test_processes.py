"""What the shop starts: nothing is left behind."""

import os
import signal
import subprocess

import httpx
import pytest

from tests.shop import Shop, wait_until


def _containers(shop: Shop, *, running: bool = False) -> list[str]:
    """Ids of the containers that mount something of this shop's home."""
    command = [
        "docker",
        "ps",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.Mounts}}",
        *([] if running else ["--all"]),
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in out.splitlines() if str(shop.home) in line]


@pytest.mark.network
@pytest.mark.engine
def test_containers_of_a_killed_shop_are_adopted_and_end_with_it(own_shop: Shop) -> None:
    made = own_shop.deploy("opc-market/doc-orientation", "--name", "adopted", "--runtime", "docker")
    before = _containers(own_shop, running=True)
    assert len(before) == 1
    os.kill(own_shop.pid_of("marketplace.app"), signal.SIGKILL)

    def live() -> bool:
        try:
            with own_shop.api as api:
                row = api.get("/api/deployments/adopted").json()
            return bool(row.get("state") == "live" and row["revision"] == made["revision"])
        except (httpx.TransportError, OSError, ValueError):
            return False

    wait_until(live, within=40, what="the deployment is live again, in the same revision")
    assert _containers(own_shop, running=True) == before
    key = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{made['endpoint']}/v2/health/ready", headers=key).status_code == 200
    own_shop.stop()
    assert _containers(own_shop) == []


@pytest.mark.network
def test_no_secret_reaches_a_log(own_shop: Shop) -> None:
    made = own_shop.deploy("opc-market/doc-orientation", "--name", "quiet")
    link = own_shop.login_url()
    home_key = own_shop.server["key"]
    httpx.get(f"{made['endpoint']}/metrics", headers={"Authorization": f"Bearer {made['key']}"})
    httpx.get(link, follow_redirects=True)
    written = "".join(p.read_text(errors="replace") for p in (own_shop.home / "logs").iterdir())
    for secret in (made["key"], home_key, link.rpartition("/")[2]):
        assert secret not in written
    assert own_shop.home.joinpath("server.json").stat().st_mode & 0o077 == 0
    assert own_shop.home.joinpath("secret").stat().st_mode & 0o077 == 0
