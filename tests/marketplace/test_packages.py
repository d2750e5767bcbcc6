"""Packages as rows on each kind of database, releases out of the catalogue, and out of bare folders."""

import json
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from catalog import blobs, listings, signing
from catalog import manifest as manifests
from catalog.errors import InvalidManifest, UnknownListing
from catalog.listings import NewListing
from deployer import optimizations, packages
from deployer.models import PackageState
from deployer.packager import provenance
from deployer.packages import NewPackage
from marketplace import releases
from marketplace.db import read_session, transaction
from marketplace.settings import load

DIGEST = f"sha256:{'ab' * 32}"


def new(key: str) -> NewPackage:
    return NewPackage(
        key=key,
        listing="opc-market/x",
        version="1.0.0",
        version_digest=DIGEST,
        task="tensors",
        terminal="image",
        device="cpu",
        platforms=["linux/amd64"],
        owner=uuid4(),
    )


def test_asked_by_many_at_once_it_is_one_package(engine: Engine) -> None:
    seen: list[tuple[object, bool]] = []
    start = threading.Barrier(6)

    def ask() -> None:
        start.wait()
        with transaction(engine) as db:
            row, added = packages.create_package(db, new("c" * 64))
            seen.append((row.id, added))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert len({identity for identity, _ in seen}) == 1
    assert [added for _, added in seen].count(True) == 1


def test_a_row_comes_back_as_it_was_written(engine: Engine) -> None:
    with transaction(engine) as db:
        row, _ = packages.create_package(db, new("d" * 64))
        packages.begin_step(db, row, "fetch")
        packages.set_ready(
            db,
            row,
            file_name="x.tar",
            media_type="application/x-tar",
            size=5_000_000_000,
            digest=DIGEST,
            facts={"root": DIGEST},
        )
        identity = row.id
    with read_session(engine) as db:
        row = packages.get_package(db, str(identity))
        assert (row.state, row.size, row.platforms) == (PackageState.ready, 5_000_000_000, ["linux/amd64"])
        assert row.steps[0]["state"] == "done" and row.facts == {"root": DIGEST}


# Releases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My Model"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"graph")
    (made / "signature.json").write_text("{}")
    manifest = {"name": "My Model", "task": "tensors", "files": {"model": "model.onnx"}}
    (made / "manifest.json").write_text(json.dumps(manifest))
    return made


def test_a_listing_becomes_a_release(engine: Engine, tmp_path: Path) -> None:
    manifest = manifests.validate(
        {
            "schema": 1,
            "name": "acme/reader",
            "version": "2.0.1",
            "task": "tensors",
            "files": {"model": "model.onnx"},
            "artifacts": [{"path": "model.onnx", "sha256": "0" * 64, "size": 5}],
        }
    )
    with transaction(engine) as db:
        vendor = listings.ensure_vendor(db, "acme", title_zh="甲", title_en="Acme")
        offer = NewListing(
            "读", "Reader", "读字", "Reads", card_zh="# 读", card_en="# Read", languages=["zh"]
        )
        version = listings.publish_version(
            db, vendor, offer, manifest, license_package="MIT", license_weights="Apache-2.0"
        )
        release = releases.describe(tmp_path, db, "acme/reader")
        assert release == releases.describe(tmp_path, db, "acme/reader@2.0.1")
        assert (release.name, release.version, release.digest) == ("acme/reader", "2.0.1", version.digest)
        assert (release.title_zh, release.license_weights) == ("读", "Apache-2.0")
        assert release.card == "# 读\n\n# Read"
        (step,) = release.chain["steps"]
        assert step["unexplained"] == [{"path": "model.onnx", "sha256": "0" * 64}]
        with pytest.raises(UnknownListing):
            releases.describe(tmp_path, db, "acme/none")
        with pytest.raises(optimizations.UnknownVariant):
            releases.describe(tmp_path, db, "acme/reader", DIGEST)


def test_a_bare_folder_becomes_a_release(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "home"
    release = releases.release_of_folder(home, folder, ("signature.json",))
    assert (release.name, release.version) == ("local/my-model", "0.0.0")
    assert [a["path"] for a in release.manifest["artifacts"]] == ["model.onnx"]
    assert release.folder == blobs.model_dir(home, release.digest)
    assert (release.folder / "model.onnx").read_bytes() == b"graph"
    signing.verify(home, release.folder, release.digest)
    again = releases.release_of_folder(home, folder, ("signature.json",))
    assert again == release
    assert provenance.chain_of(release)["steps"][0]["unexplained"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "tensors", "files": {"model": "nothing.onnx"}}'])
def test_a_folder_without_a_sound_manifest_is_refused(tmp_path: Path, folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InvalidManifest):
        releases.release_of_folder(tmp_path / "home", folder)


def test_the_base_does_not_depend_on_what_answers(tmp_path: Path) -> None:
    for told, meant in (("auto", "debian"), ("debian", "debian"), ("ascendai/cann", "ascendai/cann")):
        settings = load({"MARKET_HOME": str(tmp_path), "MARKET_RUNTIME_BASE": told})
        workshop = releases.workshop_of(settings)
        assert workshop.base == meant
        assert workshop.sign is not None
        signing.verify_bytes(workshop.public_key, b"x", workshop.sign(b"x"))
