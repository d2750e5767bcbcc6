"""publish, versions, vendors and the like on the command line, against a real shop with an empty shelf."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from marketplace.cli import main, verdicts
from tests.catalog.folders import sheet_of, write
from tests.marketplace.offered import VENDOR, make_vendor, offer_folder
from tests.shop import Shop

NAME = f"{VENDOR}/orient"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("publish") / "home", MARKET_SHELF="none") as started:
        make_vendor(started)
        yield started


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "no-home"))


def market(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def edited(folder: Path, **fields: object) -> Path:
    sheet = yaml.safe_load((folder / "market.yaml").read_text("utf-8"))
    text = yaml.safe_dump({**sheet, **fields}, allow_unicode=True, sort_keys=False)
    (folder / "market.yaml").write_text(text, "utf-8")
    return folder


# Without a shop


def test_a_folder_without_a_sheet_is_told_how_to_get_one(tmp_path: Path) -> None:
    ran = market("publish", str(tmp_path))
    assert ran.exit_code == 1
    assert f"market publish --init {tmp_path}" in ran.stderr


def test_init_writes_what_check_reads(tmp_path: Path) -> None:
    folder = write(tmp_path / "reader", "")
    (folder / "market.yaml").unlink()
    made = market("publish", "--init", str(folder), "--vendor", "acme", "--json")
    assert made.exit_code == 0, made.stderr
    assert [Path(f).name for f in json.loads(made.stdout)["files"]] == [
        "market.yaml",
        "card.zh.md",
        "card.en.md",
    ]
    assert "# What it is for" in (folder / "market.yaml").read_text("utf-8")
    assert "market publish --check" in made.stderr
    again = market("publish", "--init", str(folder))
    assert again.exit_code == 1 and "already" in again.stderr
    told = market("publish", "--check", str(folder), "--json")
    assert told.exit_code == 1  # what it holds is no graph
    rows = json.loads(told.stdout)
    assert (rows["name"], rows["passed"]) == ("acme/reader", False)
    assert any(row["verdict"] == "fail" and row["next"] for row in rows["checks"])


def test_the_schema_is_printed() -> None:
    told = market("publish", "--schema")
    assert json.loads(told.stdout)["title"] == "market.yaml"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "--check", "--draft"],
        ["x", "--list", "--draft"],
        ["no-such-folder"],
        ["--init", "no-such-folder"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert market("publish", *arguments).exit_code == 2


@pytest.mark.parametrize("command", ["deprecate", "yank", "relist"])
def test_a_change_of_state_needs_a_number_and_a_reason(command: str) -> None:
    assert market(command, "acme/reader@1.0.0").exit_code == 2
    assert market(command, "acme/reader", "--why", "x").exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["versions", "a/b"],
        ["yank", "a/b@1.0.0", "--why", "x"],
        ["withdraw", "a/b@1.0.0"],
        ["publish", "a/b@1.0.0"],
        ["vendors", "list"],
        ["vendors", "create", "acme"],
        ["vendors", "prove", "acme"],
        ["vendors", "members", "acme"],
    ],
)
def test_no_shop_is_exit_status_3(command: list[str]) -> None:
    assert market(*command).exit_code == 3


@pytest.mark.parametrize(
    ("language", "why"), [("en", "write image-to-text instead of ocr"), ("zh", "请写作")]
)
def test_a_wrong_place_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, why: str
) -> None:
    monkeypatch.setenv("MARKET_LANG", language)
    folder = write(tmp_path / "reader", sheet_of(task="ocr"))
    told = market("publish", str(folder), "--json")
    assert told.exit_code == 1
    error = json.loads(told.stdout)["error"]
    assert error["code"] == "invalid-manifest"
    assert "market.yaml:4 task" in error["detail"] and why in error["detail"]
    assert error["detail"] in told.stderr


def test_the_gravest_verdict_counts() -> None:
    rows = [{"verdict": v} for v in ("pass", "warn", "unknown")]
    assert verdicts.verdict_of(rows) == "unknown"
    assert verdicts.verdict_of([*rows, {"verdict": "fail"}]) == "fail"
    assert verdicts.counts(rows) == {"pass": 1, "warn": 1, "unknown": 1, "fail": 0}


def test_each_thing_to_do_says_what_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"check": "card", "title": "Card", "verdict": "warn", "path": "", "code": "card-too-short"}
    short = {"detail": "It has 36 characters; 80 are the least that says anything.", "next": "Say more."}
    rows = [row | short | {"summary": f"The {lang} card says too little"} for lang in ("Chinese", "English")]
    rows.append(row | {"path": "LICENSE", "summary": "", "detail": "It is another.", "next": "Mend it."})
    verdicts.show(rows)
    told = capsys.readouterr().out.partition("To do:")[2]
    for lang in ("Chinese", "English"):
        assert f"  The {lang} card says too little: It has 36 characters" in told
    assert "  LICENSE: Card: It is another." in told
    assert told.count("→ Say more.") == 2


# With a shop


def said(ran: "subprocess.CompletedProcess[str]", code: int = 0) -> str:
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return ran.stdout


@pytest.mark.network
def test_a_draft_its_versions_and_its_end(shop: Shop, tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "orient")
    ran = shop.market("publish", str(folder), "--draft")
    table = said(ran)
    assert "RESULT" in table and "✓ pass" in table and f"{NAME}@1.0.0  draft" in table
    assert "1 files, 7 MB; 1 to upload, 7 MB" in ran.stderr
    assert f"market publish {NAME}@1.0.0" in ran.stderr
    again = shop.market("publish", str(edited(folder, source="the same files")), "--draft", "--json")
    assert json.loads(said(again))["check_state"] == "passed"
    assert "0 to upload" in again.stderr  # the shop has them of its own vendor
    submitted = shop.market("publish", f"{NAME}@1.0.0")
    assert f"{NAME}@1.0.0  submitted" in said(submitted)
    assert "submitted" in said(shop.market("versions", NAME))
    told = shop.market("publish", str(folder), "--json")
    assert json.loads(said(told))["state"] == "submitted" and "was published before" in told.stderr
    other = shop.market("publish", str(edited(folder, options={})))
    assert other.returncode == 1 and "version-taken" in other.stderr
    said(shop.market("withdraw", f"{NAME}@1.0.0", "--why", "a typo"))
    shown = said(shop.market("versions", f"{NAME}@1.0.0"))
    assert "submitted → draft" in shown and "a typo" in shown


def test_a_file_that_is_not_what_its_sheet_says_is_told_with_both_digests(shop: Shop, tmp_path: Path) -> None:
    folder = write(tmp_path / "reader", sheet_of(f"{VENDOR}/other-bytes"))
    size = (folder / "model.onnx").stat().st_size
    edited(folder, artifacts=[{"path": "model.onnx", "sha256": "0" * 64, "size": size}])
    refused = shop.market("publish", str(folder), "--draft")
    assert refused.returncode == 1 and "Next:" in refused.stderr
    assert "which is not what the manifest says" in refused.stderr


@pytest.mark.network
def test_listing_at_once_is_for_those_who_decide(shop: Shop, tmp_path: Path) -> None:
    folder = edited(offer_folder(tmp_path / "orient"), name=f"{VENDOR}/at-once")
    told = json.loads(said(shop.market("publish", str(folder), "--list", "--json")))
    assert (told["state"], told["reviewed"]) == ("listed", True)
    with shop.api as api:
        token = api.post("/api/tokens", json={"name": "ci", "scopes": ["publish"], "days": 1}).json()["token"]
    narrow = {"MARKET_URL": shop.url, "MARKET_KEY": token}
    refused = shop.market("publish", str(edited(folder, version="1.0.1")), "--list", **narrow)
    assert refused.returncode == 1 and "Next:" in refused.stderr
    assert json.loads(said(shop.market("publish", str(folder), "--json", **narrow)))["state"] == "submitted"
    wrong = shop.market("publish", str(folder), MARKET_URL=shop.url, MARKET_KEY="mk_wrong")
    assert wrong.returncode == 1


def test_vendors_members_and_proof(shop: Shop) -> None:
    with shop.api as api:
        api.post("/api/accounts", json={"name": "mei", "roles": ["vendor"]}).raise_for_status()
    made = shop.market("vendors", "create", "plum-rain", "--title-zh", "梅雨", "--title-en", "Plum Rain")
    assert "not proved" in said(made) and "market vendors prove plum-rain" in made.stderr
    assert "opc-market-vendor=" in said(shop.market("vendors", "prove", "plum-rain"))
    assert "梅雨" in said(shop.market("vendors", "list", LANG="zh_CN.UTF-8"))
    said(shop.market("vendors", "members", "plum-rain", "--add", "mei"))
    told = json.loads(said(shop.market("vendors", "members", "plum-rain", "--json")))
    assert told["items"] == [
        {"account": "owner", "role": "owner"},
        {"account": "mei", "role": "publisher"},
    ]
    for arguments, code in (
        (["members", "plum-rain", "--remove", "owner"], "last-owner"),
        (["members", "plum-rain", "--add", "nobody"], "unknown-account"),
        (["prove", "plum-rain", "--domain", "127.0.0.1"], "domain-refused"),
        (["create", "p1umrain"], "vendor-refused"),
        (["create", "plum-rain"], "vendor-taken"),
        (["prove", "nobody"], "unknown-vendor"),
    ):
        refused = shop.market("vendors", *arguments)
        assert refused.returncode == 1 and code in refused.stderr, (arguments, refused.stderr)
    said(shop.market("vendors", "members", "plum-rain", "--remove", "mei"))
    proved = shop.market("vendors", "prove", "plum-rain", "--vouch", "--json")
    assert json.loads(said(proved))["proof"] == "operator"
