"""How a request to a server is written and its answer read: three ways to say the same tensors.

json    Open Inference Protocol v2, tensors as JSON lists
binary  the same protocol, tensors as raw bytes after the JSON, both ways
plain   {"input": [row], …} → {"output": [row]}, one row each, as the tutorials of other servers have it
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.serving.models import TOLERANCE, Array, Feed, Graph

INFER = "/v2/models/m/infer"
_DATATYPES = {"int64": "INT64", "float32": "FP32"}
_LENGTH = b"inference-header-content-length:"


@dataclass(frozen=True)
class Wire:
    """One way to ask."""

    name: str
    path: str
    write: Callable[[Feed], tuple[str, bytes]]
    """The further head lines of a request, and its body."""

    def request(self, feed: Feed) -> bytes:
        """A whole HTTP request."""
        lines, body = self.write(feed)
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


def _values(tensor: Array) -> list[int | float]:
    values: list[int | float] = tensor.reshape(-1).tolist()
    return [round(value, 2) for value in values] if tensor.dtype.kind == "f" else values


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _head(name: str, tensor: Array) -> dict[str, object]:
    return {"name": name, "shape": list(tensor.shape), "datatype": _DATATYPES[tensor.dtype.name]}


def _json(feed: Feed) -> tuple[str, bytes]:
    inputs = [_head(name, tensor) | {"data": _values(tensor)} for name, tensor in feed.items()]
    return "Content-Type: application/json\r\n", _compact({"inputs": inputs})


def _binary(feed: Feed) -> tuple[str, bytes]:
    inputs = [
        _head(name, tensor) | {"parameters": {"binary_data_size": tensor.nbytes}}
        for name, tensor in feed.items()
    ]
    head = _compact({"inputs": inputs, "parameters": {"binary_data_output": True}})
    lines = f"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {len(head)}\r\n"
    return lines, head + b"".join(tensor.tobytes() for tensor in feed.values())


def _plain(feed: Feed) -> tuple[str, bytes]:
    row = {name: _values(tensor[0]) for name, tensor in feed.items()}
    return "Content-Type: application/json\r\n", _compact(row)


JSON = Wire("json", INFER, _json)
BINARY = Wire("binary", INFER, _binary)


def plain(path: str) -> Wire:
    """The way of the tutorials, at a path."""
    return Wire("plain", path, _plain)


def read(response: bytes, graph: Graph) -> Array:
    """The graph's output in any of the three ways, as rows."""
    head, _, body = response.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH)), None)
    if length is not None:
        size = int(length.partition(b":")[2])
        shape = _output(json.loads(body[:size]), graph)["shape"]
        return np.frombuffer(body[size:], np.float32).reshape(shape)
    answer = json.loads(body)
    if "outputs" not in answer:
        return np.array([answer[graph.output]], np.float32)
    output = _output(answer, graph)
    return np.array(output["data"], np.float32).reshape(output["shape"])


def _output(answer: dict[str, Any], graph: Graph) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in answer["outputs"] if one["name"] == graph.output)
    return found


def error(response: bytes, expected: Array, graph: Graph) -> float:
    """How far an answer is from the right one at most; infinite when its shape is another or it holds NaN."""
    answer = read(response, graph)
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        return float("inf")
    return float(np.abs(answer - expected).max())


@dataclass(frozen=True)
class Check:
    """How many answers were looked at, how many of them were wrong, and the greatest error."""

    seen: int
    wrong: int
    worst: float

    @classmethod
    def of(cls, answers: dict[int, bytes], expected: list[Array], graph: Graph) -> "Check":
        """Compare answers by the number of their request with what is expected in turn."""
        errors = [error(data, expected[n % len(expected)], graph) for n, data in answers.items()]
        return cls(len(errors), sum(one > TOLERANCE for one in errors), max(errors, default=0.0))

    def __add__(self, other: "Check") -> "Check":
        return Check(self.seen + other.seen, self.wrong + other.wrong, max(self.worst, other.worst))
