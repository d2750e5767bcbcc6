"""Filling the shelf: with a small real index on the loopback, and with real packages."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlmodel import Session, select

from catalog import blobs, shelf, signing
from catalog.entries import STARTER, Entry, load_entry
from catalog.errors import FetchError
from catalog.listings import current_version, get_listing, get_version, versions_of
from catalog.models import Artifact, Listing, ShelfItem, ShelfState
from catalog.shelf import DownloadCache, ensure_items, fill_entry, shelf_status, waiting
from catalog.storage import sha256_of
from tests.catalog.sources import FileServer, zip_of
from tests.shelf_files import cache_dir

WHEEL = zip_of({"thing/model.onnx": b"weights" * 1000, "thing/words.txt": b"words"})


class Refused(Exception):
    """An error of another package with the same shape as ours."""

    code = "conversion-failed"

    def __init__(self, **facts: object) -> None:
        self.facts = facts


@pytest.fixture
def root(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Entries `one` and `two` from one archive on a real index; `two` is built."""
    archive = server.offer("thing", "1", "thing-1-py3-none-any.whl", WHEEL)
    monkeypatch.setenv("PIP_INDEX_URL", server.indexes.urls[0])
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", server.indexes.urls[0])
    root = tmp_path / "starter"
    for entry_id in ("one", "two"):
        folder = root / entry_id
        folder.mkdir(parents=True)
        (folder / "listing.json").write_text(json.dumps(_listing(entry_id, archive.__dict__, tmp_path)))
        model = {"task": "tensors", "files": {"model": "model.onnx"}, "options": {}, "examples": []}
        (folder / "model.json").write_text(json.dumps(model))
    return root


def _listing(entry_id: str, archive: dict[str, Any], folder: Path) -> dict[str, Any]:
    held = folder / "held"
    held.write_bytes(b"weights" * 1000)
    source = {
        "archive": archive["file"],
        "from": "thing/model.onnx",
        "size": 7000,
        "sha256": sha256_of(held),
    }
    built = {"path": "made.bin", "build": "copy"}
    data = {
        "id": entry_id,
        "version": "1.0.0",
        "kind": "model",
        "tier": "core",
        "verticals": ["legal"],
        "languages": ["zh"],
        "title_zh": "标题",
        "title_en": entry_id,
        "summary_zh": "简介",
        "summary_en": "Summary",
        "license_package": "MIT",
        "license_weights": "LicenseRef-not-stated",
        "archives": [archive],
        "artifacts": [{"path": "model.onnx", **source}, *([built] if entry_id == "two" else [])],
    }
    if entry_id == "two":
        data["build"] = {"builder": "copy", "inputs": {"raw": source}, "options": {}}
    return data


def _copy(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Any) -> None:
    shutil.copyfile(inputs["raw"], out / "made.bin")


def _fill(
    engine: Engine, home: Path, entry: Entry, *, keep: bool = False, builder: Any = _copy
) -> ShelfState:
    cache = DownloadCache(home / "cache" / "downloads", keep)
    return fill_entry(engine, entry, home, cache, {"copy": builder})


def _item(engine: Engine, entry_id: str) -> ShelfItem:
    with Session(engine) as db:
        item = db.get(ShelfItem, entry_id)
        assert item is not None
        return item


def _ensure(
    engine: Engine, root: Path = STARTER, tiers: tuple[str, ...] = ("core",), only: tuple[str, ...] = ()
) -> list[str]:
    with Session(engine) as db:
        ensure_items(db, tiers, only, root)
        db.commit()
        return waiting(db)


def test_an_entry_comes_on_the_shelf(root: Path, engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert _ensure(engine, root) == ["one", "two"]
    notes: list[str] = []
    entry = load_entry("one", root)
    cache = DownloadCache(home / "downloads")
    state = fill_entry(engine, entry, home, cache, {}, lambda: notes.append(_item(engine, "one").state))
    assert state == ShelfState.ready
    assert (notes[0], notes[-1]) == ("fetching", "ready")
    item = _item(engine, "one")
    assert item.done == item.total == entry.bytes
    with Session(engine) as db:
        listing, version = get_version(db, "opc-market/one")
        assert (listing.title_en, listing.task, listing.verticals) == ("one", "tensors", ["legal"])
        assert version.source == "pypi://thing==1/thing/model.onnx"
        assert (version.license_package, version.license_weights) == ("MIT", "LicenseRef-not-stated")
        assert [a.path for a in db.exec(select(Artifact))] == ["model.onnx"]
        folder = blobs.materialize(home, version.manifest, version.digest)
        assert signing.verify(home, folder, version.digest).fingerprint
        status = shelf_status(db)
        assert (status.ready, status.total, status.failed) == (1, 2, 0)
    assert _ensure(engine, root) == ["two"]


def test_entries_share_an_archive(root: Path, server: FileServer, engine: Engine, tmp_path: Path) -> None:
    """It is fetched once, and goes when nobody needs it any more."""
    home = tmp_path / "home"
    _ensure(engine, root)
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.ready
    kept = home / "cache" / "downloads" / "thing-1-py3-none-any.whl"
    assert kept.exists()
    assert _fill(engine, home, load_entry("two", root)) == ShelfState.ready
    assert not kept.exists()
    assert len(server.asked(kept.name)) == 1


def test_archives_stay_when_asked(root: Path, engine: Engine, tmp_path: Path) -> None:
    _ensure(engine, root, only=("one",))
    assert _fill(engine, tmp_path / "home", load_entry("one", root), keep=True) == ShelfState.ready
    assert (tmp_path / "home" / "cache" / "downloads" / "thing-1-py3-none-any.whl").exists()


def test_failure_is_written_down_and_mended(
    root: Path, server: FileServer, engine: Engine, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)
    good = server.files["thing-1-py3-none-any.whl"]
    server.files["thing-1-py3-none-any.whl"] = b"x" * len(good)
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.failed
    item = _item(engine, "one")
    assert item.error_code == "digest-mismatch"
    assert item.error_facts["file"] == "thing-1-py3-none-any.whl"
    with Session(engine) as db:
        assert db.exec(select(Listing)).all() == []
        assert shelf_status(db).failed == 1
    server.files["thing-1-py3-none-any.whl"] = good
    assert _ensure(engine, root) == ["one", "two"]
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.ready
    assert _item(engine, "one").error_code == ""


def test_failed_build_leaves_nothing(root: Path, engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)

    def refuse(*_: Any) -> None:
        raise Refused(why="accuracy .7", accuracy=0.7, path=tmp_path)

    assert _fill(engine, home, load_entry("two", root), builder=refuse) == ShelfState.failed
    item = _item(engine, "two")
    assert item.error_code == "conversion-failed"
    assert item.error_facts == {"why": "accuracy .7", "accuracy": 0.7, "path": str(tmp_path)}

    def stumble(*_: Any) -> None:
        raise ZeroDivisionError("by nothing")

    assert _fill(engine, home, load_entry("two", root), builder=stumble) == ShelfState.failed
    assert _item(engine, "two").error_code == "build-failed"
    with Session(engine) as db:
        assert db.exec(select(Listing)).all() == []
    assert [p for p in (home / "cache" / "build").iterdir() if p.is_dir()] == []
    assert not (home / "models").exists()


def test_twice_is_once(root: Path, engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)
    for _ in range(2):
        assert _fill(engine, home, load_entry("two", root)) == ShelfState.ready
    with Session(engine) as db:
        listing = get_listing(db, "opc-market/two")
        assert [v.number for v in versions_of(db, listing)] == ["1.0.0"]


def test_changed_entry_becomes_a_new_version(root: Path, engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)
    _fill(engine, home, load_entry("one", root))
    path = root / "one" / "model.json"
    first = path.read_text()
    path.write_text(json.dumps(json.loads(first) | {"options": {"threshold": 0.5}}))
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.ready
    with Session(engine) as db:
        assert current_version(db, get_listing(db, "opc-market/one")).number == "1.0.1"
    path.write_text(first)
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.ready
    with Session(engine) as db:
        assert len(versions_of(db, get_listing(db, "opc-market/one"))) == 2


def test_damaged_blob_is_mended_by_fetching_again(root: Path, engine: Engine, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)
    _fill(engine, home, load_entry("one", root))
    with Session(engine) as db:
        version = get_version(db, "opc-market/one")[1]
        manifest = version.manifest
    blob = blobs.blob_path(home, manifest["artifacts"][0]["sha256"])
    blob.chmod(0o644)
    blob.write_bytes(b"rotten")
    cache = DownloadCache(home / "cache" / "downloads")
    shelf.fetch_entry(load_entry("one", root), home, cache, {})
    folder = blobs.materialize(home, manifest)
    assert (folder / "model.onnx").read_bytes() == b"weights" * 1000


def test_no_network_needed_for_what_is_here(
    root: Path, server: FileServer, engine: Engine, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    _ensure(engine, root)
    assert _fill(engine, home, load_entry("one", root)) == ShelfState.ready
    server.projects.clear()
    asked = len(server.requests)
    cache = DownloadCache(tmp_path / "empty")
    shelf.fetch_entry(load_entry("one", root), home, cache, {})
    shelf.fetch_entry(load_entry("two", root), home, cache, {"copy": _copy})
    assert len(server.requests) == asked
    blobs.blob_path(home, load_entry("one", root).files[0].sha256).unlink()
    with pytest.raises(FetchError):
        shelf.fetch_entry(load_entry("one", root), home, cache, {})


def test_items_of_other_choices_go(root: Path, engine: Engine) -> None:
    assert _ensure(engine, root) == ["one", "two"]
    assert _ensure(engine, root, only=("two",)) == ["two"]
    assert _ensure(engine, root, "none") == []


def test_ready_without_its_listing_is_filled_again(root: Path, engine: Engine) -> None:
    _ensure(engine, root)
    with Session(engine) as db:
        item = db.get(ShelfItem, "one")
        assert item is not None
        item.state = ShelfState.ready
        db.add(item)
        db.commit()
    assert _ensure(engine, root) == ["one", "two"]


@pytest.mark.network
def test_kill_while_filling_goes_on(engine: Engine, tmp_path: Path) -> None:
    """A real entry in a process that dies in the middle of its download; the next one resumes it."""
    home = tmp_path / "home"
    _ensure(engine, only=("doc-orientation",))
    entry = shelf.load_entry("doc-orientation")
    code = f"""
import os
from pathlib import Path
from sqlmodel import create_engine
from catalog import shelf
def changed():
    part = Path({str(home)!r}) / "cache" / "downloads" / {entry.archives[0].file + ".part"!r}
    if part.exists() and part.stat().st_size > 500_000:
        os.kill(os.getpid(), 9)
shelf.EVERY = 0.0
engine = create_engine({str(engine.url)!r})
cache = shelf.DownloadCache(Path({str(home)!r}) / "cache" / "downloads")
shelf.fill_entry(engine, shelf.load_entry("doc-orientation"), Path({str(home)!r}), cache, {{}}, changed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert _item(engine, "doc-orientation").state == ShelfState.fetching
    assert _ensure(engine, only=("doc-orientation",)) == ["doc-orientation"]
    part = home / "cache" / "downloads" / (entry.archives[0].file + ".part")
    assert part.stat().st_size > 500_000
    assert _fill(engine, home, entry) == ShelfState.ready
    with Session(engine) as db:
        assert get_version(db, "opc-market/doc-orientation")[1].size == entry.files[0].size


@pytest.mark.network
@pytest.mark.parametrize("entry", shelf.load_entries(), ids=lambda e: e.id)
def test_every_entry_is_as_pinned(entry: Entry) -> None:
    """All archives and inner files of the shelf are on the index with these sizes and digests."""
    from tests.shelf_files import archive_member

    for source in entry.sources():
        assert archive_member(entry.id, source.inner).stat().st_size == source.size
    assert cache_dir().exists()
