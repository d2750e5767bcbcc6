"""The look at a graph: what it counts, what it says it does not know, and what it refuses."""

import json
import os
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployer.optimizer import architecture
from deployer.optimizer.architecture import ArchitectureReport, GraphReport, NotAModelFolder, inspect, summary
from deployer.optimizer.architecture.graphs import (
    BrokenGraph,
    GraphTooLarge,
    InspectionRefused,
    MissingData,
    NotOnnx,
    OutsideData,
)
from tests.shelf_files import model_dir

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Dims = list[int | str]


def value(name: str, dims: Dims, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def weight(name: str, *shape: int, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def graph_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[str] | list[onnx.ValueInfoProto],
    weights: list[TensorProto] | None = None,
    **more: object,
) -> onnx.ModelProto:
    ends = [value(one, []) if isinstance(one, str) else one for one in outputs]
    for end in ends:
        if not end.type.tensor_type.shape.dim:
            end.type.tensor_type.ClearField("shape")
    graph = helper.make_graph(nodes, "g", inputs, ends, weights or [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="test", **more)  # type: ignore[arg-type]


def look(model: onnx.ModelProto, folder: Path, **shapes: tuple[int, ...]) -> GraphReport:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    report = inspect(path, {"model": shapes} if shapes else None)
    assert ArchitectureReport.of(json.loads(json.dumps(report.plain()))) == report
    return report.graphs[0]


def one(
    op: str, inputs: list[onnx.ValueInfoProto], weights: list[TensorProto], **given: object
) -> onnx.ModelProto:
    domain = str(given.pop("domain", ""))
    names = [i.name for i in inputs] + [w.name for w in weights]
    return graph_of([helper.make_node(op, names, ["y"], domain=domain, **given)], inputs, ["y"], weights)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "flops"),
    [
        (one("Conv", [value("x", [1, 3, 8, 8])], [weight("w", 4, 3, 3, 3)], pads=[1] * 4), 2 * 4 * 64 * 27),
        (one("Conv", [value("x", [1, 4, 8, 8])], [weight("w", 4, 1, 3, 3)], group=4), 2 * 4 * 36 * 9),
        (one("ConvTranspose", [value("x", [1, 3, 8, 8])], [weight("w", 3, 5, 2, 2)]), 2 * 3 * 64 * 5 * 4),
        (one("MatMul", [value("x", [2, 7, 16])], [weight("w", 16, 5)]), 2 * 2 * 7 * 16 * 5),
        (one("Gemm", [value("x", [16, 7])], [weight("w", 5, 16)], transA=1, transB=1), 2 * 7 * 16 * 5),
        (
            one(
                "LSTM",
                [value("x", [9, 2, 6])],
                [weight("w", 2, 32, 6), weight("r", 2, 32, 8)],
                hidden_size=8,
                direction="bidirectional",
            ),
            2 * 9 * 2 * 2 * 4 * 8 * (6 + 8),
        ),
        (one("Einsum", [value("x", [3, 4])], [weight("w", 4, 5)], equation="ij,jk->ik"), 2 * 3 * 4 * 5),
        (
            one(
                "MatMulNBits",
                [value("x", [1, 7, 64])],
                [weight("w", 32, 2, 16, kind=np.uint8), weight("s", 64)],
                domain="com.microsoft",
                K=64,
                N=32,
                bits=4,
                block_size=32,
            ),
            2 * 7 * 64 * 32,
        ),
        (
            one(
                "FusedMatMul",
                [value("x", [1, 16, 7])],
                [weight("w", 16, 5)],
                domain="com.microsoft",
                transA=1,
            ),
            2 * 16 * 7 * 5,
        ),
    ],
    ids=lambda it: it.graph.node[0].op_type if isinstance(it, onnx.ModelProto) else "",
)
def test_arithmetic_is_counted(model: onnx.ModelProto, flops: int, tmp_path: Path) -> None:
    found = look(model, tmp_path)
    assert (found.flops.total, found.flops.known, found.flops.unknown) == (flops, flops, 0)


def test_free_axes_are_filled_in_and_said(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    model = graph_of(
        nodes,
        [value("ids", ["batch", "length"], INT64)],
        [value("y", ["batch", "length", 5])],
        [weight("table", 100, 8), weight("w", 8, 5)],
    )
    usual = look(model, tmp_path)
    assert {size.axis: (size.value, size.source) for size in usual.sizes} == {
        "batch": (1, "usual"),
        "length": (128, "usual"),
    }
    assert usual.flops.total == 2 * 128 * 8 * 5
    assert usual.activations.peak == 128 * (8 + 8 * 4 + 5 * 4)
    assert usual.dynamic_axes == {"batch": ("ids[0]", "y[0]"), "length": ("ids[1]", "y[1]")}
    given = look(model, tmp_path, ids=(2, 10))
    assert given.flops.total == 2 * 2 * 10 * 8 * 5
    assert {size.source for size in given.sizes} == {"given"}
    assert given.quantisable["dynamic"].flops == given.quantisable["blocks"].flops == 1.0
    assert given.kept.tables == 3200 and given.kept.packed == 160
    assert given.parameters.by_type["float"].count == 840


def test_shapes_made_of_shapes_are_worked_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = [
        numpy_helper.from_array(np.array(values), name)
        for name, values in {"zero": [0], "one": [1], "rest": [-1]}.items()
    ]
    model = graph_of(nodes, [value("x", ["n", 3, 4])], ["y"], [*weights, weight("w", 12, 2)])
    assert look(model, tmp_path, x=(5, 3, 4)).flops.total == 2 * 5 * 12 * 2


def test_what_depends_on_content_is_unknown(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["f"], to=FLOAT),
        helper.make_node("MatMul", ["w", "f"], ["y"]),
    ]
    found = look(graph_of(nodes, [value("x", ["n"])], ["y"], [weight("w", 3, 1)]), tmp_path)
    assert found.flops.total is None and found.flops.unknown == 1
    assert found.activations.peak is None and found.activations.known > 0
    assert found.open_lengths == ("places",)
    assert found.quantisable["dynamic"].flops is None
    assert [finding.code for finding in found.findings] == ["shapes-unknown"]
    told = look(
        graph_of(nodes, [value("x", ["n"])], ["y"], [weight("w", 3, 1)]), tmp_path, x=(9,), places=(1, 4)
    )
    assert told.flops.total == 2 * 3 * 1 * 4


def test_subgraphs_are_looked_into(tmp_path: Path) -> None:
    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", f"w{name}"], [f"out{name}"])
        return helper.make_graph([node], name, [], [value(f"out{name}", [4, 6])], [weight(f"w{name}", 5, 6)])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    found = look(graph_of([node], [value("x", [4, 5]), value("c", [], TensorProto.BOOL)], ["y"]), tmp_path)
    assert (found.subgraphs, found.control_flow) == (2, {"If": 1})
    assert found.operators == {"MatMul": 2, "If": 1} and found.nodes == 3
    assert found.parameters.total.count == 60
    assert found.outputs[0].name == "y" and found.activations.unknown == 0


def test_functions_of_the_model_are_put_in(tmp_path: Path) -> None:
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Product", ["a", "b"], ["c"], body, opsets)
    node = helper.make_node("Product", ["x", "w"], ["y"], domain="own")
    model = graph_of([node], [value("x", [3, 4])], ["y"], [weight("w", 4, 5)], functions=[function])
    model.opset_import.append(helper.make_opsetid("own", 1))
    found = look(model, tmp_path)
    assert found.functions == ("own::Product",) and found.flops.total == 2 * 3 * 4 * 5
    assert not [finding for finding in found.findings if finding.level == "fail"]


def test_functions_that_call_each_other_without_end_are_refused(tmp_path: Path) -> None:
    functions = []
    for level in range(12):
        name, domain = (f"F{level + 1}", "own") if level < 11 else ("Neg", "")
        calls = [helper.make_node(name, ["a"], [f"o{n}"], domain=domain) for n in range(10)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"F{level}", ["a"], ["o0"], calls, opsets))
    node = helper.make_node("F0", ["x"], ["y"], domain="own")
    with pytest.raises(GraphTooLarge) as refused:
        look(graph_of([node], [value("x", [3])], ["y"], functions=functions), tmp_path)
    assert refused.value.facts["what"] == "functions"


def test_a_decoder_says_what_it_keeps_of_each_token(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["past_key_values.0.key", "new"], ["present.0.key"], axis=2)]
    model = graph_of(
        nodes,
        [value("past_key_values.0.key", ["batch", 8, "past", 64]), value("new", ["batch", 8, "n", 64])],
        [value("present.0.key", ["batch", 8, "whole", 64])],
    )
    found = look(model, tmp_path)
    assert found.stateful == ("past_key_values.0.key",)
    assert found.cache_bytes_per_token == 8 * 64 * 4
    assert {size.axis: size.value for size in found.sizes} == {"batch": 1, "past": 128, "n": 1}


def test_ways_of_being_quantised_are_told(tmp_path: Path) -> None:
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(0), "z")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    assert look(graph_of(nodes, [value("x", [3])], ["y"], [scale, zero]), tmp_path).quantised == ("qdq",)
    half = one("MatMul", [value("x", [2, 64], TensorProto.FLOAT16)], [weight("w", 64, 64, kind=np.float16)])
    assert look(half, tmp_path).quantised == ("fp16",)
    assert look(one("MatMul", [value("x", [2, 4])], [weight("w", 4, 4)]), tmp_path).quantised == ()


def test_operators_that_nobody_knows_are_found(tmp_path: Path) -> None:
    def codes(op: str, domain: str) -> dict[str, str]:
        model = graph_of([helper.make_node(op, ["x"], ["y"], domain=domain)], [value("x", [3])], ["y"])
        model.opset_import.append(helper.make_opsetid("acme", 1))
        return {finding.code: finding.level for finding in look(model, tmp_path).findings}

    assert codes("Frobnicate", "acme")["unknown-operator"] == "fail"
    assert codes("Frobnicate", "")["unknown-operator"] == "fail"
    assert codes("Gelu", "com.microsoft") == {"runtime-operator": "warn"}
    assert codes("Relu", "") == {}
    assert codes("Constant", "acme")["unknown-operator"] == "fail"


def test_versions_that_are_too_new_are_found(tmp_path: Path) -> None:
    model = one("MatMul", [value("x", [2, 4])], [weight("w", 4, 4)])
    model.opset_import[0].version, model.ir_version = 99, 99
    assert {finding.code for finding in look(model, tmp_path).findings} >= {"opset-too-new", "ir-too-new"}
    model.opset_import[0].version, model.ir_version = 11, 8
    assert {finding.code for finding in look(model, tmp_path).findings} == {"opset-old"}


@pytest.mark.parametrize("size", [4, 64])
@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_nan_in_weights_is_found_and_infinity_is_none(tmp_path: Path, size: int, kind: type) -> None:
    values = np.ones((size, size), kind)
    values[1, 2] = np.inf
    masked = graph_of(
        [helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [numpy_helper.from_array(values, "w")]
    )
    assert not look(masked, tmp_path).findings
    values[2, 1] = np.nan
    broken = graph_of(
        [helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [numpy_helper.from_array(values, "w")]
    )
    assert [(f.level, f.code, f.where) for f in look(broken, tmp_path).findings] == [
        ("fail", "weights-nan", "w")
    ]


def test_a_huge_shape_is_counted_and_not_made(tmp_path: Path) -> None:
    huge = TensorProto(name="w", data_type=FLOAT, dims=[1 << 31, 1 << 31])
    found = look(graph_of([helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [huge]), tmp_path)
    assert found.parameters.total.count == 1 << 62
    assert [(f.level, f.code) for f in found.findings] == [("fail", "weight-without-data")]
    wide = one("MatMul", [value("x", [1 << 31, 4])], [weight("w", 4, 1 << 8)])
    assert look(wide, tmp_path).activations.peak == (1 << 31) * (4 + 256) * 4


def external(folder: Path, location: str, **more: int) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, entry in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(entry))
    return graph_of([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", [2, 4])], ["y"], [tensor])


def test_external_data_is_counted_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(np.full(20, np.nan, np.float32).tobytes())
    found = look(external(tmp_path, "w.bin", offset=16, length=64), tmp_path)
    assert found.parameters.external.bytes == 64 and found.flops.total == 2 * 2 * 4 * 4
    assert found.bytes == (tmp_path / "model.onnx").stat().st_size + 80
    assert [finding.code for finding in found.findings] == ["weights-nan"]


def test_a_gigabyte_outside_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(3 << 30)  # it takes no room on the disk
    tensor = TensorProto(
        name="w", data_type=FLOAT, dims=[3 << 14, 1 << 14], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="w.bin")
    found = look(graph_of([helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [tensor]), tmp_path)
    assert found.parameters.external.bytes == 3 << 30
    assert [finding.code for finding in found.findings] == ["weights-unsearched"]


def test_external_data_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "inner").symlink_to(tmp_path)
    absolute = str(tmp_path / "secret.bin")
    for location in (
        "../secret.bin",
        absolute,
        "link.bin",
        "inner/secret.bin",
        "a/../../secret.bin",
        "",
        "C:\\x",
    ):
        with pytest.raises(OutsideData):
            look(external(folder, location), folder)
    os.link(tmp_path / "secret.bin", folder / "hard.bin")  # as the shop's own folders are made
    assert look(external(folder, "hard.bin"), folder).parameters.external.bytes == 64
    with pytest.raises(MissingData) as refused:
        look(external(folder, "gone.bin"), folder)
    assert refused.value.facts == {"file": "model.onnx", "data": "gone.bin"}
    (folder / "short.bin").write_bytes(bytes(60))
    with pytest.raises(BrokenGraph):
        look(external(folder, "short.bin"), folder)
    with pytest.raises(BrokenGraph):
        look(external(folder, "hard.bin", offset=-4), folder)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"hello, this is a text file and no graph at all\n" * 40, ""),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"GGUF" + bytes(100), "gguf"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs-pointer"),
        (bytes(4) + b"TFL3" + bytes(100), "tflite"),
        (bytes(4) + b"ORTM" + bytes(100), "ort"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), ""),
    ],
)
def test_what_is_no_graph_is_refused_by_its_kind(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(NotOnnx) as refused:
        inspect(path)
    assert refused.value.facts["kind"] == kind
    with pytest.raises(NotOnnx):
        inspect(tmp_path / "nothing.onnx")


def test_broken_wiring_is_refused(tmp_path: Path) -> None:
    x = [value("x", [3])]
    neg, twice = helper.make_node("Neg", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])
    cycle = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    cases = {
        "no node makes this input": graph_of([helper.make_node("Neg", ["gone"], ["y"])], x, ["y"]),
        "no node makes this output": graph_of([neg], x, ["other"]),
        "two nodes make this tensor": graph_of([neg, twice], x, ["y"]),
        "it waits for its own output": graph_of(cycle, x, ["b"]),
    }
    for why, model in cases.items():
        with pytest.raises(BrokenGraph) as refused:
            look(model, tmp_path)
        assert refused.value.facts["why"] == why and refused.value.facts["why_zh"]
    unordered = [helper.make_node("Neg", ["a"], ["y"]), helper.make_node("Abs", ["x"], ["a"])]
    assert look(graph_of(unordered, x, ["y"]), tmp_path).nodes == 2
    short = weight("w", 64, 64)
    short.dims[0] = 65
    with pytest.raises(BrokenGraph, match="bytes where its shape"):
        look(graph_of([helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [short]), tmp_path)
    negative = weight("w", 4)
    negative.dims[0] = -4
    with pytest.raises(BrokenGraph):
        look(graph_of([helper.make_node("Neg", ["w"], ["y"])], [], ["y"], [negative]), tmp_path)


def test_files_made_to_swell_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08\x3a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000)  # a million empty nodes
    with pytest.raises(GraphTooLarge) as refused:
        inspect(path)
    assert refused.value.facts["what"] == "fields"
    inner = graph_of([helper.make_node("Neg", ["x"], ["y"], name="n" * 2000)], [value("x", [1])], ["y"]).graph
    for _ in range(30):
        node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
        inner = graph_of([node], [value("x", [1])], ["y"]).graph
    model = graph_of([], [], [])
    model.graph.CopyFrom(inner)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InspectionRefused):
        inspect(path)


def test_no_damage_to_a_file_raises_anything_else(tmp_path: Path) -> None:
    whole = external(tmp_path, "w.bin")
    (tmp_path / "w.bin").write_bytes(bytes(64))
    whole.graph.node.append(helper.make_node("Gemm", ["y", "big"], ["z"]))
    whole.graph.initializer.append(weight("big", 4, 200))
    data = whole.SerializeToString()
    chance = random.Random(4)
    path = tmp_path / "model.onnx"
    refused = 0
    for _ in range(400):
        damaged = bytearray(data[: chance.randrange(40, len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(min(len(damaged), 400))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            json.dumps(inspect(path).plain())
        except InspectionRefused as error:
            assert error.facts["file"] == "model.onnx"
            refused += 1
    assert 50 < refused < 400


def folder_of(folder: Path, manifest: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    return folder


def test_a_folder_needs_a_manifest_that_names_a_graph(tmp_path: Path) -> None:
    for wrong in (
        "{",
        "[]",
        "{}",
        '{"files": {"model": 3}}',
        '{"files": {"config": "c.json"}}',
        "[" * 100_000,
    ):
        with pytest.raises(NotAModelFolder):
            inspect(folder_of(tmp_path / "m", wrong))
    with pytest.raises(OutsideData):
        inspect(folder_of(tmp_path / "m", {"files": {"model": "../model.onnx"}}))


def test_examples_give_the_sizes(tmp_path: Path) -> None:
    manifest = {
        "task": "tensors",
        "name": "acme/wide",
        "files": {"model": "model.onnx", "notes": "notes.md"},
        "examples": [{"request": {"rows": [[1.0] * 4] * n}} for n in (2, 7, 3)] + [{"request": {"no": 1}}],
    }
    folder = folder_of(tmp_path / "m", manifest)
    (folder / "notes.md").write_text("hello")
    model = one("MatMul", [value("x", ["n", 4])], [weight("w", 4, 4)])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    report = inspect(folder)
    assert [(size.axis, size.value, size.source) for size in report.graph("model").sizes] == [
        ("n", 7, "example")
    ]
    assert report.serving.rehearsed == ("model",) and report.files == {"notes": 5}
    assert summary(report)["flops"] == 2 * 7 * 4 * 4
    plain = inspect(folder, examples=False)
    assert [size.source for size in plain.graph("model").sizes] == ["usual"]
    with pytest.raises(KeyError):
        report.graph("other")


@pytest.mark.network
def test_a_real_encoder_is_told_in_a_moment() -> None:
    import time

    folder = model_dir("en-minilm-l6-fp32")
    inspect(folder)
    began = time.process_time()
    report = inspect(folder)
    assert time.process_time() - began < 1.0
    told = summary(report)
    assert told["parameters"] == pytest.approx(22.6e6, rel=0.01) and told["bytes"] > 90e6
    assert told["opset"] == 17 and not told["problems"] and not told["at_least"]
    assert 0.9 < told["quantisable"]["dynamic"] < 1 and told["dynamic_axes"] == ["batch", "sequence"]
    assert architecture.ArchitectureReport.of(json.loads(json.dumps(report.plain()))) == report


@pytest.mark.network
def test_a_real_decoder_has_a_cache() -> None:
    report = inspect(model_dir("asr-whisper-base"))
    decoder = report.graph("decoder")
    assert decoder.cache_bytes_per_token == 12 * 512 * 4 and len(decoder.stateful) == 12
    assert report.serving.exclusive == ("decoder", "encoder") and report.serving.tokenizer
    assert not summary(report)["problems"]
