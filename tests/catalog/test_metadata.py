"""What a manifest says against what its files hold; graphs are made for each false word."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from catalog import contents, metadata
from catalog.contents import dtype_name, read_graph, read_safetensors, read_tokenizer
from tests.shelf_files import model_dir


def classifier(
    folder: Path, *, rows: int = 100, width: int = 2, kind: Any = np.float32, opset: int = 17
) -> onnx.ModelProto:
    """input_ids → scores: a table of words, a mean, and a matrix."""
    table = np.ones((rows, 32), kind)
    last = np.ones((32, width), np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", ["found"], ["words"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "last"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "words"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(last, "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return model


def tokenizer(folder: Path, *, size: int = 100, han: int = 0, by_bytes: bool = False) -> None:
    words = {(chr(0x4E00 + n) if n < han else f"w{n}"): n for n in range(size)}
    data = {"model": {"type": "WordPiece", "vocab": words, "byte_fallback": by_bytes}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(data), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classifier(tmp_path)
    tokenizer(tmp_path)
    return tmp_path


def check(folder: Path, name: str = "vendor/tone", **changes: Any) -> dict[str, dict[str, Any]]:
    words = changes.pop("words", {})
    manifest: dict[str, Any] = {
        "name": name,
        "task": "text-classification",
        "files": {"model": "model.onnx", "tokenizer": "tokenizer.json"},
        "options": {"labels": ["bad", "good"]},
        "artifacts": [{"path": p.name} for p in sorted(folder.iterdir())],
    }
    rows = metadata.check(str(folder), manifest | changes, words)
    return {row["code"]: row | {"verdict": str(row["verdict"])} for row in rows}


def test_what_agrees_passes_and_says_what_is_inside(folder: Path) -> None:
    found = check(folder)
    assert list(found) == [""]
    assert found[""]["facts"] == {"parameters": 3264, "opset": 17, "types": ["float32"]}


@pytest.mark.parametrize("listing", ["doc-orientation", "en-minilm-l6-int8", "filetype-magika", "zh-lac-ner"])
def test_listings_of_the_shelf_agree(listing: str) -> None:
    place = model_dir(listing)
    manifest = json.loads((place / "manifest.json").read_text("utf-8"))
    assert not [row for row in metadata.check(str(place), manifest, {}) if row["code"]]


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("vendor/tone-int8", "metadata-type", "fail"),
        ("vendor/tone-fp32", "", "pass"),
        ("vendor/tone-7b", "metadata-parameters", "fail"),
        ("vendor/tone-3m", "metadata-parameters", "fail"),
        ("vendor/tone-opset21", "metadata-opset", "fail"),
        ("vendor/tone-opset17", "", "pass"),
        ("vendor/tone-ocr", "metadata-task-words", "warn"),
        ("vendor/sentiment-analysis", "", "pass"),
    ],
)
def test_words_in_the_name_are_held_against_the_files(
    folder: Path, name: str, code: str, verdict: str
) -> None:
    found = check(folder, name)
    assert list(found) == [code]
    assert found[code]["verdict"] == verdict


def test_weights_of_one_byte_may_be_called_int8(tmp_path: Path) -> None:
    classifier(tmp_path, kind=np.int8)
    tokenizer(tmp_path)
    assert list(check(tmp_path, "vendor/tone-int8")) == [""]
    assert list(check(tmp_path, "vendor/tone-fp16")) == ["metadata-type"]


def test_a_role_that_the_task_needs(folder: Path) -> None:
    found = check(folder, task="feature-extraction", files={"model": "model.onnx"})
    assert found["metadata-role-missing"]["facts"]["role"] == "tokenizer"


@pytest.mark.parametrize(
    ("inputs", "outputs", "good"),
    [
        ([("input_ids", "int64", ["n", "m"])], [("scores", "FP32", [None, 2])], True),
        ([("input_ids", "tensor(int64)", [-1, -1])], [("scores", "float", ["n", 2])], True),
        ([("input_ids", "int32", ["n", "m"])], [("scores", "FP32", [None, 2])], False),
        ([("input_ids", "int64", ["n"])], [("scores", "FP32", [None, 2])], False),
        ([("input_ids", "int64", ["n", "m"])], [("scores", "FP32", [None, 3])], False),
        ([("ids", "int64", ["n", "m"])], [("scores", "FP32", [None, 2])], False),
        ([], [("scores", "FP32", [None, 2])], False),
    ],
)
def test_the_signature(folder: Path, inputs: list[Any], outputs: list[Any], good: bool) -> None:
    said = {
        side: [dict(zip(("name", "dtype", "shape"), tensor, strict=True)) for tensor in tensors]
        for side, tensors in (("inputs", inputs), ("outputs", outputs))
    }
    assert list(check(folder, words={"signature": said})) == ([""] if good else ["metadata-signature"])


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    tokenizer(folder, size=101)
    assert check(folder)["metadata-vocabulary"]["facts"] == {"tokens": 101, "rows": 100}


def test_a_tokenizer_that_is_none(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[]")
    assert list(check(folder)) == ["metadata-tokenizer"]


@pytest.mark.parametrize(
    ("han", "by_bytes", "codes"), [(0, False, ["metadata-language"]), (100, False, [""]), (0, True, [""])]
)
def test_a_vocabulary_that_knows_no_chinese(
    tmp_path: Path, han: int, by_bytes: bool, codes: list[str]
) -> None:
    classifier(tmp_path, rows=200)
    tokenizer(tmp_path, size=200, han=han, by_bytes=by_bytes)
    assert list(check(tmp_path, words={"languages": ["zh", "en"]})) == codes


@pytest.mark.parametrize(("labels", "codes"), [(["a"], 1), (["a", "b"], 0), (["a", "b", "c"], 1)])
def test_labels_and_scores(folder: Path, labels: list[str], codes: int) -> None:
    found = check(folder, options={"labels": labels})
    assert list(found) == (["metadata-labels"] if codes else [""])


def test_labels_out_of_a_file(folder: Path) -> None:
    (folder / "labels.json").write_text(json.dumps({"0": "a", "1": "b", "2": "c"}))
    files = {"model": "model.onnx", "tokenizer": "tokenizer.json", "labels": "labels.json"}
    assert check(folder, files=files)["metadata-labels"]["facts"] == {"labels": 3, "scores": 2}


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("beside", [False, True])
def test_weights_that_are_no_numbers(tmp_path: Path, kind: Any, beside: bool) -> None:
    model = classifier(tmp_path, kind=kind)
    tokenizer(tmp_path)
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[50, 3] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "table"))
    path = tmp_path / "model.onnx"
    path.unlink()
    onnx.save(model, str(path), save_as_external_data=beside, location="weights.bin", size_threshold=0)
    assert check(tmp_path)["metadata-nan-weights"]["facts"] == {"tensor": "table"}


def test_a_safetensors_file_counts_too(folder: Path) -> None:
    header = json.dumps(
        {"w": {"dtype": "F16", "shape": [1000, 1000], "data_offsets": [0, 2_000_000]}}
    ).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2_000_000))
    assert read_safetensors(path).weights == {"float16": 1_000_000}
    assert list(check(folder, "vendor/tone-1m-fp16")) == [""]


def test_constants_inside_of_graphs_count(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    value = numpy_helper.from_array(np.ones((64, 64), np.float32), "v")
    model.graph.node.append(helper.make_node("Constant", [], ["big"], value=value))
    onnx.save(model, str(tmp_path / "model.onnx"))
    assert read_graph(tmp_path / "model.onnx").parameters == 3264 + 64 * 64


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("FP32", "float32"),
        ("tensor(float16)", "float16"),
        ("F8_E4M3", "float8"),
        ("BYTES", "string"),
        ("x", "x"),
    ],
)
def test_types_have_one_name(given: str, name: str) -> None:
    assert dtype_name(given) == name


def test_a_vocabulary_of_pairs(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    data = {"model": {"vocab": [["<pad>", 0.0], ["好", -1.5]]}, "added_tokens": [{"id": 7, "content": "<x>"}]}
    path.write_text(json.dumps(data), "utf-8")
    assert read_tokenizer(path) == contents.Vocabulary(8, 1, False)
