"""A tiny model folder of its own, and how to talk to a server on whatever address it has."""

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper, save

from deployer.spec import Replica


def _folder(folder: Path, name: str, graph: GraphProto) -> Path:
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, str(folder / "model.onnx"))
    manifest = {
        "schema": 1,
        "name": f"opc-market/{name}",
        "version": "1.0.0",
        "task": "tensors",
        "files": {"model": "model.onnx"},
        "options": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def tiny_model(folder: Path) -> Path:
    """A model folder whose graph doubles a float vector x [n] to y [n]."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array([2.0], np.float32), "two")],
    )
    return _folder(folder, "double", graph)


HELD, STEPS = 28, 300


def hungry_model(folder: Path) -> Path:
    """A model folder whose graph holds 28 to 31 vectors of x [1] floats at a time, for seconds."""
    nodes = [helper.make_node("ConstantOfShape", ["x"], ["v0"])]
    nodes += [helper.make_node("Sin", [f"v{i}"], [f"v{i + 1}"]) for i in range(HELD + STEPS)]
    # Used last, so that none of them is let go before.
    held = [f"v{i}" for i in (*range(HELD), HELD + STEPS)]
    nodes += [
        helper.make_node("Sum", held, ["all"]),
        helper.make_node("ReduceSum", ["all"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "hungry",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    return _folder(folder, "hungry", graph)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(
    address: str, method: str, path: str, body: object = None, *, key: str = "", timeout: float = 10
) -> tuple[int, Any]:
    """One request to `unix:/path` or `tcp:host:port`: status and parsed JSON (or text)."""
    kind, rest = address.split(":", 1)
    connection: http.client.HTTPConnection
    if kind == "unix":
        connection = _UnixConnection(rest, timeout)
    else:
        connection = http.client.HTTPConnection(rest, timeout=timeout)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


T = TypeVar("T")
DOUBLE = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, 4.0]}]}


def double(replica: Replica, *, key: str = "") -> list[float]:
    """Ask the tiny model over the Open Inference Protocol; [3.0, 8.0] is right."""
    path = f"/v2/models/{replica.deployment}/infer"
    status, answer = ask(replica.address, "POST", path, DOUBLE, key=key)
    assert status == 200, answer
    data: list[float] = answer["outputs"][0]["data"]
    return data


def eat(replica: Replica, floats: int) -> tuple[int, Any]:
    """Ask the hungry model for this many floats; a killed server raises OSError or HTTPException."""
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [floats]}]}
    return ask(replica.address, "POST", f"/v2/models/{replica.deployment}/infer", body, timeout=60)


def eventually(look: Callable[[], T], *, seconds: float = 20) -> T:
    """The first true answer of `look` within the deadline; connection errors count as not yet."""
    deadline = time.monotonic() + seconds
    last: BaseException | T | None = None
    while time.monotonic() < deadline:
        try:
            last = look()
            if last:
                return last
        except (OSError, http.client.HTTPException) as error:
            last = error
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {last!r}")
