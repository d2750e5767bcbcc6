"""A device's process answers as onnxruntime does, refuses with a cause, and never outlives who started it."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

from deployer.optimizer.targets import TargetRefused, executor
from deployer.optimizer.targets.players import WEB_CHILD, node, players
from deployer.optimizer.targets.remote import Deadlines, Launch, Remote
from tests.deployer.optimizer.targets.graphs import network, relu

X = np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)


def test_answers_are_those_of_onnxruntime(tmp_path: Path) -> None:
    path = network(tmp_path / "model.onnx")
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"x": X})[0]
    cpu = executor("cpu", tmp_path)
    assert cpu.versions["onnxruntime"] == onnxruntime.__version__
    assert cpu.open("model", path) > 0
    outputs, seconds = cpu.run("model", {"x": X})
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-6)
    assert seconds > 0 and cpu.cpu >= 0
    named, _ = cpu.run("model", {"x": X}, ["y"])
    np.testing.assert_array_equal(named["y"], outputs["y"])
    cpu.close()
    cpu.close()
    with pytest.raises(TargetRefused, match="closed"):
        cpu.run("model", {"x": X})


def test_graphs_are_kept_by_role_and_replaced(tmp_path: Path) -> None:
    first, second = network(tmp_path / "a.onnx"), relu(tmp_path / "b.onnx", batch="n")
    cpu = executor("cpu", tmp_path)
    cpu.open("encoder", first)
    cpu.open("decoder", second)
    assert cpu.run("encoder", {"x": X})[0]["y"].shape == (1, 5)
    assert cpu.run("decoder", {"x": np.float32([[-1, 0, 1]])})[0]["y"].tolist() == [[0, 0, 1]]
    cpu.open("encoder", second)
    assert cpu.run("encoder", {"x": -np.ones((7, 3), np.float32)})[0]["y"].shape == (7, 3)
    cpu.close()


def test_a_refusal_says_why_and_the_process_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    cpu = executor("cpu", tmp_path)
    with pytest.raises(TargetRefused) as refused:
        cpu.open("model", broken)
    assert refused.value.facts["stage"] == "open" and refused.value.facts["device"] == "cpu"
    assert "broken.onnx" in str(refused.value.facts["why"])
    cpu.open("model", network(tmp_path / "model.onnx"))
    for feeds, said in [
        ({"x": X[:, :, :4]}, "dimensions"),
        ({}, "input"),
        ({"x": np.zeros(2, complex)}, "type"),
    ]:
        with pytest.raises(TargetRefused, match=said) as refused:
            cpu.run("model", feeds)
        assert refused.value.facts["stage"] == "run"
    assert cpu.run("model", {"x": X})[0]["y"].shape == (1, 5)
    cpu.close()


def playing(script: str, **deadlines: float) -> Remote:
    hello = "import os,sys\nsys.path.insert(0, sys.argv[1])\nimport child, signal\n"
    answer = "say = lambda **h: [os.write(int(sys.argv[2]), bytes(p)) for p in child.encode(h, {})]\n"
    folder = str(WEB_CHILD.parent)
    command = (sys.executable, "-c", f"{hello}{answer}{script}", folder)
    return Remote(Launch("cpu", command, deadlines=Deadlines(**{"start": 20.0, **deadlines})))


GREETING = "say(ok=True, versions={})\n"
READ = "child.decode(child._exactly(0))\n"


@pytest.mark.parametrize(
    ("script", "stage", "why"),
    [
        ("print('no library', file=sys.stderr); sys.exit(3)", "start", "exit code 3"),
        ("os.write(int(sys.argv[2]), b'\\xff' * 64)", "start", "cannot be read"),
        (GREETING + "os.kill(os.getpid(), signal.SIGSEGV)", "open", "SIGSEGV"),
        (GREETING + READ + "while True: sys.stderr.write('flood ' * 10000)", "open", "too much"),
    ],
)
def test_a_process_that_fails_is_told_with_stage_and_cause(
    tmp_path: Path, script: str, stage: str, why: str
) -> None:
    with pytest.raises(TargetRefused, match=why) as refused:
        remote = playing(script)
        try:
            remote.open("model", relu(tmp_path / "model.onnx"))
        finally:
            remote.close()
    assert refused.value.facts["stage"] == stage
    if "no library" in script:
        assert refused.value.facts["log"] == "no library"


def test_a_process_that_hangs_is_ended_at_its_deadline(tmp_path: Path) -> None:
    remote = playing(GREETING + "signal.pause()", open=0.5)
    assert remote.child
    pid = remote.child.pid
    with pytest.raises(TargetRefused, match="too long") as refused:
        remote.open("model", relu(tmp_path / "model.onnx"))
    assert refused.value.facts["stage"] == "open"
    assert not psutil.pid_exists(pid)
    remote.close()


def test_a_process_that_reads_nothing_is_ended_at_its_deadline() -> None:
    remote = playing(GREETING + "signal.pause()", run=0.5)
    with pytest.raises(TargetRefused, match="too long"):
        remote.run("model", {"x": np.zeros(1 << 22, np.uint8)})
    remote.close()


def test_a_program_that_is_not_there_is_refused() -> None:
    with pytest.raises(TargetRefused) as refused:
        Remote(Launch("cpu", ("/nowhere/python",)))
    assert refused.value.facts["stage"] == "start"


STARTER = """
import sys
from deployer.optimizer.targets.remote import Launch, Remote
from deployer.optimizer.targets.players import players
from pathlib import Path
remote = {how}
print(remote.child.pid, flush=True)
sys.stdin.read()
"""
PYTHON = "Remote(players()['cpu'].launch(Path('.')))"


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_who_started_it(busy: bool) -> None:
    script = STARTER.format(how=PYTHON)
    if busy:  # in a loop that never lets go of the interpreter
        held = (
            "import os,sys,child; child.leave_with(int(sys.argv[3])); [os.write(int(sys.argv[2]), bytes(p))"
        )
        held += " for p in child.encode({'ok': True, 'versions': {}}, {})]; next(x for x in iter(int, 1))"
        program = f"import sys; sys.path.insert(0, sys.argv[1]); {held}"
        script = STARTER.format(
            how=f"Remote(Launch('cpu', (sys.executable, '-c', {program!r}, {str(WEB_CHILD.parent)!r})))"
        )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        gone, left = psutil.wait_procs([child], timeout=20)
        assert gone and not left


def test_every_player_has_a_program() -> None:
    assert node() is not None
    for device, player in players().items():
        launch = player.launch(Path("/nowhere"))
        assert launch.device == device and launch.command
