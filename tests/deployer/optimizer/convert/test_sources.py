"""The front door: what a file is, is told by its content, and each kind comes out as a graph that runs."""

import json
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.checking import runner
from deployer.optimizer.convert.sources import convert_source, in_child, recognise
from deployer.spec import silent
from tests.deployer.optimizer.convert import statedicts
from tests.deployer.optimizer.convert.encoders import random_weights, tiny_config, write_safetensors
from tests.deployer.optimizer.convert.ggufs import Tiny
from tests.deployer.optimizer.convert.test_tflite import small
from tests.deployer.server.conftest import identity


def onnx_file(folder: Path) -> Path:
    onnx.save(identity(), folder / "some.file")
    return folder / "some.file"


def onnx_beside(folder: Path) -> Path:
    """Weights in a file of their own."""
    model = identity()
    weight = onnx.numpy_helper.from_array(np.arange(2048, dtype=np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Identity", ["w"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [2048]))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return folder / "m.onnx"


def tflite_file(folder: Path) -> Path:
    (folder / "m").write_bytes(small())
    return folder / "m"


def gguf_file(folder: Path) -> Path:
    return Tiny(kind="Q8_0").write(folder / "weights.bin")[0]


def safetensors_folder(folder: Path) -> Path:
    write_safetensors(folder / "model.safetensors", random_weights(tiny_config()))
    (folder / "config.json").write_text(json.dumps(tiny_config()))
    return folder


def pytorch_folder(folder: Path) -> Path:
    statedicts.write_zip(folder / "pytorch_model.bin", random_weights(tiny_config()))
    (folder / "config.json").write_text(json.dumps(tiny_config()))
    return folder


def sklearn_file(folder: Path) -> Path:
    x, y = load_iris(return_X_y=True)
    (folder / "m.joblib").write_bytes(pickle.dumps(LogisticRegression(max_iter=500).fit(x, y)))
    return folder


KINDS: dict[str, tuple[Callable[[Path], Path], str, dict[str, Any], str, str]] = {
    "onnx": (onnx_file, "onnx", {}, "x", "y"),
    "onnx with data": (onnx_beside, "onnx", {}, "x", "z"),
    "tflite": (tflite_file, "tflite", {"layout": "NCHW"}, "t0", "t4"),
    "gguf": (gguf_file, "gguf", {"context": 32}, "input_ids", "logits"),
    "safetensors": (safetensors_folder, "safetensors", {}, "input_ids", "last_hidden_state"),
    "pytorch": (pytorch_folder, "pytorch", {}, "input_ids", "last_hidden_state"),
    "sklearn": (sklearn_file, "sklearn", {"allow_pickle": True}, "X", "probabilities"),
}


@pytest.mark.parametrize(("make", "kind", "options", "takes", "gives"), KINDS.values(), ids=KINDS)
def test_every_kind_becomes_a_graph(
    tmp_path: Path, make: Callable[[Path], Path], kind: str, options: dict[str, Any], takes: str, gives: str
) -> None:
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in")
    told: list[int] = []
    facts = convert_source(path, tmp_path / "out", options, lambda done, total, note="": told.append(done))
    assert facts["kind"] == kind
    assert takes in facts["inputs"] and gives in facts["outputs"]
    assert facts["files"]["model.onnx"] == (tmp_path / "out" / "model.onnx").stat().st_size
    assert ("m.data" in facts["files"]) == (make is onnx_beside)
    assert re.fullmatch("[0-9a-f]{64}", facts["sha256"])
    assert facts["opset"] == 17 and facts["nodes"] > 0 and facts["seconds"] > 0 and facts["peak"] > 10**6
    runner(tmp_path / "out" / "model.onnx")
    json.dumps(facts)


def unsound_zip(folder: Path) -> Path:
    (folder / "m.pt").write_bytes(b"PK\x03\x04" + bytes(40))
    return folder / "m.pt"


def zip_of_a_long_directory(folder: Path) -> Path:
    """Its end record says so; reading it would take many times as much memory."""
    path = other_zip(folder)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 4 << 20)
    path.write_bytes(content[:30] + bytes(4 << 20) + content[30:])
    return path


def torch_script(folder: Path) -> Path:
    return statedicts.archive(folder / "m.pt", {"data.pkl": b"", "constants.pkl": b"", "code/a.py": b""})


def other_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    return folder / "m.zip"


def several(folder: Path) -> Path:
    for name in ("a.onnx", "b.onnx"):
        onnx.save(identity(), folder / name)
    return folder


def lonely_weights(folder: Path) -> Path:
    return write_safetensors(folder / "model.safetensors", random_weights(tiny_config()))


def strangers(folder: Path) -> Path:
    return statedicts.write_row(folder / "m.pth", {"conv.weight": np.zeros((2, 2), "<f4")})


def hostile(folder: Path) -> Path:
    return statedicts.archive(
        folder / "m.pth", {"data.pkl": b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00idR."}
    )


def broken_onnx(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(b"\x08\x07" + bytes(range(100)))
    return folder / "m.onnx"


def escaping_onnx(folder: Path) -> Path:
    path = onnx_beside(folder)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    path.write_bytes(model.SerializeToString())
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], dict[str, Any], str]] = {
    "nothing": (lambda folder: folder / "absent", {}, "there is no such file"),
    "an empty folder": (lambda folder: folder, {}, "0 files that could be a model"),
    "two models": (several, {}, "2 files that could be a model"),
    "a broken zip": (unsound_zip, {}, "a broken zip"),
    "a zip of a long directory": (zip_of_a_long_directory, {}, "its directory takes more than"),
    "another zip": (other_zip, {}, "a zip, but neither"),
    "TorchScript": (torch_script, {}, "only torch can run"),
    "weights alone": (lonely_weights, {}, "put the config.json beside them"),
    "an unknown family": (strangers, {}, "weights of no known family"),
    "a hostile pickle": (hostile, {}, "it was not run"),
    "an unvouched pickle": (sklearn_file, {}, "allow_pickle"),
    "a broken graph": (broken_onnx, {}, "not a sound ONNX model"),
    "data elsewhere": (escaping_onnx, {}, "not a sound ONNX model"),
    "options of nobody": (onnx_file, {"layout": "NCHW"}, "no options are known here"),
}


@pytest.mark.parametrize(("make", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_converted_says_why(
    tmp_path: Path, make: Callable[[Path], Path], options: dict[str, Any], said: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    with pytest.raises(ConversionFailed, match=said) as refused:
        kind, inputs = recognise(make(tmp_path / "in"))
        in_child(kind, {n: str(p) for n, p in inputs.items()}, str(tmp_path / "out"), options, silent)
    assert re.search("[\u4e00-\u9fff]", str(refused.value.facts["why_zh"]))
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_a_refusal_in_the_child_is_the_same_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ConversionFailed, match="weights of no known family") as refused:
        convert_source(strangers(tmp_path / "in"), tmp_path / "out")
    assert refused.value.facts["source"] == "m.pth" and refused.value.facts["why_zh"]


@pytest.mark.parametrize(
    "head", [b"", b"hello there, model", bytes(20), struct.pack("<Q", 1 << 40) + b"{" * 9]
)
def test_what_is_no_model_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "m").write_bytes(head)
    with pytest.raises(ConversionFailed, match="neither ONNX, TFLite"):
        recognise(tmp_path / "m")


def test_a_vouched_pickle_reaches_nothing_outside(tmp_path: Path) -> None:
    """Even then it is shut in: it sees no other file, and has no network."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "in").mkdir()
    for name, call in {
        "file": b"cbuiltins\nopen\n(X\x00\x00\x00\x00tR.",
        "net": b"csocket\ncreate_connection\n((X\x09\x00\x00\x00127.0.0.1I9\nttR.",
    }.items():
        path = str(tmp_path / "secret").encode()
        text = b"X" + struct.pack("<I", len(path)) + path
        data = b"\x80\x02" + call.replace(b"X\x00\x00\x00\x00", text)
        (tmp_path / "in" / f"{name}.pkl").write_bytes(data)
        with pytest.raises(ConversionFailed, match=r"cannot be read: (PermissionError|OSError)"):
            convert_source(tmp_path / "in" / f"{name}.pkl", tmp_path / "out", {"allow_pickle": True})
