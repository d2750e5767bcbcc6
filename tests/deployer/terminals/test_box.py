"""Boxes: what is in the folder, and the installer run for real against an engine."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
import yaml

from deployer.devices import machine
from deployer.examples import check
from deployer.packager import output
from deployer.packager.image import PLATFORMS, images_of
from deployer.packager.release import Release, Workshop, of_folder
from deployer.spec import silent
from deployer.terminals import box
from tests.deployer.packager.conftest import client, image_home  # noqa: F401 (fixtures)
from tests.deployer.terminals.projects import HOSTILE
from tests.shelf_files import model_dir

OWN = PLATFORMS[1 if machine() == "arm64" else 0]
SERVICE = f"market-box-test-{os.getpid()}"

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def release() -> Release:
    return replace(of_folder(model_dir("doc-orientation")), name=f"tests/box-test-{os.getpid()}")


@pytest.fixture(scope="module")
def folder(release: Release, image_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("box")
    facts = box.build(Workshop(image_home), release, out, silent, platforms=[OWN])
    assert facts["service"] == SERVICE and facts["platforms"] == [str(OWN)]
    return out


# The folder


def test_scripts_are_sound_for_a_plain_shell(folder: Path) -> None:
    scripts = sorted(folder.glob("*.sh"))
    assert [path.name for path in scripts] == ["ask.sh", "install.sh", "uninstall.sh"]
    for path in scripts:
        assert path.stat().st_mode & stat.S_IXUSR
        subprocess.run(["sh", "-n", str(path)], check=True)
        assert "@{" not in path.read_text()
    if shutil.which("shellcheck"):
        names = [str(path) for path in scripts]
        done = subprocess.run(["shellcheck", "-s", "sh", *names], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_units_are_sound(folder: Path, tmp_path: Path) -> None:
    unit = folder / f"{SERVICE}.service"
    _assert_unit(unit.read_text(), "ExecStart")
    _assert_unit((folder / f"{SERVICE}.container").read_text(), "Image")
    if shutil.which("systemd-analyze") and shutil.which("docker"):
        # The engine's own unit need not be there.
        text = unit.read_text().replace("Requires=docker.service\n", "").replace("After=docker.service\n", "")
        (tmp_path / unit.name).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
            capture_output=True,
            text=True,
        )
        mine = [line for line in done.stderr.splitlines() if SERVICE in line]
        assert not mine, mine


def _assert_unit(text: str, wanted: str) -> None:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"\[\w+\]|\w+=.*[^\\]", line) for line in lines), lines
    assert sum(line.startswith(f"{wanted}=") for line in lines) == 1


def test_compose_confines_like_the_installer(folder: Path) -> None:
    told = yaml.safe_load((folder / "compose.yaml").read_text())
    assert set(told) == {"name", "services"}
    model: dict[str, Any] = told["services"]["model"]
    assert model["read_only"] is True and model["cap_drop"] == ["ALL"]
    assert model["security_opt"] == ["no-new-privileges:true"] and model["user"] == "65532:65532"
    assert model["ports"] == ["127.0.0.1:${MARKET_PORT:-8000}:8000"]
    assert model["healthcheck"]["test"][0] == "CMD" and model["env_file"] == ["key.env"]
    assert model["mem_limit"] == model["memswap_limit"] >= 1 << 30
    assert model["container_name"] == SERVICE and model["restart"] == "unless-stopped"


def test_the_image_is_a_whole_layout(folder: Path) -> None:
    with output.opened(folder / "image") as layout:
        (entry,) = layout.entries()
        (image,) = images_of(layout, entry)
    listed = (folder / "image" / OWN.architecture / "blobs").read_text().split()
    wanted = {one.digest.removeprefix("sha256:") for one in (image.manifest, image.config, *image.layers)}
    assert set(listed) == wanted and len(listed) == len(wanted)


def test_names_of_strangers_mean_nothing(
    release: Release,
    image_home: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    texts = [*HOSTILE, "`touch pwned`", "$(touch pwned)", "a\\", "%i %n", "-rf /"]
    hostile = replace(
        release,
        name=f"x'y/{texts[5]};{texts[6]}\n{texts[0]}",
        title_en="".join(texts) + "\\",
        title_zh=texts[-2],
    )
    box.build(Workshop(image_home), hostile, tmp_path, silent)
    lists = [(tmp_path / "image" / one.architecture / "blobs").read_text().split() for one in PLATFORMS]
    shared = set(lists[0]) & set(lists[1])
    weights = max((tmp_path / "image/blobs/sha256").iterdir(), key=lambda path: path.name in shared)
    assert weights.name in shared  # which lie there once
    units = [path for path in tmp_path.iterdir() if path.suffix in (".service", ".container")]
    assert len(units) == 2
    for path in units:
        assert re.fullmatch(r"market-[a-z0-9-]+\.(service|container)", path.name)
        _assert_unit(path.read_text(), "Description")
        assert "%" not in path.read_text().replace("%%", "")
    for path in tmp_path.glob("*.sh"):
        subprocess.run(["sh", "-n", str(path)], check=True)
        assert not re.search(r"touch pwned[`)]", path.read_text())
    told = yaml.safe_load((tmp_path / "compose.yaml").read_text())
    assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*:[a-z0-9_.-]+", told["services"]["model"]["image"])


# The installer


@pytest.fixture
def port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        number: int = held.getsockname()[1]
        return number


@pytest.fixture
def gone(client: docker.DockerClient) -> Iterator[None]:  # noqa: F811
    yield
    for one in client.containers.list(all=True, filters={"name": SERVICE}):
        one.remove(force=True)


def _run(folder: Path, script: str, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", str(folder / script), *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), "LANG": "C.UTF-8", **env},
    )


def test_install_ask_install_again_and_uninstall(
    folder: Path,
    release: Release,
    client: docker.DockerClient,  # noqa: F811
    tmp_path: Path,
    port: int,
    gone: None,
) -> None:
    keys = tmp_path / "keys"
    arguments = ("--no-service", "--port", str(port), "--dir", str(keys))
    done = _run(folder, "install.sh", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    url, key = done.stdout.splitlines()[-3:-1]
    assert url == f"http://127.0.0.1:{port}" and re.fullmatch(r"[0-9a-f]{48}", key)
    assert stat.S_IMODE((keys / "key.env").stat().st_mode) == 0o600
    example = release.manifest["examples"][1]
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{url}/predict", json=example["request"], headers=headers, timeout=30)
    assert check(answer.json(), example["expect"]) == []
    assert httpx.post(f"{url}/predict", json=example["request"], timeout=30).status_code == 401

    host = client.containers.get(SERVICE).attrs["HostConfig"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["PidsLimit"] == 128
    assert host["SecurityOpt"] == ["no-new-privileges"] and host["Memory"] == host["MemorySwap"] == 2 << 30
    assert host["RestartPolicy"]["Name"] == "unless-stopped" and host["NanoCpus"] == 1_000_000_000
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert host["PortBindings"]["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]

    again = _run(folder, "install.sh", *arguments, LANG="zh_CN.UTF-8")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-2] == key and "正在载入" not in again.stdout

    left = _run(folder, "uninstall.sh", "--dir", str(keys))
    assert (left.returncode, left.stdout) == (0, f"{SERVICE} was removed\n"), left.stderr
    assert not keys.exists()
    assert client.containers.list(all=True, filters={"name": SERVICE}) == []
    assert client.images.list(name=f"tests/box-test-{os.getpid()}") == []


def test_another_processor_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "uname").write_text("#!/bin/sh\necho riscv64\n")
    (tmp_path / "uname").chmod(0o755)
    done = _run(folder, "install.sh", "--no-service", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1 and "riscv64" in done.stderr and str(OWN) in done.stderr


def test_an_engine_that_does_not_answer_is_named(folder: Path, tmp_path: Path) -> None:
    done = _run(
        folder, "install.sh", "--no-service", DOCKER_HOST=f"unix://{tmp_path}/none.sock", LANG="zh_CN.UTF-8"
    )
    assert done.returncode == 1 and "docker 没有回应" in done.stderr


def test_damage_is_found_before_anything_is_done(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "SHA256SUMS").write_text(f"{'0' * 64}  README.md\n")
    done = _run(copy, "install.sh", "--no-service", "--dir", str(tmp_path / "keys"))
    assert done.returncode == 1 and "damaged" in done.stderr and "README.md: FAILED" in done.stderr
    assert not (tmp_path / "keys").exists()


def test_a_port_that_is_taken_is_named_and_what_runs_goes_on(
    folder: Path,
    client: docker.DockerClient,  # noqa: F811
    tmp_path: Path,
    port: int,
    gone: None,
) -> None:
    first = _run(folder, "install.sh", "--no-service", "--port", str(port), "--dir", str(tmp_path / "keys"))
    assert first.returncode == 0, first.stderr
    runs = client.containers.get(SERVICE).id
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        number = held.getsockname()[1]
        done = _run(
            folder, "install.sh", "--no-service", "--port", str(number), "--dir", str(tmp_path / "keys")
        )
    assert done.returncode == 1 and f"port {number}" in done.stderr
    (still,) = client.containers.list(all=True, filters={"name": SERVICE})
    assert (still.id, still.status) == (runs, "running")
    assert _run(folder, "uninstall.sh", "--dir", str(tmp_path / "keys")).returncode == 0


def test_an_answer_that_is_not_as_expected_fails(folder: Path) -> None:
    """The check that goes into the container, on what it must not let pass."""
    code = (folder / "ask.py").read_text()
    assert json.loads(json.dumps(code)) == code
    names: dict[str, Any] = {"__name__": "asked"}
    exec(compile(code, "ask.py", "exec"), names)
    expect = names["EXAMPLE"]["expect"]
    assert names["check"]({"results": []}, expect)
