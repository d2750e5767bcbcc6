"""A check names what a device does not take, with cause and next step in both languages."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from deployer.devices import DEVICES
from deployer.errors import UnknownDevice
from deployer.optimizer.targets import Finding, TargetRefused, check
from tests.deployer.optimizer.targets.graphs import integer_product, network, qdq, relu, save, value
from tests.shelf_files import model_dir

FLOATS = value("x", TensorProto.FLOAT, 1, 4), value("y", TensorProto.FLOAT, 1, 4)


def codes(device: str, graph: Path) -> dict[str, str]:
    """Levels by code."""
    return {found.code: found.level for found in check(device, graph)}


def one(device: str, graph: Path, code: str) -> Finding:
    return next(found for found in check(device, graph) if found.code == code)


def test_a_plain_network_passes_wherever_it_can(tmp_path: Path) -> None:
    graph = network(tmp_path / "model.onnx")
    for device in DEVICES:
        found = codes(device.id, graph)
        assert found.keys() <= {"needs-qdq", "accelerator"}, (device.id, found)
    assert codes("qnn", graph) == {"needs-qdq": "fail"}


def test_newer_opsets_and_files_than_a_runtime_knows_are_refused(tmp_path: Path) -> None:
    assert codes("openvino", relu(tmp_path / "a.onnx", opset=26)) == {"opset": "fail"}
    assert codes("openvino", relu(tmp_path / "b.onnx", opset=25)) == {}
    assert codes("browser-wasm", relu(tmp_path / "c.onnx", ir=14)) == {"ir-version": "fail"}
    assert codes("cpu", relu(tmp_path / "d.onnx", opset=26, ir=14)) == {}
    assert codes("directml", relu(tmp_path / "e.onnx", opset=22)) == {"opset-beside": "warn"}
    finding = one("openvino", tmp_path / "a.onnx", "opset")
    assert "26" in finding.where and "25" in finding.why_en and "25" in finding.next_zh


def test_operators_of_one_machine_are_not_portable(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReorderInput", ["x"], ["y"], domain="com.microsoft.nchwc")]
    graph = save(tmp_path / "model.onnx", nodes, [FLOATS[0]], [FLOATS[1]], domains=("com.microsoft.nchwc",))
    for device in DEVICES:
        assert codes(device.id, graph)["not-portable"] == "fail", device.id


@pytest.mark.skipif("not __import__('deployer.devices').devices.machine() == 'x86-64'")
def test_what_onnxruntime_optimises_for_this_machine_is_found(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "here.onnx")
    onnxruntime.InferenceSession(str(network(tmp_path / "model.onnx")), options)
    assert codes("browser-wasm", tmp_path / "here.onnx")["not-portable"] == "fail"


def test_domains_a_device_does_not_know(tmp_path: Path) -> None:
    nodes = [helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]
    graph = save(tmp_path / "model.onnx", nodes, [FLOATS[0]], [FLOATS[1]], domains=("com.microsoft",))
    assert codes("cpu", graph) == {}
    assert one("rknn", graph, "domain").where == "com.microsoft: FastGelu"


def test_operators_outside_the_table_run_beside_or_not_at_all(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("Det", ["h"], ["y"])]
    ends = value("x", TensorProto.FLOAT, 4, 4), value("y", TensorProto.FLOAT)
    graph = save(tmp_path / "model.onnx", nodes, [ends[0]], [ends[1]])
    beside = one("cuda", graph, "operators-beside")
    assert beside.level == "warn" and beside.where == "Det ×1" and "50" in beside.why_zh
    assert one("rknn", graph, "operators").level == "fail"
    assert codes("cpu", graph) == {}


def test_operators_of_branches_and_local_functions_count(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Det", ["x"], ["b"])], "b", [], [value("b", TensorProto.FLOAT)]
    )
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    ends = [value("x", TensorProto.FLOAT, 4, 4), value("c", TensorProto.BOOL)]
    graph = save(tmp_path / "if.onnx", nodes, ends, [value("y", TensorProto.FLOAT)])
    assert one("cuda", graph, "operators-beside").where == "Det ×2"

    model = onnx.load(str(relu(tmp_path / "model.onnx")))
    opsets = [helper.make_opsetid("", 17)]
    inner = [helper.make_node("Det", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "Mine", ["x"], ["y"], inner, opsets))
    model.graph.node[0].op_type, model.graph.node[0].domain = "Mine", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, str(tmp_path / "function.onnx"))
    assert codes("rknn", tmp_path / "function.onnx") == {"operators": "fail"}


def test_ways_of_quantising_against_what_a_device_wants(tmp_path: Path) -> None:
    dynamic, good = integer_product(tmp_path / "a.onnx", 50), qdq(tmp_path / "b.onnx")
    assert codes("qnn", dynamic)["not-qdq"] == "fail"
    assert codes("tensorrt", dynamic)["not-qdq"] == "warn"
    assert codes("qnn", good) == {} and codes("tensorrt", good) == {}
    assert codes("rknn", good) == {"already-quantized": "fail"}
    assert codes("rknn", dynamic)["already-quantized"] == "fail"
    assert codes("tensorrt", qdq(tmp_path / "c.onnx", zero_point=3)) == {"zero-points": "fail"}
    assert codes("cpu", dynamic) == {} and codes("cpu", good) == {}


def test_full_range_weights_saturate_without_vnni(tmp_path: Path) -> None:
    assert codes("x86-64", integer_product(tmp_path / "a.onnx", 127)) == {"saturation": "warn"}
    assert codes("x86-64", integer_product(tmp_path / "b.onnx", 63)) == {}
    assert codes("x86-64-vnni", integer_product(tmp_path / "c.onnx", 127)) == {}


def test_types_and_shapes(tmp_path: Path) -> None:
    half = save(
        tmp_path / "half.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT16, 1, 4)],
        [value("y", TensorProto.FLOAT16, 1, 4)],
    )
    assert codes("cpu", half) == {"float16": "warn"} and codes("cuda", half) == {}
    free = relu(tmp_path / "free.onnx", batch="n")
    assert codes("rknn", free) == {"dynamic-shape": "fail"}
    assert codes("tensorrt", free) == {"dynamic-shape": "warn"}
    assert codes("cpu", free) == {}
    long = save(
        tmp_path / "long.onnx",
        [helper.make_node("Gather", ["t", "ids"], ["y"])],
        [value("ids", TensorProto.INT64, 1, 2)],
        [value("y", TensorProto.FLOAT, 1, 2)],
        {"t": np.zeros(4, np.float32)},
    )
    assert codes("rknn", long) == {"int64": "warn"} and codes("browser-webgpu", long) == {"int64": "warn"}
    assert "int32" in one("rknn", long, "int64").why_en


def test_what_is_too_large_for_a_browser_or_a_file(tmp_path: Path) -> None:
    model = onnx.load(str(network(tmp_path / "model.onnx")))
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights.bin")
        tensor.ClearField("raw_data")
    onnx.save(model, str(tmp_path / "large.onnx"))
    with (tmp_path / "weights.bin").open("wb") as weights:
        weights.truncate(3 << 30)  # a hole: nothing is written
    assert codes("browser-wasm", tmp_path / "large.onnx") == {"too-large": "fail"}
    assert codes("cpu", tmp_path / "large.onnx") == {}


def test_weights_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    model = onnx.load(str(network(tmp_path / "model.onnx")))
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    (tmp_path / "evil.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(TargetRefused, match="outside"):
        check("browser-wasm", tmp_path / "evil.onnx")


def test_what_is_no_graph_or_no_device_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    for content in (b"", b"PK\x03\x04 not a graph", b"\x00" * 500):
        bad.write_bytes(content)
        with pytest.raises(TargetRefused, match="no ONNX"):
            check("cpu", bad)
    with pytest.raises(UnknownDevice):
        check("abacus", bad)


def test_a_phone_gets_its_own_format_and_the_usability_report(tmp_path: Path) -> None:
    broken = save(
        tmp_path / "broken.onnx", [helper.make_node("Nonesuch", ["x"], ["y"])], [FLOATS[0]], [FLOATS[1]]
    )
    for device in ("android", "ios"):
        finding = one(device, broken, "ort-format")
        assert finding.level == "fail" and "Nonesuch" in finding.why_en
        assert codes(device, network(tmp_path / "model.onnx")).get("ort-format") is None


def test_models_of_the_shelf() -> None:
    minilm = model_dir("en-minilm-l6-fp32") / "model.onnx"
    for device in ("cpu", "x86-64", "openvino", "cuda", "browser-wasm"):
        assert codes(device, minilm) == {}, device
    assert codes("rknn", minilm) == {"dynamic-shape": "fail", "int64": "warn"}
    assert codes("qnn", minilm)["needs-qdq"] == "fail"
    assert codes("android", minilm).keys() == {"accelerator"}
    layout = model_dir("doc-layout-cdla") / "model.onnx"
    assert codes("rknn", layout) == {}
    assert codes("tensorrt", layout) == {}


def han(text: str) -> bool:
    return any("一" <= letter <= "鿿" for letter in text)


def test_every_finding_speaks_both_languages(tmp_path: Path) -> None:
    graphs = [integer_product(tmp_path / "a.onnx", 127), qdq(tmp_path / "b.onnx", zero_point=1)]
    graphs += [relu(tmp_path / "c.onnx", opset=27, ir=14, batch="n")]
    found = [finding for graph in graphs for device in DEVICES for finding in check(device.id, graph)]
    assert len({finding.code for finding in found}) >= 8
    for finding in found:
        assert han(finding.why_zh) and han(finding.next_zh), finding
        assert not han(finding.why_en + finding.next_en) and finding.next_en.endswith("."), finding
    levels = [finding.level for finding in check("rknn", graphs[2])]
    assert levels == sorted(levels)
