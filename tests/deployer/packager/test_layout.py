"""The layout: what it reads is checked, what it writes is there whole or not at all, names stay together."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import ContentCorrupted, DiskFull, PackagingFailed
from deployer.packager.layout import ABANDONED, LARGEST, Descriptor, Layout

KIND = "application/octet-stream"
DIGEST = "sha256:" + "a" * 64


def test_a_descriptor_says_all_that_was_said_of_it() -> None:
    told = {
        "mediaType": KIND,
        "digest": DIGEST,
        "size": 3,
        "annotations": {"a": "b"},
        "artifactType": "text/markdown",
        "platform": {"os": "linux", "architecture": "arm64"},
    }
    found = Descriptor.of(told)
    assert found.to_json() == told
    assert found.plain().to_json() == {"mediaType": KIND, "digest": DIGEST, "size": 3}
    assert len({found, Descriptor.of(told)}) == 1


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"mediaType": KIND, "digest": DIGEST},
        {"mediaType": KIND, "digest": "sha256:../../etc/passwd", "size": 1},
        {"mediaType": KIND, "digest": DIGEST.upper(), "size": 1},
        {"mediaType": KIND, "digest": DIGEST, "size": -1},
        {"mediaType": KIND, "digest": DIGEST, "size": True},
        {"mediaType": KIND, "digest": DIGEST, "size": 1, "annotations": {"a": 1}},
        {"mediaType": KIND, "digest": DIGEST, "size": 1, "platform": "linux"},
    ],
)
def test_what_is_no_descriptor_is_refused(told: Any) -> None:
    with pytest.raises(PackagingFailed, match="not a descriptor"):
        Descriptor.of(told)


def test_what_is_read_is_checked(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kept = layout.add(b'{"a": 1}', KIND)
    assert layout.read(kept) == b'{"a": 1}'
    assert layout.document(kept) == {"a": 1}
    layout.path(kept.digest).chmod(0o644)
    layout.path(kept.digest).write_bytes(b'{"a": 2}')
    with pytest.raises(ContentCorrupted) as corrupted:
        layout.read(kept)
    assert kept.digest in str(corrupted.value.facts["expected"])
    layout.path(kept.digest).unlink()
    with pytest.raises(ContentCorrupted, match="No such file"):
        layout.read(kept)
    with pytest.raises(PackagingFailed, match="too much"):
        layout.read(Descriptor(KIND, DIGEST, LARGEST + 1))
    with pytest.raises(PackagingFailed, match="not a JSON object"):
        layout.document(layout.add(b"[]", KIND))


def test_other_bytes_than_expected_are_not_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(ContentCorrupted), layout.writing(Descriptor(KIND, DIGEST, 4)) as writer:
        writer.write(b"four")
    assert list(layout.blobs.iterdir()) == []


def test_names_and_what_has_none_live_side_by_side(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    one, two = (layout.add(content, KIND) for content in (b"1", b"2"))
    attached = Descriptor(one.media_type, one.digest, one.size, artifact_type="text/markdown")
    layout.enter(attached)
    layout.enter(attached)
    layout.tag(two, "b:1")
    layout.tag(one, "a:1")
    layout.tag(two, "a:1")
    assert [(name, found.digest) for name, found in layout.names()] == [
        ("a:1", two.digest),
        ("b:1", two.digest),
    ]
    assert layout.tagged("b:1") == layout.names()[1][1]
    assert layout.tagged("c:1") is None
    assert [entry.artifact_type for entry in layout.entries() if not entry.name] == ["text/markdown"]
    (tmp_path / "index.json").write_text('{"manifests": 1}')
    with pytest.raises(PackagingFailed, match="no index"):
        layout.entries()


def name_ten(root: Path, number: int) -> None:
    layout = Layout(root)
    for count in range(10):
        layout.tag(layout.add(f"{number}".encode(), KIND), f"{number}:{count}")


def test_names_given_at_once_are_all_kept(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(name_ten, [tmp_path] * 4, range(4)))
    assert len(Layout(tmp_path).names()) == 40


def test_a_layout_of_others_is_not_written(tmp_path: Path) -> None:
    assert Layout(tmp_path, make=False).entries() == []
    assert list(tmp_path.iterdir()) == []


def in_child(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from deployer.errors import DiskFull
from deployer.packager.layout import Layout
layout = Layout(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    with layout.writing() as writer:
        for _ in range(64):
            writer.write(bytes(4096))
except DiskFull as error:
    print(error.facts["path"], error.facts["free"] > 0)
"""


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    done = in_child(FILLS_THE_DISK, str(tmp_path))
    assert done.stdout.split() == [str(tmp_path), "True"], done.stderr
    assert list((tmp_path / "blobs/sha256").iterdir()) == []
    assert not list(tmp_path.glob(".*"))


def test_a_really_full_disk_too(tmp_path: Path) -> None:
    """On a file system of one megabyte, where this machine lets us have one."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        layout = Layout(small)
        with pytest.raises(DiskFull) as full, layout.writing() as writer:
            writer.write(bytes(2 << 20))
        assert full.value.facts["free"] < 2 << 20
        assert list(layout.blobs.iterdir()) == []
        assert layout.read(layout.add(b"still works", KIND)) == b"still works"
    finally:
        subprocess.run(["umount", str(small)], check=True)


DIES_HALF_WAY = """
import os, signal, sys
from pathlib import Path
from deployer.packager.layout import Layout
with Layout(Path(sys.argv[1])).writing() as writer:
    writer.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_build_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    assert in_child(DIES_HALF_WAY, str(tmp_path)).returncode == -signal.SIGKILL
    layout = Layout(tmp_path)
    assert list(layout.blobs.iterdir()) == []
    (left,) = tmp_path.glob(".blob-*")
    layout.sweep()
    assert left.exists(), "it might be somebody's"
    old = time.time() - ABANDONED - 1
    os.utime(left, (old, old))
    layout.sweep()
    assert not left.exists()


def test_its_marker_is_the_one_of_the_standard(tmp_path: Path) -> None:
    Layout(tmp_path)
    assert json.loads((tmp_path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
