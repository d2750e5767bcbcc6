"""Archives by their own records: the tricks that libraries fall for, and the archives that they write."""

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from catalog.scan import archives
from catalog.scan.findings import Refused
from tests.catalog.scan import forge

_SOUND = {"a/model.onnx": b"x" * 5000, "a/labels.txt": b"cat\n" * 400}


def _double(first: bytes, second: bytes) -> bytes:
    """A zip in which a name stands twice."""
    body = forge.zipped({"a.txt": first, "b.txt": second})
    return body.replace(b"b.txt", b"a.txt")


def _overlapping() -> bytes:
    """Two entries of the directory that share one member's bytes."""
    body = forge.zipped({"a.txt": b"x" * 5000, "b.txt": b"x" * 5000})
    at = body.rfind(b"PK\x01\x02")
    first = body.find(b"PK\x01\x02")
    patched = bytearray(body)
    patched[at + 42 : at + 46] = body[first + 42 : first + 46]
    patched[at + 46 : at + 51] = b"a.txt"
    return bytes(patched)


def _lying(field: str) -> bytes:
    """A zip whose directory says something else than the member's own record."""
    body = bytearray(forge.zipped({"a.txt": b"x" * 5000}))
    at = body.find(b"PK\x01\x02")
    if field == "name":
        body[at + 46 : at + 51] = b"b.txt"
    else:
        offset = {"size": 24, "packed": 20, "crc": 16}[field]
        struct.pack_into("<I", body, at + offset, 7)
        if field == "size":
            struct.pack_into("<I", body, at + 20, 7)
    return bytes(body)


def _link() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("passwd.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return made.getvalue()


def _bomb() -> bytes:
    return forge.zipped({"zeros.bin": bytes(200 << 20)}, zipfile.ZIP_DEFLATED)


def _locked() -> bytes:
    body = bytearray(forge.zipped({"a.txt": b"x"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.find(mark) + at] |= 1
    return bytes(body)


ZIPS = {
    "slip": (lambda: forge.zipped({"../../etc/cron.d/x": b"x"}), "archive-name-unsafe"),
    "absolute": (lambda: forge.zipped({"/etc/passwd": b"x"}), "archive-name-unsafe"),
    "backslash": (lambda: forge.zipped({"..\\..\\x.txt": b"x"}), "archive-name-unsafe"),
    "name twice": (lambda: _double(b"1", b"2"), "archive-name-twice"),
    "name twice but for case": (lambda: forge.zipped({"a.txt": b"1", "A.txt": b"2"}), "archive-name-twice"),
    "overlap": (_overlapping, "archive-name-twice"),
    "other name": (lambda: _lying("name"), "archive-contradicts"),
    "other size": (lambda: _lying("size"), "archive-contradicts"),
    "other checksum": (lambda: _lying("crc"), "archive-contradicts"),
    "link": (_link, "archive-link"),
    "bomb": (_bomb, "archive-bomb"),
    "locked": (_locked, "archive-encrypted"),
    "cut off": (lambda: forge.zipped(_SOUND)[:-30], "archive-invalid-records"),
    "with a tail": (lambda: forge.zipped(_SOUND) + b"tail", "archive-invalid-records"),
    "behind something": (lambda: b"#!/bin/sh\n" + forge.zipped(_SOUND), "archive-invalid-records"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_hostile_zip_is_refused(name: str, tmp_path: Path) -> None:
    make, code = ZIPS[name]
    (tmp_path / "a.zip").write_bytes(make())
    with pytest.raises(Refused) as refused:
        archives.check_zip(tmp_path / "a.zip")
    assert refused.value.code == code


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """A member that begins within the one before it, as bombs are built that no ratio shows."""
    body = forge.zipped({"a.txt": b"x" * 200 + forge.zipped({"b.txt": b"y" * 60})[:95]})
    inner = body.find(b"PK\x03\x04", 4)
    directory = body.find(b"PK\x01\x02", body.find(b"PK\x01\x02") if body.count(b"PK\x01\x02") > 1 else 0)
    central = bytearray(body[directory : body.rfind(b"PK\x05\x06")])
    second = bytearray(forge.zipped({"b.txt": b"y" * 60}))
    entry = second[second.find(b"PK\x01\x02") : second.rfind(b"PK\x05\x06")]
    struct.pack_into("<I", entry, 42, inner)
    both = bytes(central + entry)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 2, 2, len(both), directory, 0)
    (tmp_path / "a.zip").write_bytes(body[:directory] + both + end)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["a.txt", "b.txt"]
    with pytest.raises(Refused) as refused:
        archives.check_zip(tmp_path / "a.zip")
    assert refused.value.code == "archive-overlap"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sound_zip_gives_its_members(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("a")
        for name, body in _SOUND.items():
            archive.writestr(name, body)
    members = {m.name: m.size for m in archives.check_zip(path)}
    assert members == {"a/": 0, **{name: len(body) for name, body in _SOUND.items()}}


def test_zip_that_is_written_as_a_stream_gives_its_members(tmp_path: Path) -> None:
    """Its sizes stand behind the members, and zip64 records before the end."""
    reading, writing = os.pipe()
    path = tmp_path / "a.zip"
    with (
        os.fdopen(writing, "wb") as out,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(zipfile.ZipInfo("a.txt"), "w", force_zip64=True) as member,
    ):
        member.write(b"x" * 900)
    with os.fdopen(reading, "rb") as come:
        path.write_bytes(come.read())
    assert [(m.name, m.size) for m in archives.check_zip(path)] == [("a.txt", 900)]


def _tar(fill: Callable[[tarfile.TarFile], object], mode: str = "w:gz") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as tar:  # type: ignore[call-overload]
        fill(tar)
    return made.getvalue()


def _add(tar: tarfile.TarFile, name: str, body: bytes = b"x", **more: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(body))


TARS: dict[str, tuple[Callable[[tarfile.TarFile], object], str]] = {
    "slip": (lambda t: _add(t, "../x"), "archive-name-unsafe"),
    "absolute": (lambda t: _add(t, "/etc/x"), "archive-name-unsafe"),
    "symbolic link": (lambda t: _add(t, "x", b"", type=tarfile.SYMTYPE, linkname="/etc"), "archive-link"),
    "hard link": (lambda t: _add(t, "x", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "archive-link"),
    "device": (lambda t: _add(t, "x", b"", type=tarfile.CHRTYPE), "archive-special"),
    "pipe": (lambda t: _add(t, "x", b"", type=tarfile.FIFOTYPE), "archive-special"),
    "name twice": (lambda t: (_add(t, "x"), _add(t, "x")), "archive-name-twice"),
    "bomb": (lambda t: _add(t, "x", bytes(300 << 20)), "archive-bomb"),
}


@pytest.mark.parametrize("name", TARS)
def test_hostile_tar_is_refused(name: str, tmp_path: Path) -> None:
    fill, code = TARS[name]
    (tmp_path / "a.tar.gz").write_bytes(_tar(fill))
    with pytest.raises(Refused) as refused:
        archives.check_tar(tmp_path / "a.tar.gz")
    assert refused.value.code == code


def test_tar_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(_tar(lambda t: _add(t, "x", os.urandom(5000)))[:-2000])
    with pytest.raises(Refused) as refused:
        archives.check_tar(tmp_path / "a.tar.gz")
    assert refused.value.code == "archive-invalid-records"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_sound_tar_gives_its_files(mode: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(_tar(lambda t: (_add(t, "./a/b.txt", b"cat"), _add(t, "c")), mode))
    assert archives.check_tar(tmp_path / "a.tar") == [("./a/b.txt", 3), ("c", 1)]
