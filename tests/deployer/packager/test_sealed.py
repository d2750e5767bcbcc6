"""Sealed images without an engine: the same digest in every home, words travel along, only what is new."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.errors import ContentCorrupted, PackagingFailed, PlatformNotSupported
from deployer.packager.image import PLATFORMS, Platform, images_of
from deployer.packager.layout import INDEX, Layout
from deployer.packager.release import Release, Workshop, of_folder
from deployer.packager.sealed import Sealed, reference, seal
from tests.deployer.packager.releases import Fresh, made, shelf, spare_home
from tests.deployer.packager.running import read_labels

pytestmark = pytest.mark.network

WORDS = {
    "title_zh": "文档方向",
    "title_en": "Document orientation",
    "summary_en": "Which way up a page is",
    "license_package": "Apache-2.0",
    "license_weights": "Apache-2.0",
    "card": "# Document orientation\n",
}
CHAIN = {"schema": "opc-market/provenance/1", "steps": [{"step": "source"}]}


@pytest.fixture(scope="module")
def release() -> Release:
    return replace(shelf("doc-orientation", **WORDS), chain=CHAIN)


@pytest.fixture(scope="module")
def sealed(image_home: Path, release: Release) -> Sealed:
    return seal(Workshop(image_home), release)


def sizes(layout: Layout) -> Mapping[str, int]:
    return {path.name: path.stat().st_size for path in layout.blobs.iterdir()}


@pytest.fixture
def home(tmp_path: Path, image_home: Path, sealed: Sealed) -> Path:
    """A home that has what the tests' home has, and can be spoilt."""
    return spare_home(image_home, tmp_path)


def seal_there(home: Path, release: Release) -> str:
    return seal(Workshop(home), release).root.digest


def test_two_new_homes_give_the_same_digest_also_to_two_at_once(
    sealed: Sealed, release: Release, image_home: Path, tmp_path: Path
) -> None:
    """Only what was fetched is shared; every layer is made anew, by whoever of the two comes first."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
        (home / "cache").symlink_to(image_home / "cache")
    with ProcessPoolExecutor(2) as pool:
        digests = list(pool.map(seal_there, [homes[0], homes[0], homes[1]], [release] * 3))
    assert digests == [sealed.root.digest] * 3
    made = [sizes(Layout(home / "images")) for home in homes]
    assert made[0] == made[1]
    assert made[0].items() <= sizes(sealed.layout).items()
    assert not [left for home in homes for left in (home / "images").glob(".blob-*")]


def test_it_is_an_index_over_all_platforms(sealed: Sealed) -> None:
    assert sealed.root.media_type == INDEX
    assert [image.platform for image in images_of(sealed.layout, sealed.root)] == list(PLATFORMS)
    named = sealed.layout.tagged("opc-market/doc-orientation:1.0.0")
    assert named and named.digest == sealed.root.digest
    amd64, arm64 = (set(image.diff_ids) for image in sealed.images)
    # The model, and the server's own modules, are the same bytes on both.
    assert len(amd64 & arm64) >= 4


def test_what_it_says_of_itself_travels_as_labels_and_annotations(sealed: Sealed, release: Release) -> None:
    for image in sealed.images:
        labels = read_labels(sealed.layout, image)
        annotations = sealed.layout.document(image.manifest)["annotations"]
        assert annotations.items() <= labels.items()
        assert labels["org.opencontainers.image.title"] == "Document orientation"
        assert labels["org.opencontainers.image.version"] == "1.0.0"
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert labels["market.release"] == release.digest
        assert labels["market.task"] == release.task
        signature = json.loads(labels["market.signature"])
        assert signature["model"]["inputs"] == [{"name": "x", "dtype": "FP32", "shape": [-1, 3, 224, 224]}]
        assert json.loads(labels["market.provenance"]) == CHAIN
        assert "/v2/models/doc-orientation/infer" in json.loads(labels["market.openapi"])["paths"]
    index = sealed.layout.document(sealed.root)["annotations"]
    assert index["market.release"] == release.digest


def test_it_runs_as_nobody_on_one_port_and_asks_for_a_key(sealed: Sealed) -> None:
    config = sealed.layout.document(sealed.images[0].config)["config"]
    assert config["User"] == "65532:65532"
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python3"]
    assert config["Entrypoint"][-2:] == ["--key-env", "MARKET_SERVER_KEY"]
    assert "ORT_DISABLE_TELEMETRY=1" in config["Env"]


def test_a_second_model_adds_its_own_files_alone(home: Path, tmp_path: Path) -> None:
    second = Fresh("selfie-segmentation", tmp_path).renew()
    before = sizes(Layout(home / "images"))
    made = seal(Workshop(home), second)
    after = sizes(made.layout)
    added = sum(size for name, size in after.items() if name not in before)
    assert second.size < added < second.size + (256 << 10), "its files, and what describes them"


def test_one_platform_is_an_image_without_an_index(home: Path, sealed: Sealed, release: Release) -> None:
    only = seal(Workshop(home), release, platforms=[Platform.parse("arm64")])
    assert only.root == only.images[0].manifest == sealed.images[1].manifest
    assert only.name == "opc-market/doc-orientation:1.0.0-arm64"
    assert reference(release, PLATFORMS, "cuda") == "opc-market/doc-orientation:1.0.0-cuda"


@pytest.mark.parametrize("platforms", [(), (Platform("linux", "riscv64"),), (Platform("windows", "amd64"),)])
def test_other_platforms_are_refused(home: Path, release: Release, platforms: tuple[Platform, ...]) -> None:
    with pytest.raises(PlatformNotSupported, match="linux/amd64, linux/arm64"):
        seal(Workshop(home), release, platforms=platforms)


def test_a_model_that_no_server_can_load_is_refused_with_the_reason(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PackagingFailed, match=r"its server cannot load it: .*model\.onnx"):
        seal(Workshop(home), made(tmp_path / "model"))
    assert Layout(home / "images").tagged("test/made:1.0.0") is None


def test_a_model_that_changed_on_disk_is_refused(home: Path, tmp_path: Path) -> None:
    """The manifest names a digest that no file has, so that no home can have the weights already."""
    copy = shutil.copytree(shelf("filetype-magika").folder, tmp_path / "model")
    manifest = json.loads((copy / "manifest.json").read_text())
    graph = next(one for one in manifest["artifacts"] if one["path"] == "model.onnx")
    graph["sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps({**manifest, "version": "9.9.9"}))
    with pytest.raises(ContentCorrupted, match=r"model\.onnx"):
        seal(Workshop(home), of_folder(copy))
    assert Layout(home / "images").tagged("opc-market/filetype-magika:9.9.9") is None


FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from deployer.errors import DiskFull
from deployer.packager.release import Workshop, of_folder
from deployer.packager.sealed import seal
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    seal(Workshop(Path(sys.argv[1])), of_folder(Path(sys.argv[2])))
except DiskFull as error:
    print(error.facts["path"])
"""


def test_a_full_disk_is_named_and_the_next_try_succeeds(home: Path, tmp_path: Path) -> None:
    new = Fresh("vad-silero-6", tmp_path).renew()
    before = sizes(Layout(home / "images"))
    done = subprocess.run(
        [sys.executable, "-c", FILLS_THE_DISK, str(home), str(new.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(home / "images"), done.stderr
    after = Layout(home / "images")
    assert after.tagged(reference(new)) is None
    assert not list(after.root.glob(".blob-*"))
    for name in sizes(after).keys() - before.keys():
        assert after.path(name).stat().st_size < 1 << 20
    assert seal(Workshop(home), new).name == reference(new)
