"""A version goes by way of a registry to another engine, where it answers as it does here."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.packager import engine
from deployer.packager.release import Workshop
from deployer.packager.sealed import KEY, PORT, seal
from tests.deployer.packager.engines import Elsewhere, elsewhere
from tests.deployer.packager.releases import shelf
from tests.deployer.packager.running import SECRET, differences, running
from tests.shop import wait_until

pytestmark = [pytest.mark.engine, pytest.mark.network]

NAME = "opc-market-test/here:1.0.0"
ASK = f"""
import json, sys, urllib.request
asked = urllib.request.Request("http://127.0.0.1:{PORT}/predict", sys.argv[1].encode(),
    {{"Content-Type": "application/json", "Authorization": "Bearer {SECRET}"}})
print(urllib.request.urlopen(asked).read().decode())
"""


@pytest.fixture(scope="module")
def there() -> Iterator[Elsewhere]:
    with elsewhere() as found:
        yield found


def answers_of(client: docker.DockerClient, image: str, bodies: list[Any]) -> list[Any]:
    """What a container of that engine answers, asked from within: it has no network but its own."""
    container = client.containers.run(
        image, detach=True, read_only=True, cap_drop=["ALL"], network_mode="none", environment={KEY: SECRET}
    )

    def answer(body: Any) -> str:
        container.reload()
        assert container.status != "exited", container.logs().decode()
        code, said = container.exec_run(["python3", "-c", ASK, json.dumps(body)])
        return said.decode() if code == 0 else ""

    try:
        return [
            json.loads(wait_until(lambda body=body: answer(body), within=60, what="an answer"))  # type: ignore[misc]
            for body in bodies
        ]
    finally:
        container.remove(force=True)


def test_another_engine_pulls_what_one_command_pushed_and_answers_the_same(
    client: docker.DockerClient, there: Elsewhere, image_home: Path
) -> None:
    release = shelf("doc-orientation")
    bodies = [example["request"] for example in release.manifest["examples"]]
    sealed = seal(Workshop(image_home), release)
    engine.load_for(client, sealed.layout, sealed.root, NAME)
    try:
        with running(client, NAME) as server:
            here = server.answers(release)
    finally:
        client.images.remove(NAME, force=True)

    name = f"{there.host}/models/orientation"
    command = [sys.executable, "-m", "marketplace.cli", "package", str(release.folder), "--push", f"{name}:1"]
    done = there.run(*command, "--json", env={"MARKET_HOME": str(image_home)})
    assert done.returncode == 0, done.stderr
    there.client.images.pull(name, tag="1")
    answers = answers_of(there.client, f"{name}:1", bodies)
    assert answers == here
    assert differences(release, answers) == []
