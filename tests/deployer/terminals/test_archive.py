"""Folders as .zip: one spelling on the way out, suspicion on the way in."""

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from deployer.errors import PackagingFailed
from deployer.terminals import archive


def folder_at(path: Path) -> Path:
    """A page with an odd name, an empty file, a program and a graph."""
    for name, content in {
        "index.html": b"<!doctype html>",
        "模型/model.ort": bytes(range(256)) * 40,
        "gradlew": b"#!/bin/sh\n",
        "empty": b"",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / "gradlew").chmod(0o700)
    return path


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = folder_at(tmp_path / name)
        os.utime(folder / "index.html", (0, 0) if name == "one" else (10**9, 10**9))
        archive.pack(folder, tmp_path / f"{name}.zip", "page-1.0.0")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    (tmp_path / "two" / "empty").write_bytes(b"x")
    archive.pack(tmp_path / "two", tmp_path / "other.zip", "page-1.0.0")
    assert (tmp_path / "other.zip").read_bytes() != (tmp_path / "one.zip").read_bytes()


def test_what_is_packed_comes_out_again(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = folder_at(tmp_path / "in")
    archive.pack(folder, tmp_path / "x.zip", "top", lambda done, total, note="": told.append((done, total)))
    archive.unpack(tmp_path / "x.zip", tmp_path / "out")
    files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == files
    assert stat.S_IMODE((out / "gradlew").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "index.html").stat().st_mode) == 0o644
    assert told[-1][0] == told[-1][1] == sum(map(len, files.values()))
    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        assert all(entry.filename.startswith("top/") for entry in opened.infolist())


def test_links_are_not_packed(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "in")
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(PackagingFailed, match="link"):
        archive.pack(folder, tmp_path / "x.zip", "top")


def zipped(path: Path, names: list[str], mode: int = stat.S_IFREG | 0o644) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            made.writestr(entry, b"x")
    path.write_bytes(content.getvalue())
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["top/../../evil"],
        ["/etc/evil"],
        ["top/a\\..\\b"],
        ["alone"],
        ["top/a", "top/a/b"],
        ["top//a"],
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(PackagingFailed):
        archive.unpack(zipped(tmp_path / "x.zip", names), tmp_path / "out")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_occur_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackagingFailed):
        archive.unpack(zipped(tmp_path / "x.zip", ["top/a", "top/a"]), tmp_path / "out")
    with pytest.raises(PackagingFailed):
        archive.unpack(zipped(tmp_path / "y.zip", ["top/a", "other/a"]), tmp_path / "out")


def test_links_are_not_unpacked(tmp_path: Path) -> None:
    file = zipped(tmp_path / "x.zip", ["top/link"], stat.S_IFLNK | 0o777)
    with pytest.raises(PackagingFailed):
        archive.unpack(file, tmp_path / "out")


def test_damage_and_full_folders_are_refused(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "in")
    archive.pack(folder, tmp_path / "x.zip", "top")
    with pytest.raises(PackagingFailed, match="not empty"):
        archive.unpack(tmp_path / "x.zip", folder)
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    at = whole.index(bytes(range(256)))
    whole[at] ^= 1
    (tmp_path / "bad.zip").write_bytes(whole)
    (tmp_path / "no.zip").write_bytes(b"no archive")
    for name in ("bad.zip", "no.zip"):
        with pytest.raises(PackagingFailed):
            archive.unpack(tmp_path / name, tmp_path / f"from-{name}")
        assert not (tmp_path / f"from-{name}").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
