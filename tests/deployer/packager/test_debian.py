"""Bases out of Debian packages, for both architectures: small, complete, licensed, and without a shell."""

import io
import lzma
from pathlib import Path

import pytest

from deployer.errors import PackagingFailed
from deployer.packager import base as bases
from deployer.packager import debian
from deployer.packager.layers import Tree, file, write_tar
from tests.deployer.packager.shared_objects import MACHINES, read
from tests.deployer.packager.test_layers import ar

CACHE = f"cache/debian-{bases.FORM}"


def fetched(home: Path, arch: str) -> list[Path]:
    return debian.fetch(home / CACHE / arch, arch)


def tar(tree: Tree) -> bytes:
    out = io.BytesIO()
    write_tar(tree, out)
    return out.getvalue()


def package(folder: Path, **parts: bytes) -> Path:
    path = folder / "python3.11-minimal_3.11.2_amd64.deb"
    path.write_bytes(
        ar(("debian-binary", b"2.0\n"), *((f"{name}.tar.xz", data) for name, data in parts.items()))
    )
    return path


@pytest.mark.network
@pytest.mark.parametrize("arch", MACHINES)
def test_a_base_is_for_its_architecture_alone_and_lacks_no_library(image_home: Path, arch: str) -> None:
    tree = debian.root_tree(fetched(image_home, arch))
    contents = {path: entry.read() for path, entry in tree.items() if entry.read}
    objects = {path: read(data) for path, data in contents.items() if data.startswith(b"\x7fELF")}
    assert len(objects) > 30
    assert {found.machine for found in objects.values()} == {MACHINES[arch]}
    names = {path.rpartition("/")[2] for path in tree}
    assert {needed for found in objects.values() for needed in found.needed} <= names


@pytest.mark.network
def test_no_shell_no_package_manager_and_nobody_but_two_users(image_home: Path) -> None:
    packages = fetched(image_home, "amd64")
    tree = debian.root_tree(packages)
    programs = {path for path in tree if path.startswith("usr/bin/")}
    assert programs == {"usr/bin/python3", f"usr/bin/python{debian.python_version(packages)}"}
    assert not [path for path in tree if path.startswith(("usr/sbin/", "usr/lib/apt", "usr/lib/dpkg"))]
    assert not [path for path, entry in tree.items() if entry.mode & 0o6000]
    users = tree["etc/passwd"].read
    assert users and [line.split(b":")[2] for line in users().splitlines()] == [b"0", b"65532"]


@pytest.mark.network
@pytest.mark.parametrize("arch", MACHINES)
def test_every_package_brings_its_licence_and_is_known_to_scanners(image_home: Path, arch: str) -> None:
    packages = fetched(image_home, arch)
    tree = debian.root_tree(packages)
    for path in packages:
        name = path.name.split("_", 1)[0]
        folder = f"usr/share/doc/{name}"
        folder = f"usr/share/doc/{tree[folder].link}" if folder in tree else folder
        assert f"{folder}/copyright" in tree, name
        control = tree[f"var/lib/dpkg/status.d/{name}"].read
        assert control and f"Package: {name}\n".encode() in control()
    assert {"usr/share/common-licenses/GPL-3", "usr/share/common-licenses/LGPL-2.1"} <= set(tree)
    release = tree["usr/lib/os-release"].read
    assert release and b"ID=" in release()


def test_sources_that_do_not_answer_are_named_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not debian.available():
        pytest.skip("no apt-get here")
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(PackagingFailed) as refused:
        debian.fetch(tmp_path / "debian" / "amd64", "amd64")
    why = str(refused.value.facts["why"])
    assert "no python3" in why and "127.0.0.1" in why
    assert list((tmp_path / "debian").iterdir()) == []


def test_a_broken_package_is_named(tmp_path: Path) -> None:
    sound = lzma.compress(tar({"./control": file(b"Package: python3.11-minimal\n")}))
    for data in (b"odd", sound[:-20], lzma.compress(b"no tar at all" * 100)):
        path = package(tmp_path, control=sound, data=data)
        with pytest.raises(PackagingFailed, match="is broken"):
            debian.root_tree([path])
    with pytest.raises(PackagingFailed, match="holds no data"):
        debian.root_tree([package(tmp_path, control=sound)])
