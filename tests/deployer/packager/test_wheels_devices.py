"""What images for accelerators are made of; the one for OpenVINO is made and run here."""

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from prometheus_client.parser import text_string_to_metric_families

from catalog.importers.indexes import open_session, read_indexes
from deployer.devices import DEVICES, profile
from deployer.errors import TerminalNotSupported, UnknownDevice
from deployer.packager import engine, wheels, wheels_devices
from deployer.packager.base import Base
from deployer.packager.image import Platform
from deployer.packager.release import Workshop
from deployer.packager.runtime_image import settings
from deployer.packager.sealed import seal
from deployer.server import providers
from deployer.server.predictor import finish, load
from tests.deployer.packager.releases import shelf
from tests.shelf_files import ROOT, model_dir
from tests.shop import wait_until

MADE = [(device, arch) for device, parts in wheels_devices.PARTS.items() for arch in parts.architectures]
VENDORS = ("tensorrt", "migraphx", "cann")


def test_builds_and_versions_are_those_of_the_device_profiles() -> None:
    for device in wheels_devices.PARTS:
        known, packages = profile(device), wheels_devices.packages(device)
        assert packages[known.package] == known.version
    assert wheels_devices.packages("cpu") == {"onnxruntime": wheels.versions()["onnxruntime"]}


def test_they_stand_in_for_the_processors_build_and_no_other_package_is_lost() -> None:
    own = wheels.versions()
    for device in wheels_devices.PARTS:
        chosen = wheels.wanted(None, wheels_devices.packages(device))
        names = {name for group in chosen.values() for name in group}
        assert names >= set(own) - {"onnxruntime"}
        # Two builds of onnxruntime would overwrite each other's files; a plug-in stands on the usual one.
        builds = {name for name in names if name.startswith("onnxruntime")} - {"onnxruntime-qnn"}
        assert len(builds) == 1, device


def test_an_image_names_its_device_so_that_the_server_knows_it() -> None:
    base = Base("debian", "3.11", ())
    for device in wheels_devices.PARTS:
        told = dict(entry.split("=", 1) for entry in settings(base, device)["Env"])
        assert told.get("MARKET_DEVICE", "cpu") == device
        assert device in providers.KINDS
        assert told["ORT_DISABLE_TELEMETRY"] == "1"
    assert set(providers.KINDS) == set(wheels_devices.PARTS)


def test_the_server_asks_for_the_provider_that_the_profile_names() -> None:
    for device, kind in providers.KINDS.items():
        assert kind.provider == profile(device).provider
        # What a device does not take, the processor runs: the server relies on it for all of them.
        assert profile(device).form.fallback


def test_what_no_index_holds_needs_a_base_of_its_vendor() -> None:
    for device in wheels_devices.PARTS:
        if device not in VENDORS:
            assert wheels_devices.base(device, "debian") == "debian"
            continue
        assert wheels_devices.base(device, "vendor/image:1") == "vendor/image:1"
        for own in ("debian", "auto"):
            with pytest.raises(TerminalNotSupported) as refused:
                wheels_devices.base(device, own)
            assert "MARKET_RUNTIME_BASE" in refused.value.facts["why"]
            assert "MARKET_RUNTIME_BASE" in refused.value.facts["why_zh"]


def test_other_devices_are_refused_by_name() -> None:
    for device in {each.id for each in DEVICES} - set(wheels_devices.PARTS):
        with pytest.raises(TerminalNotSupported):
            wheels_devices.packages(device)
    with pytest.raises(UnknownDevice):
        wheels_devices.packages("abacus")


def test_the_hosts_part_as_options_of_docker_run() -> None:
    assert wheels_devices.run_options("openvino") == []
    assert wheels_devices.run_options("cuda") == ["--gpus", "all"]
    amd = wheels_devices.run_options("migraphx")
    assert amd == [
        "--device",
        "/dev/kfd",
        "--device",
        "/dev/dri",
        "--group-add",
        "video",
        "--group-add",
        "render",
    ]
    driver = "/usr/local/Ascend/driver"
    assert f"{driver}:{driver}:ro" in wheels_devices.run_options("cann")


@functools.cache
def offered(package: str) -> tuple[str, ...]:
    """Names of the files that the machine's indexes have of a package; nothing is fetched."""
    from pypi_simple import NoSuchProjectError, PyPISimple

    found: list[str] = []
    indexes = read_indexes()
    with open_session(indexes) as session:
        for url in indexes.urls or ("",):
            client = PyPISimple(url, session=session) if url else PyPISimple(session=session)
            with contextlib.suppress(NoSuchProjectError):
                found += [each.filename for each in client.get_project_page(package, timeout=60).packages]
    return tuple(found)


@pytest.mark.network
@pytest.mark.parametrize(("device", "arch"), MADE)
def test_the_index_has_every_wheel(device: str, arch: str) -> None:
    """With tags that an image's wheels are fetched by; looked up by name alone, since some weigh 500 MB."""
    platforms = [f"{tag}_{wheels.MACHINES[arch]}" for tag in wheels.GLIBC_TAGS]
    platforms += [
        f"{old}_{wheels.MACHINES[arch]}" for old in ("manylinux2010", "manylinux1")
    ]  # pip adds these
    fit = {*cpython_tags((3, 11), ["cp311"], platforms), *compatible_tags((3, 11), "cp311", platforms)}
    for name, version in wheels_devices.packages(device).items():
        files = [file for file in offered(name) if file.endswith(".whl")]
        parsed = [parse_wheel_filename(file) for file in files]
        assert any(str(has) == version and tags & fit for _, has, _, tags in parsed), (name, version)


@pytest.mark.network
def test_a_build_without_its_hardware_ends_the_server_instead_of_using_the_processor(
    image_home: Path, tmp_path: Path
) -> None:
    """The provider is in the wheel, but not what it is linked to: ONNX Runtime alone would go on."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    fetched = wheels.fetch(image_home / "cache" / "wheels", python, "amd64", wheels_devices.packages("cann"))
    site = tmp_path / "site"
    for wheel in fetched:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "deployer.server",
            str(model_dir("doc-orientation")),
            "--name",
            "x",
            "--port",
            "0",
        ],
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}", "MARKET_DEVICE": "cann"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, told["event"]) == (6, "device cannot be used"), done.stderr
    assert told["cause"].startswith("cann needs CANNExecutionProvider, and")


@pytest.fixture(scope="module")
def openvino(client: docker.DockerClient, image_home: Path) -> Iterator[httpx.Client]:
    """A container of the sealed image for OpenVINO, on a port of the loopback."""
    release = shelf("doc-orientation")
    sealed = seal(
        Workshop(image_home), release, platforms=(Platform(architecture="amd64"),), device="openvino"
    )
    (image,) = sealed.images
    tag = image.tag("opc-market/test-openvino")
    if not engine.has(client, tag):
        engine.load(client, sealed.layout, image, tag)
    container = client.containers.run(
        tag,
        detach=True,
        read_only=True,
        cap_drop=["ALL"],
        environment={"MARKET_SERVER_KEY": "secret"},
        ports={"8000/tcp": ("127.0.0.1", None)},
    )
    try:
        wait_until(lambda: b"listening" in container.logs(), within=60, what="the server listens")
        container.reload()
        port = container.ports["8000/tcp"][0]["HostPort"]
        headers = {"Authorization": "Bearer secret"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as asking:
            yield asking
    finally:
        container.remove(force=True)
        client.images.remove(tag, force=True)  # 309 MB, of another server with each change


@pytest.mark.engine
@pytest.mark.network
def test_the_openvino_image_runs_on_openvino_and_says_so(openvino: httpx.Client) -> None:
    told = openvino.get("/v2").json()
    assert (told["device"], told["execution_provider"]) == ("openvino", "OpenVINOExecutionProvider")
    families = {each.name: each for each in text_string_to_metric_families(openvino.get("/metrics").text)}
    nodes = {
        sample.labels["provider"]: sample.value
        for sample in families["market_execution_provider_nodes"].samples
    }
    assert nodes["OpenVINOExecutionProvider"] > 0
    assert nodes.get("CPUExecutionProvider", 0) == 0


@pytest.mark.engine
@pytest.mark.network
@pytest.mark.parametrize("picture", ["upright", "clockwise-90", "upside-down"])
def test_the_openvino_image_answers_as_the_processor_does(openvino: httpx.Client, picture: str) -> None:
    data = (ROOT / "catalog" / "starter" / "doc-orientation" / "examples" / f"{picture}.png").read_bytes()
    answer = openvino.post("/predict", files={"image": data}).json()["results"]
    theirs = {each["label"]: each["score"] for each in answer}
    here = load(model_dir("doc-orientation"))
    ours = {each["label"]: each["score"] for each in finish(here.predict({"image": data}))["results"]}
    here.close()
    assert theirs == pytest.approx(ours, abs=1e-4)
