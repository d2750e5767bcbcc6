"""Flow 2 of the design: publish, check, approve, list, find, deploy, and take off the shelf again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.examples import check
from tests.flows.people import Person, person
from tests.marketplace.offered import VENDOR, make_vendor, offer_folder
from tests.shop import Shop, wait_until

NAME = f"{VENDOR}/orient"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with an empty shelf, whose uploads come in pieces of 1 MiB at most."""
    home = tmp_path_factory.mktemp("vendor") / "home"
    with Shop.start(home, MARKET_SHELF="none", MARKET_MAX_BODY=str(1 << 20)) as started:
        yield started


def renumber(folder: Path, number: str, **fields: Any) -> Path:
    sheet = yaml.safe_load((folder / "market.yaml").read_text("utf-8"))
    text = yaml.safe_dump({**sheet, "version": number, **fields}, allow_unicode=True, sort_keys=False)
    (folder / "market.yaml").write_text(text, "utf-8")
    return folder


def done(ran: "subprocess.CompletedProcess[str]", code: int = 0) -> Any:
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return json.loads(ran.stdout) if ran.stdout.startswith(("{", "[")) else ran.stdout


@pytest.mark.network
def test_a_vendor_brings_a_model_on_the_shelf_and_takes_it_off(shop: Shop, tmp_path: Path) -> None:
    lin = person(shop, "lin", "vendor", "opc")
    buyer = person(shop, "buyer", "opc")
    folder = offer_folder(tmp_path / "orient")

    made = done(lin.market("vendors", "create", VENDOR, "--title-zh", "敏捷工具", "--json"))
    assert made["verified"] is False
    refused = lin.market("publish", str(folder))
    assert refused.returncode == 1 and "vendor-unproved" in refused.stderr
    done(shop.market("vendors", "prove", VENDOR, "--vouch"))

    told = done(lin.market("publish", str(folder), "--json"))
    assert (told["state"], told["check_state"]) == ("submitted", "passed")
    assert {row["verdict"] for row in told["checks"]} <= {"pass", "warn", "unknown"}
    assert not list((shop.home / "uploads").glob("[0-9a-f]*")) and not list((shop.home / "staging").iterdir())

    assert done(buyer.market("search", "方向", "--json"))["total"] == 0
    assert "unknown-listing" in buyer.market("deploy", NAME).stderr
    if grade(shop) == "full":  # who published it may have it before it is listed
        early = done(lin.market("deploy", NAME, "--name", "early", "--wait", "--json"))
        assert (early["state"], early["version_state"], early["reviewed"]) == ("live", "submitted", False)

    done(shop.market("review", "approve", f"{NAME}@1.0.0"))
    found = done(buyer.market("search", "方向", "--json"))
    assert [item["name"] for item in found["items"]] == [NAME]
    first = done(buyer.market("deploy", NAME, "--name", "first", "--wait", "--json"))
    assert (first["version"], first["version_state"], first["reviewed"]) == ("1.0.0", "listed", True)
    answers(folder, buyer, "first")

    renumber(folder, "1.1.0", summary={"zh": "更快地判断方向。", "en": "Tells it faster."})
    done(lin.market("publish", str(folder), "--json"))
    assert (
        done(buyer.market("show", NAME, "--json"))["summary_en"] == "Tells which way a document was turned."
    )
    done(shop.market("review", "approve", f"{NAME}@1.1.0"))
    shown = done(buyer.market("show", NAME, "--json"))
    assert (shown["version"], shown["summary_en"]) == ("1.1.0", "Tells it faster.")

    done(lin.market("deprecate", f"{NAME}@1.0.0", "--why", "1.1.0 is faster"))
    assert "no longer recommended" in buyer.market("ps").stderr
    old = done(buyer.market("deploy", f"{NAME}@1.0.0", "--name", "old", "--json"))
    assert old["version_state"] == "deprecated"

    done(lin.market("yank", f"{NAME}@1.1.0", "--why", "wrong on scans"))
    assert done(buyer.market("search", "方向", "--json"))["total"] == 0
    before = buyer.market("deploy", NAME, "--name", "before")  # the name means what is left
    assert before.returncode == 0 and f"{NAME}@1.0.0 is no longer recommended" in before.stderr
    by_number = done(buyer.market("deploy", f"{NAME}@1.1.0", "--name", "exact", "--wait", "--json"))
    assert (by_number["state"], by_number["version_state"]) == ("live", "yanked")
    answers(folder, buyer, "exact")
    done(buyer.market("stop", "exact"))
    with buyer.api as api:  # what is there may be started again
        assert api.post("/api/deployments/exact/retry").status_code == 202
        wait_until(
            lambda: api.get("/api/deployments/exact").json()["state"] == "live",
            within=120,
            what="it is live again",
        )

    done(lin.market("relist", f"{NAME}@1.1.0", "--why", "it was the scanner"))
    assert done(buyer.market("search", "方向", "--json"))["total"] == 1
    history = done(lin.market("versions", f"{NAME}@1.1.0", "--json"))["items"][0]["history"]
    assert [(h["after"], h["by"]) for h in history] == [
        ("submitted", "lin"),
        ("listed", "owner"),
        ("yanked", "lin"),
        ("listed", "lin"),
    ]


def grade(shop: Shop) -> str:
    runtimes = json.loads(shop.market("doctor", "--json").stdout)["runtimes"]
    return next(str(each["detail"]["sandbox"]) for each in runtimes if each["name"] == "process")


def answers(folder: Path, who: Person, deployment: str) -> None:
    """Every example of the folder is answered as its sheet says."""
    examples = yaml.safe_load((folder / "market.yaml").read_text("utf-8"))["examples"]
    assert examples
    for example in examples:
        with who.api as api:
            answer = api.post(f"/api/deployments/{deployment}/predict", json=example["request"])
        assert check(answer.raise_for_status().json(), example["expect"]) == []


@pytest.mark.network
def test_a_folder_that_fails_a_check_leaves_nothing_behind(shop: Shop, tmp_path: Path) -> None:
    make_vendor(shop, "careless")
    folder = renumber(offer_folder(tmp_path / "bad"), "1.0.0", name="careless/bad")
    (folder / "notes.pkl").write_bytes(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.")
    before = stored(shop)
    ran = shop.market("publish", str(folder), "--json")
    told = done(ran, code=1)
    assert (told["state"], told["check_state"]) == ("draft", "failed")
    failed = [row for row in told["checks"] if row["verdict"] == "fail"]
    assert failed and all(row["code"] and row["summary"] and row["next"] for row in failed)
    assert stored(shop) == before
    assert not (shop.home / "staging").exists() or not list((shop.home / "staging").iterdir())
    assert shop.market("deploy", "careless/bad@1.0.0").returncode == 1
    (folder / "notes.pkl").unlink()  # mended, under the same number
    assert done(shop.market("publish", str(folder), "--json"))["state"] == "submitted"


def stored(shop: Shop) -> set[str]:
    folder = shop.home / "blobs" / "sha256"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def start(shop: Shop, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "marketplace.cli", *arguments],
        env=shop.env | {"LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.network
def test_publishing_goes_on_after_kills_in_the_upload_and_in_the_checks(tmp_path: Path) -> None:
    settings = {"MARKET_SHELF": "none", "MARKET_MAX_BODY": str(1 << 18)}
    with Shop.start(tmp_path / "home", **settings) as shop:
        make_vendor(shop)
        folder = offer_folder(tmp_path / "orient")
        uploads, seen = shop.home / "uploads", set()
        with start(shop, "publish", str(folder), "--list", "--json") as running:

            def some_bytes_came() -> bool:
                files = [path for path in uploads.glob("[0-9a-f]*") if path.stat().st_size > 1 << 20]
                seen.update(path.name for path in files)
                return bool(files) or running.poll() is not None

            wait_until(some_bytes_came, within=60, what="some of the file is here")
            assert running.poll() is None and len(seen) == 1
            shop.kill()  # the shop with its gateway; its next life has another port and another key
            size = (uploads / seen.copy().pop()).stat().st_size
            assert size < sum(path.stat().st_size for path in folder.iterdir())
            shop.launch()

            def checks_run() -> bool:
                seen.update(path.name for path in uploads.glob("[0-9a-f]*"))
                with shop.api as api:
                    told = api.get(f"/api/publications/{NAME}/1.0.0")
                return (told.status_code == 200 and told.json()["check_state"] == "running") or (
                    running.poll() is not None
                )

            wait_until(checks_run, within=120, what="the checks run")
            assert running.poll() is None
            os.kill(shop.pid_of("marketplace.app"), signal.SIGKILL)
            out, err = running.communicate(timeout=240)
        assert running.returncode == 0, (out, err)
        assert len(seen) == 1, "the upload that was broken off was taken up"
        told = json.loads(out)
        assert (told["state"], told["check_state"]) == ("listed", "passed")
        rows = [(row["check"], row["path"], row["code"]) for row in told["checks"]]
        assert len(set(rows)) == len(rows), "the rows of the run that was killed are gone"
        assert done(shop.market("deploy", NAME, "--wait", "--json"))["state"] == "live"


@pytest.mark.network
def test_check_needs_no_shop(tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "orient")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MARKET_")}
    environment |= {"MARKET_HOME": str(tmp_path / "nowhere"), "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "marketplace.cli", "publish", "--check"]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, timeout=240
        )

    told = done(run(str(folder), "--json"))
    assert told["passed"] is True
    assert {row["check"] for row in told["checks"]} >= {"format", "licence", "card", "dry-run", "examples"}
    sheet = yaml.safe_load((folder / "market.yaml").read_text("utf-8"))
    sheet["examples"][0]["expect"] = {"results": [{"label": "upside-down", "score": 1}]}
    (folder / "market.yaml").write_text(yaml.safe_dump(sheet, allow_unicode=True), "utf-8")
    failed = run(str(folder))
    assert failed.returncode == 1
    assert "✗ fail" in failed.stdout and "To do:" in failed.stdout
