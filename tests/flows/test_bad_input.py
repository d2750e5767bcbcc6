"""What people get wrong and what breaks: a cause, a next step, nothing half-made, and the shop goes on."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.shop import Shop, wait_until


def _problem(response: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    body: dict[str, object] = response.json()
    assert body["code"] == code
    assert body["title"] and body["detail"] and body["next"]
    return body


@pytest.mark.network
def test_unknown_listing_names_what_is_close(shop: Shop) -> None:
    done = shop.market("deploy", "opc-market/zh-sentimentt")
    assert done.returncode == 1
    assert "unknown-listing" in done.stderr or "No such listing" in done.stderr
    with shop.api as api:
        _problem(api.post("/api/deployments", json={"listing": "opc-market/nothing"}), 404, "unknown-listing")
        zh = api.get("/api/listings/opc-market/nothing", headers={"Accept-Language": "zh"})
        assert _problem(zh, 404, "unknown-listing")["title"] == "没有这件商品"


@pytest.mark.network
def test_second_deploy_of_a_name_is_refused(shop: Shop) -> None:
    shop.deploy("opc-market/doc-orientation", "--name", "twice")
    again = shop.market("deploy", "opc-market/doc-orientation", "--name", "twice")
    assert again.returncode == 1
    assert "twice" in again.stderr
    with shop.api as api:
        _problem(
            api.post("/api/deployments", json={"listing": "opc-market/doc-orientation", "name": "twice"}),
            409,
            "deployment-exists",
        )
        assert api.get("/api/deployments/twice").json()["state"] == "live"
    shop.market("stop", "twice", "-y")


@pytest.mark.network
def test_bad_names_bodies_and_runtimes(shop: Shop) -> None:
    with shop.api as api:
        listing = "opc-market/doc-orientation"
        _problem(api.post("/api/deployments", json={"listing": listing, "name": "A b"}), 400, "invalid-name")
        _problem(
            api.post("/api/deployments", json={"listing": listing, "runtime": "vm"}), 400, "unknown-runtime"
        )
        for device, code in (("abacus", "unknown-device"), ("cuda", "device-not-served")):
            asked = {"listing": listing, "device": device}
            _problem(api.post("/api/deployments", json=asked), 400 if device == "abacus" else 409, code)
        _problem(api.post("/api/deployments", json={"name": "x"}), 400, "invalid-request")
        bad = api.post("/api/deployments", content=b"{", headers={"Content-Type": "application/json"})
        _problem(bad, 400, "invalid-request")
        _problem(api.get("/api/deployments/none"), 404, "unknown-deployment")
        _problem(api.get("/api/nowhere"), 404, "not-found")
        _problem(api.request("PATCH", "/api/listings"), 405, "method-not-allowed")
        assert api.get("/api/deployments").status_code == 200
    _problem(httpx.get(f"{shop.url}/api/deployments"), 401, "sign-in-needed")


@pytest.mark.network
def test_hostile_requests_to_a_deployment(shop: Shop) -> None:
    made = shop.deploy("opc-market/en-minilm-l6-int8", "--name", "hostile")
    key = {"Authorization": f"Bearer {made['key']}"}
    endpoint = made["endpoint"]
    with httpx.Client(headers=key, timeout=60) as http:
        assert httpx.post(f"{endpoint}/predict", json={"text": "x"}).status_code == 401
        wrong = {"Authorization": "Bearer mk_nope"}
        assert httpx.post(f"{endpoint}/predict", json={"text": "x"}, headers=wrong).status_code == 401
        assert http.post(f"{endpoint}/predict", content=b"{not json").status_code == 400
        assert http.post(f"{endpoint}/predict", json={"text": 5}).status_code == 400
        shape = http.post(
            f"{endpoint}/v2/models/hostile/infer",
            json={"inputs": [{"name": "input_ids", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}]},
        )
        assert shape.status_code == 400
        assert "input_ids" in shape.text
        over = http.post(f"{endpoint}/predict", content=b"x" * (33 << 20))
        assert over.status_code == 413
        assert http.post(f"{endpoint}/predict", json={"text": "still here"}).status_code == 200
    assert httpx.get(f"{shop.url}/internal/routes").status_code == 404
    shop.market("stop", "hostile", "-y")


def test_port_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "marketplace.cli", "serve"],
            env=os.environ
            | {"MARKET_HOME": str(tmp_path / "h"), "MARKET_PORT": port, "MARKET_SHELF": "none"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert port in done.stderr
    assert "MARKET_PORT" in done.stderr


@pytest.mark.network
def test_killed_server_is_started_again(own_shop: Shop) -> None:
    made = own_shop.deploy("opc-market/doc-orientation", "--name", "phoenix")
    victim = _server_of(own_shop, "phoenix")
    os.kill(victim.pid, signal.SIGKILL)

    def again() -> bool:
        with own_shop.api as api:
            row = api.get("/api/deployments/phoenix").json()
        return bool(row["state"] == "live" and row["revision"] > made["revision"])

    wait_until(again, within=30, what="the server is live again")
    key = {"Authorization": f"Bearer {made['key']}"}
    answer = httpx.get(f"{made['endpoint']}/v2/health/ready", headers=key)
    assert answer.status_code == 200


@pytest.mark.network
def test_damaged_file_is_fetched_again(own_shop: Shop) -> None:
    blobs = sorted((own_shop.home / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size)
    largest = blobs[-1]
    largest.chmod(0o644)
    with largest.open("r+b") as file:
        file.seek(1000)
        file.write(b"rotten")
    made = own_shop.deploy("opc-market/doc-orientation", "--name", "mended")
    assert made["state"] == "live"


@pytest.mark.network
def test_kill_of_the_shop_in_the_middle_goes_on_after_restart(own_shop: Shop) -> None:
    with own_shop.api as api:
        made = api.post(
            "/api/deployments", json={"listing": "opc-market/doc-orientation", "name": "survivor"}
        ).json()
    own_shop.kill()
    wait_until(lambda: not _ours(own_shop), within=15, what="nothing is left of the killed shop")
    own_shop.launch()

    def settled() -> dict[str, object]:
        with own_shop.api as api:
            row = api.get("/api/deployments/survivor").json()
        return row if row["state"] in ("live", "failed") else {}

    row = wait_until(settled, within=60, what="the deployment goes on or fails with a cause")
    assert row["state"] == "live", str(row)
    key = {"Authorization": f"Bearer {made['key']}"}
    ready = httpx.get(f"{own_shop.url}/d/survivor/v2/health/ready", headers=key)
    assert ready.status_code == 200
    assert len(_servers(own_shop)) == 1


@pytest.mark.network
@pytest.mark.parametrize("part", ["marketplace.app", "marketplace.gateway"])
def test_a_killed_part_comes_back(own_shop: Shop, part: str) -> None:
    own_shop.deploy("opc-market/doc-orientation", "--name", "steady")
    os.kill(own_shop.pid_of(part), signal.SIGKILL)

    def live() -> bool:
        try:
            with own_shop.api as api:
                return bool(api.get("/api/deployments/steady").json().get("state") == "live")
        except (httpx.TransportError, OSError, ValueError):
            return False

    wait_until(live, within=40, what=f"the shop is whole again after {part} was killed")


def _ours(shop: Shop) -> list[psutil.Process]:
    """Every process that runs for this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(shop.home) in " ".join(
                [*process.cmdline(), *process.environ().values()]
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [p for p in found if p.pid != os.getpid()]


def _servers(shop: Shop) -> list[psutil.Process]:
    return [p for p in _ours(shop) if "deployer.runtimes.launch" in p.cmdline()]


def _server_of(shop: Shop, name: str) -> psutil.Process:
    return next(p for p in _servers(shop) if name in p.cmdline())


@pytest.mark.network
@pytest.mark.engine
def test_engine_gone_in_the_middle_fails_with_a_cause(tmp_path: Path) -> None:
    """The engine is reached over a socket that this test takes away."""
    door = tmp_path / "engine.sock"
    door.symlink_to("/var/run/docker.sock")
    with Shop.start(
        tmp_path / "home", MARKET_SHELF_ONLY="doc-orientation", DOCKER_HOST=f"unix://{door}"
    ) as shop:
        shop.wait_shelf()
        door.unlink()
        done = shop.market("deploy", "opc-market/doc-orientation", "--runtime", "docker", "--wait", "--json")
        assert done.returncode == 1
        assert "docker" in done.stderr.lower()
        with shop.api as api:
            assert api.get("/readyz").status_code == 200
            left = api.get("/api/deployments").json()["items"]
        assert [(d["state"], d["error"]["code"]) for d in left] in ([], [("failed", "runtime-unavailable")])


def test_no_network_opens_with_what_it_has(tmp_path: Path) -> None:
    """The index is a closed port: the shop opens, says which entries failed and why."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    index = f"http://127.0.0.1:{closed}/simple"
    with Shop.start(
        tmp_path / "home",
        MARKET_SHELF_ONLY="doc-orientation",
        MARKET_DOWNLOAD_CACHE=str(tmp_path / "cache"),
        PIP_INDEX_URL=index,
        UV_INDEX_URL=index,
        PIP_EXTRA_INDEX_URL=index,
    ) as shop:
        with shop.api as api:
            wait_until(
                lambda: api.get("/api/shelf").json()["failed"] == 1, within=90, what="the entry has failed"
            )
            item = api.get("/api/shelf").json()["items"][0]
        assert item["error"]["code"] == "source-unreachable"
        assert item["error"]["next"]
