"""The table of terminals, what is asked of it, and packages that are made once."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog import signing
from deployer import devices, terminals
from deployer.errors import DiskFull, PlatformNotSupported, TerminalNotSupported, UnknownDevice
from deployer.packager import output
from deployer.packager.release import Release, Workshop, of_folder
from deployer.terminals import TERMINALS, UnknownTerminal

CONTENT = b"not a graph, and nobody looks"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """A model folder of two files."""
    import hashlib

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(CONTENT)
    (folder / "labels.json").write_text('["a"]')
    manifest = {
        "schema": 1,
        "name": "opc-market/small",
        "version": "1.2.0",
        "task": "tensors",
        "files": {"model": "model.onnx"},
        "options": {},
        "examples": [],
        "artifacts": [
            {
                "path": path.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size": path.stat().st_size,
            }
            for path in sorted(folder.iterdir())
        ],
    }
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    (folder / "manifest.json").write_text(text)
    return of_folder(folder)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    home = tmp_path / "home"
    signing.ensure_key(home)
    public = signing.public_key(home).read_bytes()
    return Workshop(home, sign=lambda data: signing.sign_bytes(home, data), public_key=public)


# The table


def test_every_terminal_names_known_devices_and_speaks_both_languages() -> None:
    assert [each.id for each in TERMINALS] == ["image", "modelpack", "box", "browser", "android", "ios"]
    for each in TERMINALS:
        for device in each.devices:
            seen = {each.most, devices.profile(device).runs_here}
            assert each.grade(device) == max(seen, key=tuple(devices.GRADES).index)
        for name in ("title", "gives", "runs"):
            assert getattr(each, f"{name}_en").isascii()
            assert any("\u4e00" <= c <= "\u9fff" or c == "i" for c in getattr(each, f"{name}_zh"))


def test_the_grade_of_an_image_is_the_least_of_its_platforms() -> None:
    image = terminals.terminal("image")
    own = "linux/arm64" if devices.machine() == "arm64" else "linux/amd64"
    other = ({"linux/amd64", "linux/arm64"} - {own}).pop()
    assert image.grade("cpu", [own]) == "measured"
    assert image.grade("cpu", [own, other]) == image.grade("cpu", [other]) != "measured"
    assert image.grade("cuda", [own]) == "checked"


# Orders


def test_an_image_is_for_this_machine_unless_told_otherwise() -> None:
    own = terminals.order("image")
    assert (own.device, len(own.platforms)) == ("cpu", 1)
    both = terminals.order("image", platforms=["arm64", "linux/x86_64", "linux/arm64"])
    assert both.platforms == ("linux/amd64", "linux/arm64")
    assert both == terminals.order("image", platforms=["linux/amd64", "linux/arm64"])
    assert terminals.order("image", device="qnn").platforms == ("linux/arm64",)
    assert terminals.order("browser").device == "browser-wasm"


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"id": "toaster"}, UnknownTerminal),
        ({"id": "image", "device": "toaster"}, UnknownDevice),
        ({"id": "browser", "device": "cuda"}, UnknownDevice),
        ({"id": "image", "platforms": ["linux/riscv64"]}, PlatformNotSupported),
        ({"id": "image", "platforms": ["windows/amd64"]}, PlatformNotSupported),
        ({"id": "image", "platforms": ["linux/amd64"], "device": "qnn"}, PlatformNotSupported),
        ({"id": "browser", "platforms": ["linux/amd64"]}, PlatformNotSupported),
    ],
)
def test_what_cannot_be_asked_for(asked: dict[str, Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        terminals.order(**asked)


def test_a_device_that_needs_its_vendors_base_says_so(release: Release) -> None:
    wanted = terminals.order("image", device="cann")
    with pytest.raises(TerminalNotSupported) as refused:
        terminals.require(release, wanted)
    assert "CANN" in refused.value.facts["why"] and "CANN" in refused.value.facts["why_zh"]


def test_the_key_stands_for_what_decides_about_the_bytes(release: Release, workshop: Workshop) -> None:
    amd64 = terminals.order("image", platforms=["amd64"])
    keys = {
        terminals.key_of(workshop, release.digest, amd64),
        terminals.key_of(workshop, release.digest, terminals.order("image", platforms=["arm64"])),
        terminals.key_of(workshop, release.digest, terminals.order("image", platforms=["amd64", "arm64"])),
        terminals.key_of(workshop, release.digest, terminals.order("modelpack")),
        terminals.key_of(workshop, "sha256:other", amd64),
        terminals.key_of(Workshop(workshop.home), release.digest, amd64),
    }
    assert len(keys) == 6
    again = terminals.order("image", platforms=["linux/amd64"])
    assert terminals.key_of(workshop, release.digest, again) in keys


# Packages


def make(workshop: Workshop, release: Release, **more: Any) -> terminals.Package:
    return terminals.package(workshop, release, "modelpack", **more)


def test_a_package_is_made_once_and_is_what_it_says(release: Release, workshop: Workshop) -> None:
    entered: list[str] = []
    made = make(workshop, release, entering=entered.append)
    assert entered == ["assemble", "prove", "write"]
    assert made.file_name == "small-1.2.0-modelpack.tar"
    assert made.path.stat().st_size == made.size
    with output.opened(made.path) as layout:
        ((name, root),) = layout.names()
        assert (name, root.digest) == ("1.2.0", made.facts["root"])
    again = make(workshop, release, entering=entered.append)
    assert (again, len(entered)) == (made, 3)


def test_two_homes_with_one_key_make_the_same_bytes(
    release: Release, workshop: Workshop, tmp_path: Path
) -> None:
    other = Workshop(tmp_path / "other", sign=workshop.sign, public_key=workshop.public_key)
    assert make(workshop, release).digest == make(other, release).digest


@pytest.mark.parametrize("damage", ["cut", "file-gone", "facts-gone", "facts-torn"])
def test_a_damaged_package_is_made_again(release: Release, workshop: Workshop, damage: str) -> None:
    made = make(workshop, release)
    told = made.path.with_name(terminals.FILE_NAME)
    if damage == "cut":
        os.truncate(made.path, 100)
    elif damage == "file-gone":
        made.path.unlink()
    elif damage == "facts-gone":
        told.unlink()
    else:
        told.write_text('{"file_name":')
    assert terminals.kept(workshop.home, made.path.parent.name) is None
    assert make(workshop, release) == made
    assert made.path.stat().st_size == made.size


def test_what_a_killed_build_left_is_cleared(release: Release, workshop: Workshop) -> None:
    key = terminals.key_of(workshop, release.digest, terminals.order("modelpack"))
    left = workshop.home / "packages" / f".{key}-left"
    left.mkdir(parents=True)
    (left / "half.tar").write_bytes(b"x" * 1000)
    make(workshop, release)
    assert sorted(path.name for path in left.parent.iterdir()) == sorted([key, f".{key}.lock"])


def test_a_failure_leaves_nothing(release: Release, workshop: Workshop) -> None:
    def enter(step: str) -> None:
        if step == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(workshop, release, entering=enter)
    assert [p.suffix for p in (workshop.home / "packages").iterdir()] == [".lock"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB, where this machine may mount one."""
    import subprocess

    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named(release: Release, workshop: Workshop, small_disk: Path) -> None:
    (small_disk / "packages").mkdir()
    (small_disk / "ballast").write_bytes(bytes(190_000))
    (workshop.home / "images").mkdir()
    (small_disk / "images").symlink_to(workshop.home / "images")
    full = Workshop(small_disk, sign=workshop.sign, public_key=workshop.public_key)
    with pytest.raises(DiskFull):
        make(full, release)
    assert not [p for p in (small_disk / "packages").iterdir() if p.is_dir()]
    shutil.rmtree(small_disk / "packages")
    (small_disk / "ballast").unlink()
    assert make(full, release).size > 0
