"""Sealed images by way of a registry: an engine pulls and runs them, a second model sends itself alone."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deployer.packager.image import PLATFORMS
from deployer.packager.layout import Layout
from deployer.packager.registry import pull, push
from deployer.packager.release import Workshop
from deployer.packager.sealed import seal
from tests.deployer.packager.registries import Debian, debian
from tests.deployer.packager.releases import shelf
from tests.deployer.packager.running import differences, running

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with debian(tmp_path_factory.mktemp("registry")) as running:
        yield running


def test_an_engine_pulls_it_and_it_answers_as_the_model_does(
    registry: Debian, client: docker.DockerClient, image_home: Path, tmp_path: Path
) -> None:
    release = shelf("doc-orientation")
    sealed = seal(Workshop(image_home), release)
    name = f"{registry.host}/{release.name}"
    # A registry's port may have been another's before, so nothing is remembered from run to run.
    memory = Layout(tmp_path / "memory")
    first = push(sealed.layout, sealed.root, f"{name}:1.0.0", memory=memory)
    assert first.skipped_bytes == 0

    pulled = client.images.pull(name, tag="1.0.0")
    try:
        assert pulled.id == next(one for one in sealed.images if one.platform == PLATFORMS[0]).config.digest
        with running(client, f"{name}:1.0.0") as server:
            assert differences(release, server.answers(release)) == []
    finally:
        client.images.remove(f"{name}:1.0.0", force=True)

    other = shelf("filetype-magika")
    second = seal(Workshop(image_home), other)
    pushed = push(second.layout, second.root, f"{registry.host}/{other.name}:1.0.0", memory=memory)
    assert pushed.sent_bytes < other.size + 300_000
    there = Layout(tmp_path / "there")
    root = pull(f"{registry.host}/{other.name}:1.0.0", there, platform=PLATFORMS[1])
    assert root == second.images[1].manifest
    assert all(
        there.path(one.digest).read_bytes() == second.layout.path(one.digest).read_bytes()
        for one in second.images[1].layers
    )
