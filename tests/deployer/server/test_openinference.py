"""The Open Inference Protocol, driven by Triton's own client over TCP and by hand where it would refuse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from tests.deployer.server.conftest import RunningServer, Serve, identity, write_model

INFER = "/v2/models/demo/infer"

DTYPES: list[tuple[str, int, Any]] = [
    ("BOOL", TensorProto.BOOL, np.array([[True, False]])),
    ("INT8", TensorProto.INT8, np.array([[-128, 127]], np.int8)),
    ("INT16", TensorProto.INT16, np.array([[-32768, 32767]], np.int16)),
    ("INT32", TensorProto.INT32, np.array([[-(2**31), 2**31 - 1]], np.int32)),
    ("INT64", TensorProto.INT64, np.array([[-(2**63), 2**63 - 1]], np.int64)),
    ("UINT8", TensorProto.UINT8, np.array([[0, 255]], np.uint8)),
    ("UINT16", TensorProto.UINT16, np.array([[0, 65535]], np.uint16)),
    ("UINT32", TensorProto.UINT32, np.array([[0, 2**32 - 1]], np.uint32)),
    ("UINT64", TensorProto.UINT64, np.array([[0, 2**64 - 1]], np.uint64)),
    ("FP16", TensorProto.FLOAT16, np.array([[0.5, -65504]], np.float16)),
    ("BF16", TensorProto.BFLOAT16, np.array([[0.5, -3e38]], ml_dtypes.bfloat16)),
    ("FP32", TensorProto.FLOAT, np.array([[0.1, -3e38]], np.float32)),
    ("FP64", TensorProto.DOUBLE, np.array([[0.1, -1e308]], np.float64)),
    ("BYTES", TensorProto.STRING, np.array([["", "好 day"]], dtype=object)),
]


@pytest.fixture(scope="module")
def server(serve_module: Serve, tensors_dir: Path) -> RunningServer:
    return serve_module(tensors_dir, tcp=True)


@pytest.fixture
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as made:
        yield made


def tensor(name: str, array: Any, datatype: str = "FP32", *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def text(array: Any) -> list[list[str]]:
    return [[item.decode() if isinstance(item, bytes) else item for item in row] for row in array.tolist()]


A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
B = np.array([[10, 20, 30]], np.float32)


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("demo")
    assert client.is_model_ready("demo", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    found = client.get_model_metadata("demo")
    assert found["versions"] == ["1"]
    assert found["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "b", "datatype": "FP32", "shape": [1, 3]},
    ]
    assert [output["name"] for output in found["outputs"]] == ["sum", "diff"]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tensors_go_both_ways(
    client: triton.InferenceServerClient, binary_in: bool, binary_out: bool
) -> None:
    inputs = [tensor("a", A, binary=binary_in), tensor("b", B, binary=True)]
    wanted = [triton.InferRequestedOutput("diff", binary_data=binary_out), triton.InferRequestedOutput("sum")]
    result = client.infer("demo", inputs, outputs=wanted, request_id="r-1")
    assert result.as_numpy("sum").tolist() == (A + B).tolist()
    assert result.as_numpy("diff").tolist() == (A - B).tolist()
    assert result.get_response()["id"] == "r-1"
    assert [output["name"] for output in result.get_response()["outputs"]] == ["diff", "sum"]


def test_all_outputs_come_when_none_is_named(client: triton.InferenceServerClient) -> None:
    result = client.infer("demo", [tensor("b", B), tensor("a", A)], model_version="1")
    assert result.as_numpy("sum").tolist() == (A + B).tolist()


@pytest.mark.parametrize(("datatype", "kind", "values"), DTYPES, ids=[name for name, _, _ in DTYPES])
def test_every_dtype(serve: Serve, tmp_path: Path, datatype: str, kind: int, values: Any) -> None:
    server = serve(write_model(tmp_path / "m", identity(kind)), tcp=True)
    with triton.InferenceServerClient(server.address) as client:
        assert client.get_model_metadata("demo")["inputs"][0]["datatype"] == datatype
        got = client.infer("demo", [tensor("x", values, datatype)]).as_numpy("y")
        if datatype == "BYTES":
            assert text(got) == values.tolist()
        else:
            assert np.array_equal(got.astype(values.dtype), values)
    data = values.astype(float).tolist() if datatype in ("FP16", "BF16") else values.tolist()
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": datatype, "data": data}]}
    answer = server.client.post(INFER, json=body)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    assert (output["datatype"], output["shape"]) == (datatype, [1, 2])
    exact = np.float32 if datatype in ("FP32", "BF16") else None  # written with as few digits as it needs
    assert np.array_equal(np.array(output["data"], exact), np.array(data, exact).reshape(-1))
    assert server.predict({"rows": data}) == {"outputs": {"y": [output["data"]]}}


def test_a_batch_may_be_empty(client: triton.InferenceServerClient) -> None:
    result = client.infer("demo", [tensor("a", np.zeros((0, 3), np.float32)), tensor("b", B)])
    assert result.as_numpy("sum").shape == (0, 3)


def test_unknown_model_and_version(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="other is not served here; demo is"):
        client.get_model_metadata("other")
    with pytest.raises(InferenceServerException, match="demo has version 1 only"):
        client.get_model_metadata("demo", "2")


SIGNATURE = "a FP32 [-1, 3]; b FP32 [1, 3]"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("no such input", {"name": "c"}, f"inputs.c: is no input of this model. Expected: {SIGNATURE}"),
    ("dtype", {"datatype": "FP64"}, "inputs.a: has datatype FP64. Expected: a FP32 [-1, 3]"),
    ("rank", {"shape": [6]}, "inputs.a: has shape [6]. Expected: a FP32 [-1, 3]"),
    ("fixed axis", {"shape": [3, 2]}, "inputs.a: has shape [3, 2]. Expected: a FP32 [-1, 3]"),
    ("negative axis", {"shape": [-1, 3]}, "inputs.a: has shape [-1, 3]. Expected: a FP32 [-1, 3]"),
    ("length", {"data": [1, 2]}, "inputs.a: has 2 elements for shape [2, 3]. Expected: a FP32 [-1, 3]"),
    ("ragged", {"data": [[1, 2], [3]]}, "inputs.a: is ragged. Expected: a FP32 [-1, 3]"),
    ("text", {"data": ["1", "2", "3", "4", "5", "6"]}, "inputs.a: holds what is not a number"),
    ("null", {"data": [None] * 6}, "inputs.a: holds what is not a number"),
    ("too large", {"data": [1e300] * 6}, "inputs.a: holds a number out of range"),
    ("no data", {"data": None}, "inputs.a: has no data"),
    ("shape of text", {"shape": ["2", 3]}, "inputs[0].shape[0]: expected `int`, got `str`"),
    ("huge shape", {"shape": [2**62, 3]}, "inputs.a: has 6 elements for shape"),
]


@pytest.mark.parametrize(
    ("change", "said"), [(c, s) for _, c, s in WRONG], ids=[name for name, _, _ in WRONG]
)
def test_wrong_tensors_are_refused_with_the_signature(
    server: RunningServer, change: dict[str, Any], said: str
) -> None:
    a = {"name": "a", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    b = {"name": "b", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    answer = server.client.post(INFER, json={"inputs": [a | change, b]})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].startswith(said)
    assert answer.json()["code"] == "bad-input"
    assert answer.json()["next"]


def test_missing_doubled_and_unasked_tensors(server: RunningServer) -> None:
    b = {"name": "b", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    missing = server.client.post(INFER, json={"inputs": [b]}).json()
    assert missing["error"] == f"inputs.a: is missing. Expected: {SIGNATURE}"
    twice = server.client.post(INFER, json={"inputs": [b, b]}).json()
    assert twice["error"].startswith("inputs.b: is sent twice")
    a = b | {"name": "a"}
    output = server.client.post(INFER, json={"inputs": [a, b], "outputs": [{"name": "z"}]}).json()
    assert output["error"].startswith("outputs.z: is no output of this model. Expected: sum FP32 [-1, 3]")


@pytest.mark.parametrize(
    ("size", "extra", "said"),
    [
        (24, b"", "inputs.a: binary_data_size exceeds the binary part"),
        (10, b"", "inputs.a: has 10 bytes"),
        (12, b"more", "body: 4 bytes belong to no tensor"),
        (-1, b"", "inputs.a: binary_data_size exceeds the binary part"),
    ],
)
def test_wrong_binary_parts(server: RunningServer, size: int, extra: bytes, said: str) -> None:
    a = {"name": "a", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    b = {"name": "b", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    head = json.dumps({"inputs": [a, b]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    tail = b"\0" * 12 if size != 10 else b"\0" * 10
    answer = server.client.post(INFER, content=head + tail + extra, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


@pytest.mark.parametrize("length", ["999999", "-1", "x", "1" * 30])
def test_wrong_header_length(server: RunningServer, length: str) -> None:
    answer = server.client.post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert answer.json()["facts"]["where"] == "Inference-Header-Content-Length"


def test_cut_off_strings_and_compressed_bodies(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "m", identity(TensorProto.STRING)))
    for tail in (b"\x05\0\0\0abc", b"\xff\xff\xff\xffa", b"\x01\0"):
        x = {"name": "x", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
        head = json.dumps({"inputs": [x]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answer = server.client.post(INFER, content=head + tail, headers=headers)
        assert answer.status_code == 400
        assert "cut off" in answer.json()["error"]
    x = {"name": "x", "shape": [1, 2], "datatype": "BYTES", "parameters": {"binary_data_size": 10}}
    head = json.dumps({"inputs": [x]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = server.client.post(INFER, content=head + b"\x01\0\0\0\xff\x01\0\0\0a", headers=headers)
    assert answer.json()["error"].startswith("x[0]: is not UTF-8")
    answer = server.client.post(INFER, content=b"{}", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_what_the_kernels_refuse_is_the_callers_error(serve: Serve, tmp_path: Path) -> None:
    from onnx import helper

    from tests.deployer.server.conftest import graph

    gather = graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", TensorProto.INT64, ["n"])],
        [("y", TensorProto.FLOAT, ["n"])],
        table=np.arange(4, dtype=np.float32),
    )
    server = serve(write_model(tmp_path / "m", gather))
    body = {"inputs": [{"name": "ids", "shape": [1], "datatype": "INT64", "data": [9]}]}
    answer = server.client.post(INFER, json=body)
    assert answer.status_code == 400
    assert "the model refuses these tensors" in answer.json()["error"]
    assert "Expected: ids INT64 [-1]" in answer.json()["error"]
    assert ".cc" not in answer.text
    assert server.predict({"rows": [3]}) == {"outputs": {"y": [3.0]}}


@pytest.mark.parametrize(
    "data", ["[1.5, 2, 3]", "[9223372036854775808, 0, 0]", "[NaN, 0, 0]", "[true, 1, 1]"]
)
def test_integers_are_never_rounded_or_wrapped(serve: Serve, tmp_path: Path, data: str) -> None:
    server = serve(write_model(tmp_path / "m", identity(TensorProto.INT64, ("n", 3))))
    body = f'{{"inputs": [{{"name": "x", "shape": [1, 3], "datatype": "INT64", "data": {data}}}]}}'
    answer = server.client.post(INFER, content=body)
    if data.startswith("[true"):  # numpy reads true as 1 among integers, as JSON clients of Triton do
        assert answer.json()["outputs"][0]["data"] == [1, 1, 1]
    else:
        assert answer.status_code == 400, answer.text


def test_the_error_is_in_the_readers_language(server: RunningServer) -> None:
    answer = httpx.post(
        f"http://{server.address}{INFER}", json={"inputs": []}, headers={"Accept-Language": "zh-CN,zh;q=0.9"}
    )
    assert answer.headers["content-language"] == "zh"
    assert answer.json()["error"].startswith("inputs.a：缺失。期望：a FP32")
