"""Which models accelerators take, and the platforms of their images."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from deployer.errors import TerminalNotSupported, UnknownDevice
from deployer.packager import wheels_devices
from deployer.packager.release import Release
from deployer.terminals import devices
from tests.deployer.packager.releases import made

ACCELERATORS = [device for device in wheels_devices.PARTS if device != "cpu"]


def graph(opset: int = 17, ir: int = 10, *, qdq: bool = False) -> bytes:
    """y = x, or x quantised and back."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    weights = []
    if qdq:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ]
        weights = [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("zero", TensorProto.INT8, [], np.zeros(1, np.int8).tolist()),
        ]
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])] for name in "xy"]
    whole = helper.make_graph(nodes, "g", *sides, weights)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return bytes(model.SerializeToString())


def release(folder: Path, content: bytes) -> Release:
    return made(folder, {"model.onnx": content})


def test_platforms_are_those_that_there_are_packages_for() -> None:
    assert devices.platforms("openvino") == ("linux/amd64",)
    assert devices.platforms("cuda") == ("linux/amd64", "linux/arm64")
    assert devices.platforms("qnn") == ("linux/arm64",)
    with pytest.raises(TerminalNotSupported):
        devices.platforms("rknn")
    with pytest.raises(UnknownDevice):
        devices.platforms("abacus")


@pytest.mark.parametrize("device", ACCELERATORS)
def test_a_plain_graph_is_taken_except_where_only_quantised_ones_run(device: str, tmp_path: Path) -> None:
    float_one = release(tmp_path, graph())
    if device != "qnn":
        devices.supports(float_one, device)
        return
    with pytest.raises(TerminalNotSupported) as refused:
        devices.supports(float_one, device)
    facts = refused.value.facts
    assert facts["task"] == "tensors"
    assert facts["why"].startswith("model.onnx: ")
    assert "QDQ" in facts["why"]
    assert "QDQ" in facts["why_zh"]


def test_a_quantised_one_is_taken_there(tmp_path: Path) -> None:
    devices.supports(release(tmp_path, graph(qdq=True)), "qnn")


@pytest.mark.parametrize(("opset", "ir", "word"), [(26, 13, "opset 26"), (17, 14, "IR version 14")])
def test_a_graph_newer_than_the_build_is_refused(opset: int, ir: int, word: str, tmp_path: Path) -> None:
    new = release(tmp_path, graph(opset, ir))
    with pytest.raises(TerminalNotSupported) as refused:
        devices.supports(new, "openvino")
    assert word in refused.value.facts["why"]
    if ir == 13:  # the build for CUDA is a newer one
        devices.supports(new, "cuda")


def test_what_is_no_graph_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TerminalNotSupported):
        devices.supports(release(tmp_path, b"no protobuf at all"), "cuda")
