"""Images carried away and read again: the same bytes each time, and nothing hostile gets in."""

import gzip
import io
import json
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployer.errors import ContentCorrupted, PackagingFailed, VerificationFailed
from deployer.packager.image import MANIFEST, PLATFORMS, assemble, image_index, read_image
from deployer.packager.layers import LAYER
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.output import below, opened, to_folder, to_tar

NAME = "vendor/thing:1.0.0"
SKOPEO = shutil.which("skopeo")


@dataclass(frozen=True)
class Made:
    """An index over two images in a layout, with a card attached to it."""

    layout: Layout
    root: Descriptor
    attached: Descriptor


@pytest.fixture
def made(tmp_path: Path) -> Made:
    layout = Layout(tmp_path / "layout")
    images = []
    for arch in ("amd64", "arm64"):
        layers = [layout.add(content, LAYER) for content in (b"shared" * 1000, arch.encode())]
        images.append(assemble(layout, layers, {}, arch=arch))
    root = image_index(layout, images)
    card = layout.add(b"# Card", "text/markdown")
    empty = layout.add(b"{}", "application/vnd.oci.empty.v1+json")
    manifest = layout.add(
        canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": empty.to_json(),
                "layers": [card.to_json()],
                "subject": root.to_json(),
            }
        ),
        MANIFEST,
    )
    layout.add(b"not asked for", LAYER)
    return Made(
        layout, root, Descriptor(MANIFEST, manifest.digest, manifest.size, artifact_type="text/markdown")
    )


def test_only_what_hangs_together_is_carried_away(made: Made) -> None:
    assert len(below(made.layout, made.root)) == 1 + 2 * 2 + 3
    made.layout.path(made.layout.document(made.root)["manifests"][1]["digest"]).unlink()
    with pytest.raises(ContentCorrupted):
        below(made.layout, made.root)


def test_a_missing_or_cut_layer_is_named(made: Made) -> None:
    image = read_image(made.layout, Descriptor.of(made.layout.document(made.root)["manifests"][0]))
    layer = made.layout.path(image.layers[1].digest)
    layer.chmod(0o644)
    layer.write_bytes(b"am")
    with pytest.raises(ContentCorrupted, match="2 bytes"):
        below(made.layout, made.root)
    layer.unlink()
    with pytest.raises(ContentCorrupted, match="nothing"):
        below(made.layout, made.root)


def check(path: Path, made: Made) -> None:
    """What was carried away is what it was, and nothing else."""
    with opened(path) as found:
        ((tag, root),) = found.names()
        assert (tag, root.digest) == ("1.0.0", made.root.digest)
        assert [one.artifact_type for one in found.entries() if not one.name] == ["text/markdown"]
        assert len(below(found, root)) == 8
        assert len(list(found.blobs.iterdir())) == 8 + 3


def test_a_folder_shares_its_blobs_with_the_layout(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    to_folder(made.layout, made.root, folder, NAME, [made.attached])
    check(folder, made)
    assert sorted(path.name for path in folder.iterdir()) == ["blobs", "index.json", "oci-layout"]
    for blob in (folder / "blobs/sha256").iterdir():
        assert blob.samefile(made.layout.blobs / blob.name)
    with pytest.raises(PackagingFailed, match="not empty"):
        to_folder(made.layout, made.root, folder, NAME)


def test_a_tar_has_the_same_bytes_each_time(made: Made, tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        to_tar(made.layout, made.root, tmp_path / name, NAME, [made.attached])
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    check(tmp_path / "one.tar", made)
    packed = tmp_path / "three.tar.gz"
    packed.write_bytes(gzip.compress((tmp_path / "one.tar").read_bytes()))
    check(packed, made)


def test_an_engine_finds_one_image_in_a_tar(made: Made, tmp_path: Path) -> None:
    for platform in (None, *PLATFORMS):
        to_tar(made.layout, made.root, tmp_path / "out.tar", NAME, platform=platform)
        with tarfile.open(tmp_path / "out.tar") as read:
            (entry,) = json.load(read.extractfile("manifest.json") or io.BytesIO())
            config = json.load(read.extractfile(entry["Config"]) or io.BytesIO())
            assert entry["RepoTags"] == [NAME]
            assert all(read.getmember(layer).isreg() for layer in entry["Layers"])
        assert config["architecture"] == (platform or PLATFORMS[0]).architecture


@pytest.mark.skipif(not SKOPEO, reason="no skopeo on this machine")
def test_other_tools_read_both(made: Made, tmp_path: Path) -> None:
    to_folder(made.layout, made.root, tmp_path / "folder", NAME)
    to_tar(made.layout, made.root, tmp_path / "out.tar", NAME)
    for source in (f"oci:{tmp_path}/folder:1.0.0", f"oci-archive:{tmp_path}/out.tar:1.0.0"):
        copy = tmp_path / f"copy-{source.partition(':')[0]}"
        command = [
            str(SKOPEO),
            "--insecure-policy",
            "copy",
            "--all",
            "--preserve-digests",
            source,
            f"oci:{copy}:x",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with opened(copy) as found:
            assert [(name, one.digest) for name, one in found.names()] == [("x", made.root.digest)]


def test_a_full_disk_leaves_the_old_file(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "out.tar"
    out.write_bytes(b"old")
    program = (
        "import resource, sys; from pathlib import Path; from deployer.errors import DiskFull\n"
        "from deployer.packager.layout import Layout; from deployer.packager.output import to_tar\n"
        "layout = Layout(Path(sys.argv[1])); root = layout.tagged('x')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: to_tar(layout, root, Path(sys.argv[2]), 'a/b:1')\n"
        "except DiskFull as error: print(error.facts['needed'] > 4096)\n"
    )
    made.layout.tag(made.root, "x")
    command = [sys.executable, "-c", program, str(made.layout.root), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
    assert out.read_bytes() == b"old"
    assert not list(tmp_path.glob(".tar-*"))


Members = list[tuple[tarfile.TarInfo, bytes]]


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Members:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return [(info, content)]


def blob(content: bytes, name: str = "") -> Members:
    import hashlib

    return entry(f"blobs/sha256/{name or hashlib.sha256(content).hexdigest()}", content)


SOUND = entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}') + entry(
    "index.json",
    canonical({"manifests": [{"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1}]}),
)


def tar(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:
        for info, content in members:
            out.addfile(info, io.BytesIO(content))
    return path


def test_what_others_put_beside_a_layout_is_passed_over(tmp_path: Path) -> None:
    extra = (
        entry("repositories", b"{}") + entry("manifest.json", b"[]") + entry("blobs", kind=tarfile.DIRTYPE)
    )
    with opened(tar(tmp_path / "a.tar", SOUND + extra + blob(b"x"))) as layout:
        assert not (layout.root / "repositories").exists()
        assert [path.read_bytes() for path in layout.blobs.iterdir()] == [b"x"]
    assert not layout.root.exists()


HOSTILE: dict[str, Callable[[], Members]] = {
    "leads out": lambda: SOUND + entry("../out", b"x"),
    "leads out from within": lambda: SOUND + entry("blobs/sha256/../../../out", b"x"),
    "from the root": lambda: SOUND + entry("/tmp/out", b"x"),
    "a symbolic link": lambda: (
        SOUND + entry("blobs/sha256/" + "a" * 64, kind=tarfile.SYMTYPE, link="/etc/passwd")
    ),
    "a hard link": lambda: SOUND + entry("blobs/sha256/" + "a" * 64, kind=tarfile.LNKTYPE, link="index.json"),
    "a linked folder": lambda: entry("blobs", kind=tarfile.SYMTYPE, link="/tmp") + SOUND,
    "a device": lambda: SOUND + entry("null", kind=tarfile.CHRTYPE),
    "a pipe": lambda: SOUND + entry("pipe", kind=tarfile.FIFOTYPE),
    "a name twice": lambda: SOUND + blob(b"x") + blob(b"x"),
    "another index": lambda: SOUND + SOUND,
    "no marker": lambda: SOUND[1:],
    "no index": lambda: SOUND[:1],
    "an index of nothing": lambda: SOUND[:1] + entry("index.json", b'{"manifests": []}'),
    "an index of nonsense": lambda: SOUND[:1] + entry("index.json", b'{"manifests": [{"digest": "x"}]}'),
    "deep nonsense": lambda: SOUND[:1] + entry("index.json", b"[" * 100_000),
    "too many names": lambda: [item for number in range(10_001) for item in entry(f"{number}")],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, what: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(VerificationFailed) as refused, opened(tar(inside / "a.tar", HOSTILE[what]())):
        raise AssertionError("it was opened")
    assert refused.value.facts["why"] and refused.value.facts["why_zh"]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in inside.iterdir()] == ["a.tar"]


def test_bytes_that_are_not_what_their_name_says_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentCorrupted), opened(tar(tmp_path / "a.tar", SOUND + blob(b"x", "a" * 64))):
        raise AssertionError("it was opened")


def test_a_cut_or_wrong_file_is_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", SOUND + blob(bytes(100_000))).read_bytes()
    for name, content in {
        "cut.tar": whole[:50_000],
        "cut.tar.gz": gzip.compress(whole)[:-20],
        "text.tar": b"no archive at all" * 100,
        "empty.tar": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VerificationFailed), opened(tmp_path / name):
            raise AssertionError(f"{name} was opened")


def test_a_header_cannot_ask_for_all_memory(tmp_path: Path) -> None:
    """An extended header of two gigabytes, packed to two megabytes: refused before it is read."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2 << 30
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", 1) as out:
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            out.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(VerificationFailed, match="too long"), opened(path):
        raise AssertionError("it was opened")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


def test_a_hostile_folder_is_refused(made: Made, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    def replaced(spoil: Callable[[Path], object]) -> Path:
        folder = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        to_folder(made.layout, made.root, folder, NAME)
        spoil(folder)
        return folder

    digest = made.root.digest.removeprefix("sha256:")

    def relink(folder: Path) -> None:
        (folder / "blobs/sha256" / digest).unlink()
        (folder / "blobs/sha256" / digest).symlink_to(secret)

    def change(folder: Path) -> None:
        (folder / "blobs/sha256" / digest).unlink()
        (folder / "blobs/sha256" / digest).write_bytes(b"changed")

    spoils: dict[str, Callable[[Path], object]] = {
        "plain file": relink,
        "should be|expected": change,
        "no place": lambda folder: (folder / "blobs/sha256/x").write_bytes(b""),
        "missing": lambda folder: (folder / "index.json").unlink(),
    }
    for words, spoil in spoils.items():
        with pytest.raises((VerificationFailed, ContentCorrupted), match=words), opened(replaced(spoil)):
            raise AssertionError(f"{words} was opened")
