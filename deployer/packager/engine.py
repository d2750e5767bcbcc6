"""Hand an image of the layout to a Docker engine: only the layers that it lacks, when it allows that."""

from typing import TYPE_CHECKING, Any

from deployer.errors import PackagingFailed
from deployer.packager.image import Image, archive
from deployer.packager.layout import Layout

if TYPE_CHECKING:
    import docker


def has(client: "docker.DockerClient", tag: str) -> bool:
    """Whether the engine has an image of this name."""
    from docker.errors import ImageNotFound

    try:
        client.api.inspect_image(tag)
    except ImageNotFound:
        return False
    return True


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
    return set(wanted[:best])


def _send(client: "docker.DockerClient", layout: Layout, image: Image, tag: str, skip: set[str]) -> str:
    """Load the archive; the engine's complaint, empty when it took it."""
    from docker.errors import APIError

    try:
        answers: list[dict[str, Any]] = list(client.api.load_image(archive(layout, image, tag, skip)) or ())
    except APIError as error:
        return str(error.explanation or error)
    complaints = [str(answer["error"]) for answer in answers if "error" in answer]
    return "; ".join(complaints)


def load(client: "docker.DockerClient", layout: Layout, image: Image, tag: str) -> int:
    """Load an image under a name; returns how many layers the engine had. Refuses what it does not take."""
    shared = _shared(client, image)
    complaint = _send(client, layout, image, tag, shared) if shared else "nothing to share"
    if complaint or not has(client, tag):
        shared = set()
        complaint = _send(client, layout, image, tag, shared)
    if complaint or not has(client, tag):
        raise PackagingFailed(image=tag, why=complaint or "the engine did not keep the image")
    return len(shared)
