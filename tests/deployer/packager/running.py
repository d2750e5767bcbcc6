"""A sealed image's container in a real engine, asked over HTTP as anybody would."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import httpx
from docker.models.containers import Container

from deployer.examples import check
from deployer.packager.image import Image
from deployer.packager.layout import Layout
from deployer.packager.release import Release
from deployer.packager.sealed import KEY, PORT

SECRET = "a key of this test"


@dataclass(frozen=True)
class Running:
    """A container that answers."""

    container: Container
    http: httpx.Client

    def answers(self, release: Release) -> list[Any]:
        """What it answers to the examples of the release."""
        bodies = [example["request"] for example in release.manifest["examples"]]
        return [self.http.post("/predict", json=body).raise_for_status().json() for body in bodies]


def differences(release: Release, answers: Sequence[Any]) -> list[str]:
    """Where the answers differ from what the release's examples expect."""
    pairs = zip(answers, release.manifest["examples"], strict=True)
    return [text for answer, example in pairs for text in check(answer, example["expect"])]


@contextmanager
def running(
    client: docker.DockerClient, image: str, *, within: float = 30, **options: Any
) -> Iterator[Running]:
    """Run an image with everything taken from it that a server can do without, until it answers."""
    container = client.containers.run(
        image,
        detach=True,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        environment={KEY: SECRET},
        ports={f"{PORT}/tcp": ("127.0.0.1", None)},
        **options,
    )
    try:
        container.reload()
        port = container.attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"][0]["HostPort"]
        headers = {"Authorization": f"Bearer {SECRET}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as http:
            _wait(container, http, within)
            yield Running(container, http)
    finally:
        container.remove(force=True)


def _wait(container: Container, http: httpx.Client, within: float) -> None:
    until = time.monotonic() + within
    while True:
        try:
            if http.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            container.reload()
            if container.status == "exited" or time.monotonic() > until:
                raise AssertionError(container.logs(tail=20).decode()) from None
            time.sleep(0.02)


def read_labels(layout: Layout, image: Image) -> dict[str, str]:
    """The labels of an image."""
    config = layout.document(image.config).get("config") or {}
    found = config.get("Labels") or {}
    return {str(name): str(value) for name, value in found.items()}


def log_lines(container: Container) -> Sequence[dict[str, Any]]:
    """What a server logged."""
    return [json.loads(line) for line in container.logs().decode().splitlines()]
