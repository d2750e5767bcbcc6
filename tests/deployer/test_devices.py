"""Devices have fixed ids, honest grades and words, and what they accept is what their runtimes say."""

import importlib.metadata
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deployer import devices
from deployer.devices import CPU, DEVICES, profile
from deployer.errors import DeviceNotServed, UnknownDevice
from deployer.optimizer.targets.operators import TABLES
from deployer.optimizer.targets.players import players
from tests.deployer.optimizer.targets.graphs import relu

IDS = [
    *("cpu", "x86-64", "x86-64-vnni", "arm64", "openvino", "cuda", "tensorrt", "directml", "cann"),
    *("migraphx", "qnn", "rknn", "android", "ios", "browser-wasm", "browser-webgpu"),
]


def test_ids_are_fixed() -> None:
    assert [device.id for device in DEVICES] == IDS


def test_only_this_machine_is_deployed_to() -> None:
    assert [device.id for device in DEVICES if device.serves] == ["cpu"]
    assert CPU.id == "cpu" and CPU.runs_here == "measured"
    devices.require_serving("cpu")
    with pytest.raises(DeviceNotServed) as refused:
        devices.require_serving("cuda")
    assert refused.value.facts == {"device": "cuda", "known": ["cpu"]}


def test_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownDevice) as refused:
        profile("abacus")
    assert refused.value.facts == {"device": "abacus", "known": IDS}


def test_every_profile_has_words_package_and_grade() -> None:
    for device in DEVICES:
        assert device.title_zh and device.title_en and device.provider, device
        assert device.package and device.version[0].isdigit(), device
        assert device.runs_here in devices.GRADES, device
        assert device.form.operators in {"", *TABLES}, device
        assert device.form.max_opset >= max(17, device.form.fast_opset), device
    assert json.loads(json.dumps([asdict(device) for device in DEVICES]))[0]["id"] == "cpu"
    assert all(zh and en for zh, en in devices.GRADES.values())


def test_what_is_graded_above_checked_has_somebody_to_play_it() -> None:
    played = players()
    assert {device.id for device in DEVICES if device.runs_here != "checked"} <= set(played)
    for id in ("cuda", "tensorrt", "directml", "cann", "migraphx", "qnn", "android", "ios", "browser-webgpu"):
        assert profile(id).runs_here == "checked" and id not in played


def test_tables_name_operators_that_exist() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    historic = {"Crop", "ImageScaler", "ParametricSoftplus", "ScaledTanh", "Scatter", "Upsample"}
    for name, table in TABLES.items():
        assert table <= known | historic, (name, table - known - historic)
        assert {"Conv", "MatMul", "Relu", "Softmax", "Reshape", "Gemm"} <= table, name


def test_own_runtime_loads_what_its_profile_says_and_nothing_newer(tmp_path: Path) -> None:
    assert CPU.version == importlib.metadata.version("onnxruntime")
    loaded = relu(tmp_path / "newest.onnx", opset=CPU.form.max_opset, ir=CPU.form.max_ir)
    session = onnxruntime.InferenceSession(str(loaded), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.float32([[-1, 2, 3]])})[0].tolist() == [[0, 2, 3]]
    for newer in (
        relu(tmp_path / "opset.onnx", opset=CPU.form.max_opset + 1),
        relu(tmp_path / "ir.onnx", ir=CPU.form.max_ir + 1),
    ):
        with pytest.raises(Exception, match=r"opset|IR"):
            onnxruntime.InferenceSession(str(newer), providers=["CPUExecutionProvider"])
