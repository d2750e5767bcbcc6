"""Sealed images in a real engine: they answer as the model does, guard their port, add only what is new."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from deployer.errors import PackagingFailed, PlatformNotSupported
from deployer.packager import engine
from deployer.packager.image import PLATFORMS
from deployer.packager.output import to_tar
from deployer.packager.release import Release, Workshop
from deployer.packager.sealed import HEALTH, Sealed, seal
from tests.deployer.packager.releases import Fresh, shelf, spare_home
from tests.deployer.packager.running import Running, differences, log_lines, read_labels, running

pytestmark = [pytest.mark.engine, pytest.mark.network]

PREFIX = "opc-market-test/"


@pytest.fixture(scope="module")
def release() -> Release:
    return shelf("doc-orientation")


@pytest.fixture(scope="module")
def sealed(image_home: Path, release: Release) -> Sealed:
    return seal(Workshop(image_home), release)


@pytest.fixture(scope="module")
def name(client: docker.DockerClient, sealed: Sealed) -> Iterator[str]:
    """The sealed image in the engine, under a name of the tests."""
    name = f"{PREFIX}sealed:1"
    engine.load_for(client, sealed.layout, sealed.root, name)
    yield name
    client.images.remove(name, force=True)


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, name: str) -> Iterator[Running]:
    with running(client, name) as started:
        yield started


def test_it_answers_as_the_model_does(server: Running, release: Release) -> None:
    assert differences(release, server.answers(release)) == []


def test_its_labels_tell_the_api_that_it_serves(server: Running, sealed: Sealed) -> None:
    said = json.loads(read_labels(sealed.layout, sealed.images[0])["market.openapi"])
    assert server.http.get("/openapi.json").json() == said
    assert server.container.labels["market.release"].startswith("sha256:")


def test_it_answers_nobody_without_the_key(server: Running) -> None:
    with httpx.Client(base_url=server.http.base_url) as stranger:
        assert stranger.post("/predict", json={}).status_code == 401
        assert stranger.get("/healthz").status_code == 200


def test_it_runs_as_nobody_with_the_model_as_it_was(server: Running, release: Release) -> None:
    program = (
        "import os, hashlib; model = open('/model/model.onnx', 'rb').read(); "
        "print(os.getuid(), hashlib.sha256(model).hexdigest())"
    )
    code, said = server.container.exec_run(["python3", "-c", program])
    assert code == 0
    assert said.decode().split() == ["65532", release.manifest["artifacts"][0]["sha256"]]


def test_the_engine_can_ask_how_it_is(server: Running) -> None:
    command = HEALTH["Test"][1:]  # type: ignore[index]
    assert server.container.exec_run(command) == (0, b"")
    wrong = [*command[:-1], command[-1].replace("/healthz", "/nothing")]
    assert server.container.exec_run(wrong).exit_code == 1


def test_without_a_key_it_ends_and_says_so(client: docker.DockerClient, name: str) -> None:
    container = client.containers.run(name, detach=True, network_mode="none")
    try:
        assert container.wait(timeout=60)["StatusCode"] == 5
        assert "MARKET_SERVER_KEY is not set" in log_lines(container)[-1]["cause"]
    finally:
        container.remove(force=True)


def test_further_arguments_go_on_from_its_own(client: docker.DockerClient, name: str) -> None:
    with running(client, name, command=["--threads", "2"]) as started:
        assert "--threads" in started.container.attrs["Args"]


def test_the_engine_calls_it_by_our_digest_and_takes_it_once(
    client: docker.DockerClient, sealed: Sealed, name: str
) -> None:
    image = sealed.images[0]
    assert client.images.get(name).id == image.config.digest
    assert engine.load(client, sealed.layout, image, name) == len(image.layers)


def test_a_second_model_brings_its_own_layers_alone(
    client: docker.DockerClient, image_home: Path, name: str, tmp_path: Path
) -> None:
    workshop = Workshop(spare_home(image_home, tmp_path))
    second = seal(workshop, Fresh("selfie-segmentation", tmp_path).renew(), platforms=PLATFORMS[:1])
    other = f"{PREFIX}second:1"
    try:
        shared = engine.load(client, second.layout, second.images[0], other)
        layers = second.images[0].layers
        assert shared == len(layers) - 2  # weights and config
        assert sum(layer.size for layer in layers[-2:]) < 1 << 20
        have = client.api.inspect_image(name)["RootFS"]["Layers"]
        assert [layer.digest for layer in layers[:-2]] == have[: len(layers) - 2]
    finally:
        client.images.remove(other, force=True)


def test_another_machines_image_is_refused(client: docker.DockerClient, sealed: Sealed) -> None:
    foreign = next(one for one in sealed.images if one.platform != engine.platform(client))
    with pytest.raises(PlatformNotSupported) as refused:
        engine.load(client, sealed.layout, foreign, f"{PREFIX}foreign:1")
    assert refused.value.facts["platform"] == str(foreign.platform)
    assert refused.value.facts["known"] == str(engine.platform(client))
    with pytest.raises(PlatformNotSupported):
        engine.load_for(client, sealed.layout, foreign.manifest, f"{PREFIX}foreign:1")
    assert not engine.has(client, f"{PREFIX}foreign:1")


def test_a_carried_tar_is_taken_by_the_engine_itself(
    client: docker.DockerClient, sealed: Sealed, tmp_path: Path
) -> None:
    carried = f"{PREFIX}carried:1"
    to_tar(sealed.layout, sealed.root, tmp_path / "image.tar", carried)
    try:
        with (tmp_path / "image.tar").open("rb") as file:
            (loaded,) = client.images.load(file)
        assert loaded.id == sealed.images[0].config.digest
        assert carried in loaded.tags
    finally:
        client.images.remove(carried, force=True)


def test_a_layer_that_is_damaged_is_refused_by_the_engine(
    client: docker.DockerClient, sealed: Sealed, tmp_path: Path
) -> None:
    from deployer.packager.image import assemble
    from deployer.packager.layers import LAYER
    from deployer.packager.layout import Layout

    layout = Layout(tmp_path)
    layer = layout.add(b"no tar at all" * 100, LAYER)
    with pytest.raises(PackagingFailed) as refused:
        engine.load(client, layout, assemble(layout, [layer], {}, arch="amd64"), f"{PREFIX}damaged:1")
    assert refused.value.facts["why"]
