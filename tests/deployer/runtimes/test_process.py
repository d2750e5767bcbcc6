"""Real servers as processes: start, answer, stop, crash, memory, leftovers, and the shop's sudden end."""

import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployer.errors import RuntimeUnavailable, StartFailed, UnknownRuntime
from deployer.runtimes import get_runtime, records
from deployer.runtimes.probe import probe
from deployer.runtimes.process import LOG_LIMIT, ProcessRuntime, cap_log
from deployer.spec import Limits, Replica, ReplicaSpec, ReplicaState, Sandbox, silent
from tests.deployer.runtimes.models import double, eat, eventually

RIGHT = [3.0, 8.0]


@pytest.fixture
def runtime(short_dir: Path) -> Iterator[ProcessRuntime]:
    made = ProcessRuntime(short_dir)
    yield made
    made.close()


def process_of(runtime: ProcessRuntime, replica: Replica) -> psutil.Process:
    record = records.load(runtime.run_dir / f"{replica.id}.json")
    assert record
    return psutil.Process(record.pid)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def start(runtime: ProcessRuntime, model: Path, **limits: int) -> Replica:
    return runtime.start(ReplicaSpec("double-1-0", "double", model, Limits(**limits)))  # type: ignore[arg-type]


def test_a_server_answers_from_inside_its_sandbox(runtime: ProcessRuntime, doubling: Path) -> None:
    spec = ReplicaSpec("double-1-0", "double", doubling, Limits(threads=2))
    runtime.prepare(spec, silent)
    replica = runtime.start(spec)
    assert eventually(lambda: double(replica)) == RIGHT
    assert (replica.transport, replica.sandbox) == ("unix", probe().grade)
    assert replica.state is ReplicaState.starting
    assert runtime.list() == [replica]
    stats = runtime.stats(replica.id)
    assert stats and 10 << 20 < stats.memory < 500 << 20 and stats.cpu > 0
    process = process_of(runtime, replica)
    assert process.cmdline()[-4:] == ["--name", "double", "--threads", "2"]
    assert "listening" in runtime.logs(replica.id)


def test_it_inherits_no_secret_and_sends_no_telemetry(
    runtime: ProcessRuntime, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_SECRET", "hush")
    environment = process_of(runtime, start(runtime, doubling, threads=3)).environ()
    assert "hush" not in str(environment)
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert not [name for name in environment if name.startswith("MARKET_")]


def test_starting_twice_is_starting_once(runtime: ProcessRuntime, doubling: Path) -> None:
    seen: list[Replica] = []
    threads = [threading.Thread(target=lambda: seen.append(start(runtime, doubling))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4 and len(set(seen)) == 1
    folders = [path for path in runtime.run_dir.iterdir() if path.is_dir()]
    assert [oct(path.stat().st_mode)[-3:] for path in folders] == ["700"]


def test_stopping_removes_all_but_the_log_and_may_come_twice(runtime: ProcessRuntime, doubling: Path) -> None:
    replica = start(runtime, doubling)
    eventually(lambda: double(replica))
    process = process_of(runtime, replica)
    runtime.stop(replica.id)
    runtime.stop(replica.id)
    assert is_gone(process)
    assert runtime.inspect(replica.id) is None
    assert list(runtime.run_dir.iterdir()) == []
    assert "stopped" in runtime.logs(replica.id)
    assert runtime.stats(replica.id) is None


def test_a_killed_server_is_gone_with_its_cause_and_can_be_started_again(
    runtime: ProcessRuntime, doubling: Path
) -> None:
    replica = start(runtime, doubling)
    process_of(runtime, replica).kill()
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert seen.state is ReplicaState.gone
    assert seen.exit == "signal 9 (SIGKILL)"
    assert runtime.list() == []
    assert eventually(lambda: double(start(runtime, doubling))) == RIGHT


def test_a_model_that_cannot_be_served_ends_with_its_reason_in_the_log(
    runtime: ProcessRuntime, tmp_path: Path
) -> None:
    replica = start(runtime, tmp_path)
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert seen.exit == "exit 3"
    assert "manifest.json" in runtime.logs(replica.id)


def test_a_server_over_its_memory_is_ended_and_says_so(runtime: ProcessRuntime, hungry: Path) -> None:
    replica = start(runtime, hungry, memory=480 << 20)
    eventually(lambda: eat(replica, 1000)[0] == 200)
    with pytest.raises((OSError, http.client.HTTPException)):
        eat(replica, 4 << 20)  # 31 times 16 MB, which is what the arena then takes
    seen = eventually(lambda: (now := runtime.inspect(replica.id)) and now.exit and now)
    assert seen.exit.startswith("memory ")
    assert seen.exit.endswith(" of 0.50 GB")


def test_a_leap_over_the_limit_meets_a_wall_and_the_server_lives(
    runtime: ProcessRuntime, hungry: Path
) -> None:
    replica = start(runtime, hungry, memory=480 << 20)
    eventually(lambda: eat(replica, 1000)[0] == 200)
    status, answer = eat(replica, 400_000_000)
    assert status >= 400, answer
    assert eat(replica, 1000)[0] == 200


def test_nothing_survives_the_sudden_end_of_the_shop(short_dir: Path, doubling: Path) -> None:
    program = f"""
import pathlib, time
from deployer.runtimes.process import ProcessRuntime
from deployer.spec import ReplicaSpec
runtime = ProcessRuntime(pathlib.Path({str(short_dir)!r}))
runtime.start(ReplicaSpec("double-1-0", "double", pathlib.Path({str(doubling)!r})))
print("started", flush=True)
time.sleep(600)
"""
    shop = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert shop.stdout and shop.stdout.readline() == "started\n"
    runtime = ProcessRuntime(short_dir)
    [replica] = runtime.list()
    process = process_of(runtime, replica)
    # Not even a server that is stopped and cannot act lives on: the kernel ends it.
    process.suspend()
    shop.kill()
    shop.wait()
    shop.stdout.close()
    eventually(lambda: is_gone(process), seconds=5)
    assert runtime.list() == []
    assert list(runtime.run_dir.iterdir()) == []
    assert eventually(lambda: double(start(runtime, doubling))) == RIGHT
    runtime.close()


def test_a_leftover_is_ended_only_when_it_is_surely_the_same_process(
    runtime: ProcessRuntime, doubling: Path
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leftover, stranger = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    runtime.run_dir.mkdir(exist_ok=True)
    for name, process, born in (
        ("left-1-0", leftover, records.birth(leftover.pid)),
        ("other-1-0", stranger, "long ago"),
    ):
        record = records.Record(
            id=name,
            deployment=name,
            address="unix:/nowhere",
            folder="/nowhere",
            sandbox="full",
            memory=0,
            pid=process.pid,
            born=born or "",
            shop_pid=ended.pid,
            shop_born="before",
        )
        record.save(runtime.run_dir / f"{name}.json")
    try:
        assert runtime.list() == []
        assert leftover.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
        assert list(runtime.run_dir.iterdir()) == []
    finally:
        for process in (leftover, stranger):
            process.kill()
            process.wait()


def test_the_sandbox_can_be_switched_off_and_the_replica_says_so(short_dir: Path, doubling: Path) -> None:
    runtime = get_runtime("process", short_dir, sandbox=False)
    assert runtime.available().detail["sandbox"] == "none"
    replica = runtime.start(ReplicaSpec("double-1-0", "double", doubling))
    assert replica.sandbox is Sandbox.none
    assert eventually(lambda: double(replica)) == RIGHT
    runtime.close()


def test_sockets_stay_short_however_long_the_names(short_dir: Path, doubling: Path) -> None:
    run_dir = short_dir / ("r" * 40)
    runtime = ProcessRuntime(short_dir, run_dir)
    id = "a-deployment-with-quite-a-long-name-12345678-1-0"
    replica = runtime.start(ReplicaSpec(id, "double", doubling))
    assert len(replica.address.removeprefix("unix:")) < 100
    assert replica.id == id and runtime.list() == [replica]
    assert eventually(lambda: double(replica)) == RIGHT
    runtime.close()
    with pytest.raises(RuntimeUnavailable, match="too long"):
        ProcessRuntime(short_dir, short_dir / ("r" * 90)).start(ReplicaSpec(id, "double", doubling))


def test_an_interpreter_that_does_not_start_is_a_failed_start(
    runtime: ProcessRuntime, doubling: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StartFailed) as refused:
        start(runtime, doubling)
    assert refused.value.facts["exit"] == "exit 1"
    assert list(runtime.run_dir.iterdir()) == []


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with path.open("ab") as log:
        log.write(b"x" * (LOG_LIMIT + 1))
        log.flush()
        cap_log(path)
        log.write(b"next\n")
    assert path.read_bytes() == b"next\n"
    assert (tmp_path / "a.log.1").stat().st_size == LOG_LIMIT + 1


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownRuntime) as refused:
        get_runtime("swarm", tmp_path)
    assert refused.value.facts == {"runtime": "swarm", "known": ["process", "docker"]}


def test_no_descriptor_is_left_open(runtime: ProcessRuntime, doubling: Path) -> None:
    runtime.stop(start(runtime, doubling).id)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        runtime.stop(start(runtime, doubling).id)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
