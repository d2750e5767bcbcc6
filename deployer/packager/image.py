"""Config and manifest of an OCI image out of layers, the index over several platforms, and their way back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployer.errors import PackagingFailed, PlatformNotSupported
from deployer.packager.layout import INDEX, Descriptor, Layout, canonical

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Platform:
    """What an image runs on, in the words of registries."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        """As in linux/arm64."""
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """One of PLATFORMS by its name, with or without the system; refuses others."""
        system, _, rest = text.strip().lower().rpartition("linux/")
        architecture, _, variant = rest.partition("/")
        wanted = cls("linux", ALIASES.get(architecture, architecture))
        if system or wanted not in PLATFORMS or variant not in {"", VARIANTS.get(wanted.architecture)}:
            raise _unsupported(text, "images are made of Debian packages and wheels for these alone")
        return wanted

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Platform":
        """Out of a descriptor or a config, whatever it names; the usual variant goes without saying."""
        architecture = str(told.get("architecture", ""))
        variant = str(told.get("variant") or "")
        spoken = "" if variant == VARIANTS.get(architecture) else variant
        return cls(str(told.get("os", "")), architecture, spoken)

    def to_json(self) -> dict[str, str]:
        """As it stands in an index and in a config."""
        variant = self.variant or VARIANTS.get(self.architecture, "")
        told = {"architecture": self.architecture, "os": self.os}
        return told | {"variant": variant} if variant else told


VARIANTS = {"arm64": "v8"}
PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))


def _unsupported(platform: object, why: str) -> PlatformNotSupported:
    known = ", ".join(map(str, PLATFORMS))
    return PlatformNotSupported(why=why, platform=str(platform), known=known)


@dataclass(frozen=True)
class Image:
    """An image of the layout, its layers from the bottom."""

    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    platform: Platform = PLATFORMS[0]
    unpacked: tuple[str, ...] = field(default=(), repr=False)
    """The layers' digests when uncompressed, where they differ."""

    @property
    def diff_ids(self) -> list[str]:
        """The layers as an engine counts them; uncompressed ones go by their own digest."""
        return list(self.unpacked) or [layer.digest for layer in self.layers]

    def tag(self, repository: str) -> str:
        """A name that changes with the content: the first 12 hex digits of the config's digest."""
        return f"{repository}:{self.config.digest.removeprefix('sha256:')[:12]}"


def assemble(
    layout: Layout,
    layers: Sequence[Descriptor],
    settings: dict[str, Any],
    *,
    arch: str,
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Write config and manifest for layers of the layout; `settings` is the config's `config` part."""
    platform = Platform("linux", arch)
    diff_ids = [layer.digest for layer in layers]
    config = {
        **platform.to_json(),
        "created": EPOCH,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": EPOCH, "created_by": "opc-market"} for _ in diff_ids],
    }
    kept = layout.add(canonical(config), CONFIG)
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": kept.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return Image(layout.add(canonical(manifest), MANIFEST), kept, tuple(layers), platform)


def image_index(
    layout: Layout, images: Sequence[Image], annotations: Mapping[str, str] | None = None
) -> Descriptor:
    """Write the index over images of several platforms, in their order."""
    manifests = [
        {**image.manifest.plain().to_json(), "platform": image.platform.to_json()} for image in images
    ]
    index: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    if annotations:
        index["annotations"] = dict(annotations)
    return layout.add(canonical(index), INDEX)


def read_image(layout: Layout, manifest: Descriptor) -> Image:
    """The image that a manifest names; refuses other manifests, and layers that differ from the config's."""
    told = layout.document(manifest)
    layers = told.get("layers")
    config = Descriptor.of(told.get("config"))
    if not isinstance(layers, list) or config.media_type != CONFIG:
        raise PackagingFailed(image=manifest.digest, why="not the manifest of an image")
    settings = layout.document(config)
    rootfs = settings.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    found = tuple(Descriptor.of(layer) for layer in layers)
    if not isinstance(diff_ids, list) or len(diff_ids) != len(found):
        raise PackagingFailed(image=manifest.digest, why="its config lists other layers than its manifest")
    for layer, diff_id in zip(found, diff_ids, strict=True):
        if layer.media_type.endswith(".tar") and layer.digest != diff_id:
            raise PackagingFailed(
                image=manifest.digest, why="its config lists other layers than its manifest"
            )
    return Image(manifest.plain(), config, found, Platform.of(settings), tuple(map(str, diff_ids)))


def images_of(layout: Layout, root: Descriptor) -> list[Image]:
    """The images below an index, or the one image that the manifest is."""
    if root.media_type != INDEX:
        return [read_image(layout, root)]
    listed = layout.document(root).get("manifests")
    if not isinstance(listed, list):
        raise PackagingFailed(image=root.digest, why="an index without manifests")
    return [read_image(layout, Descriptor.of(entry)) for entry in listed]


def for_platform(layout: Layout, root: Descriptor, platform: Platform) -> Image:
    """The image below `root` that runs on a platform; PlatformNotSupported names those that there are."""
    images = images_of(layout, root)
    for image in images:
        if image.platform == platform:
            return image
    known = ", ".join(str(image.platform) for image in images)
    raise PlatformNotSupported(platform=str(platform), known=known, why="the image is not made for it")
