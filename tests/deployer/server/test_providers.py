"""Where graphs run: the device that was asked for, or an end that says why not; never another in silence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployer.server.providers import CPU, KINDS, Device, DeviceUnavailable, Plan
from tests.deployer.server.conftest import Serve

ELSEWHERE = [device for device in KINDS if device not in {"cpu", "qnn"}]


def start(model: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "deployer.server", str(model), "--name", "demo", "--port", "0", *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_server_runs_on_the_processor_and_says_so(serve: Serve, tensors_dir: Path) -> None:
    server = serve(tensors_dir)
    told = server.client.get("/v2").json()
    assert (told["device"], told["execution_provider"]) == ("cpu", CPU)
    families = {
        each.name: each for each in text_string_to_metric_families(server.client.get("/metrics").text)
    }
    (sample,) = families["market_execution_provider_info"].samples
    assert sample.labels == {"device": "cpu", "provider": CPU}
    listening = next(
        line for line in map(json.loads, server.log.read_text().splitlines()) if line["event"] == "listening"
    )
    assert (listening["device"], listening["provider"]) == ("cpu", CPU)


@pytest.mark.parametrize("device", ELSEWHERE)
def test_a_device_whose_provider_is_not_there_ends_the_server(tensors_dir: Path, device: str) -> None:
    done = start(tensors_dir, MARKET_DEVICE=device)
    told = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 6
    assert (told["event"], told["device"]) == ("device cannot be used", device)
    assert told["cause"].startswith(f"{device} needs {KINDS[device].provider}, and onnxruntime ")


def test_a_plug_in_that_is_not_installed_ends_it_too(tensors_dir: Path) -> None:
    done = start(tensors_dir, "--device", "qnn")
    assert done.returncode == 6
    assert "onnxruntime_qnn cannot be loaded" in json.loads(done.stderr.splitlines()[-1])["cause"]


def test_the_word_on_the_command_line_goes_before_the_environment(tensors_dir: Path) -> None:
    done = start(tensors_dir, "--device", "openvino", MARKET_DEVICE="cuda")
    assert json.loads(done.stderr.splitlines()[-1])["device"] == "openvino"


@pytest.mark.parametrize("name", ["gpu", "CUDAExecutionProvider", "cuda;rm"])
def test_an_unknown_device_is_refused_with_those_there_are(tensors_dir: Path, name: str) -> None:
    done = start(tensors_dir, MARKET_DEVICE=name)
    assert done.returncode == 2
    assert repr(name) in done.stderr
    assert "openvino" in done.stderr


def test_an_empty_environment_variable_means_the_processor(tensors_dir: Path, tmp_path: Path) -> None:
    done = start(tensors_dir, "--prepare", str(tmp_path), MARKET_DEVICE="")
    assert done.returncode == 0, done.stderr


def test_a_device_that_took_no_node_is_refused() -> None:
    device = Device("openvino")
    device.nodes.update({CPU: 3})
    with pytest.raises(DeviceUnavailable, match="takes no node"):
        device.check()
    device.nodes.update({"OpenVINOExecutionProvider": 1})
    device.check()


def test_nothing_is_prepared_for_other_devices(tensors_dir: Path, tmp_path: Path) -> None:
    done = start(tensors_dir, "--prepare", str(tmp_path), "--device", "cuda")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "prepared.json").read_text())
    assert {graph["as_it_is"] for graph in report["graphs"].values()} == {"compiled by CUDAExecutionProvider"}
    assert [path.name for path in tmp_path.iterdir()] == ["prepared.json"]


def test_compiled_graphs_are_kept_where_told(tmp_path: Path) -> None:
    kept, none = Plan(1, 2, tmp_path), Plan(1, 2, None)
    for device in ("tensorrt", "migraphx"):
        assert str(tmp_path) in KINDS[device].options(kept).values()
        assert KINDS[device].options(none) == {}


def test_openvino_computes_in_float32_with_the_threads_of_the_server() -> None:
    told = json.loads(KINDS["openvino"].options(Plan(1, 4, None))["load_config"])["CPU"]
    assert told == {
        "INFERENCE_NUM_THREADS": "4",
        "NUM_STREAMS": "4",
        "INFERENCE_PRECISION_HINT": "f32",
    }
