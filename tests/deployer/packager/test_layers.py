"""Layers, layout and Debian packages without an engine: the same bytes each time, nothing half-written."""

import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployer.errors import PackagingFailed
from deployer.packager import bytecode, debian
from deployer.packager.archive import stream
from deployer.packager.image import assemble
from deployer.packager.layers import Entry, file, from_wheels, layer, write_tar
from deployer.packager.layout import Layout


def tar_of(tree: dict[str, Entry]) -> bytes:
    out = io.BytesIO()
    write_tar(tree, out)
    return out.getvalue()


def test_a_layer_depends_on_its_content_alone() -> None:
    tree = {
        "app/b": file(b"2"),
        "app/a": file(b"1", 0o755),
        "bin": Entry(link="usr/bin"),
        "tmp": Entry(0o1777),
    }
    turned = dict(reversed(tree.items()))
    assert tar_of(tree) == tar_of(turned)
    with tarfile.open(fileobj=io.BytesIO(tar_of(tree))) as read:
        members = {m.name: (m.mode, m.mtime, m.uid, m.type) for m in read}
    assert list(members) == ["app", "app/a", "app/b", "bin", "tmp"]
    assert members["app/a"] == (0o755, 0, 0, tarfile.REGTYPE)
    assert members["tmp"] == (0o1777, 0, 0, tarfile.DIRTYPE)


@pytest.mark.parametrize("path", ["../etc/passwd", "app/../../etc/passwd", "/etc/passwd"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    with pytest.raises(PackagingFailed, match="leads out"):
        tar_of({path: file(b"x")})


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    layout, made = Layout(tmp_path), []

    def make() -> dict[str, Entry]:
        made.append(1)
        return {"a": file(b"1")}

    first = layer(layout, ["key", 1], make)
    assert layer(layout, ["key", 1], make) == first
    assert len(made) == 1
    assert hashlib.sha256(layout.path(first.digest).read_bytes()).hexdigest() == first.digest[7:]
    layout.path(first.digest).unlink()
    assert layer(layout, ["key", 1], make) == first
    assert len(made) == 2


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(OSError, match="disk"), layout.writing() as writer:
        writer.write(b"half")
        raise OSError("disk full")
    assert list(layout.blobs.iterdir()) == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_name_points_to_one_manifest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for content in (b"1", b"2"):
        bottom = layer(layout, content.decode(), lambda c=content: {"a": file(c)})  # type: ignore[misc]
        image = assemble(layout, (bottom,), {"User": "1:1"}, arch="amd64")
        layout.tag(image.manifest, "opc-market/runtime:test")
    index = json.loads((tmp_path / "index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [image.manifest.digest]
    config = json.loads(layout.path(image.config.digest).read_bytes())
    assert config["rootfs"]["diff_ids"] == [bottom.digest]
    assert image.tag("x") == f"x:{image.config.digest[7:19]}"


def test_the_archive_leaves_out_what_the_engine_has(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layers = tuple(layer(layout, n, lambda n=n: {n: file(n.encode())}) for n in ("a", "b"))  # type: ignore[misc]
    image = assemble(layout, layers, {}, arch="arm64")

    def names(skip: set[str]) -> list[str]:
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream(layout, image, "x:1", skip)))) as read:
            return read.getnames()

    assert len(names(set())) - len(names({layers[0].digest})) == 1
    assert names(set())[:3] == ["oci-layout", "index.json", "manifest.json"]


def test_wheels_are_unpacked_as_an_installer_would_but_for_what_no_server_loads(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        for name in (
            "thing/__init__.py",
            "thing/tests/test_a.py",
            "thing/core.pyi",
            "thing-1.0.data/purelib/extra.py",
            "thing-1.0.data/scripts/thing",
            "thing-1.0.dist-info/RECORD",
            "thing-1.0.dist-info/METADATA",
            "thing-1.0.dist-info/licenses/LICENSE",
        ):
            out.writestr(name, "x = 1\n")
    with ExitStack() as stack:
        tree = from_wheels([wheel], "app/site", stack)
        assert {path.removeprefix("app/site/") for path in tree} == {
            "thing/__init__.py",
            "extra.py",
            "thing-1.0.dist-info/METADATA",
            "thing-1.0.dist-info/licenses/LICENSE",
        }


@pytest.mark.parametrize(("core", "kept"), [("core", True), ("_core", False)])
def test_what_only_the_first_numpy_loads_at_once_is_left_to_it(tmp_path: Path, core: str, kept: bool) -> None:
    wheel = tmp_path / "numpy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        for name in ("numpy/random/__init__.py", f"numpy/{core}/__init__.py"):
            out.writestr(name, "x = 1\n")
    with ExitStack() as stack:
        assert ("site/numpy/random/__init__.py" in from_wheels([wheel], "site", stack)) == kept


def test_a_library_under_several_names_is_kept_once(tmp_path: Path) -> None:
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        for name in ("a/libx.so.1.2", "a/libx.so", "a/libx.so.1", "b/libx.so"):
            out.writestr(f"thing/{name}", b"library")
        out.writestr("thing/a/liby.so", b"another")
    with ExitStack() as stack:
        tree = from_wheels([wheel], "site", stack)
    links = {path.removeprefix("site/thing/"): entry.link for path, entry in tree.items()}
    assert links == {
        "a/libx.so": "",
        "a/libx.so.1": "libx.so",
        "a/libx.so.1.2": "libx.so",
        "a/liby.so": "",
        "b/libx.so": "",
    }


def test_compiled_modules_are_the_same_each_time() -> None:
    tree = {"app/a.py": file(b"x = {'a', 'b', 'c'}\ndef f(y): return y in {'k', 'l', 'm'}\n")}
    own = ".".join(map(str, __import__("sys").version_info[:2]))
    first, second = (bytecode.compiled(tree, own) for _ in range(2))
    assert [*first] == [f"app/__pycache__/a.cpython-{own.replace('.', '')}.pyc"]
    assert [entry.read() for entry in first.values() if entry.read] == [
        entry.read() for entry in second.values() if entry.read
    ]
    assert bytecode.compiled(tree, "3.3") == {} and bytecode.identity("3.3") == ""


def test_sources_give_way_to_their_compiled_form_where_there_is_one() -> None:
    own = ".".join(map(str, __import__("sys").version_info[:2]))
    tree = {"app/a.py": file(b"x = 1\n"), "app/broken.py": file(b"x = \n"), "app/b.txt": file(b"b")}
    assert set(bytecode.sourceless(tree, own)) == {"app/a.pyc", "app/broken.py", "app/b.txt"}
    module = bytecode.sourceless(tree, own)["app/a.pyc"].read
    assert module and b"/app/a.py" in module()  # tracebacks name the place in the image
    assert bytecode.sourceless(tree, "3.3") == tree


FULL = r"""
import resource, sys
from deployer.errors import DiskFull
from deployer.packager import bytecode
from deployer.packager.layers import file
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
tree = {"a.py": file(b"x = 1"), "b.py": file(b"import a, b, c, d, e, f, g, h, i\n" * 10)}
try:
    bytecode.sourceless(tree, ".".join(map(str, sys.version_info[:2])))
except DiskFull:
    print("refused")
"""


def test_a_full_disk_never_gives_half_of_the_modules() -> None:
    """Or an image would lack them, under the digest that is remembered for these inputs."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


def ar(*members: tuple[str, bytes]) -> bytes:
    data = b"!<arch>\n"
    for name, content in members:
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        data += content + b"\n" * (len(content) % 2)
    return data


def test_debian_packages_are_read_without_dpkg(tmp_path: Path) -> None:
    tree = {
        "./usr/bin/python3.11": file(b"elf", 0o4755),
        "./lib/x86_64-linux-gnu/libc.so.6": file(b"libc"),
        "./usr/bin/bash": file(b"shell", 0o755),
        "./usr/share/doc/python3.11-minimal/copyright": file(b"PSF"),
        "./usr/share/doc/python3.11-minimal/changelog.gz": file(b"long"),
    }
    package = tmp_path / "python3.11-minimal_3.11.2_amd64.deb"
    content = lzma.compress(tar_of(tree))
    control = lzma.compress(tar_of({"./control": file(b"Package: python3.11-minimal\n")}))
    package.write_bytes(
        ar(("debian-binary", b"2.0\n"), ("control.tar.xz", control), ("data.tar.xz", content))
    )
    root = debian.root_tree([package])
    python = root["usr/bin/python3.11"]
    assert python.read and python.read() == b"elf" and python.mode == 0o755
    assert "usr/lib/x86_64-linux-gnu/libc.so.6" in root and root["lib"].link == "usr/lib"
    assert "usr/bin/bash" not in root and "usr/share/doc/python3.11-minimal/changelog.gz" not in root
    assert "usr/share/doc/python3.11-minimal/copyright" in root
    assert root["usr/bin/python3"].link == "python3.11"
    assert root["tmp"].mode == 0o1777
    package.write_bytes(b"no package")
    with pytest.raises(PackagingFailed, match="no Debian package"):
        debian.root_tree([package])


def test_packages_without_python_are_named(tmp_path: Path) -> None:
    with pytest.raises(PackagingFailed, match="no python3"):
        debian.python_version([])
    with pytest.raises(PackagingFailed, match=str(tmp_path)):
        debian.python_version([tmp_path / "libc6_1_amd64.deb"])
