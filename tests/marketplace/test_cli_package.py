"""market package on a model folder, with no shop: what is made, where it goes, and what is refused."""

import errno
import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from click import ClickException
from click.testing import CliRunner, Result

from deployer.terminals import TERMINALS
from marketplace.cli import handing, main, package, steps
from marketplace.client import Refused
from tests.deployer.packager import registries
from tests.shelf_files import model_dir
from tests.shop import CACHE

MADE = {
    "name": "opc-market/x",
    "version": "1.0.0",
    "terminal": "image",
    "device": "cpu",
    "platforms": ["linux/amd64"],
    "grade": "measured",
    "state": "ready",
    "file": "x.tar",
    "media_type": "application/x-tar",
    "size": 1,
    "digest": "sha256:0",
}
NOWHERE: dict[str, Any] = {"load": False, "push": None, "insecure": False}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that finds what images and pages are made of without fetching it again."""
    home = tmp_path_factory.mktemp("package") / "home"
    home.mkdir()
    kept = CACHE / "runtime-home" / "cache"
    kept.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(kept)
    return home


@pytest.fixture
def home(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKET_HOME", str(place))
    return place


@pytest.fixture(scope="module")
def model() -> Path:
    return model_dir("zh-sentiment")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["package", *map(str, arguments)])


def told(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_formats_are_those_of_the_table() -> None:
    assert tuple(each.id for each in TERMINALS) == package.TERMINALS
    assert set(steps.STEPS) >= {"fetch", "prepare", "assemble", "prove", "write"}


@pytest.mark.network
def test_a_folder_becomes_a_file_that_verifies(home: Path, model: Path, tmp_path: Path) -> None:
    done = run(model, "--format", "modelpack", "-o", tmp_path)
    assert done.exit_code == 0, done.stderr
    file = tmp_path / "zh-sentiment-1.0.0-modelpack.tar"
    assert str(file) in done.stdout
    assert "Put together …" in done.stderr
    assert f"market verify {file}" in done.stderr.replace(".venv/bin/", "")
    checked = CliRunner().invoke(main, ["verify", str(file), "--json"])
    assert (checked.exit_code, json.loads(checked.stdout)["holds"]) == (0, True), checked.stderr
    again = told(model, "--format", "modelpack", "-o", tmp_path / "again.tar")
    assert again["digest"] == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (tmp_path / "again.tar").read_bytes() == file.read_bytes()
    assert (again["state"], again["terminal"], again["grade"]) == ("ready", "modelpack", "measured")
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.tar").write_bytes(damaged)
    assert CliRunner().invoke(main, ["verify", str(tmp_path / "damaged.tar")]).exit_code == 1


@pytest.mark.network
def test_a_page_is_unpacked_into_a_folder_or_left_as_a_file(home: Path, model: Path, tmp_path: Path) -> None:
    made = told(model, "--format", "browser", "-o", tmp_path / "site")
    assert made["output"] == str(tmp_path / "site")
    assert (tmp_path / "site" / "index.html").is_file()
    again = run(model, "--format", "browser", "-o", tmp_path / "site")
    assert (again.exit_code, "is not empty" in again.stderr) == (2, True)
    filed = told(model, "--format", "browser", "-o", tmp_path / "site.zip")
    assert filed["digest"] == made["digest"]
    with zipfile.ZipFile(tmp_path / "site.zip") as archive:
        assert "zh-sentiment-1.0.0-browser/index.html" in archive.namelist()
    checked = CliRunner().invoke(main, ["verify", str(tmp_path / "site"), "--json"])
    assert checked.exit_code == 0, checked.stderr


@pytest.mark.network
def test_pushed_to_a_registry_it_sends_only_what_is_lacking(home: Path, model: Path, tmp_path: Path) -> None:
    with registries.debian(tmp_path / "registry") as registry:
        first = told(model, "--format", "modelpack", "--push", f"{registry.host}/models/zh:1")
        assert first["sent_bytes"] > first["size"] // 2
        second = told(model, "--format", "modelpack", "--push", f"{registry.host}/models/zh:2")
        assert second["sent_bytes"] < 20_000
        assert second["pushed_digest"] == first["pushed_digest"]
        answer = httpx.get(f"http://{registry.host}/v2/models/zh/tags/list").json()
        assert {"1", "2"} <= set(answer["tags"])
        registry.stop()
        refused = run(model, "--format", "modelpack", "--push", f"{registry.host}/models/zh:3")
    assert refused.exit_code == 1
    assert "[registry-unavailable]" in refused.stderr


def test_a_registry_gets_every_platform_unless_told_otherwise() -> None:
    def of(platform: str = "", **more: object) -> list[str]:
        asked = {"terminal": "image", "device": "", "load": False, "push": None}
        return package.platforms_of(platform, **(asked | more))  # type: ignore[arg-type]

    assert of() == []
    assert of(push="127.0.0.1:5000/x:1") == ["linux/amd64", "linux/arm64"]
    assert of(push="127.0.0.1:5000/x:1", device="qnn") == ["linux/arm64"]
    assert of("linux/arm64", push="127.0.0.1:5000/x:1") == ["linux/arm64"]
    assert of(push="127.0.0.1:5000/x:1", terminal="modelpack") == []


@pytest.mark.engine
@pytest.mark.network
def test_loaded_into_the_engine_it_runs(home: Path, model: Path) -> None:
    import docker

    made = told(model, "--load")
    assert made["loaded"] == made["facts"]["reference"]
    client = docker.from_env()
    try:
        labels = client.images.get(made["loaded"]).labels
        assert labels["market.task"] == "text-classification"
    finally:
        client.images.remove(made["loaded"], force=True)
        client.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--load", "--format", "browser"], "--load is for images"),
        (["--push", "127.0.0.1:5000/x:1", "--format", "box"], "--push is for image"),
        (["--format", "browser", "--platform", "linux/amd64"], "--platform is for images"),
        (["--no-wait", "-o", "x.tar"], "--no-wait"),
        (["--variant", "sha256:0"], "--variant is for listings"),
        (["--format", "toaster"], "toaster"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    home: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    done = run(tmp_path, *options)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--device", "toaster"], "unknown-device"),
        (["--platform", "linux/riscv64"], "platform-not-supported"),
        (["--push", "not a reference"], "invalid-reference"),
    ],
)
def test_refusals_have_a_code_and_a_next_step(
    home: Path, tmp_path: Path, options: list[str], code: str
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    done = run(tmp_path, *options)
    assert done.exit_code == 1
    assert f"[{code}]" in done.stderr and "Next: " in done.stderr


def test_a_folder_without_a_manifest_is_refused(home: Path, tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.exit_code, "holds no manifest.json" in done.stderr) == (2, True)
    (tmp_path / "manifest.json").write_text('{"task": "tensors", "files": {"model": "gone.onnx"}}')
    done = run(tmp_path, "--format", "modelpack")
    assert (done.exit_code, "[invalid-manifest]" in done.stderr) == (1, True), done.stderr


@pytest.mark.network
def test_a_damaged_file_of_the_folder_is_refused(home: Path, model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    graph = next(copy.glob("*.onnx"))
    graph.chmod(0o644)
    with graph.open("ab") as file:
        file.write(b"x")
    done = run(copy, "--format", "modelpack")
    assert (done.exit_code, "[digest-mismatch]" in done.stderr) == (1, True), done.stderr


def test_where_nothing_can_be_written_is_said_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ClickException, match=r"Nothing can be written to .*taken"):
        handing.hand_over(MADE, tmp_path / "taken", **NOWHERE, output=tmp_path / "taken" / "x.tar")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(handing, "_write", full)
    with pytest.raises(Refused) as refused:
        handing.hand_over(MADE, tmp_path / "taken", **NOWHERE, output=tmp_path / "x.tar")
    assert refused.value.problem["code"] == "packaging-disk-full"
    assert str(tmp_path / "x.tar") in refused.value.problem["detail"]


def test_what_went_elsewhere_has_no_file_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    package.tell(MADE | {"loaded": "x:1"}, json_out=False)
    assert "x.tar" not in capsys.readouterr().out
    package.tell(MADE, json_out=False)
    assert "x.tar" in capsys.readouterr().out
