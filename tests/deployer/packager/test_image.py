"""Images and indexes: what is written is read again, platforms are named, nonsense is refused."""

import gzip
import hashlib
from pathlib import Path

import pytest

from deployer.errors import PackagingFailed, PlatformNotSupported
from deployer.packager.image import (
    CONFIG,
    MANIFEST,
    PLATFORMS,
    Image,
    Platform,
    assemble,
    for_platform,
    image_index,
    images_of,
    read_image,
)
from deployer.packager.layers import LAYER
from deployer.packager.layout import INDEX, Layout, canonical


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def image(layout: Layout, arch: str = "amd64") -> Image:
    layers = tuple(layout.add(content, LAYER) for content in (b"base", arch.encode()))
    return assemble(layout, layers, {"User": "1:1"}, arch=arch, annotations={"a": "b"})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        (" ARM64 ", "linux/arm64"),
    ],
)
def test_a_platform_has_its_usual_names(text: str, name: str) -> None:
    assert str(Platform.parse(text)) == name
    assert Platform.parse(text) in PLATFORMS


@pytest.mark.parametrize(
    "text", ["", "linux", "windows/amd64", "linux/riscv64", "arm", "linux/arm64/v9", "a/b/c"]
)
def test_other_platforms_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(PlatformNotSupported) as refused:
        Platform.parse(text)
    assert refused.value.facts["known"] == "linux/amd64, linux/arm64"


def test_an_image_is_read_as_it_was_written(layout: Layout) -> None:
    for arch in ("amd64", "arm64"):
        made = image(layout, arch)
        found = read_image(layout, made.manifest)
        assert (found.manifest, found.config, found.layers) == (made.manifest, made.config, made.layers)
        assert found.platform == made.platform == Platform("linux", arch)
        assert found.diff_ids == made.diff_ids == [layer.digest for layer in made.layers]
        assert layout.document(made.manifest)["annotations"] == {"a": "b"}


def test_an_index_gives_each_platform_its_image(layout: Layout) -> None:
    images = [image(layout, "amd64"), image(layout, "arm64")]
    root = image_index(layout, images, {"c": "d"})
    assert root.media_type == INDEX
    told = layout.document(root)
    assert told["annotations"] == {"c": "d"}
    assert [entry["platform"] for entry in told["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]
    assert [one.platform for one in images_of(layout, root)] == list(PLATFORMS)
    for platform, one in zip(PLATFORMS, images, strict=True):
        assert for_platform(layout, root, platform).manifest == one.manifest
    with pytest.raises(PlatformNotSupported) as refused:
        for_platform(layout, images[0].manifest, PLATFORMS[1])
    assert refused.value.facts["known"] == "linux/amd64"


def test_a_packed_layer_counts_by_what_it_unpacks_to(layout: Layout) -> None:
    packed = layout.add(gzip.compress(b"layer", mtime=0), f"{LAYER}+gzip")
    diff_id = f"sha256:{hashlib.sha256(b'layer').hexdigest()}"
    config = layout.add(
        canonical({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [diff_id]}}), CONFIG
    )
    manifest = layout.add(canonical({"config": config.to_json(), "layers": [packed.to_json()]}), MANIFEST)
    assert read_image(layout, manifest).diff_ids == [diff_id]


def test_a_manifest_that_does_not_fit_its_config_is_refused(layout: Layout) -> None:
    made = image(layout)
    told = layout.document(made.manifest)
    for layers in (told["layers"][:1], told["layers"][::-1], None):
        wrong = layout.add(canonical({**told, "layers": layers}), MANIFEST)
        with pytest.raises(PackagingFailed):
            read_image(layout, wrong)
    with pytest.raises(PackagingFailed, match="not the manifest"):
        read_image(layout, layout.add(canonical({**told, "config": told["layers"][0]}), MANIFEST))
