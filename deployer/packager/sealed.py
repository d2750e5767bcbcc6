"""A release as an image that needs nothing else: runtime, weights, config and documents, for any platform.

Made without a daemon and without emulation: layers are files. Runtime layers are shared by all images of a
home, so a new model adds its own files alone. The image serves on port 8000 and asks for the key that
MARKET_SERVER_KEY holds; without one it ends and says so, since an open port is never left unguarded
unawares (`--key-env ''` as an argument does so knowingly).
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from deployer.errors import PlatformNotSupported
from deployer.packager import base as bases
from deployer.packager import runtime_image
from deployer.packager.base import Base
from deployer.packager.described import described
from deployer.packager.image import PLATFORMS, Image, Platform, assemble, image_index
from deployer.packager.layout import Descriptor, Layout, canonical, roomy
from deployer.packager.parts import FOLDER, Parts, parts
from deployer.packager.provenance import chain_of
from deployer.packager.release import Release, Workshop
from deployer.spec import Progress, silent

PORT = 8000
KEY = "MARKET_SERVER_KEY"
TITLE = "org.opencontainers.image."
SECOND = 1_000_000_000  # nanoseconds, in which engines count
ASK = (
    f"from http.client import HTTPConnection as C; c = C('127.0.0.1', {PORT}, timeout=3); "
    "c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"
)
HEALTH = {
    "Test": ["CMD", "python3", "-I", "-S", "-c", ASK],
    "Interval": 30 * SECOND,
    "Timeout": 5 * SECOND,
    "StartPeriod": 60 * SECOND,
    "Retries": 3,
}


@dataclass(frozen=True)
class Sealed:
    """An index over images, or the one image's manifest when one platform was asked for."""

    root: Descriptor
    images: tuple[Image, ...]
    layout: Layout
    name: str
    """How index.json and engines call it: vendor/name:version, with what sets it apart."""


def reference(release: Release, platforms: Sequence[Platform] = PLATFORMS, device: str = "cpu") -> str:
    """The image's name: vendor/name:version, and device and platform where they are not the usual ones."""
    only = platforms[0].architecture if len(platforms) == 1 else ""
    words = (release.version, "" if device == "cpu" else device, only)
    tag = re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join(filter(None, words)))
    return f"{release.name}:{tag}"


def seal(
    workshop: Workshop,
    release: Release,
    *,
    platforms: Sequence[Platform] = PLATFORMS,
    device: str = "cpu",
    progress: Progress = silent,
) -> Sealed:
    """Make the image in the home's layout, under its name; the same release gives the same digest.

    Raises PackagingFailed with the cause, PlatformNotSupported, ContentCorrupted and DiskFull.
    """
    if not platforms or set(platforms) - set(PLATFORMS):
        known = ", ".join(map(str, PLATFORMS))
        asked = ", ".join(map(str, platforms)) or "none"
        raise PlatformNotSupported(platform=asked, known=known, why="images are made for these")
    steps = len(platforms) + 2
    name = reference(release, platforms, device)
    with roomy(workshop.home), ThreadPoolExecutor(len(platforms) + 2, "seal") as pool:
        layout = Layout(workshop.images)
        progress(0, steps, "model")
        own = pool.submit(parts, layout, release)
        told = pool.submit(described, layout, release)
        # Whoever comes second finds the layers that the first one made.
        with FileLock(str(workshop.images / ".lock")):
            layout.sweep()
            below = [pool.submit(_runtime, workshop, layout, release, one, device) for one in platforms]
            runtimes = []
            for number, (platform, future) in enumerate(zip(platforms, below, strict=True), 1):
                progress(number, steps, str(platform))
                runtimes.append(future.result())
        progress(steps - 1, steps, "image")
        pairs = list(zip(platforms, runtimes, strict=True))
        images = [_image(layout, release, pair, own.result(), told.result(), device) for pair in pairs]
        root = _root(layout, images)
        layout.tag(root, name)
    progress(steps, steps, name)
    return Sealed(root, tuple(images), layout, name)


@dataclass(frozen=True)
class _Runtime:
    """What lies below the model."""

    base: Base
    layers: tuple[Descriptor, ...]


def _runtime(
    workshop: Workshop, layout: Layout, release: Release, platform: Platform, device: str
) -> _Runtime:
    arch = platform.architecture
    base = bases.find(layout, workshop.cache, workshop.base, arch, silent)
    layers = runtime_image.runtime_layers(
        layout, workshop.cache, base, arch, device=device, tasks=frozenset({release.task})
    )
    return _Runtime(base, layers)


def _image(
    layout: Layout,
    release: Release,
    pair: tuple[Platform, _Runtime],
    own: Parts,
    told: Mapping[str, Any],
    device: str,
) -> Image:
    platform, runtime = pair
    words = labels(release, runtime.base.name, told)
    settings = _settings(runtime_image.settings(runtime.base, device), release, words)
    layers = (*runtime.layers, *own.layers)
    return assemble(layout, layers, settings, arch=platform.architecture, annotations=words)


def _root(layout: Layout, images: Sequence[Image]) -> Descriptor:
    if len(images) == 1:
        return images[0].manifest
    config = layout.document(images[0].config)
    return image_index(layout, images, config["config"]["Labels"])


def _settings(inherited: Mapping[str, Any], release: Release, words: Mapping[str, str]) -> dict[str, Any]:
    """How an engine starts it; further arguments, such as `--threads 4`, go on from these."""
    own = [f"/{FOLDER}", "--name", release.slug, "--host", "0.0.0.0", "--port", str(PORT), "--key-env", KEY]  # noqa: S104 (in the container)
    return {
        **inherited,
        "Entrypoint": [*inherited["Entrypoint"], *own],
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Healthcheck": HEALTH,
        "Labels": {**inherited.get("Labels", {}), **words},
    }


def labels(release: Release, base: str, told: Mapping[str, Any]) -> dict[str, str]:
    """What the image says of itself, as labels and as annotations."""
    licenses = dict.fromkeys(filter(None, (release.license_package, release.license_weights)))
    spoken = {
        f"{TITLE}title": release.title_en or release.title_zh or release.slug,
        f"{TITLE}description": release.summary_en or release.summary_zh,
        f"{TITLE}version": release.version,
        f"{TITLE}licenses": " AND ".join(licenses),
        f"{TITLE}ref.name": release.name,
        f"{TITLE}base.name": base,
        "market.release": release.digest,
        "market.task": release.task,
        "market.signature": _json(told["signature"]),
        "market.openapi": _json(told["openapi"]),
        "market.provenance": _json(chain_of(release)),
    }
    return {name: value for name, value in spoken.items() if value}


def _json(value: object) -> str:
    return canonical(value).decode()
