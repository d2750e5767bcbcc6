"""Real servers in containers of a real engine: confined, limited, found again, and without an engine."""

import contextlib
import gc
import http.client
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deployer.errors import RuntimeUnavailable
from deployer.runtimes.docker import KEY, DockerRuntime
from deployer.runtimes.engines import connect
from deployer.spec import Limits, Replica, ReplicaSpec, ReplicaState, Sandbox, silent
from tests.deployer.runtimes.models import ask, double, eat, eventually

pytestmark = [pytest.mark.engine, pytest.mark.network]

RIGHT = [3.0, 8.0]

LOOK = """
import json, os, pathlib, socket
status = dict(l.split(":", 1) for l in pathlib.Path("/proc/self/status").read_text().splitlines())
def denied(attempt):
    try:
        attempt()
    except OSError as error:
        return error.strerror
    return "allowed"
def fill(path):
    pathlib.Path(path).write_bytes(b"x")
print(json.dumps({
    "uid": os.getuid(), "caps": status["CapEff"].strip(), "bounding": status["CapBnd"].strip(),
    "nnp": status["NoNewPrivs"].strip(), "telemetry": os.environ["ORT_DISABLE_TELEMETRY"],
    "interfaces": [name for _, name in socket.if_nameindex()],
    "root": denied(lambda: fill("/app/x")), "model": denied(lambda: fill("/model/x")),
    "tmp": denied(lambda: fill("/tmp/x")),
    "outside": denied(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
    "environment": sorted(os.environ),
}))
"""


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    found = connect()
    yield found
    found.close()


@pytest.fixture(scope="module")
def image_home() -> Path:
    cache = Path(os.environ.get("MARKET_TEST_CACHE") or Path.home() / ".cache" / "opc-market-tests")
    home = cache / "runtime-home"
    home.mkdir(parents=True, exist_ok=True)
    return home


def sweep(client: docker.DockerClient, runtime: DockerRuntime) -> None:
    ours = {"label": f"market.home={runtime.home_id}"}
    for container in client.containers.list(all=True, filters=ours):
        container.remove(force=True)
    for network in client.networks.list(filters=ours):
        network.remove()


@pytest.fixture
def runtime(client: docker.DockerClient, image_home: Path, short_dir: Path) -> Iterator[DockerRuntime]:
    made = DockerRuntime(image_home, short_dir, home_id=f"test-{uuid.uuid4().hex[:8]}")
    yield made
    sweep(client, made)
    made.close()


def spec_of(model: Path, key: str = "", memory: int = 512 << 20) -> ReplicaSpec:
    return ReplicaSpec("double-1-0", "double", model, Limits(memory=memory), {"market.owner": "me"}, key)


def inside(client: docker.DockerClient, runtime: DockerRuntime, replica: Replica) -> dict[str, object]:
    container = client.containers.get(f"market-{runtime.home_id}-{replica.id}")
    done = container.exec_run(["python3", "-c", LOOK])
    assert done.exit_code == 0, done.output
    seen: dict[str, object] = json.loads(done.output)
    return seen


def test_a_container_is_confined(client: docker.DockerClient, runtime: DockerRuntime, doubling: Path) -> None:
    replica = runtime.start(spec_of(doubling))
    assert (replica.transport, replica.sandbox) == ("unix", Sandbox.full)
    assert eventually(lambda: double(replica)) == RIGHT
    seen = inside(client, runtime, replica)
    assert seen["uid"] == (os.getuid() or 65532)
    assert seen["caps"] == seen["bounding"] == "0000000000000000"
    assert seen["nnp"] == "1" and seen["telemetry"] == "1"
    assert seen["interfaces"] == ["lo"]
    assert seen["root"] == seen["model"] == "Read-only file system"
    assert seen["tmp"] == "allowed"
    assert seen["outside"] == "Network is unreachable"
    facts = client.api.inspect_container(f"market-{runtime.home_id}-{replica.id}")
    host, labels = facts["HostConfig"], facts["Config"]["Labels"]
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    assert host["NanoCpus"] == 10**9 and host["PidsLimit"] == 128
    assert host["LogConfig"]["Config"] == {"max-size": "5m", "max-file": "2"}
    assert labels["market.deployment"] == "double" and labels["market.owner"] == "me"
    stats = runtime.stats(replica.id)
    assert stats and 1 << 20 < stats.memory < 512 << 20 and stats.cpu > 0


def test_starting_and_stopping_twice_is_harmless_and_the_log_stays(
    runtime: DockerRuntime, doubling: Path
) -> None:
    replica = runtime.start(spec_of(doubling))
    assert runtime.start(spec_of(doubling)) == replica
    eventually(lambda: double(replica))
    assert runtime.list() == [replica]
    runtime.stop(replica.id)
    runtime.stop(replica.id)
    assert runtime.inspect(replica.id) is None and runtime.list() == []
    assert list(runtime.run_dir.iterdir()) == []
    assert "listening" in runtime.logs(replica.id)
    assert runtime.stats(replica.id) is None


def test_another_shop_of_the_same_home_finds_it_and_other_homes_do_not(
    runtime: DockerRuntime, doubling: Path
) -> None:
    replica = runtime.start(spec_of(doubling))
    runtime.close()
    again = DockerRuntime(runtime.home, runtime.run_dir, home_id=runtime.home_id)
    assert again.list() == [replica]
    assert eventually(lambda: double(again.list()[0])) == RIGHT
    other = DockerRuntime(runtime.home, runtime.run_dir, home_id="somebody-else")
    assert other.list() == []
    again.stop(replica.id)
    again.close()
    other.close()


def test_a_killed_container_is_gone_with_its_cause_and_is_replaced(
    client: docker.DockerClient, runtime: DockerRuntime, doubling: Path
) -> None:
    replica = runtime.start(spec_of(doubling))
    eventually(lambda: double(replica))
    client.containers.get(f"market-{runtime.home_id}-{replica.id}").kill()
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert (seen.state, seen.exit) == (ReplicaState.gone, "signal 9")
    assert runtime.list() == []
    assert eventually(lambda: double(runtime.start(spec_of(doubling)))) == RIGHT


def test_stopping_removes_what_has_ended_too(
    client: docker.DockerClient, runtime: DockerRuntime, doubling: Path
) -> None:
    replica = runtime.start(spec_of(doubling))
    eventually(lambda: double(replica))
    client.containers.get(f"market-{runtime.home_id}-{replica.id}").kill()
    eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit)
    assert (runtime.run_dir / replica.id).exists()
    runtime.stop(replica.id)
    ours = {"label": f"market.home={runtime.home_id}"}
    assert client.containers.list(all=True, filters=ours) == []
    assert list(runtime.run_dir.iterdir()) == []
    assert "listening" in runtime.logs(replica.id)


def test_a_container_that_is_no_replica_is_not_listed(
    client: docker.DockerClient, runtime: DockerRuntime, doubling: Path
) -> None:
    replica = runtime.start(spec_of(doubling))
    image = client.containers.get(f"market-{runtime.home_id}-{replica.id}").image
    wait = ["-c", "import time; time.sleep(60)"]
    labels = {"market.home": runtime.home_id}
    client.containers.run(image, wait, entrypoint="python3", detach=True, network_mode="none", labels=labels)
    assert runtime.list() == [replica]


def test_a_container_that_was_made_and_never_started_is_started(
    client: docker.DockerClient, runtime: DockerRuntime, doubling: Path
) -> None:
    spec = spec_of(doubling)
    made = runtime.start(spec)
    folder = runtime.run_dir / spec.id
    client.api.remove_container(f"market-{runtime.home_id}-{spec.id}", force=True)
    (folder / "server.sock").unlink(missing_ok=True)
    client.containers.create(**runtime._container(client, spec, folder))
    assert runtime.start(spec) == made
    assert eventually(lambda: double(made)) == RIGHT


def test_the_memory_limit_bites_and_is_named(runtime: DockerRuntime, hungry: Path) -> None:
    replica = runtime.start(spec_of(hungry, memory=256 << 20))
    eventually(lambda: eat(replica, 1000)[0] == 200)
    with pytest.raises((OSError, http.client.HTTPException)):
        eat(replica, 16 << 20)
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert seen.exit == "memory over 0.27 GB"


def test_over_tcp_the_key_is_asked_for_and_nothing_outside_answers(
    client: docker.DockerClient, image_home: Path, short_dir: Path, doubling: Path
) -> None:
    runtime = DockerRuntime(image_home, short_dir, home_id=f"test-{uuid.uuid4().hex[:8]}", transport="tcp")
    try:
        with pytest.raises(RuntimeUnavailable, match="key"):
            runtime.start(spec_of(doubling))
        replica = runtime.start(spec_of(doubling, key="secret"))
        assert replica.address.startswith("tcp:127.0.0.1:") and replica.transport == "tcp"
        assert eventually(lambda: double(replica, key="secret")) == RIGHT
        assert ask(replica.address, "GET", "/v2/models/double", key="wrong")[0] == 401
        seen = inside(client, runtime, replica)
        assert seen["outside"] != "allowed"
        assert KEY in str(seen["environment"])
        runtime.stop(replica.id)
    finally:
        sweep(client, runtime)
        runtime.close()


def test_a_model_that_cannot_be_served_ends_with_its_reason(runtime: DockerRuntime, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    replica = runtime.start(spec_of(empty))
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert seen.exit == "exit 3"
    assert "manifest.json" in runtime.logs(replica.id)


class Relay:
    """The engine's socket under another path, which can be cut while the engine goes on for the others."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            engine.connect("/var/run/docker.sock")
            self._open += [caller, engine]
            for ends in ((caller, engine), (engine, caller)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK's lost sockets
def test_an_engine_that_goes_in_the_middle_is_named_and_its_return_is_noticed(
    client: docker.DockerClient,
    runtime: DockerRuntime,
    short_dir: Path,
    doubling: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = short_dir / "engine.sock"
    relay = Relay(path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    replica = runtime.start(spec_of(doubling))
    relay.cut()
    for refused in (
        lambda: runtime.inspect(replica.id),
        lambda: runtime.list(),
        lambda: runtime.stop(replica.id),
    ):
        with pytest.raises(RuntimeUnavailable):
            refused()
    assert not runtime.available().ok
    path.unlink()
    relay = Relay(path)
    eventually(lambda: runtime.available().ok)
    assert runtime.list() == [replica]
    assert eventually(lambda: double(replica)) == RIGHT
    runtime.stop(replica.id)
    runtime.close()
    relay.cut()
    gc.collect()


def test_a_hung_engine_is_waited_for_once(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_dir / "hung.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    runtime = DockerRuntime(short_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(path))
        hung.listen()
        began = time.monotonic()
        pages = [threading.Thread(target=runtime.available) for _ in range(5)]
        for page in pages:
            page.start()
        for page in pages:
            page.join()
        seen = runtime.available()
        took = time.monotonic() - began
    assert not seen.ok and seen.why.endswith("timed out")
    assert 1.9 < took < 4, took
    # A start finds out by itself, and what it finds is asked about anew.
    with pytest.raises(RuntimeUnavailable):
        runtime.list()
    assert "Connection refused" in runtime.available().why


def test_without_an_engine_it_says_so_and_refuses(
    short_dir: Path, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = DockerRuntime(short_dir)
    for host, why in (
        (f"unix://{short_dir}/none.sock", "No such file"),
        ("tcp://192.0.2.1:2375", "remote"),
    ):
        monkeypatch.setenv("DOCKER_HOST", host)
        seen = runtime.available()
        assert not seen.ok and why in seen.why
        for refused in (
            lambda: runtime.prepare(spec_of(doubling), silent),
            lambda: runtime.start(spec_of(doubling)),
            lambda: runtime.stop("double-1-0"),
            lambda: runtime.list(),
        ):
            with pytest.raises(RuntimeUnavailable):
                refused()
