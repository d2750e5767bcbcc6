"""Imports in a real shop: from loopback servers, another shop, a registry and files, also killed midway."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from catalog.models import ImportJob
from marketplace.cli.importing import STEPS
from tests import tiny_models
from tests.catalog.importers.servers import Answer, dripping, little
from tests.catalog.sources import FileServer, zip_of
from tests.marketplace import hubs
from tests.shop import Shop, wait_until

SETTINGS = {"MARKET_SHELF": "none", "MARKET_IMPORT_PRIVATE": "127.0.0.1"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("imports") / "home"
    with Shop.start(home, **SETTINGS) as running:
        assert running.market("vendors", "create", "acme", "--vouch").returncode == 0
        yield running


@pytest.fixture(scope="module")
def files() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


def begin(shop: Shop, source: str, **wanted: Any) -> dict[str, Any]:
    with shop.api as api:
        answer = api.post("/api/imports", json={"source": source, **wanted})
        assert answer.status_code == 202, answer.text
        return answer.json()


def see(shop: Shop, job: dict[str, Any]) -> dict[str, Any]:
    with shop.api as api:
        return api.get(f"/api/imports/{job['id']}").raise_for_status().json()


def ended(shop: Shop, job: dict[str, Any], within: float = 120) -> dict[str, Any]:
    over = ("done", "failed", "cancelled")
    wait_until(lambda: see(shop, job)["state"] in over, within=within, what=f"{job['name']} ends")
    return see(shop, job)


def checked(shop: Shop, job: dict[str, Any]) -> dict[str, Any]:
    job = ended(shop, job)
    assert job["state"] == "done", json.dumps(job)
    wait_until(
        lambda: see(shop, job)["check_state"] in ("passed", "failed"), within=120, what="the checks end"
    )
    return see(shop, job)


def publication(shop: Shop, job: dict[str, Any]) -> dict[str, Any]:
    with shop.api as api:
        return api.get(f"/api/publications/{job['name']}/{job['version']}").raise_for_status().json()


def test_an_archive_becomes_a_checked_draft_and_a_listing(shop: Shop, files: FileServer) -> None:
    files.files["reviews.zip"] = zip_of({f"top/{n}": c for n, c in tiny_models.hub_files().items()})
    job = checked(shop, begin(shop, f"{files.url}/files/reviews.zip", name="acme/archived"))
    assert job["check_state"] == "passed", publication(shop, job)["checks"]
    assert (job["version"], job["version_state"]) == ("1.0.0", "draft")
    rows = {row["check"]: row["verdict"] for row in publication(shop, job)["checks"]}
    assert (rows["metadata"], rows["dry-run"], rows["licence"]) == ("pass", "pass", "pass")
    assert not (shop.home / "imports" / job["id"]).exists()
    again = checked(
        shop, begin(shop, f"{files.url}/files/reviews.zip", name="acme/archived", wanted="listed")
    )
    assert again["version"] == "1.0.1"


def test_a_key_in_an_address_is_shown_nowhere(shop: Shop) -> None:
    """Stores sign their addresses in the query; it is used to fetch, and forgotten afterwards."""

    def answer(path: str, headers: dict[str, str]) -> Answer:
        return (200, {}, tiny_models.plain_graph()) if path.startswith("/signed") else (404, {}, b"")

    words = {"license": "MIT", "title_zh": "签名", "title_en": "Signed"}
    with little(answer) as server:
        source = f"{server.url}/signed.onnx?Signature=SECRET,SECRET"
        job = checked(shop, begin(shop, source, wanted="listed", options=words))
        assert job["version_state"] == "listed", publication(shop, job)["checks"]
        assert all(path.endswith("?Signature=SECRET,SECRET") for path, _ in server.asked)
        gone = f"{server.url}/gone.onnx?Signature=SECRET"
        failed = ended(shop, begin(shop, gone, every=3600, options=words))
    assert (job["name"], failed["name"], failed["state"]) == ("acme/signed", "acme/gone", "failed")
    seen = ["/api/listings/acme/signed", "/listings/acme/signed", "/api/passports/acme/signed/1.0.0"]
    seen += [f"/hf/acme/signed/resolve/main/{name}" for name in ("market.yaml", "README.md")]
    with shop.api as api:
        told = [api.get(path) for path in (*seen, "/api/audit", "/api/imports", "/api/mirrors")]
        with httpx.Client(base_url=shop.url) as stranger:
            told += [stranger.get(path) for path in seen]
    assert [(one.url.path, one.status_code) for one in told if "SECRET" in one.text or one.is_error] == []
    with hubs.database(shop) as db:
        assert "SECRET" not in str(db.get_one(ImportJob, UUID(job["id"])).model_dump())
    assert shop.market("mirrors", "remove", "acme/gone", "-y").returncode == 0


@contextmanager
def of(shop: Shop, name: str, vendor: str) -> Iterator[httpx.Client]:
    """An account of its own that acts for a vendor of its own."""
    with shop.api as api:
        link = api.post("/api/accounts", json={"name": name, "roles": ["vendor"]}).json()["url"]
    with httpx.Client(base_url=shop.url, follow_redirects=True) as browser:
        browser.get(link.removeprefix(shop.url))
        asked = {"name": "test", "scopes": [], "days": 1}
        made = browser.post("/api/tokens", json=asked, headers={"Origin": shop.url})
    told = {"Authorization": f"Bearer {made.json()['token']}", "Accept-Language": "en"}
    titles = {"title_zh": vendor, "title_en": vendor}
    with httpx.Client(base_url=shop.url, headers=told, timeout=60) as client:
        assert client.post("/api/vendors", json={"name": vendor, **titles}).is_success
        yield client


CRAWLS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


def test_who_imports_from_a_slow_source_waits_alone(shop: Shop, files: FileServer) -> None:
    """One import of an account runs at a time; operators see everybody's, and may end them."""
    files.files["quick.onnx"] = tiny_models.plain_graph()
    quick = f"{files.url}/files/quick.onnx"

    def ask(client: httpx.Client, source: str, name: str) -> dict[str, Any]:
        return client.post("/api/imports", json={"source": source, "name": name}).raise_for_status().json()

    with dripping(CRAWLS) as slow, of(shop, "wei", "wei-co") as wei, of(shop, "mei", "mei-co") as mei:
        first = ask(wei, f"{slow}/m.onnx", "wei-co/slow")
        wait_until(lambda: see(shop, first)["step"] == "fetch", within=60, what="it is being fetched")
        others = [ask(wei, f"{slow}/m.onnx", f"wei-co/slow-{n}") for n in range(5)]
        last = ask(wei, quick, "wei-co/quick")
        assert ended(shop, ask(mei, quick, "mei-co/quick"))["state"] == "done"
        assert [see(shop, job)["state"] for job in (first, *others, last)] == ["running"] + ["pending"] * 6
        assert mei.get(f"/api/imports/{first['id']}").status_code == 404
        assert mei.post(f"/api/imports/{first['id']}/cancel").status_code == 404
        assert mei.get("/api/imports?everybody=true").status_code == 403
        told = shop.market("imports", "--everybody", "--json")
        names = {one["name"] for one in json.loads(told.stdout)["items"]}
        assert {"wei-co/slow", "mei-co/quick"} <= names
        for job in (*others, first):
            assert shop.market("imports", "cancel", job["id"]).returncode == 0
        assert ended(shop, last)["state"] == "done"
        assert {ended(shop, job)["state"] for job in (first, *others)} == {"cancelled"}


def test_nothing_goes_on_in_the_name_of_a_disabled_account(shop: Shop, files: FileServer) -> None:
    files.files["kept.onnx"] = tiny_models.plain_graph()

    def mirrors() -> dict[str, Any]:
        with shop.api as api:
            found = api.get("/api/mirrors?everybody=true").raise_for_status().json()["items"]
        return {one["name"]: one for one in found}

    with dripping(CRAWLS) as slow, of(shop, "lin", "lin-co") as lin, shop.api as api:
        kept = {"source": f"{files.url}/files/kept.onnx", "name": "lin-co/kept", "every": 3600}
        assert ended(shop, lin.post("/api/imports", json=kept).json())["state"] == "done"
        running = lin.post("/api/imports", json={"source": f"{slow}/m.onnx", "name": "lin-co/slow"}).json()
        wait_until(lambda: see(shop, running)["step"] == "fetch", within=60, what="it is being fetched")
        assert api.post("/api/accounts/lin/disable").is_success
        told = ended(shop, running)
        assert (told["state"], told["error"]["code"]) == ("failed", "account-disabled")
        assert not mirrors()["lin-co/kept"]["enabled"]
        assert api.post("/api/accounts/lin/enable").is_success
        assert mirrors()["lin-co/kept"]["enabled"]
        assert lin.delete("/api/mirrors/acme/kept").status_code == 404
        assert api.delete("/api/mirrors/lin-co/kept").is_success
        assert "lin-co/kept" not in mirrors()


def test_the_command_line_tells_the_steps(shop: Shop, files: FileServer, tmp_path: Path) -> None:
    folder = tiny_models.write(tiny_models.hub_files(), tmp_path / "reviews")
    done = shop.market("import", str(folder), "--name", "acme/local", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["name"], told["version"], told["check_state"]) == ("acme/local", "1.0.0", "passed")
    steps = [f"{english} …" for _, english in STEPS.values()]
    seen = [line for line in done.stderr.splitlines() if line in steps]
    assert seen and seen == sorted(seen, key=steps.index)  # a quick step may pass between two looks
    graph = tmp_path / "plain.onnx"
    graph.write_bytes(tiny_models.plain_graph())
    done = shop.market("import", str(graph), "--name", "acme/graph", "--license", "MIT")
    assert done.returncode == 0 and "acme/graph@1.0.0" in done.stdout, done.stderr
    listed = shop.market("imports")
    assert "acme/graph" in listed.stdout and "checks passed" in listed.stdout
    chinese = shop.market("imports", LANG="zh_CN.UTF-8").stdout
    assert "已导入" in chinese and "检查通过" in chinese and "done" not in chinese
    missing = shop.market("import", f"{files.url}/files/none.onnx")
    assert missing.returncode == 1 and "source-missing" in missing.stderr
    assert shop.market("import", "ftp://x/y").returncode == 1
    assert shop.market("import", "hf://a/b", str(graph)).returncode == 2


def test_a_folder_that_describes_itself_keeps_its_words(shop: Shop, tmp_path: Path) -> None:
    sheet = """
name: other/thing
version: 3.2.1
task: tensors
title: {zh: 甲, en: One}
summary: {zh: 简介。, en: Summary.}
license: {package: MIT, weights: MIT}
files: {model: model.onnx}
"""
    folder = tmp_path / "own"
    tiny_models.write({"market.yaml": sheet.encode(), "model.onnx": tiny_models.plain_graph()}, folder)
    done = shop.market("import", str(folder), "--name", "acme/own", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["name"], told["version"]) == ("acme/own", "3.2.1")


def test_private_addresses_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with (
        little(lambda p, h: (200, {}, b"secret")) as server,
        Shop.start(tmp_path / "home", MARKET_SHELF="none") as shop,
    ):
        assert shop.market("vendors", "create", "acme", "--vouch").returncode == 0
        for source in (f"{server.url}/a.onnx", f"oci://127.0.0.1:{server.port}/a/b:1"):
            job = ended(shop, begin(shop, source, name="acme/x"))
            assert job["error"]["code"] == "address-refused", job
        assert server.asked == []


def test_a_killed_import_goes_on_where_it_was(shop: Shop) -> None:
    content = zip_of({"model.onnx": tiny_models.plain_graph(), "notes.bin": hashlib.sha256(b"x").digest()})
    gate, asked = threading.Event(), []

    def answer(path: str, headers: dict[str, str]) -> Answer:
        start = int(headers.get("range", "bytes=0-")[6:].partition("-")[0])
        asked.append(start)
        if len(asked) == 2:  # the first is the look; the fetch itself hangs until the shop is gone
            gate.wait(60)
            return 503, {}, b""
        if not start:
            return 200, {"ETag": '"1"'}, content
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, {"ETag": '"1"', "Content-Range": span}, content[start:]

    with little(answer) as server:
        job = begin(shop, f"{server.url}/killed.zip", name="acme/killed")
        wait_until(lambda: len(asked) >= 2, within=60, what="it fetches")
        pinned = see(shop, job)["pinned"]
        shop.kill()
        gate.set()
        shop.launch()
        job = ended(shop, job)
    assert job["state"] == "done" and job["pinned"] == pinned, job
    with shop.api as api:
        found = api.get("/api/versions/acme/killed").json()
    assert found["total"] == 1


def test_a_cancelled_import_leaves_nothing_on_the_shelf(shop: Shop) -> None:
    gate = threading.Event()
    content = tiny_models.plain_graph()

    def slow(path: str, headers: dict[str, str]) -> Answer:
        if gate.is_set():
            return 200, {"ETag": '"1"'}, content
        return 200, {"ETag": '"1"', "Content-Length": str(len(content) + 10)}, content

    with little(slow) as server:
        job = begin(shop, f"{server.url}/slow.onnx", name="acme/slow")
        with shop.api as api:
            api.post(f"/api/imports/{job['id']}/cancel")
        job = ended(shop, job)
        with shop.api as api:
            assert api.get("/api/versions/acme/slow").status_code == 404
        if job["state"] == "cancelled":
            gate.set()
            with shop.api as api:
                again = api.post(f"/api/imports/{job['id']}/retry")
            assert again.status_code == 202
            assert ended(shop, job)["state"] == "done"
    with shop.api as api:
        assert api.delete(f"/api/imports/{job['id']}").status_code == 204
        assert api.get(f"/api/imports/{job['id']}").status_code == 404


def test_a_mirror_follows_its_source(shop: Shop) -> None:
    state = {"etag": '"1"', "graph": tiny_models.plain_graph(1.0)}

    def answer(path: str, headers: dict[str, str]) -> Answer:
        return 200, {"ETag": state["etag"]}, state["graph"]

    with little(answer) as server:
        source = f"{server.url}/m.onnx"
        first = shop.market("mirrors", "add", source, "--name", "acme/mirrored", "--every", "1d", "--json")
        assert first.returncode == 0, first.stderr
        assert checked(shop, json.loads(first.stdout))["version"] == "1.0.0"
        assert shop.market("mirrors", "add", source, "--name", "acme/mirrored").returncode == 1

        def numbers() -> list[str]:
            with shop.api as api:
                found = api.get("/api/versions/acme/mirrored").json()["items"]
            return sorted(one["version"] for one in found)

        def look() -> None:
            before = _mirror(shop)["looked"]
            assert shop.market("mirrors", "run", "acme/mirrored").returncode == 0
            wait_until(lambda: _mirror(shop)["looked"] != before, within=60, what="it has looked")

        look()
        assert numbers() == ["1.0.0"]  # nothing new there
        state.update(etag='"2"', graph=tiny_models.plain_graph(3.0))
        look()
        assert numbers() == ["1.0.0", "1.0.1"]
    look()  # nobody answers any more
    told = _mirror(shop)
    assert told["error"]["code"] == "source-unreachable" and told["due"] > told["looked"]
    assert "source-unreachable" in shop.market("mirrors", "list").stdout
    assert shop.market("mirrors", "remove", "acme/mirrored", "-y").returncode == 0
    with shop.api as api:
        assert api.get("/api/mirrors").json()["total"] == 0
        events = api.get("/api/audit").json()["items"]
    assert {"import:begin", "mirror:create", "mirror:remove", "mirror:run"} <= {
        one["action"] for one in events
    }


def _mirror(shop: Shop, name: str = "acme/mirrored") -> dict[str, Any]:
    with shop.api as api:
        found = api.get("/api/mirrors").json()["items"]
    return next(one for one in found if one["name"] == name)


def test_one_shop_imports_from_another_over_its_hub(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "first", MARKET_SHELF="none") as first:
        hub = tiny_models.hub_files()
        flat = {"model.onnx": tiny_models.plain_graph(), "config.json": hub["config.json"]}
        digest = hubs.put(first, tmp_path, flat, "beta/reviews")
        settings = {"MARKET_SHELF": "none", "MARKET_HF_ENDPOINT": f"{first.url}/hf"}
        with Shop.start(tmp_path / "second", **settings) as second:
            assert second.market("vendors", "create", "acme", "--vouch").returncode == 0
            job = checked(second, begin(second, "hf://beta/reviews"))
            assert job["pinned"].startswith("hf://beta/reviews@")
            assert digest.removeprefix("sha256:").startswith(job["pinned"].rpartition("@")[2])
            assert job["check_state"] == "passed", json.dumps(publication(second, job)["checks"])
            missing = ended(second, begin(second, "hf://beta/nothing", name="acme/none"))
            assert missing["error"]["code"] in ("source-missing", "source-denied")
            first.stop()
            away = ended(second, begin(second, "hf://beta/reviews", name="acme/away"))
            assert away["error"]["code"] == "source-unreachable"


def test_a_modelpack_artifact_comes_out_of_a_registry(shop: Shop, tmp_path: Path) -> None:
    from deployer.packager.modelpack import modelpack
    from deployer.packager.registry import push
    from deployer.packager.release import Workshop
    from tests.deployer.packager.registries import debian
    from tests.deployer.packager.releases import made

    folder = tmp_path / "release"
    folder.mkdir()
    release = made(folder, {"model.onnx": tiny_models.plain_graph()})
    layout, artifact = modelpack(Workshop(tmp_path / "workshop"), release)
    with debian(tmp_path / "registry") as registry:
        push(layout, artifact, f"{registry.host}/acme/packed:1.0")
        job = checked(shop, begin(shop, f"oci://{registry.host}/acme/packed:1.0", name="acme/packed"))
    assert job["pinned"].endswith(f"@{artifact.digest}")
    assert job["check_state"] == "passed", publication(shop, job)["checks"]


def test_the_page_begins_an_import_and_says_what_was_refused(shop: Shop, files: FileServer) -> None:
    files.files["page.onnx"] = tiny_models.plain_graph()
    with httpx.Client(base_url=shop.url, follow_redirects=True, timeout=60) as browser:
        browser.get(shop.login_url())
        browser.cookies.set("lang", "en")
        shown = browser.get("/import").text
        assert "hf://" in shown and "How sources are written" in shown
        refused = browser.post(
            "/import", data={"source": "ftp://x/y"}, headers={"Accept": "text/html", "Origin": shop.url}
        )
        assert refused.status_code == 422 and "ftp://x/y" in refused.text and 'role="alert"' in refused.text
        asked = {"source": f"{files.url}/files/page.onnx", "name": "acme/paged", "task": "tensors"}
        asked |= {"license": "Apache-2.0", "title_zh": "一页", "title_en": "One page"}
        begun = browser.post("/import", data=asked, headers={"Origin": shop.url})
        assert "/imports/" in str(begun.url) and "Import of acme/paged" in begun.text
        wait_until(lambda: "See its checks" in browser.get(begun.url).text, within=60, what="it is done")
        job = checked(shop, {"id": str(begun.url).rpartition("/")[2], "name": "acme/paged"})
        assert "imported; the checks passed" in browser.get(begun.url).text
        draft = browser.get(f"/vendor/listings/acme/paged/{job['version']}").text
        assert "One page" in draft and "Apache-2.0" in draft


def test_what_a_mirror_brought_counts_once_its_checks_have_passed(shop: Shop) -> None:
    """A revision that does not pass is told at the mirror, and tried again only when somebody asks."""
    state = {"etag": '"1"', "graph": tiny_models.plain_graph(1.0)}

    def answer(path: str, headers: dict[str, str]) -> Answer:
        return 200, {"ETag": state["etag"]}, state["graph"]

    def look() -> dict[str, Any]:
        before = _mirror(shop, "acme/kept")["looked"]
        assert shop.market("mirrors", "run", "acme/kept").returncode == 0
        wait_until(lambda: _mirror(shop, "acme/kept")["looked"] != before, within=60, what="it has looked")
        wait_until(lambda: not _checking(shop, "acme/kept"), within=60, what="its checks ended")
        return _mirror(shop, "acme/kept")

    with little(answer) as server:
        source = f"{server.url}/m.onnx"
        first = shop.market("mirrors", "add", source, "--name", "acme/kept", "--every", "1d", "--json")
        checked(shop, json.loads(first.stdout))
        good = _mirror(shop, "acme/kept")["pinned"]
        assert good
        state.update(etag='"2"', graph=tiny_models.graph_of_other_code())
        told = look()
        assert told["pinned"] == good
        assert told["error"]["code"] == "mirror-version-refused" and "1.0.1" in told["error"]["detail"]
        told = look()
        assert "1.0.1" in told["error"]["detail"]  # the number of the draft is used again
        state.update(etag='"3"', graph=tiny_models.plain_graph(3.0))
        told = look()
        assert told["error"] is None and told["pinned"] != good
    with shop.api as api:
        found = api.get("/api/versions/acme/kept").json()["items"]
    assert sorted(one["version"] for one in found) == ["1.0.0", "1.0.1"]


def _checking(shop: Shop, name: str) -> bool:
    with shop.api as api:
        found = api.get("/api/publications").json()["items"]
    return any(one["name"] == name and one["check_state"] in ("waiting", "running") for one in found)
