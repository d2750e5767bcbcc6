"""Hand an image of the layout to a Docker engine: only the layers that it lacks, when it allows that."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import DiskFull, PackagingFailed, PlatformNotSupported
from deployer.packager.archive import stream
from deployer.packager.image import Image, Platform, for_platform
from deployer.packager.layout import Descriptor, Layout

if TYPE_CHECKING:
    import docker

EMULATORS = Path("/proc/sys/fs/binfmt_misc")
MACHINES = {"arm64": "qemu-aarch64", "amd64": "qemu-x86_64"}
NO_ROOM = "no space left on device"


def has(client: "docker.DockerClient", tag: str) -> bool:
    """Whether the engine has an image of this name."""
    from docker.errors import ImageNotFound

    try:
        client.api.inspect_image(tag)
    except ImageNotFound:
        return False
    return True


def platform(client: "docker.DockerClient") -> Platform:
    """What the engine runs."""
    said = client.api.version()
    architecture = str(said.get("Arch", "amd64"))
    named = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    return Platform.of({"os": said.get("Os", "linux"), "architecture": named})


def _shared(client: "docker.DockerClient", image: Image) -> set[str]:
    """Layers at the bottom of the image that the engine has in the same order under some image."""
    wanted = image.diff_ids
    best = 0
    for known in client.api.images():
        layers = client.api.inspect_image(known["Id"]).get("RootFS", {}).get("Layers") or []
        count = 0
        for have, want in zip(layers, wanted, strict=False):
            if have != want:
                break
            count += 1
        best = max(best, count)
        if best == len(wanted):
            break
    return set(wanted[:best])


def _send(client: "docker.DockerClient", layout: Layout, image: Image, tag: str, skip: set[str]) -> str:
    """Load the archive; the engine's complaint, empty when it took it."""
    from docker.errors import APIError

    try:
        answers: list[dict[str, Any]] = list(client.api.load_image(stream(layout, image, tag, skip)) or ())
    except APIError as error:
        return str(error.explanation or error)
    complaints = [str(answer["error"]) for answer in answers if "error" in answer]
    return "; ".join(complaints)


def load(
    client: "docker.DockerClient", layout: Layout, image: Image, tag: str, *, foreign: bool = False
) -> int:
    """Load an image under a name; returns how many layers the engine had. Refuses what it does not take.

    An image for another machine than the engine's is PlatformNotSupported, unless the machine emulates
    that one or it is asked for as `foreign`. An engine without room is DiskFull.
    """
    if not foreign:
        _require_platform(client, image)
    shared = _shared(client, image)
    complaint = _send(client, layout, image, tag, shared) if shared else "nothing to share"
    if complaint or not _is(client, image, tag):
        shared = set()
        complaint = _send(client, layout, image, tag, shared)
    if NO_ROOM in complaint:
        needed = sum(layer.size for layer in image.layers)
        raise DiskFull(path=client.api.info().get("DockerRootDir", "the engine"), needed=needed, free=0)
    if complaint or not _is(client, image, tag):
        raise PackagingFailed(image=tag, why=complaint or "the engine did not keep the image")
    return len(shared)


def load_for(client: "docker.DockerClient", layout: Layout, root: Descriptor, tag: str) -> Image:
    """Load what runs on this engine out of an index, or the one image; PlatformNotSupported without one."""
    image = for_platform(layout, root, platform(client))
    load(client, layout, image, tag)
    return image


def _is(client: "docker.DockerClient", image: Image, tag: str) -> bool:
    """Whether the engine has this very image under the name; engines count by config or by manifest."""
    from docker.errors import ImageNotFound

    try:
        found = client.api.inspect_image(tag)["Id"]
    except ImageNotFound:
        return False
    return found in {image.config.digest, image.manifest.digest}


def _require_platform(client: "docker.DockerClient", image: Image) -> None:
    runs = platform(client)
    if image.platform == runs:
        return
    emulator = MACHINES.get(image.platform.architecture, "")
    if image.platform.os == runs.os and emulator and (EMULATORS / emulator).exists():
        return
    raise PlatformNotSupported(
        platform=str(image.platform),
        known=str(runs),
        why=f"the engine runs {runs} and emulates nothing else",
    )
