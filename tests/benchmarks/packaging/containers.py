"""Containers from nothing to their first good answer, started in several ways."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from deployer.packager.sealed import KEY, PORT
from deployer.runtimes.docker import DockerRuntime
from deployer.spec import ReplicaSpec
from tests.benchmarks.harness import ask

SECRET = "bench"
PATIENCE = 60.0  # seconds for a first answer
TCP = ["--name", "bench", "--host", "0.0.0.0", "--port", str(PORT), "--key-env", KEY]


def until_answered(request: Callable[[], object], log: Callable[[], object]) -> None:
    """Ask again and again until the server answers well."""
    until = time.perf_counter() + PATIENCE
    while True:
        try:
            request()
            return
        except (OSError, http.client.HTTPException):
            if time.perf_counter() > until:
                raise RuntimeError(f"no answer: {log()}") from None
            time.sleep(0.005)


def _post(port: int, body: object) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {SECRET}"}
        connection.request("POST", "/predict", json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer[:300]!r}")
    finally:
        connection.close()


def plain_run(client: docker.DockerClient, image: str, body: object, **options: Any) -> None:
    """`docker run` of an image that listens on its port, until it answers; ended afterwards by `ended`."""
    container = client.containers.run(
        image,
        detach=True,
        environment={KEY: SECRET},
        ports={f"{PORT}/tcp": ("127.0.0.1", None)},
        labels={LABEL: "1"},
        **options,
    )
    until_answered(lambda: _post(_port(client, container), body), container.logs)


LABEL = "market.bench"


def _port(client: docker.DockerClient, container: Container) -> int:
    ports = client.api.inspect_container(container.id)["NetworkSettings"]["Ports"]
    published = (ports or {}).get(f"{PORT}/tcp")
    if not published:
        raise ConnectionRefusedError("no port yet")
    return int(published[0]["HostPort"])


def ended(client: docker.DockerClient) -> None:
    """Remove what `plain_run` started."""
    for container in client.containers.list(all=True, filters={"label": LABEL}):
        container.remove(force=True)


def mounted(model: Path) -> dict[str, Any]:
    """Options of a plain run of the runtime image with a model mounted."""
    return {"command": ["/model", *TCP], "volumes": {str(model.resolve()): {"bind": "/model", "mode": "ro"}}}


@contextmanager
def runtime(home: Path) -> Iterator[DockerRuntime]:
    """Our runtime, with its image in the engine."""
    found = DockerRuntime(home)
    try:
        yield found
    finally:
        found.close()


def deployed(found: DockerRuntime, model: Path, body: object) -> str:
    """One replica of our runtime, until it answers; returns its id."""
    spec = ReplicaSpec(id="bench-1", deployment="bench", model_dir=model, key=SECRET)
    replica = found.start(spec)
    kind, _, address = replica.address.partition(":")

    def request() -> None:
        if kind == "unix":
            ask(Path(address), "/predict", body)
        else:
            _post(int(address.rpartition(":")[2]), body)

    until_answered(request, lambda: found.logs(spec.id))
    return spec.id
