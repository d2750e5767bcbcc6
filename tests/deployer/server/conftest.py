"""Real servers for tests: `serve(model_dir, **opts)` starts one and stops it when the test is over."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

START_SECONDS = 60.0


class RunningServer:
    """A server process with an HTTP client that speaks to it over its unix socket or TCP."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, log: Path, uds: Path | None) -> None:
        self.process = process
        self.name = name
        self.log = log
        self.uds = uds
        self.address = ""
        self.client = httpx.Client()

    def wait(self, headers: dict[str, str]) -> None:
        """Until it says that it listens; fails with its log when it ends before."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := [line for line in self.lines() if line["event"] == "listening"]):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
        self.address = found[0]["address"]
        url = "http://server" if self.uds else f"http://{self.address}"
        transport = httpx.HTTPTransport(uds=str(self.uds)) if self.uds else httpx.HTTPTransport()
        self.client.close()
        self.client = httpx.Client(transport=transport, base_url=url, timeout=60, headers=headers)

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, one object a line."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    def predict(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /predict that must succeed."""
        answer = self.client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refuse(self, body: Any, language: str = "en") -> dict[str, Any]:
        """POST /predict that must be refused with 400; the problem."""
        answer = self.client.post("/predict", json=body, headers={"Accept-Language": language})
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


Serve = Callable[..., RunningServer]
_numbers = itertools.count()


def start_server(
    model_dir: Path,
    folder: Path,
    *,
    name: str = "demo",
    threads: int = 1,
    tcp: bool = False,
    key: str = "",
    arguments: tuple[str, ...] = (),
    pass_fds: tuple[int, ...] = (),
) -> RunningServer:
    """Start a server in `folder` and wait until it listens."""
    number = next(_numbers)
    uds = None if tcp else folder / f"{number}.sock"
    log = folder / f"{number}.log"
    where = ["--port", "0"] if uds is None else ["--uds", str(uds)]
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    if key:
        environment["SERVER_KEY"] = key
        where += ["--key-env", "SERVER_KEY"]
    command = [sys.executable, "-m", "deployer.server", str(model_dir), "--name", name]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--threads", str(threads), *where, *arguments],
            stderr=stderr,
            stdout=subprocess.DEVNULL,
            env=environment,
            pass_fds=pass_fds,
        )
    server = RunningServer(process, name, log, uds)
    try:
        server.wait({"Authorization": f"Bearer {key}"} if key else {})
    except BaseException:
        process.kill()
        process.wait()
        raise
    return server


@pytest.fixture(scope="session")
def socket_folder() -> Iterator[Path]:
    """A short path: a unix socket's may not have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="opc-") as folder:
        yield Path(folder)


def _serving(folder: Path) -> Iterator[Serve]:
    started: list[RunningServer] = []

    def serve(model_dir: Path, **opts: Any) -> RunningServer:
        server = start_server(model_dir, folder, **opts)
        started.append(server)
        return server

    yield serve
    for server in started:
        server.stop()


@pytest.fixture
def serve(socket_folder: Path) -> Iterator[Serve]:
    """Start servers that end with the test."""
    yield from _serving(socket_folder)


@pytest.fixture(scope="module")
def serve_module(socket_folder: Path) -> Iterator[Serve]:
    """Start servers that end with the module's tests."""
    yield from _serving(socket_folder)


def write_model(folder: Path, model: onnx.ModelProto, task: str = "tensors", **manifest: Any) -> Path:
    """A model folder around a graph."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    described = {"schema": 1, "name": "test/model", "version": "1.0.0", "task": task, "options": {}}
    described |= {"files": {"model": "model.onnx"}} | manifest
    (folder / "manifest.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def graph(
    nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], **constants: Any
) -> onnx.ModelProto:
    """A checked model from nodes; inputs and outputs as (name, type, shape)."""
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def identity(kind: int = TensorProto.FLOAT, shape: tuple[Any, ...] = ("n", 2)) -> onnx.ModelProto:
    """x → y = x."""
    return graph([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, shape)], [("y", kind, shape)])


@pytest.fixture(scope="session")
def slow_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that multiplies matrices `times` times and returns times: work as long as a test wants."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state"], ["square"]),
            helper.make_node("Clip", ["square", "zero", "one"], ["next"]),
            helper.make_node("Identity", ["going"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [128, 128]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [128, 128]),
        ],
    )
    nodes = [
        helper.make_node("Squeeze", ["times", "axes"], ["count"]),
        helper.make_node("Loop", ["count", "yes", "seed"], ["last"], body=body),
        helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "nought"], ["nothing"]),
        helper.make_node("Add", ["times", "nothing"], ["done"]),
    ]
    model = graph(
        nodes,
        [("times", TensorProto.INT64, [1])],
        [("done", TensorProto.INT64, [1])],
        axes=np.array([0], np.int64),
        yes=np.array(True),
        seed=np.full((128, 128), 0.01, np.float32),
        zero=np.float32(0),
        one=np.float32(1),
        nought=np.int64(0),
    )
    return write_model(tmp_path_factory.mktemp("slow"), model)


@pytest.fixture(scope="session")
def tensors_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sum, diff = a + b, a − b over float32 [n, 3]; b fixed to one row."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["diff"])]
    three = TensorProto.FLOAT
    model = graph(
        nodes,
        [("a", three, ["n", 3]), ("b", three, [1, 3])],
        [("sum", three, ["n", 3]), ("diff", three, ["n", 3])],
    )
    return write_model(tmp_path_factory.mktemp("tensors"), model)
