"""Pushing and pulling: with Debian's docker-registry, and with a strict one that fails as it is told."""

import hashlib
import io
import itertools
import json
import logging
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deployer.errors import (
    ContentCorrupted,
    DeployerError,
    DiskFull,
    InvalidReference,
    PackagingFailed,
    PlatformNotSupported,
    RegistryRefused,
    RegistryUnavailable,
)
from deployer.packager import referrers
from deployer.packager.image import MANIFEST, Image, Platform, assemble, image_index
from deployer.packager.layers import LAYER
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.registry import Pace, Reference, credentials, pull, push
from tests.deployer.packager import registries
from tests.deployer.packager.registries import (
    ELSEWHERE,
    PASSWORD,
    USER,
    Debian,
    Handler,
    debian,
    sign_in,
    strict,
)

QUICK = Pace(tries=3, pause=0.01, silence=30, chunk=1 << 20)
MIB = 1 << 20


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials but those that a test gives."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with debian(tmp_path_factory.mktemp("registry")) as running:
        yield running


def a_layer(layout: Layout, size: int, seed: int) -> Descriptor:
    """A tar with one file that does not shrink."""
    with layout.writing() as writer, tarfile.open(fileobj=writer, mode="w|") as archive:
        info = tarfile.TarInfo(f"data/{seed}.bin")
        info.size = size
        archive.addfile(info, io.BytesIO(random.Random(seed).randbytes(size)))
    return Descriptor(LAYER, writer.digest(), writer.size)


def an_image(layout: Layout, *seeds: int, size: int = 2 * MIB, arch: str = "amd64") -> Image:
    return assemble(layout, [a_layer(layout, size, seed) for seed in seeds], {"Labels": {}}, arch=arch)


def blobs(layout: Layout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.blobs.iterdir()}


def partials(layout: Layout) -> list[str]:
    return [path.name for path in layout.root.iterdir() if path.name.startswith(".blob-")]


# Names


@pytest.mark.parametrize(
    ("text", "registry", "repository", "target"),
    [
        ("127.0.0.1:5000/a/b:1.0", "127.0.0.1:5000", "a/b", "1.0"),
        ("localhost/a", "localhost", "a", "latest"),
        ("[::1]:5000/a_b/c.d-e:x", "[::1]:5000", "a_b/c.d-e", "x"),
        ("oci://registry.test/a@sha256:" + "0" * 64, "registry.test", "a", "sha256:" + "0" * 64),
        ("registry.test/a:tag@sha256:" + "0" * 64, "registry.test", "a", "sha256:" + "0" * 64),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim"),
        ("vendor/model", "docker.io", "vendor/model", "latest"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    text: str, registry: str, repository: str, target: str
) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.target) == (registry, repository, target)
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "127.0.0.1:5000/",
        "127.0.0.1:5000/A",
        "127.0.0.1:5000/a:",
        "127.0.0.1:5000/a:" + "x" * 129,
        "127.0.0.1:5000/a/../b",
        "127.0.0.1:5000/a@sha256:short",
        "127.0.0.1:5000/a?x=y",
        "http://127.0.0.1:5000/a",
        "a b/c",
        "x" * 600,
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


def test_a_password_in_a_reference_is_not_repeated() -> None:
    with pytest.raises(InvalidReference) as refused:
        Reference.parse(f"{USER}:{PASSWORD}@registry.test/a:1")
    assert PASSWORD not in str(refused.value)
    assert "registry.test/a:1" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("localhost", True),
        ("10.0.0.1:80", False),
        ("a.b", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_https(name: str, local: bool) -> None:
    assert Reference.parse(f"{name}/a").loopback is local


# A registry as people run it


def test_what_is_pushed_comes_back_byte_for_byte(registry: Debian, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "here")
    images = [an_image(layout, 1, 2, arch="amd64"), an_image(layout, 1, 3, arch="arm64")]
    root = image_index(layout, images)
    bill = referrers.attach(layout, root, "application/vnd.cyclonedx+json", b'{"bom": 1}', title="bom.json")
    card = referrers.attach(layout, images[0].manifest, "text/markdown", b"# A card", annotations={"a": "b"})
    told: list[tuple[int, int]] = []

    def note(done: int, total: int, text: str = "") -> None:
        told.append((done, total))

    name = f"{registry.host}/tests/round:1"
    pushed = push(layout, root, name, progress=note, pace=QUICK)
    assert pushed.digest == root.digest
    sizes = {digest: size for digest, size in registry.blobs().items() if layout.path(digest).exists()}
    lists = sum(size for digest, size in registry.blobs().items() if not layout.path(digest).exists())
    assert pushed.sent_bytes == sum(sizes.values()) + lists
    assert pushed.skipped_bytes == 0
    assert told[-1][0] == told[-1][1]
    assert all(one[0] <= two[0] for one, two in itertools.pairwise(told))

    empty = Layout(tmp_path / "there")
    assert pull(name, empty, progress=note, pace=QUICK) == root.plain()
    assert blobs(empty) == blobs(layout)
    assert referrers.referrers(empty, root) == [bill]
    assert referrers.content(empty, bill) == b'{"bom": 1}'
    assert referrers.referrers(empty, images[0].manifest) == [card]
    assert {stat.S_IMODE(path.stat().st_mode) for path in empty.blobs.iterdir()} == {0o444}
    assert not partials(empty)

    again = push(layout, root, name, pace=QUICK)
    assert (again.sent_bytes, again.skipped_bytes) == (0, pushed.sent_bytes - lists)
    assert pull(f"{registry.host}/tests/round@{root.digest}", empty, pace=QUICK) == root.plain()


def test_a_second_image_sends_only_its_own_layer_also_to_another_repository(
    registry: Debian, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    first, second = an_image(layout, 10, 11, 12), an_image(layout, 10, 11, 13)
    push(layout, first.manifest, f"{registry.host}/tests/first:1", pace=QUICK)
    before = registry.blobs()
    pushed = push(layout, second.manifest, f"{registry.host}/tests/second:1", pace=QUICK)
    own = second.layers[2].size + second.config.size + second.manifest.size
    assert pushed.sent_bytes == own
    assert pushed.skipped_bytes == 2 * second.layers[0].size
    assert set(registry.blobs()) - set(before) == {
        second.layers[2].digest,
        second.config.digest,
        second.manifest.digest,
    }


def test_one_platform_of_an_index_is_pulled_alone(registry: Debian, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "here")
    amd, arm = an_image(layout, 20, arch="amd64"), an_image(layout, 21, arch="arm64")
    name = f"{registry.host}/tests/platforms:1"
    push(layout, image_index(layout, [amd, arm]), name, pace=QUICK)
    empty = Layout(tmp_path / "there")
    assert pull(name, empty, platform=Platform("linux", "arm64"), pace=QUICK) == arm.manifest
    assert not empty.has(amd.layers[0])
    with pytest.raises(PlatformNotSupported) as refused:
        pull(name, empty, platform=Platform("linux", "riscv64"), pace=QUICK)
    assert refused.value.facts["known"] == "linux/amd64, linux/arm64"
    push(layout, amd.manifest, f"{registry.host}/tests/platforms:amd64", pace=QUICK)
    with pytest.raises(PlatformNotSupported):
        pull(f"{registry.host}/tests/platforms:amd64", empty, platform=Platform("linux", "arm64"), pace=QUICK)


def test_two_pushes_of_the_same_at_once_both_succeed(registry: Debian, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 30, 31, 32)
    kept = [
        referrers.attach(layout, image.manifest, f"application/test.{n}", str(n).encode()) for n in range(4)
    ]
    name = f"{registry.host}/tests/twice:1"
    failures: list[BaseException] = []

    def work() -> None:
        try:
            push(layout, image.manifest, name, pace=QUICK)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    empty = Layout(tmp_path / "there")
    pull(name, empty, pace=QUICK)
    assert referrers.referrers(empty, image.manifest) == kept


def test_two_pulls_at_once_into_one_layout_both_succeed(registry: Debian, tmp_path: Path) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 33, 34)
    name = f"{registry.host}/tests/pulls:1"
    push(layout, image.manifest, name, pace=QUICK)
    found: list[Descriptor] = []
    threads = [threading.Thread(target=lambda: found.append(pull(name, empty, pace=QUICK))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [image.manifest] * 3
    assert blobs(empty) == blobs(layout)
    assert not partials(empty)


def test_a_registry_that_serves_damaged_content_is_caught(registry: Debian, tmp_path: Path) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 40, 41)
    name = f"{registry.host}/tests/damaged:1"
    push(layout, image.manifest, name, pace=QUICK)
    registry.damage(image.layers[1].digest)
    with pytest.raises(ContentCorrupted) as refused:
        pull(name, empty, pace=QUICK)
    assert image.layers[1].digest in str(refused.value)
    assert not empty.has(image.layers[1])
    assert not empty.has(image.manifest)
    assert not partials(empty)


def test_a_registry_that_died_in_the_middle_takes_the_rest_later(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "here")
    image = an_image(layout, 50, 51, 52)
    push_to = "tests/half:1"
    with debian(tmp_path / "registry") as first:

        def stop(done: int, total: int, text: str = "") -> None:
            if done > image.layers[0].size and first.process.poll() is None:
                first.process.kill()
                first.process.wait()

        with pytest.raises(RegistryUnavailable):
            push(layout, image.manifest, f"{first.host}/{push_to}", progress=stop, pace=QUICK)
    with debian(tmp_path / "registry") as second:
        pushed = push(layout, image.manifest, f"{second.host}/{push_to}", pace=QUICK)
        assert pushed.sent_bytes + pushed.skipped_bytes == sum(
            one.size for one in (*image.layers, image.config, image.manifest)
        )
        empty = Layout(tmp_path / "there")
        pull(f"{second.host}/{push_to}", empty, pace=QUICK)
    assert blobs(empty) == blobs(layout)


def test_a_push_that_is_called_off_ends_soon_and_leaves_no_name(registry: Debian, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 55, 56, 57, 58, size=8 * MIB)

    class CalledOff(Exception):
        pass

    def call_off(done: int, total: int, text: str = "") -> None:
        if done > 4 * MIB:
            raise CalledOff

    with pytest.raises(CalledOff):
        push(layout, image.manifest, f"{registry.host}/tests/off:1", progress=call_off, pace=QUICK)
    assert not {one.digest for one in image.layers} <= set(registry.blobs())
    with pytest.raises(RegistryRefused) as refused:
        pull(f"{registry.host}/tests/off:1", Layout(tmp_path / "there"), pace=QUICK)
    assert refused.value.facts["status"] == 404


def test_a_protected_registry_wants_the_right_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout(tmp_path / "here")
    image = an_image(layout, 60)
    with debian(tmp_path / "registry", protected=True) as guarded:
        name = f"{guarded.host}/tests/secret:1"
        with pytest.raises(RegistryRefused) as refused:
            push(layout, image.manifest, name, pace=QUICK)
        assert refused.value.facts["status"] == 401
        assert "no credentials" in refused.value.facts["why"]
        monkeypatch.setenv("DOCKER_CONFIG", str(sign_in(tmp_path / "wrong", guarded.host, password="wrong")))
        with pytest.raises(RegistryRefused) as refused:
            push(layout, image.manifest, name, pace=QUICK)
        assert refused.value.facts["status"] == 401
        monkeypatch.setenv("DOCKER_CONFIG", str(sign_in(tmp_path / "right", guarded.host)))
        push(layout, image.manifest, name, pace=QUICK)
        assert pull(name, Layout(tmp_path / "there"), pace=QUICK) == image.manifest


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "here")
    image = an_image(layout, 61)
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    monkeypatch.setenv("PATH", f"{helper.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    with debian(tmp_path / "registry", protected=True) as guarded:
        (tmp_path / "config" / "config.json").write_text(json.dumps({"credHelpers": {guarded.host: "test"}}))
        with pytest.raises(RegistryUnavailable) as missing:
            push(layout, image.manifest, f"{guarded.host}/tests/a:1", pace=QUICK)
        assert "docker-credential-test" in missing.value.facts["why"]
        told = json.dumps({"ServerURL": guarded.host, "Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\nread host\n[ \"$1 $host\" = 'get {guarded.host}' ] && echo '{told}'\n")
        helper.chmod(0o755)
        push(layout, image.manifest, f"{guarded.host}/tests/a:1", pace=QUICK)


@pytest.mark.engine
def test_an_engine_pulls_what_was_pushed(
    registry: Debian, client: docker.DockerClient, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 70, 71)
    name = f"{registry.host}/tests/engine"
    push(layout, image_index(layout, [image, an_image(layout, 72, arch="arm64")]), f"{name}:1", pace=QUICK)
    pulled = client.images.pull(name, tag="1", platform="linux/amd64")
    try:
        assert pulled.id == image.config.digest
        assert pulled.attrs["RootFS"]["Layers"] == image.diff_ids
    finally:
        client.images.remove(f"{name}:1", force=True)


@pytest.mark.engine
def test_what_an_engine_pushed_is_pulled(
    registry: Debian, client: docker.DockerClient, tmp_path: Path
) -> None:
    """Engines write Docker's own manifest types and compressed layers."""
    layout = Layout(tmp_path / "here")
    image = an_image(layout, 75)
    name = f"{registry.host}/tests/by-engine"
    push(layout, image.manifest, f"{name}:1", pace=QUICK)
    pulled = client.images.pull(name, tag="1", platform="linux/amd64")
    try:
        pulled.tag(name, "2")
        said = client.images.push(name, tag="2")
        assert "errorDetail" not in said, said
    finally:
        client.images.remove(pulled.id, force=True)
    empty = Layout(tmp_path / "there")
    root = pull(f"{name}:2", empty, platform=Platform("linux", "amd64"), pace=QUICK)
    assert empty.document(root)["config"]["digest"] == image.config.digest


def test_another_client_reads_what_was_pushed(registry: Debian, tmp_path: Path) -> None:
    """skopeo copies it out, and what it copied has our digests."""
    layout = Layout(tmp_path / "here")
    root = image_index(layout, [an_image(layout, 76), an_image(layout, 77, arch="arm64")])
    push(layout, root, f"{registry.host}/tests/skopeo:1", pace=QUICK)
    out = tmp_path / "out"
    registries.skopeo(f"docker://{registry.host}/tests/skopeo:1", f"oci:{out}:1")
    assert {path.name: path.read_bytes() for path in (out / "blobs/sha256").iterdir()} == blobs(layout)


# A registry that holds to the letter, and fails as it is told


def test_chunks_go_in_order_and_referrers_are_left_to_the_registry(tmp_path: Path) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 80, size=5 * MIB)
    kept = [
        referrers.attach(layout, image.manifest, f"application/test.{n}", str(n).encode()) for n in range(3)
    ]
    signature = referrers.attach(layout, kept[0], "application/test.signature", b"signed")
    with strict(smallest_chunk=2 * MIB) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert registry.count("PATCH", "/uploads/") == 2  # of 2 MiB each, as it asks; the rest closes it
        assert registry.count("PUT", "/manifests/sha256-") == 0
        pull(f"{registry.host}/a:1", empty, pace=QUICK)
    assert referrers.referrers(empty, image.manifest) == kept
    assert referrers.referrers(empty, kept[0]) == [signature]
    assert blobs(empty) == blobs(layout)


def test_a_registry_without_the_list_gets_one_under_a_tag(tmp_path: Path) -> None:
    layout, other = Layout(tmp_path / "here"), Layout(tmp_path / "other")
    image, same = an_image(layout, 81), an_image(other, 81)
    first = referrers.attach(layout, image.manifest, "application/test.a", b"a", annotations={"k": "v"})
    second = referrers.attach(other, same.manifest, "application/test.b", b"b")
    with strict(has_referrers=False) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        push(other, same.manifest, f"{registry.host}/a:1", pace=QUICK)
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        listed = json.loads(registry.manifests[image.manifest.digest.replace(":", "-")][1])
    assert [Descriptor.of(entry) for entry in listed["manifests"]] == sorted(
        [first, second], key=lambda one: one.digest
    )


def test_a_broken_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 82, size=3 * MIB)
    broken: list[int] = []

    def cut(handler: Handler) -> bool:
        offset = handler.headers.get("Content-Range", "").partition("-")[0]
        if handler.command != "PATCH" or offset != str(MIB) or broken:
            return False
        name = handler.path.partition("?")[0].rpartition("/")[2]
        broken.append(MIB)
        handler.state.uploads[name] += handler.body(MIB // 2)
        return handler.cut()

    with strict(fault=cut) as registry:
        pushed = push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert broken
        assert registry.blobs[image.layers[0].digest] == layout.path(image.layers[0].digest).read_bytes()
        assert registry.count("POST", "/uploads/") == 2  # layer and config: nothing began anew
        ranges = [one.headers.get("content-range") for one in registry.seen if one.method == "PATCH"]
    assert f"{MIB + MIB // 2}-{2 * MIB + MIB // 2 - 1}" in ranges
    assert pushed.sent_bytes < image.layers[0].size + 2 * MIB


CHILD = """
import sys
from pathlib import Path
from deployer.packager.image import MANIFEST
from deployer.packager.layout import Descriptor, Layout
from deployer.packager.registry import Pace, pull, push
what, name, folder, digest, size = sys.argv[1:]
layout = Layout(Path(folder))
if what == "push":
    push(layout, Descriptor(MANIFEST, digest, int(size)), name, pace=Pace(chunk=1 << 20))
else:
    pull(name, layout)
"""


def killed(what: str, registry: registries.Strict, layout: Layout, root: Descriptor, at: str) -> None:
    """Push or pull in a process of its own, which is killed at the second request of a method."""
    command = [sys.executable, "-c", CHILD, what, f"{registry.host}/a:1", str(layout.root), root.digest]
    started = threading.Event()

    def kill(handler: Handler) -> bool:
        if handler.command != at or registry.count(at, "/blobs/") < 2:
            return False
        started.wait()
        process.kill()
        process.wait()
        return handler.cut()

    registry.fault = kill
    process = subprocess.Popen([*command, str(root.size)])
    started.set()
    assert process.wait(timeout=60) == -signal.SIGKILL
    registry.fault = lambda handler: False


def test_a_push_that_was_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 102, 103, size=3 * MIB)
    with strict() as registry:
        killed("push", registry, layout, image.manifest, "PATCH")
        assert registry.manifests == {}
        assert not any(one.digest in registry.blobs for one in image.layers)
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert registry.manifests["1"][1] == layout.read(image.manifest)


def test_a_pull_that_was_killed_leaves_nothing_half_done(tmp_path: Path) -> None:
    layout, there = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 104, 105)
    with strict() as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        killed("pull", registry, there, image.manifest, "GET")
        assert not there.has(image.manifest)
        for name, content in blobs(there).items():
            assert hashlib.sha256(content).hexdigest() == name
        pull(f"{registry.host}/a:1", there, pace=QUICK)
    assert blobs(there) == blobs(layout)


def test_an_upload_that_the_registry_forgot_begins_anew(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 83, size=3 * MIB)
    broken: list[int] = []

    def forget(handler: Handler) -> bool:
        if handler.command != "PATCH" or broken:
            return False
        broken.append(1)
        handler.state.uploads.clear()
        return handler.cut()

    with strict(fault=forget) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert registry.blobs[image.layers[0].digest] == layout.path(image.layers[0].digest).read_bytes()


def test_an_upload_that_the_registry_mixed_up_begins_anew(tmp_path: Path) -> None:
    """It may still have been writing a piece that was given up and sent again."""
    layout = Layout(tmp_path)
    image = an_image(layout, 99, size=3 * MIB)
    mixed: list[str] = []

    def mix(handler: Handler) -> bool:
        if handler.command == "PATCH" and not mixed:
            name = handler.path.partition("?")[0].rpartition("/")[2]
            mixed.append(name)
            content = handler.body()
            handler.state.uploads[name] += content[::-1]
            handler.accepted(202, "a", name)
            return True
        return False

    with strict(fault=mix) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert registry.blobs[image.layers[0].digest] == layout.path(image.layers[0].digest).read_bytes()
    assert mixed


def test_an_upload_whose_last_answer_was_lost_is_not_sent_again(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 84, size=MIB // 2)
    lost: list[str] = []

    def lose(handler: Handler) -> bool:
        if handler.command != "PUT" or "uploads" not in handler.path or lost:
            return False
        content = handler.body()
        handler.state.blobs[registries.sha256(content)] = content
        lost.append(registries.sha256(content))
        return handler.cut()

    with strict(fault=lose) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        puts = [
            one.query["digest"][0] for one in registry.seen if one.method == "PUT" and "digest" in one.query
        ]
    assert lost
    assert len(puts) == len(set(puts)) == 2


def test_a_registry_that_takes_blobs_only_whole_gets_them_whole(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 85, size=3 * MIB)

    def whole(handler: Handler) -> bool:
        if handler.command != "PATCH":
            return False
        handler.body()
        return handler.refuse(405, "UNSUPPORTED")

    with strict(fault=whole) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        assert registry.blobs[image.layers[0].digest] == layout.path(image.layers[0].digest).read_bytes()


@pytest.mark.parametrize("partial", [True, False])
def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path, partial: bool) -> None:
    """Also where the registry knows no ranges and sends all of it once more."""
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 86, size=3 * MIB)
    asked: list[str] = []

    def cut(handler: Handler) -> bool:
        if handler.command != "GET" or not handler.path.endswith(image.layers[0].digest):
            return False
        asked.append(handler.headers.get("Range", ""))
        content = handler.state.blobs[image.layers[0].digest]
        if len(asked) == 1:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[:MIB])
            handler.wfile.flush()
            handler.close_connection = True
            return True
        return False if partial else handler.answer(200, content)

    with strict() as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        registry.fault = cut
        pull(f"{registry.host}/a:1", empty, pace=QUICK)
    assert asked == ["", f"bytes={MIB}-"]
    assert blobs(empty) == blobs(layout)


@pytest.mark.parametrize("lie", ["other", "short", "long"])
def test_a_registry_that_lies_about_a_blob_is_caught(tmp_path: Path, lie: str) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 87)
    content = layout.path(image.layers[0].digest).read_bytes()
    told = {"other": b"x" + content[1:], "short": content[:-1], "long": content + b"x" * MIB}[lie]
    with strict() as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        registry.blobs[image.layers[0].digest] = told
        with pytest.raises(ContentCorrupted):
            pull(f"{registry.host}/a:1", empty, pace=QUICK)
    assert not empty.has(image.layers[0])
    assert not empty.has(image.manifest)
    assert not partials(empty)


def test_a_manifest_other_than_its_digest_is_caught(tmp_path: Path) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image, other = an_image(layout, 88), an_image(layout, 89)
    with strict() as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        push(layout, other.manifest, f"{registry.host}/a:2", pace=QUICK)
        registry.manifests[image.manifest.digest] = registry.manifests["2"]
        with pytest.raises(ContentCorrupted):
            pull(f"{registry.host}/a@{image.manifest.digest}", empty, pace=QUICK)
    assert not list(empty.blobs.iterdir())


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"not json", RegistryRefused),
        (b"[]", RegistryRefused),
        (b"[" * 100_000, RegistryRefused),
        (b'{"mediaType": "text/html"}', RegistryRefused),
        (b" " * (5 << 20), RegistryRefused),
        (canonical({"mediaType": MANIFEST, "config": {"digest": "sha256:../../x"}}), PackagingFailed),
        (canonical({"mediaType": MANIFEST, "config": 7, "layers": [[]]}), PackagingFailed),
    ],
)
def test_a_hostile_manifest_is_refused(tmp_path: Path, content: bytes, error: type[DeployerError]) -> None:
    empty = Layout(tmp_path)
    with strict() as registry:
        registry.manifests["1"] = (MANIFEST, content)
        with pytest.raises(error):
            pull(f"{registry.host}/a:1", empty, pace=QUICK)
    assert not list(empty.blobs.iterdir())


def test_more_than_the_disk_holds_is_refused_before_it_is_fetched(tmp_path: Path) -> None:
    empty = Layout(tmp_path)
    config = {"mediaType": "application/x", "digest": registries.sha256(b"{}"), "size": 2}
    huge = {"mediaType": LAYER, "digest": "sha256:" + "1" * 64, "size": 1 << 60}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [huge]}
    with strict() as registry:
        registry.blobs[config["digest"]] = b"{}"
        registry.manifests["1"] = (MANIFEST, canonical(manifest))
        with pytest.raises(DiskFull) as refused:
            pull(f"{registry.host}/a:1", empty, pace=QUICK)
        assert registry.count("GET", "/blobs/") == 0
    assert refused.value.facts["needed"] == (1 << 60) + 2


def test_endless_attachments_are_not_followed(tmp_path: Path) -> None:
    """Each attached to the one before, without an end."""
    empty = Layout(tmp_path)
    told: dict[str, object] = {"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}
    with strict(has_referrers=False) as registry:
        registry.manifests["1"] = (MANIFEST, canonical(told))
        for _ in range(400):
            below = canonical(told)
            subject = Descriptor(MANIFEST, registries.sha256(below), len(below)).to_json()
            told = {**told, "subject": subject, "artifactType": "application/test"}
            content = canonical(told)
            entry = Descriptor(MANIFEST, registries.sha256(content), len(content)).to_json()
            listed = canonical({"mediaType": registries.INDEX, "manifests": [entry]})
            registry.manifests[registries.sha256(content)] = (MANIFEST, content)
            registry.manifests[registries.sha256(below).replace(":", "-")] = (registries.INDEX, listed)
        with pytest.raises(RegistryRefused) as refused:
            pull(f"{registry.host}/a:1", empty, pace=QUICK)
    assert "too many" in refused.value.facts["why"]
    assert not list(empty.blobs.iterdir())


def test_endless_indexes_are_not_pushed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    content = canonical({"schemaVersion": 2, "manifests": []})
    for _ in range(400):
        one = Descriptor(registries.INDEX, registries.sha256(content), len(content))
        layout.path(one.digest).write_bytes(content)
        content = canonical({"schemaVersion": 2, "manifests": [one.to_json()]})
    with pytest.raises(PackagingFailed):
        push(layout, one, "127.0.0.1:9/a:1", pace=QUICK)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again_when_it_says(tmp_path: Path, status: int) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 90, size=1000)
    turns: list[int] = []

    def busy(handler: Handler) -> bool:
        if turns:
            return False
        turns.append(1)
        handler.body()
        return handler.refuse(status, "TOOMANYREQUESTS", Retry_After="0")

    with strict(fault=busy) as registry:
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
    assert turns == [1]


@pytest.mark.parametrize(
    ("status", "wait", "times"), [(500, "", 3), (429, "Wed, 21 Oct 2099 07:28:00 GMT", 1), (403, "", 1)]
)
def test_a_registry_that_keeps_refusing_is_quoted(tmp_path: Path, status: int, wait: str, times: int) -> None:
    layout = Layout(tmp_path)
    root = layout.add(canonical({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}), MANIFEST)
    extra = {"Retry_After": wait} if wait else {}

    def refuse(handler: Handler) -> bool:
        handler.body()
        return handler.refuse(status, "DENIED", "the moon is full\x1b[31m", **extra)

    with strict(fault=refuse) as registry:
        with pytest.raises(RegistryRefused) as refused:
            pull(f"{registry.host}/a:1", layout, pace=QUICK)
        assert len(registry.seen) == times
    assert refused.value.facts["status"] == status
    assert refused.value.facts["why"] == "DENIED: the moon is full[31m"
    assert root.digest not in refused.value.facts["reference"]


def test_a_token_is_bought_with_the_password_and_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(tmp_path / "here")
    image = an_image(layout, 91, 92, size=MIB)
    caplog.set_level(logging.INFO)
    with strict(tokens=True) as registry:
        name = f"{registry.host}/vendor/model:1"
        with pytest.raises(RegistryRefused) as refused:
            push(layout, image.manifest, name, pace=QUICK)
        assert refused.value.facts["status"] == 401
        monkeypatch.setenv("DOCKER_CONFIG", str(sign_in(tmp_path / "right", registry.host)))
        push(layout, image.manifest, name, pace=QUICK)
        pull(name, Layout(tmp_path / "there"), pace=QUICK)
        tokens = [one for one in registry.seen if one.path == "/token"]
    assert tokens[1].query["scope"] == ["repository:vendor/model:pull,push", "repository:x:pull"]
    assert len(tokens) == 3
    shown = caplog.text + str(refused.value)
    for secret in (PASSWORD, "let-me-in", "_state", tokens[1].headers["authorization"]):
        assert secret not in shown


@pytest.mark.parametrize("auth", ["é", "no base64", "/w=="])
def test_credentials_that_cannot_be_read_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    config = {"auths": {"127.0.0.1:5000": {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert credentials.find(Reference.parse("127.0.0.1:5000/a:1")) is None


def test_an_identity_token_is_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path / "here")
    forms: list[bytes] = []

    def exchange(handler: Handler) -> bool:
        if handler.command != "POST" or handler.path != "/token":
            return False
        forms.append(handler.body())
        return handler.answer(200, b'{"access_token": "let-me-in"}')

    with strict(tokens=True, fault=exchange) as registry:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        auths = {"auths": {registry.host: {"identitytoken": "long-lived"}}}
        (tmp_path / "config.json").write_text(json.dumps(auths))
        push(layout, an_image(layout, 93).manifest, f"{registry.host}/a:1", pace=QUICK)
    assert b"grant_type=refresh_token" in forms[0]
    assert b"refresh_token=long-lived" in forms[0]


def test_a_redirect_is_followed_without_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 94)
    with strict() as store, strict(tokens=True) as registry:
        monkeypatch.setenv("DOCKER_CONFIG", str(sign_in(tmp_path / "right", registry.host)))
        push(layout, image.manifest, f"{registry.host}/a:1", pace=QUICK)
        store.blobs = registry.blobs

        def elsewhere(handler: Handler) -> bool:
            if handler.command != "GET" or "/blobs/" not in handler.path:
                return False
            return handler.answer(307, Location=f"http://{store.host}{handler.path}?signature=secret")

        registry.fault = elsewhere
        pull(f"{registry.host}/a:1", empty, pace=QUICK)
        assert store.count("GET", "/blobs/") == 2
        assert not any("authorization" in one.headers for one in store.seen)
        assert any("authorization" in one.headers for one in registry.seen)
    assert blobs(empty) == blobs(layout)


def test_a_redirect_in_circles_ends(tmp_path: Path) -> None:
    def around(handler: Handler) -> bool:
        return handler.answer(302, Location=handler.path)

    with strict(fault=around) as registry, pytest.raises(RegistryRefused) as refused:
        pull(f"{registry.host}/a:1", Layout(tmp_path), pace=QUICK)
    assert "circles" in refused.value.facts["why"]


def test_a_registry_that_is_down_is_named_at_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(RegistryUnavailable) as refused:
        push(layout, an_image(layout, 95).manifest, f"127.0.0.1:{port}/a:1", pace=Pace(pause=60))
    assert "refused" in refused.value.facts["why"]
    with pytest.raises(RegistryUnavailable):
        pull("registry.invalid/a:1", layout, pace=Pace(pause=60))


def test_a_registry_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(RegistryUnavailable) as refused:
            pull(f"127.0.0.1:{port}/a:1", Layout(tmp_path), pace=Pace(silence=0.1))
    assert refused.value.facts["why"]


def test_without_https_only_when_it_is_said(tmp_path: Path) -> None:
    """A name that is not this machine's own gets a TLS greeting, which a plain registry does not answer."""
    layout = Layout(tmp_path)
    greetings: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def hear() -> None:
            for _ in range(2):
                with plain.accept()[0] as caller:
                    greetings.append(caller.recv(3))

        thread = threading.Thread(target=hear)
        thread.start()
        name = f"{ELSEWHERE}:{plain.getsockname()[1]}/a:1"
        for insecure in (False, True):
            with pytest.raises(RegistryUnavailable):
                pull(name, layout, insecure=insecure, pace=Pace(tries=1, silence=2))
        thread.join()
    assert greetings[0][0] == 0x16  # a TLS handshake
    assert greetings[1] == b"GET"


def test_with_https_only_to_whom_the_certificate_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, empty = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    image = an_image(layout, 101)
    certificate = registries.certified(tmp_path)
    with strict(certificate) as registry:
        name = f"{registry.host}/a:1"
        with pytest.raises(RegistryUnavailable) as unknown:
            push(layout, image.manifest, name, pace=Pace(pause=60))
        assert "certificate verify failed" in unknown.value.facts["why"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        push(layout, image.manifest, name, pace=QUICK)
        assert pull(name, empty, pace=QUICK) == image.manifest

        def downgrade(handler: Handler) -> bool:
            return handler.answer(307, Location=f"http://{registry.host}{handler.path}")

        registry.fault = downgrade
        with pytest.raises(RegistryRefused) as refused:
            pull(name, empty, pace=QUICK)
    assert "without https" in refused.value.facts["why"]


def test_a_layout_that_lacks_or_damaged_a_blob_pushes_nothing_wrong(registry: Debian, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    image = an_image(layout, 96, 97)
    path = layout.path(image.layers[1].digest)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(PackagingFailed) as refused:
        push(layout, image.manifest, f"{registry.host}/tests/lacks:1", pace=QUICK)
    assert image.layers[1].digest in refused.value.facts["why"]
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(ContentCorrupted) as corrupted:
        push(layout, image.manifest, f"{registry.host}/tests/lacks:1", pace=QUICK)
    assert corrupted.value.facts["got"] == f"sha256:{hashlib.sha256(content[:-1] + b'?').hexdigest()}"
    with pytest.raises(RegistryRefused):
        pull(f"{registry.host}/tests/lacks:1", layout, pace=QUICK)


def test_a_push_under_another_digest_is_refused(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InvalidReference):
        push(layout, an_image(layout, 98).manifest, "127.0.0.1:9/a@sha256:" + "0" * 64)
