"""A shop and a model carried to a machine that reaches nothing: checked, installed, deployed, tried."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.storage import sha256_of
from tests.shop import CACHE, Shop

pytestmark = [pytest.mark.engine, pytest.mark.network]

CUT_OFF = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
NO_NETWORK = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("maker")
    (home / "cache").mkdir()
    shared = CACHE / "runtime-home" / "cache"
    for name in ("debian", "wheels", "shop-wheels"):  # what is fetched is the same for every home
        (shared / name).mkdir(parents=True, exist_ok=True)
        (home / "cache" / name).symlink_to(shared / name)
    with Shop.start(home, MARKET_SHELF_ONLY="doc-orientation") as started:
        started.wait_shelf()
        yield started


@pytest.fixture(scope="module")
def bundle(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    file = tmp_path_factory.mktemp("stick") / "orientation.tar"
    done = shop.market("bundle", "doc-orientation", "--output", str(file), "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (
        "install.sh" in done.stderr and f"echo '{told['sha256']}  {file.name}' | sha256sum -c" in done.stderr
    )
    assert told["sha256"] == sha256_of(file)
    return file, told


def elsewhere(folder: Path, *command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run a command on another machine: a home, a folder and a network of its own, which leads nowhere."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "MARKET_HOME": str(folder / "home"),
        "MARKET_PORT": "0",
        "LANG": "C.UTF-8",
    }
    return subprocess.run(
        [*CUT_OFF, *command], env=env, cwd=folder, input=stdin, capture_output=True, timeout=600
    )


def test_a_bundle_brings_all_that_a_machine_without_network_needs(
    bundle: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    file, told = bundle
    assert elsewhere(tmp_path, "python3", "-c", NO_NETWORK).returncode != 0
    script = subprocess.check_output(["tar", "-xOf", str(file), "install.sh"])
    fingerprint = str(told["fingerprint"])
    arguments = ["-s", "--", str(file), str(tmp_path / "opc"), "--fingerprint", fingerprint, "--json"]
    done = elsewhere(tmp_path, "sh", *arguments, stdin=script)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    outcome = json.loads(done.stdout)
    (tried,) = outcome["acceptance"]
    assert tried["passed"] and tried["examples"] >= 1
    assert tried["runtime"] == "docker"
    assert outcome["fingerprint"] == fingerprint
    market = str(tmp_path / "opc" / ".venv" / "bin" / "market")
    verified = elsewhere(tmp_path, market, "bundle", "show", str(file), "--json")
    assert verified.returncode == 0, verified.stderr.decode()
    again = elsewhere(tmp_path, market, "bundle", "install", str(file), "--json")
    assert again.returncode == 0, again.stdout.decode() + again.stderr.decode()
    assert json.loads(again.stdout)["acceptance"][0]["deployment"] == tried["deployment"]


def test_a_bundle_of_somebody_unknown_is_refused_and_nothing_is_kept(
    bundle: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    file, _ = bundle
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as other:
        done = other.market("bundle", "install", str(file), "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == "verification-failed"
        with other.api as api:
            assert api.get("/api/listings").json()["total"] == 0
        wrong = other.market("bundle", "install", str(file), "--fingerprint", "0" * 64)
        assert wrong.returncode == 1 and "--key" in wrong.stderr


def test_a_damaged_bundle_changes_nothing(bundle: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    file, told = bundle
    damaged = tmp_path / "damaged.tar"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as other:
        done = other.market(
            "bundle", "install", str(damaged), "--fingerprint", str(told["fingerprint"]), "--json"
        )
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == "bundle-refused"
        with other.api as api:
            assert api.get("/api/listings").json()["total"] == 0
        assert not list((other.home / "bundles").iterdir())


def test_without_shop_and_image_it_is_small_and_runs_as_a_process(
    shop: Shop, bundle: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    file = tmp_path / "small.tar"
    done = shop.market("bundle", "doc-orientation", "--no-shop", "--no-image", "-o", str(file), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["size"] < 8_000_000
    assert told["machine"] == {}
    with Shop.start(tmp_path / "home", MARKET_SHELF="none") as other:
        arguments = ("--fingerprint", told["fingerprint"], "--runtime", "process", "--json")
        installed = other.market("bundle", "install", str(file), *arguments)
        assert installed.returncode == 0, installed.stderr
        (tried,) = json.loads(installed.stdout)["acceptance"]
        assert tried["passed"] and tried["runtime"] == "process"
