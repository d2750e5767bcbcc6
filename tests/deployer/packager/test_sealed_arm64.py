"""The arm64 image, run below an emulator, answers as the amd64 one does."""

from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.packager import engine
from deployer.packager.image import PLATFORMS, Image, Platform, for_platform
from deployer.packager.release import Workshop
from deployer.packager.sealed import Sealed, seal
from tests.deployer.packager.emulation import qemu_aarch64
from tests.deployer.packager.releases import shelf
from tests.deployer.packager.running import differences, running

pytestmark = [pytest.mark.engine, pytest.mark.network]

NAME = "opc-market-test/emulated"
SECONDS = 120  # emulated code is ten to twenty times slower
TOLERANCE = 1e-4


def below(emulator: Path, sealed: Sealed, image: Image) -> dict[str, Any]:
    """How to run an image's own command below the emulator: one process, so the kernel need not know."""
    first, *rest = sealed.layout.document(image.config)["config"]["Entrypoint"]
    return {
        "entrypoint": ["/qemu", f"/usr/bin/{first}"],
        "command": rest,
        "volumes": {str(emulator): {"bind": "/qemu", "mode": "ro"}},
    }


def close_to(answer: Any) -> Any:
    """An answer with numbers that may differ in their last digits."""
    if isinstance(answer, dict):
        return {key: close_to(value) for key, value in answer.items()}
    if isinstance(answer, list):
        return [close_to(value) for value in answer]
    return pytest.approx(answer, abs=TOLERANCE) if isinstance(answer, float) else answer


def test_the_arm64_image_gives_the_same_answers(client: docker.DockerClient, image_home: Path) -> None:
    if engine.platform(client) != PLATFORMS[0]:
        pytest.skip("the emulator is for amd64 engines")
    release = shelf("doc-orientation")
    sealed = seal(Workshop(image_home), release)
    answers = []
    for platform in PLATFORMS:
        image = for_platform(sealed.layout, sealed.root, platform)
        name = f"{NAME}:{platform.architecture}"
        emulated = platform == Platform("linux", "arm64")
        options = below(qemu_aarch64(), sealed, image) if emulated else {}
        engine.load(client, sealed.layout, image, name, foreign=emulated)
        try:
            with running(client, name, within=SECONDS, **options) as server:
                assert client.images.get(name).attrs["Architecture"] == platform.architecture
                answers.append(server.answers(release))
        finally:
            client.images.remove(name, force=True)
    on_amd64, on_arm64 = answers
    assert differences(release, on_arm64) == []
    assert on_arm64 == close_to(on_amd64)
