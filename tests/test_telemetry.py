"""Nothing calls home: ONNX Runtime's wheels report to their maker unless a variable is set before the import.

Every process that may import it has `ORT_DISABLE_TELEMETRY=1` in its environment, and whoever starts a
command or imports a package of ours without it gets it on the way through `deployer`. Beside the variable it
is looked at what leaves: in a network of its own a process without the variable sends packets some seconds
after the import, and ours send none.
"""

import ast
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployer.optimizer import worker
from deployer.optimizer.targets import executor
from tests.shelf_files import model_dir
from tests.shop import Shop, wait_until

ROOT = Path(__file__).parents[1]
NAME = "ORT_DISABLE_TELEMETRY"
LISTING = "doc-orientation"
SPY = """
import atexit, ctypes, os, sys
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
def note(when):
    with open(os.environ["SPY_OUT"], "a") as out:
        out.write(f"{when} {getenv(b'ORT_DISABLE_TELEMETRY')} {' '.join(sys.argv)}\\n")
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            note("import")
sys.meta_path.insert(0, Spy())
atexit.register(note, "end")
"""


def without() -> dict[str, str]:
    """An environment that nobody has set the variable in."""
    return {name: value for name, value in os.environ.items() if name != NAME}


def plain() -> dict[str, str]:
    """An environment as on a desk: the wheel also keeps quiet where a variable names a build machine."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


# Who imports it.


def _imports(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        if any(name.split(".")[0] == "onnxruntime" for name in names):
            assert isinstance(node, ast.stmt)
            yield node.lineno


def test_only_modules_below_deployer_import_it() -> None:
    found = {
        path.relative_to(ROOT).parts[0]
        for package in ("catalog", "deployer", "marketplace")
        for path in (ROOT / package).rglob("*.py")
        if list(_imports(path))
    }
    assert found == {"deployer"}


def test_the_one_module_that_runs_without_our_packages_sets_it_by_itself() -> None:
    child = ROOT / "deployer" / "optimizer" / "targets" / "child.py"
    lines = child.read_text("utf-8").splitlines()
    (imported,) = _imports(child)
    (told,) = (number for number, line in enumerate(lines, 1) if f'os.environ["{NAME}"] = "1"' in line)
    assert told == imported - 1


def test_whoever_imports_deployer_has_it_before_anything_else() -> None:
    body = ast.parse((ROOT / "deployer" / "__init__.py").read_text("utf-8")).body
    assert [type(node) for node in body] == [ast.Expr, ast.Import, ast.Assign]
    program = "import deployer.devices, ctypes; g = ctypes.CDLL(None).getenv; g.restype = ctypes.c_char_p; "
    told = subprocess.run(
        [sys.executable, "-c", program + f"print(g(b'{NAME}'))"],
        env=without() | {NAME: "0"},
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "b'1'", told.stderr


# What a user starts without it.


def _spied(tmp_path: Path, *command: str) -> list[str]:
    """What the spy saw in a command and in what it started: the moment, the variable, the command line."""
    (tmp_path / "sitecustomize.py").write_text(SPY)
    out = tmp_path / "seen"
    environment = without() | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "SPY_OUT": str(out),
        "MARKET_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert out.exists(), done.stderr
    return out.read_text().splitlines()


LOAD = "import sys, pathlib, deployer.server.predictor as p; p.load(pathlib.Path(sys.argv[1]))"
STARTED = {
    "server": ("-m", "deployer.server", "MODEL", "--prepare", "OUT"),
    "library": ("-c", LOAD, "MODEL"),
    "market": ("-m", "marketplace.cli", "optimize", "MODEL", "--dry-run", "--json"),
    "benchmarks": ("-m", "tests.benchmarks", "--help"),
}


@pytest.mark.parametrize("name", STARTED)
def test_commands_that_were_started_without_it_have_it(tmp_path: Path, name: str) -> None:
    command = STARTED[name]
    (tmp_path / "out").mkdir()
    words = {"MODEL": str(model_dir(LISTING)), "OUT": str(tmp_path / "out")}
    seen = _spied(tmp_path, *(words.get(word, word) for word in command))
    assert any(line.startswith("import") for line in seen) == (name != "market")
    assert any(line.startswith("end") for line in seen)
    for line in seen:
        assert line.split()[1] == "b'1'", line


def test_make_and_the_pipeline_set_it() -> None:
    told = subprocess.run(
        ["make", "--silent", f"--eval=told: ; @printenv {NAME}", "told"],
        cwd=ROOT,
        env=without(),
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == "1", told.stderr
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and line[0] != "#"]
    assert f"export {NAME}=1" in commands[:5]


# What we start.


def _environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _holds_onnxruntime(pid: int) -> bool:
    return "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()


def _containers(home: Path) -> list[tuple[int, str]]:
    """Process id and environment of the running containers that mount something of a home."""
    listed = ["docker", "ps", "--no-trunc", "--format", "{{.ID}} {{.Mounts}}"]
    lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    found = []
    for line in lines:
        if str(home) in line:
            form = "{{.State.Pid}} {{json .Config.Env}}"
            told = ["docker", "inspect", "--format", form, line.split()[0]]
            pid, _, env = subprocess.run(told, capture_output=True, text=True, check=True).stdout.partition(
                " "
            )
            found.append((int(pid), env))
    return found


@pytest.mark.network
@pytest.mark.engine
def test_every_process_and_container_of_a_shop_has_it(tmp_path: Path) -> None:
    with Shop.start(tmp_path / "home", MARKET_SHELF_ONLY=LISTING, **{NAME: ""}) as shop:
        shop.wait_shelf()
        for runtime in ("process", "docker"):
            shop.deploy(f"opc-market/{LISTING}", "--name", runtime, "--runtime", runtime)
        tree = psutil.Process(shop.process.pid).children(recursive=True)
        words = {word for process in tree for word in process.cmdline()}
        assert {"marketplace.app", "marketplace.gateway", "deployer.runtimes.launch"} <= words
        for process in tree:
            assert _environment(process.pid).get(NAME) == "1", process.cmdline()
        # What nobody gave it to, the supervisor, has nothing to report.
        assert not _holds_onnxruntime(shop.process.pid)
        assert not _holds_onnxruntime(shop.pid_of("marketplace.gateway"))
        assert any(_holds_onnxruntime(process.pid) for process in tree)
        ((pid, env),) = _containers(shop.home)
        assert f'"{NAME}=1"' in env
        assert _environment(pid)[NAME] == "1"


def test_a_workers_child_has_it(tmp_path: Path) -> None:
    errand = "tests.deployer.optimizer.errands:environment"
    assert NAME in worker.run(errand, {}, read=(ROOT,), write=(tmp_path,)).result


def test_a_device_player_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    player = executor("cpu", tmp_path)
    try:
        player.open("model", model_dir(LISTING) / "model.onnx")
        started = {child.pid for child in psutil.Process().children(recursive=True)} - before
        assert started
        for pid in started:
            assert _environment(pid)[NAME] == "1"
    finally:
        player.close()


# What leaves.


IN_A_NETWORK = """
set -e
ip link set lo up
ip link add out type veth peer name far
for one in all out far; do echo 1 > /proc/sys/net/ipv6/conf/$one/disable_ipv6 || true; done
ip address add 10.77.0.2/24 dev out
ip link set far up
ip link set out up
ip route add default via 10.77.0.1 dev out
ip neighbour add 10.77.0.1 lladdr 02:00:00:00:00:01 dev out nud permanent
exec "$@"
"""
"""A network whose way out ends in nothing, so that all that tries to leave is counted and goes nowhere."""
LINGER = "import onnxruntime, sys; sys.stdin.read()"


def _sent(pid: int) -> int:
    """Packets that left by the way out of a process's network; -1 before there is one."""
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        if line.strip().startswith("out:"):
            return int(line.split()[10])
    return -1


@contextlib.contextmanager
def _apart(*command: str, env: dict[str, str], stdin: Any = subprocess.PIPE) -> Iterator[int]:
    """A command in a network of its own; its process id."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", IN_A_NETWORK, "sh", *command],
        env=env,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def networks() -> None:
    """Skips where no networks can be made."""
    made = shutil.which("ip") and shutil.which("unshare") and os.geteuid() == 0
    if not made:
        refuse: Callable[[str], Any] = pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip
        refuse("networks of one's own need root, ip and unshare")


def test_a_server_sends_nothing_where_the_bare_wheel_does(tmp_path: Path, networks: None) -> None:
    model, socket = model_dir(LISTING), tmp_path / "s"
    server = ("-m", "deployer.server", str(model), "--name", "quiet", "--uds", str(socket))
    example = ROOT / "catalog" / "starter" / LISTING / "examples" / "upright.png"
    with (
        _apart(sys.executable, *server, env=plain()) as ours,
        _apart(sys.executable, "-c", LINGER, env=plain()) as bare,
    ):
        wait_until(socket.exists, within=30, what="the server listens")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://server") as client:
            assert client.post("/predict", files={"image": example.read_bytes()}).status_code == 200
            # Without this the rest would prove nothing.
            wait_until(lambda: _sent(bare) > 0, within=60, what="the wheel without the variable reports")
            assert client.get("/v2/health/ready").status_code == 200
        assert _holds_onnxruntime(ours)
        assert _sent(ours) == 0
