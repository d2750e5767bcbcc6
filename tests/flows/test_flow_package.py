"""One version, packaged for wherever it is to run: by API and command line, through cancels and kills."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployer import packages
from tests.shop import CACHE, Shop, wait_until

pytestmark = pytest.mark.network

MODEL = "opc-market/zh-sentiment"


def prepared(home: Path, *shared: str) -> Path:
    """A home that finds what images and pages are made of without fetching it again."""
    for name in ("cache/debian", "cache/wheels", "cache/npm", *shared):
        kept = CACHE / "runtime-home" / name
        kept.mkdir(parents=True, exist_ok=True)
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(kept)
    return home


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = prepared(tmp_path_factory.mktemp("w") / "home", "images")
    with Shop.start(home, MARKET_SHELF_ONLY="zh-sentiment") as shop:
        shop.wait_shelf()
        yield shop


def ask(shop: Shop, **asked: object) -> httpx.Response:
    with shop.api as api:
        return api.post("/api/packages", json={"listing": MODEL, **asked})


def get(shop: Shop, identity: str) -> dict[str, Any]:
    with shop.api as api:
        found: dict[str, Any] = api.get(f"/api/packages/{identity}").raise_for_status().json()
    return found


def ended(shop: Shop, identity: str, within: float = 120) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        try:
            made = get(shop, identity)
        except (httpx.HTTPError, OSError, ValueError):
            return None
        return made if made["state"] not in ("pending", "building") else None

    found: dict[str, Any] = wait_until(look, within=within, what=f"{identity} ends; {shop.tell()}")
    return found


@pytest.fixture(scope="module")
def image(workshop: Shop) -> dict[str, Any]:
    """An image for this machine."""
    made = ended(workshop, ask(workshop).json()["id"])
    assert made["state"] == "ready", made["error"]
    return made


def test_the_table_says_what_can_be_made_and_why_not(workshop: Shop) -> None:
    with workshop.api as api:
        every = api.get("/api/terminals").json()["items"]
        here = api.get("/api/terminals", params={"listing": MODEL}).json()["items"]
    assert [(r["terminal"], r["device"]) for r in every] == [(r["terminal"], r["device"]) for r in here]
    assert {row["grade"] for row in every} <= {"measured", "emulated", "checked"}
    by = {(row["terminal"], row["device"]): row for row in here}
    assert by["image", "cpu"]["supported"] is True
    assert set(by["image", "cpu"]["platforms"]) == {"linux/amd64", "linux/arm64"}
    assert (by["image", "cann"]["supported"], "CANN" in by["image", "cann"]["why"]) == (False, True)
    assert all(bool(row["why"]) == (row["supported"] is False) for row in here)


def test_the_same_wish_is_the_same_package(workshop: Shop, image: dict[str, Any]) -> None:
    again = ask(workshop, terminal="image", platforms=image["platforms"], device="cpu")
    assert again.status_code == 202
    assert (again.json()["id"], again.json()["state"]) == (image["id"], "ready")
    assert [step["name"] for step in image["steps"]] == list(packages.STEPS)
    assert {step["state"] for step in image["steps"]} == {"done"}
    with workshop.api as api:
        listed = api.get("/api/packages", params={"listing": MODEL}).json()
    assert image["id"] in [item["id"] for item in listed["items"]]
    assert all(item["name"] == MODEL for item in listed["items"])


def test_the_file_comes_whole_through_the_gateway(workshop: Shop, image: dict[str, Any]) -> None:
    with workshop.api as api:
        answer = api.get(f"/api/packages/{image['id']}/file")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len(answer.content) == image["size"]
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == image["digest"]
    assert answer.headers["etag"].strip('"') == image["digest"]
    assert answer.headers["content-disposition"] == f'attachment; filename="{image["file"]}"'
    assert answer.headers["content-type"].startswith("application/x-tar")
    assert image["file"].startswith("zh-sentiment-1.0.0-image-")


def test_only_whoever_may_deploy_may_package(workshop: Shop, image: dict[str, Any]) -> None:
    for path in ("/api/terminals", "/api/packages", f"/api/packages/{image['id']}/file"):
        assert httpx.get(f"{workshop.url}{path}").status_code == 401
    assert httpx.post(f"{workshop.url}/api/packages", json={"listing": MODEL}).status_code == 401


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"listing": "opc-market/none"}, 404, "unknown-listing"),
        ({"listing": f"{MODEL}@9.9.9"}, 404, "unknown-version"),
        ({"terminal": "toaster"}, 400, "unknown-terminal"),
        ({"device": "toaster"}, 400, "unknown-device"),
        ({"platforms": ["linux/riscv64"]}, 422, "platform-not-supported"),
        ({"variant": f"sha256:{'0' * 64}"}, 404, "unknown-variant"),
        ({"device": "cann"}, 422, "terminal-not-supported"),
        ({"platforms": "linux/amd64"}, 400, "invalid-request"),
    ],
)
def test_refusals(workshop: Shop, asked: dict[str, Any], status: int, code: str) -> None:
    answer = ask(workshop, **asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize("identity", ["none", "00000000-0000-0000-0000-000000000000"])
def test_unknown_packages(workshop: Shop, identity: str) -> None:
    with workshop.api as api:
        for path in ("", "/file", "/events"):
            assert api.get(f"/api/packages/{identity}{path}").json()["code"] == "unknown-package"
        assert api.delete(f"/api/packages/{identity}").status_code == 404


def test_from_the_command_line_to_a_file_that_verifies(workshop: Shop, tmp_path: Path) -> None:
    done = workshop.market("package", MODEL, "--format", "modelpack", "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for line in ("Put together …", "Download …", "market verify"):
        assert line in done.stderr
    (file,) = tmp_path.glob("*.tar")
    assert str(file) in done.stdout
    checked = workshop.market("verify", str(file), "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["holds"] is True
    told = workshop.market("package", "zh-sentiment", "--format", "modelpack", "--json")
    assert json.loads(told.stdout)["digest"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert " -o zh-sentiment-1.0.0-modelpack.tar" in told.stderr


def test_from_the_command_line_to_a_folder(workshop: Shop, tmp_path: Path) -> None:
    site = tmp_path / "site"
    done = workshop.market("package", MODEL, "--format", "browser", "-o", str(site))
    assert done.returncode == 0, done.stderr
    assert (site / "index.html").is_file()
    assert f"http.server --directory {site}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    refused = workshop.market("package", MODEL, "--device", "cann")
    assert (refused.returncode, "[terminal-not-supported]" in refused.stderr) == (1, True)
    assert refused.stdout == ""


def test_cancelled_it_begins_again_when_asked(workshop: Shop) -> None:
    wish = {"platforms": ["linux/arm64"]}
    made = ask(workshop, **wish).json()
    with workshop.api as api:
        stopped = api.post(f"/api/packages/{made['id']}/cancel")
        assert stopped.status_code == 200, stopped.text
        gone = ended(workshop, made["id"])
        assert gone["state"] == "cancelled"
        assert api.post(f"/api/packages/{made['id']}/cancel").json()["code"] == "package-busy"
        assert api.get(f"/api/packages/{made['id']}/file").json()["code"] == "package-gone"
    again = ask(workshop, **wish).json()
    assert (again["id"], again["state"]) == (made["id"], "pending")
    assert ended(workshop, made["id"])["state"] == "ready"


def test_removed_it_is_gone_with_its_file(workshop: Shop) -> None:
    made = ended(workshop, ask(workshop, terminal="modelpack").json()["id"])
    before = set((workshop.home / "packages").iterdir())
    with workshop.api as api:
        assert api.delete(f"/api/packages/{made['id']}").status_code == 204
        assert api.get(f"/api/packages/{made['id']}").status_code == 404
    (gone,) = before - set((workshop.home / "packages").iterdir())
    assert len(gone.name) == 64
    again = ended(workshop, ask(workshop, terminal="modelpack").json()["id"])
    assert again["id"] != made["id"]
    assert again["digest"] == made["digest"]


def test_a_lost_file_is_made_again(workshop: Shop) -> None:
    made = ended(workshop, ask(workshop, terminal="modelpack").json()["id"])
    (file,) = (workshop.home / "packages").glob(f"*/{made['file']}")
    file.unlink()
    with workshop.api as api:
        assert api.get(f"/api/packages/{made['id']}/file").json()["code"] == "package-gone"
    assert ask(workshop, terminal="modelpack").json()["id"] == made["id"]
    assert ended(workshop, made["id"])["digest"] == made["digest"]
    assert file.stat().st_size == made["size"]


def test_a_killed_shop_takes_it_up(tmp_path: Path) -> None:
    home = prepared(tmp_path / "home", "images")
    with Shop.start(home, MARKET_SHELF_ONLY="zh-sentiment") as shop:
        shop.wait_shelf()
        wishes: list[dict[str, Any]] = [{}, {"terminal": "modelpack"}]
        asked = [ask(shop, **wish).json()["id"] for wish in wishes]

        def builds() -> bool:
            steps = get(shop, asked[0])["steps"]
            return any(s["name"] == "assemble" and s["state"] != "waiting" for s in steps)

        wait_until(builds, within=30, what="the image is being put together")
        shop.kill()
        shop.launch()
        made = [ended(shop, identity) for identity in asked]
        assert [each["state"] for each in made] == ["ready"] * 2
        for each in made:
            with shop.api as api:
                content = api.get(f"/api/packages/{each['id']}/file").content
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == each["digest"]
        left = [p.name for p in (home / "packages").iterdir() if p.is_dir() and p.name.startswith(".")]
        assert left == []


@pytest.mark.engine
def test_loaded_by_one_command_it_answers_as_the_deployment_does(workshop: Shop) -> None:
    done = workshop.market("package", MODEL, "--load", "--json")
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["loaded"]
    import docker

    client = docker.from_env()
    container = client.containers.run(
        name, environment={"MARKET_SERVER_KEY": "k"}, ports={"8000/tcp": ("127.0.0.1", None)}, detach=True
    )
    try:
        container.reload()
        port = container.ports["8000/tcp"][0]["HostPort"]
        base, key = f"http://127.0.0.1:{port}", {"Authorization": "Bearer k"}

        def ready() -> bool:
            try:
                return httpx.get(f"{base}/healthz", headers=key, timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(ready, within=30, what="the container answers")
        deployed = workshop.deploy(MODEL, "--name", "beside")
        with workshop.api as api:
            examples = api.get(f"/api/listings/{MODEL}").json()["manifest"]["examples"]
        for example in examples:
            here = httpx.post(f"{base}/predict", json=example["request"], headers=key, timeout=30).json()
            own = {"Authorization": f"Bearer {deployed['key']}"}
            there = httpx.post(f"{deployed['endpoint']}/predict", json=example["request"], headers=own).json()
            assert here["results"] == there["results"]
    finally:
        container.remove(force=True)
        client.images.remove(name, force=True)
        client.close()
        workshop.market("stop", "beside", "--remove", "-y")
