"""The server as a process: its addresses, its log, its end, and what hostile callers get."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper
from prometheus_client.parser import text_string_to_metric_families

from deployer.server.batching import QUEUE
from tests.deployer.server.conftest import RunningServer, Serve, graph, identity, write_model


@pytest.fixture(scope="module")
def server(serve_module: Serve, tensors_dir: Path) -> RunningServer:
    return serve_module(tensors_dir)


@pytest.fixture(scope="module")
def open_server(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    return serve_module(write_model(tmp_path_factory.mktemp("m"), identity()))


def in_background(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def in_flight(server: RunningServer) -> float:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return next(f.samples[0].value for f in families if f.name == "market_queue_length")


# The process.


SPY = """
import ctypes, os, sys
from pathlib import Path
assert "ORT_DISABLE_TELEMETRY" not in os.environ
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(getenv(b"ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Spy())
import deployer.server.__main__
from deployer.server.predictor import load
load(Path(sys.argv[1]))
"""


def test_telemetry_is_off_before_the_import(tensors_dir: Path) -> None:
    # What C code sees at the moment of the import, in a process whose parent did not set it.
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", SPY, str(tensors_dir)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["b'1'"], done.stderr


def test_threads_are_few(server: RunningServer) -> None:
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) <= 4


def test_nothing_heavy_is_loaded_for_tensors(tensors_dir: Path) -> None:
    command = (
        "import sys; from pathlib import Path; import deployer.server.__main__, deployer.server.app;"
        f"from deployer.server.predictor import load; load(Path({str(tensors_dir)!r}));"
        "heavy = {'PIL', 'tokenizers', 'litestar', 'sqlmodel', 'docker', 'onnx', 'catalog', 'marketplace'};"
        "print(sorted(heavy & set(sys.modules)), sorted(m for m in sys.modules if m.startswith('deployer')"
        " and not m.startswith('deployer.server')))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "[] ['deployer']", done.stderr


def test_log_is_json_lines(server: RunningServer) -> None:
    line = server.lines()[0]
    assert line["event"] == "listening"
    assert line["task"] == "tensors"
    assert line["address"] == str(server.uds)
    assert line["level"] == "info"


def test_lifeline_ends_the_server_at_once(serve: Serve, tensors_dir: Path) -> None:
    ours, theirs = os.pipe()
    try:
        server = serve(tensors_dir, arguments=("--lifeline", str(ours)), pass_fds=(ours,))
    finally:
        os.close(ours)
    assert server.process.poll() is None
    os.close(theirs)
    assert server.process.wait(timeout=10) == 1
    assert server.uds is not None
    assert not server.uds.exists()


def test_sigterm_without_work_ends_clean(serve: Serve, tensors_dir: Path) -> None:
    server = serve(tensors_dir)
    assert server.predict({"inputs": {"a": [[1, 2, 3]], "b": [[0, 0, 0]]}})["outputs"]["sum"] == [[1, 2, 3]]
    assert server.stop() == 0
    assert server.uds is not None
    assert not server.uds.exists()
    assert server.lines()[-1]["event"] == "stopped"


def test_sigterm_finishes_what_is_in_flight(serve: Serve, slow_dir: Path) -> None:
    server = serve(slow_dir)
    started = time.perf_counter()
    server.predict({"rows": [200]})
    rounds = int(200 * 1.5 / (time.perf_counter() - started)) + 1  # about 1.5 s
    thread, results = in_background(lambda: server.client.post("/predict", json={"rows": [rounds]}))
    until(lambda: in_flight(server) == 1)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.client.get("/v2/health/ready").status_code == 503)
    assert server.client.get("/v2/health/live").status_code == 200
    assert server.client.get("/healthz").json()["code"] == "stopping"
    refused = server.client.post("/predict", json={"rows": [1]}, headers={"Accept-Language": "zh"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    thread.join()
    assert results[0].json() == {"outputs": {"done": [rounds]}}
    assert server.process.wait(timeout=20) == 0


def test_the_loop_answers_while_the_model_works_and_the_queue_is_bounded(
    serve: Serve, slow_dir: Path
) -> None:
    server = serve(slow_dir)
    started = time.perf_counter()
    server.predict({"rows": [200]})
    rounds = int(200 * 1.0 / (time.perf_counter() - started)) + 1
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=str(server.uds), limits=httpx.Limits(max_connections=200)),
        base_url="http://server",
        timeout=60,
    )
    first, first_result = in_background(lambda: client.post("/predict", json={"rows": [rounds]}))
    until(lambda: in_flight(server) == 1)
    others = [in_background(lambda: client.post("/predict", json={"rows": [1]})) for _ in range(QUEUE)]
    until(lambda: in_flight(server) == QUEUE + 1)
    refused = server.client.post("/predict", json={"rows": [1]})
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert server.client.get("/v2/health/ready").status_code == 200
    first.join()
    assert first_result[0].status_code == 200
    for thread, result in others:
        thread.join()
        assert result[0].status_code == 200
    client.close()


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (None, "manifest.json cannot be read"),
        ("{", "manifest.json cannot be read"),
        ("[]", "manifest.json is not a JSON object"),
        ('{"task": "../x"}', "not a task"),
        ('{"files": {}}', "names no file for the role 'model'"),
        ('{"files": {"model": "../x.onnx"}}', "lies outside the model folder"),
        ('{"files": {"model": "gone.onnx"}}', "is missing: gone.onnx"),
        ('{"task": "token-classification", "files": {"model": "x"}}', "the role `transitions`"),
    ],
)
def test_a_bad_folder_is_named_in_the_log(tmp_path: Path, manifest: str | None, said: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    command = [sys.executable, "-m", "deployer.server", str(tmp_path), "--name", "x", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_is_named(tmp_path: Path, tensors_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "deployer.server", str(tensors_dir), "--name", "x", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "in use" in done.stderr


def test_an_open_port_needs_the_key_that_was_named(tensors_dir: Path) -> None:
    where = ["--name", "x", "--port", "0", "--key-env", "NO_SUCH_KEY"]
    command = [sys.executable, "-m", "deployer.server", str(tensors_dir), *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "NO_SUCH_KEY is not set" in done.stderr


def test_one_address_must_be_given(tensors_dir: Path) -> None:
    command = [sys.executable, "-m", "deployer.server", str(tensors_dir), "--name", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "either --uds PATH or --port PORT" in done.stderr


# Keys.


def test_the_key_is_asked_for_on_tcp_only(serve: Serve, tensors_dir: Path) -> None:
    server = serve(tensors_dir, tcp=True, key="mk_secret")
    assert server.client.get("/v1/models").status_code == 200
    assert server.client.get("/v1/models", headers={"Authorization": "bearer mk_secret"}).status_code == 200
    for headers in (
        {},
        {"Authorization": "Bearer no"},
        {"Authorization": "Basic mk_secret"},
        {"Authorization": "mk_secret"},
        {"Authorization": "Bearer é"},
    ):
        with httpx.Client(base_url=f"http://{server.address}") as stranger:
            raw = {name: value.encode("latin-1") for name, value in headers.items()}
            refused = stranger.post("/predict", json={}, headers=raw)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert stranger.get("/metrics", headers=raw).status_code == 401
            assert stranger.get("/healthz", headers=raw).status_code == 200
            assert stranger.get("/v2/health/ready", headers=raw).status_code == 200
            assert stranger.get("/v2/health/live", headers=raw).status_code == 200
    local = serve(tensors_dir, key="mk_secret")
    local.client.headers.pop("authorization")
    assert local.client.get("/v1/models").status_code == 200


# What it says of itself.


def test_openapi_has_the_signature(server: RunningServer) -> None:
    found = server.client.get("/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    body = found["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    assert body["application/json"]["schema"]["x-field"] == "inputs"
    infer = found["paths"]["/v2/models/demo/infer"]["post"]["requestBody"]["content"]["application/json"]
    names = [
        tensor["properties"]["name"]["const"]
        for tensor in infer["schema"]["properties"]["inputs"]["items"]["anyOf"]
    ]
    assert names == ["a", "b"]


def test_metrics_count(serve: Serve, tensors_dir: Path) -> None:
    server = serve(tensors_dir)
    good = {"inputs": {"a": [[1, 2, 3]], "b": [[0, 0, 0]]}}
    server.predict(good)
    server.predict(good)
    server.refuse({})
    server.client.get("/nonsense/123")
    families = {f.name: f for f in text_string_to_metric_families(server.client.get("/metrics").text)}
    requests = {(s.labels["route"], s.labels["status"]): s.value for s in families["market_requests"].samples}
    assert requests == {("/predict", "200"): 2, ("/predict", "400"): 1, ("other", "404"): 1}
    counts = {
        s.labels["route"]: s.value
        for s in families["market_request_seconds"].samples
        if s.name.endswith("_count")
    }
    assert counts == {"/predict": 3, "other": 1}
    assert families["market_requests_in_flight"].samples[0].value == 1
    assert families["market_model_load_seconds"].samples[0].value > 0
    assert families["process_resident_memory_bytes"].samples[0].value > 1 << 20


# Hostile and mistaken callers.


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", "bad-json", "truncated"),
        (b"{", "bad-json", "truncated"),
        (b'{"rows": [1,]}', "bad-json", "(byte 12)"),
        (b'{"rows": NaN}', "bad-json", "invalid character (byte 9)"),
        (b'{"rows": [Infinity]}', "bad-json", "(byte 10)"),
        (b'{"rows": [1e999]}', "bad-input", "number out of range"),
        (b"[" * 10_000, "bad-json", "nested too deeply"),
        (b'{"a":' * 10_000, "bad-json", "nested too deeply"),
        (b'"\xff"', "bad-json", "not UTF-8"),
        (b"[1]", "bad-input", "body: is not a JSON object"),
        (b"{}", "bad-input", "inputs: is not an object"),
        (
            b'{"rows": 1, "more": 2}',
            "bad-input",
            "more: is not a field of this model. Expected: rows (x FP32 [-1, 2]), inputs (x FP32 [-1, 2])",
        ),
        (b'{"rows": null}', "bad-input", "inputs.x: has shape []. Expected: x FP32 [-1, 2]"),
        (b'{"rows": [[1, "a"]]}', "bad-input", "holds what is not a number"),
        (b'{"rows": [[1, 2], [3]]}', "bad-input", "is ragged"),
        (b'{"rows": [[1, 2], 3]}', "bad-input", "is ragged"),
        (b'{"rows": [[[1], 2]]}', "bad-input", "inputs.x"),
        (b'{"rows": [[1, 123456789012345678901234567890]]}', "bad-input", "holds what is not a number"),
        (b'{"inputs": {"z": 1}}', "bad-input", "inputs.z: is no input of this model"),
    ],
)
def test_bodies_that_are_refused(open_server: RunningServer, body: bytes, code: str, said: str) -> None:
    answer = open_server.client.post("/predict", content=body)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == code
    assert said in problem["detail"]
    assert problem["next"]
    assert open_server.predict({"rows": [[1, 2]]}) == {"outputs": {"y": [[1.0, 2.0]]}}


def test_too_large_bodies(open_server: RunningServer) -> None:
    answer = open_server.client.post("/predict", content=b" " * ((32 << 20) + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")

    def endless() -> Any:
        for _ in range(40):
            yield b" " * (1 << 20)

    try:
        answer = open_server.client.post("/predict", content=endless())
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # the server had answered and closed before all was sent
    assert open_server.client.get("/healthz").status_code == 200


def test_half_sent_bodies_leave_no_trace(open_server: RunningServer) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(open_server.uds))
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(open_server.uds))
        raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in raw.recv(1000)
    until(lambda: "market_requests_in_flight 1\n" in open_server.client.get("/metrics").text)
    assert not [line for line in open_server.lines() if line["level"] == "error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v2/models", 404, "not-found"),
        ("GET", "/v2/models/demo/config", 404, "not-found"),
        ("GET", "/v2/models/%2e%2e/ready", 404, "unknown-model"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("DELETE", "/v2/models/demo/infer", 405, "method-not-allowed"),
    ],
)
def test_addresses_that_do_not_exist(
    server: RunningServer, method: str, path: str, status: int, code: str
) -> None:
    answer = server.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


def test_head_and_trailing_slash(server: RunningServer) -> None:
    assert server.client.head("/healthz").status_code == 200
    assert server.client.get("/v2/").json()["name"] == "opc-market"


def test_media_types(open_server: RunningServer) -> None:
    for kind in (
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/ld+json",
    ):
        answer = open_server.client.post("/predict", content=b'{"rows": []}', headers={"Content-Type": kind})
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] == "bad-input"
    answer = open_server.client.post("/predict", content=b"a,b", headers={"Content-Type": "text/csv"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("multipart/form-data", b"", "names no boundary"),
        ("multipart/form-data; boundary=b", b"", "last boundary is missing"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--", "A part has no name"),
        ("multipart/form-data; boundary=b", b"--b\r\n" * 90 + b"--b--", "more than 64 parts"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n\xff\r\n--b--',
            "not UTF-8",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n1\r\n' * 2 + b"--b--",
            "t: is sent twice",
        ),
    ],
)
def test_broken_forms(open_server: RunningServer, kind: str, body: bytes, said: str) -> None:
    answer = open_server.client.post("/predict", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["detail"]


def test_problems_in_chinese(open_server: RunningServer) -> None:
    problem = open_server.refuse({"more": 1}, language="zh-CN")
    assert problem["title"] == "输入不符合模型要求"
    assert problem["detail"] == "more：不是该模型的字段。期望：rows (x FP32 [-1, 2]), inputs (x FP32 [-1, 2])"


def test_what_nobody_foresaw_is_logged_under_its_id(serve: Serve, tmp_path: Path) -> None:
    # The graph gives a score for each n-gram, which its free axis hides from the check at load.
    nodes = [
        helper.make_node("Cast", ["ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["numbers", "weights"], ["logits"]),
    ]
    free = ["b", "n"]
    model = graph(
        nodes,
        [("ids", TensorProto.INT64, free), ("weights", TensorProto.FLOAT, free)],
        [("logits", TensorProto.FLOAT, free)],
    )
    options = {"analyzer": "char-ngram-hash", "buckets": 10, "labels": ["a", "b", "c"]}
    server = serve(write_model(tmp_path / "m", model, "text-classification", options=options))
    answer = server.client.post("/predict", json={"text": "hello"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    id = answer.json()["facts"]["id"]
    assert id in answer.json()["detail"]
    assert "Traceback" not in answer.text
    assert "ValueError" not in answer.text
    (line,) = [line for line in server.lines() if line.get("id") == id]
    assert "ValueError" in line["traceback"]
    assert server.client.get("/healthz").status_code == 200


def test_more_memory_than_there_is(serve: Serve, tmp_path: Path) -> None:
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["y"])]
    model = graph(nodes, [("size", TensorProto.INT64, [1])], [("y", TensorProto.FLOAT, ["n"])])
    server = serve(write_model(tmp_path / "m", model))
    answer = server.client.post("/predict", json={"rows": [1 << 50]})
    assert answer.status_code == 400
    assert "the model refuses these tensors" in answer.json()["detail"]
    assert server.predict({"rows": [1]}) == {"outputs": {"y": [0.0]}}


@pytest.mark.parametrize("shape", [(), None])
def test_graphs_of_odd_shapes_are_served_like_others(
    serve: Serve, tmp_path: Path, shape: tuple[int, ...] | None
) -> None:
    if shape is None:
        value = helper.make_tensor("v", TensorProto.FLOAT, [1], [7.0])
        nodes = [helper.make_node("Constant", [], ["y"], value=value)]
        model, body, answer = graph(nodes, [], [("y", TensorProto.FLOAT, [1])]), {"inputs": {}}, [7.0]
    else:
        model, body, answer = identity(shape=shape), {"inputs": {"x": 7}}, 7.0
    server = serve(write_model(tmp_path / "m", model))
    for _ in range(3):
        assert server.predict(body) == {"outputs": {"y": answer}}
