"""The front door of conversion: any model file that is known becomes an ONNX graph.

What a file is, its content says, not its name. It is read in a child that has no network and sees nothing but
the file and the folder that it writes to, so that a hostile or broken file does no more than be refused.

| source | recognised by | becomes |
|---|---|---|
| ONNX | a graph with nodes | itself, external data beside it |
| TFLite | `TFL3` | `tflite` |
| GGUF | `GGUF` | `gguf` (Llama and Qwen2 families) |
| PyTorch state dict | its pickles | `efficientnet`, or a BERT-family encoder with its config.json |
| safetensors with config.json | its header | `bert` |
| scikit-learn | .skops; a pickle only with `allow_pickle` | `scikit` |

A module of PyTorch is code and weights in one, and only torch can export it: such files are refused.
"""

import hashlib
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from deployer.optimizer.convert import bert, efficientnet, gguf, scikit, tflite, worker
from deployer.optimizer.convert.statedict import StateDict
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress, silent

_MAGIC = 16  # bytes that are looked at
_DIRECTORY = 2 << 20  # bytes of a zip's; a checkpoint of ten thousand tensors has one half as large
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_BESIDE = {"config": "config.json", "tokenizer": "tokenizer.json"}
Inputs = dict[str, Path]


def convert_source(
    path: Path, out: Path, options: dict[str, Any] | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Write model.onnx, and what belongs to it, into `out`; returns kind, opset, inputs, outputs, files.

    `path` is a file, or a folder with weights and config.json. `options` are those of the converter, and
    `examples`, the path of an .npz, for scikit-learn. Raises ConversionFailed.
    """
    began = time.monotonic()
    options = dict(options or {})
    kind, inputs = recognise(path)
    if "examples" in options:
        inputs["examples"] = Path(options.pop("examples"))
    out.mkdir(parents=True, exist_ok=True)
    arguments = {
        "kind": kind,
        "inputs": {name: str(one.absolute()) for name, one in inputs.items()},
        "out": str(out.absolute()),
        "options": options,
    }
    read = [path if path.is_dir() else path.parent, *inputs.values()] if kind == "onnx" else inputs.values()
    done = worker.call(
        f"{__name__}:in_child", arguments, source=path.name, read=list(read), write=[out], progress=progress
    )
    return {"kind": kind, **done.result, "seconds": round(time.monotonic() - began, 3), "peak": done.peak}


def recognise(path: Path) -> tuple[str, Inputs]:
    """What a file or folder is by its content, and the files that its converter takes; refuses others."""
    if path.is_dir():
        return _recognise_folder(path)
    if not path.is_file():
        raise refuse(path, "there is no such file", "没有这个文件")
    with path.open("rb") as file:
        head = file.read(_MAGIC)
    if head[4:8] == b"TFL3":
        return "tflite", {"model": path}
    if head[:4] == b"GGUF":
        return "gguf", {"model": path}
    if head[:4] == b"PK\x03\x04":
        return _recognise_zip(path)
    if head.startswith(_LEGACY):
        return "pytorch", _beside(path)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "sklearn", {"model": path}
    if _is_safetensors(path, head):
        return "safetensors", _beside(path)
    if _is_onnx(head):
        return "onnx", {"model": path}
    en = "neither ONNX, TFLite, GGUF, safetensors, a PyTorch state dict nor scikit-learn's"
    zh = "不是 ONNX、TFLite、GGUF、safetensors、PyTorch state dict，也不是 scikit-learn 的模型"
    raise refuse(path, en, zh, head=head.hex())


def in_child(
    kind: str, inputs: dict[str, str], out: str, options: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Convert one source, here and now; what it says of the graph is JSON."""
    files, folder = {name: Path(one) for name, one in inputs.items()}, Path(out)
    with worker.named_files(next(iter(files.values())).name):
        _CONVERTERS[kind](files, folder, options, progress)
    return _described(folder)


def _recognise_folder(folder: Path) -> tuple[str, Inputs]:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return recognise(folder / name)
    found = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _SUFFIXES)
    if len(found) == 1:
        return recognise(found[0])
    listed = ", ".join(path.name for path in found[:5]) or "-"
    en = f"the folder has {len(found)} files that could be a model ({listed}); name one"
    zh = f"文件夹里有 {len(found)} 个可能是模型的文件（{listed}）；请指定其中一个"
    raise refuse(folder, en, zh)


_SUFFIXES = (".onnx", ".tflite", ".gguf", ".safetensors", ".pth", ".pt", ".bin", ".skops", ".pkl", ".joblib")


def _recognise_zip(path: Path) -> tuple[str, Inputs]:
    try:
        with path.open("rb") as file:
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]  # what zipfile itself goes by
        if end is None or end[5] > _DIRECTORY:  # all of it is read, and in this very process
            raise ValueError(f"its directory takes more than {_DIRECTORY} bytes" if end else "no directory")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise refuse(path, f"a broken zip: {error}", f"损坏的 zip：{error}") from None
    if any(name.endswith("constants.pkl") for name in names):
        en = (
            "a TorchScript program, which only torch can run; export it with torch.onnx.export and bring that"
        )
        zh = "TorchScript 程序只有 torch 能执行；请用 torch.onnx.export 导出后再导入"
        raise refuse(path, en, zh)
    if any(name.endswith("data.pkl") for name in names):
        return "pytorch", _beside(path)
    if "schema.json" in names:
        return "sklearn", {"model": path}
    en = "a zip, but neither a PyTorch state dict nor a .skops file"
    raise refuse(path, en, "是 zip，但不是 PyTorch state dict 或 .skops 文件")


def _beside(path: Path) -> Inputs:
    """Weights with the config.json and tokenizer.json that lie beside them."""
    found = {name: path.with_name(file) for name, file in _BESIDE.items() if path.with_name(file).is_file()}
    return {"weights": path, **found}


def _is_safetensors(path: Path, head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= path.stat().st_size - 8


def _is_onnx(head: bytes) -> bool:
    """A ModelProto begins with its ir_version, or with the producer's name."""
    return head[:1] in (b"\x08", b"\x12") and len(head) == _MAGIC


def _as_it_is(inputs: Inputs, out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Copy an ONNX model and its external data; refuses data that lies elsewhere and unsound graphs."""
    path = inputs["model"]
    _no_options(path, options)
    try:
        model = onnx.load(path, load_external_data=False)
        beside = {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        if any(Path(name).name != name for name in beside):
            raise ValueError(f"external data in another folder: {sorted(beside)[:3]}")
        if not model.graph.node:
            raise ValueError("a graph without nodes")
        onnx.checker.check_model(str(path))
    except Exception as error:  # protobuf and the checker have no common root
        cause = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise refuse(path, f"not a sound ONNX model: {cause}", f"不是完好的 ONNX 模型：{cause}") from None
    for name in sorted(beside):
        shutil.copyfile(path.with_name(name), out / name)
    shutil.copyfile(path, out / "model.onnx")
    progress(1, 1)


def _pytorch(inputs: Inputs, out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Tell the family by the names of the weights."""
    tensors = StateDict.open(inputs["weights"])
    if efficientnet.is_lite0(tensors):
        efficientnet.convert({"weights": inputs["weights"]}, out, options, progress)
    elif "config" in inputs:
        bert.convert(inputs, out, options, progress)
    else:
        names = ", ".join(list(tensors.entries)[:3])
        en = (
            f"weights of no known family ({names} …); known: EfficientNet-Lite0, BERT family with config.json"
        )
        zh = f"不认识这组权重（{names} …）；支持 EfficientNet-Lite0，以及带 config.json 的 BERT 系列"
        raise refuse(inputs["weights"], en, zh)


def _safetensors(inputs: Inputs, out: Path, options: dict[str, Any], progress: Progress) -> None:
    if "config" not in inputs:
        en = "weights say nothing of their network; put the config.json beside them"
        raise refuse(inputs["weights"], en, "权重本身不说明网络结构；请把 config.json 放在旁边")
    bert.convert(inputs, out, options, progress)


_CONVERTERS: dict[str, Callable[[Inputs, Path, dict[str, Any], Progress], None]] = {
    "gguf": gguf.convert,
    "onnx": _as_it_is,
    "pytorch": _pytorch,
    "safetensors": _safetensors,
    "sklearn": scikit.convert,
    "tflite": tflite.convert,
}


def _no_options(path: Path, options: dict[str, Any]) -> None:
    if options:
        given = sorted(options)
        raise refuse(path, f"no options are known here: {given}", f"这里没有选项：{given}")


def _described(folder: Path) -> dict[str, Any]:
    """The graph that was made, and every file beside it."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    constant = {tensor.name for tensor in model.graph.initializer}
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {
        "opset": next((o.version for o in model.opset_import if not o.domain), 0),
        "nodes": len(model.graph.node),
        "inputs": {v.name: _shape(v) for v in model.graph.input if v.name not in constant},
        "outputs": {v.name: _shape(v) for v in model.graph.output},
        "files": {path.name: path.stat().st_size for path in files},
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    }


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
