"""What every pipeline is: load a model folder once, then answer bodies or tensors.

A pipeline module has one public function, `load(model: Model, threads: int) -> Predictor`. It builds
on one of two bases: `GraphPredictor` for a single ONNX graph whose raw tensors are also served over the
Open Inference Protocol, and `JsonPredictor` for everything else (several graphs, images, sound), which
the protocol then sees as BYTES in, JSON out.

`predict` and `infer` are called from several threads at once: keep no state of a request on self, and
set a tokenizer's padding or truncation at load time only.
"""

import base64
import binascii
import importlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime

# The wheels report usage to their maker unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Array = npt.NDArray[Any]
Body = dict[str, Any]


class Words(NamedTuple):
    """One thing said in English and in Chinese."""

    en: str
    zh: str

    def pick(self, language: str) -> str:
        """The words in the reader's language: zh or anything else."""
        return self.zh if language == "zh" else self.en


class BadInput(Exception):
    """The caller's input cannot be answered: where it is wrong, why, and what was expected."""

    def __init__(self, where: str, why: Words, expected: Words | str = "") -> None:
        super().__init__(where, why, expected)
        self.where = where
        self.why = why
        self.expected = Words(expected, expected) if isinstance(expected, str) else expected

    def __str__(self) -> str:
        """For logs: in English."""
        return f"{self.where}: {self.why.en}"


class BadModel(Exception):
    """The model folder cannot be served; the message says which file or option is wrong."""


class TensorSpec(NamedTuple):
    """A named tensor of the signature: dtype in the protocol's words, shape with -1 for a free axis."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As in `ids INT64 [-1, 128]`."""
        return f"{self.name} {self.datatype} [{', '.join(map(str, self.shape))}]"


class Predictor(Protocol):
    """One loaded model: people's bodies through `predict`, raw tensors through `infer`."""

    task: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    schema: dict[str, Any]
    """JSON schema of the body of `predict`; its "x-field" names the main field."""

    def predict(self, body: Body) -> dict[str, Any]:
        """Answer what a person sends, with JSON types only; raises BadInput."""

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run checked tensors by name; `outputs` names those that are wanted, None is all."""

    def close(self) -> None:
        """Let go of what the model holds."""


DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}


@dataclass
class Model:
    """A model folder with its manifest; opens the files that the manifest names by role."""

    dir: Path
    manifest: dict[str, Any]
    threads: int = 1

    @property
    def task(self) -> str:
        """The task by its pipeline name; `tensors` when the manifest names none."""
        return str(self.manifest.get("task") or "tensors")

    @property
    def options(self) -> dict[str, Any]:
        """Settings of pre- and post-processing."""
        return dict(self.manifest.get("options") or {})

    def has(self, role: str) -> bool:
        """Whether the manifest names a file for this role."""
        return role in (self.manifest.get("files") or {})

    def path(self, role: str) -> Path:
        """The file of a role; refuses one that is missing or lies outside the folder."""
        name = (self.manifest.get("files") or {}).get(role)
        if not isinstance(name, str):
            raise BadModel(f"manifest.json names no file for the role {role!r}")
        path = (self.dir / name).absolute()
        if ".." in Path(name).parts or not path.is_relative_to(self.dir.absolute()):
            raise BadModel(f"the file of {role!r} lies outside the model folder: {name}")
        if not path.is_file():
            raise BadModel(f"the file of {role!r} is missing: {name}")
        return path

    def text(self, role: str) -> str:
        """A text file of the folder."""
        return self.path(role).read_text(encoding="utf-8")

    def json(self, role: str) -> Any:
        """A JSON file of the folder."""
        return json.loads(self.text(role))

    def array(self, role: str) -> Array:
        """A .npy file of the folder; pickled objects are refused."""
        return np.asarray(np.load(self.path(role), allow_pickle=False))

    def session(self, role: str = "model") -> "onnxruntime.InferenceSession":
        """An ONNX Runtime session with explicit threads and no spinning (spinning doubles the CPU)."""
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(str(self.path(role)), settings, providers=["CPUExecutionProvider"])

    def labels(self, session: "onnxruntime.InferenceSession | None" = None) -> list[str]:
        """Class names from the file `labels`, else options.labels, else the graph's metadata."""
        if self.has("labels"):
            found: Any = self.json("labels")
        elif "labels" in self.options:
            found = self.options["labels"]
        else:
            metadata = session.get_modelmeta().custom_metadata_map if session is not None else {}
            found = json.loads(metadata.get("labels", "[]"))
        if isinstance(found, dict):  # {"0": "cat"} as in id2label
            found = [found[key] for key in sorted(found, key=int)]
        if not found:
            raise BadModel("no labels: give a file `labels`, options.labels or metadata in the graph")
        return [str(label) for label in found]


def specs(nodes: Sequence[Any]) -> list[TensorSpec]:
    """The signature of a session's inputs or outputs; refuses sequences, maps and sub-byte types."""
    found = []
    for node in nodes:
        datatype = DATATYPES.get(node.type)
        if datatype is None:
            raise BadModel(f"{node.name} has type {node.type}, which the protocol cannot carry")
        shape = tuple(axis if isinstance(axis, int) and axis >= 0 else -1 for axis in node.shape)
        found.append(TensorSpec(node.name, datatype, shape))
    return found


class GraphPredictor:
    """Base of predictors over one ONNX graph; serves its raw tensors. Subclasses write `predict`."""

    task = "tensors"
    schema: dict[str, Any]

    def __init__(self, model: Model, role: str = "model") -> None:
        self.model = model
        self.session = model.session(role)
        self.inputs = specs(self.session.get_inputs())
        self.outputs = specs(self.session.get_outputs())

    @cached_property
    def _bfloat16(self) -> bool:
        return any(spec.datatype == "BF16" for spec in [*self.inputs, *self.outputs])

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph; what its kernels refuse (an index out of range, axes at odds) is BadInput."""
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        names = list(outputs) if outputs is not None else [spec.name for spec in self.outputs]
        feeds = {name: _strings(name, array) for name, array in tensors.items()}
        try:
            if self._bfloat16:
                from deployer.server.bfloat16 import run

                results = run(self.session, names, feeds, self.inputs)
            else:
                results = self.session.run(names, feeds)
        except (state.InvalidArgument, state.RuntimeException, state.Fail) as error:
            raise BadInput("inputs", _refused(str(error)), signature(self.inputs)) from error
        return dict(zip(names, results, strict=True))

    def close(self) -> None:
        """Drop the session."""
        del self.session


class JsonPredictor:
    """Base of predictors that the protocol sees as one BYTES in and the JSON answer as BYTES out.

    A subclass gives `task`, `field` (its main field), `schema` and `predict`. With `raw` the field takes
    bytes (a picture, a sound, a file), which reach `predict` as {field: bytes}; otherwise it takes text.
    """

    task: str
    field: str
    raw: bool = True
    schema: dict[str, Any]

    @property
    def inputs(self) -> list[TensorSpec]:
        """The main field as one BYTES element."""
        return [TensorSpec(self.field, "BYTES", (1,))]

    @property
    def outputs(self) -> list[TensorSpec]:
        """The JSON answer as one BYTES element."""
        return [TensorSpec("result", "BYTES", (1,))]

    def predict(self, body: Body) -> dict[str, Any]:
        """Answer a body; subclasses write it."""
        raise NotImplementedError

    def infer(self, tensors: dict[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """The same answer by way of the protocol."""
        value = tensors[self.field].reshape(-1)[0]  # bytes from a binary body, text (base64 if raw) from JSON
        if isinstance(value, bytes) and not self.raw:
            value = utf8(value, self.field)
        answer = self.predict({self.field: value})
        result = np.empty(1, dtype=object)
        result[0] = json.dumps(answer, ensure_ascii=False).encode()
        return {"result": result}

    def close(self) -> None:
        """Nothing is held beyond the object itself."""


def signature(tensors: Sequence[TensorSpec]) -> str:
    """The expected tensors in one line."""
    return "; ".join(map(str, tensors))


def load(model_dir: Path, threads: int = 1) -> Predictor:
    """Load a model folder by its manifest's task; a task without a pipeline is served as tensors."""
    path = model_dir / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadModel(f"manifest.json cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise BadModel("manifest.json is not a JSON object")
    model = Model(model_dir, manifest, threads)
    name = model.task.replace("-", "_")
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise BadModel(f"not a task: {model.task!r}")
    if not (Path(__file__).parent / "pipelines" / f"{name}.py").is_file():
        name = "tensors"
    pipeline = importlib.import_module(f"deployer.server.pipelines.{name}")
    predictor: Predictor = pipeline.load(model, threads)
    return predictor


# Fields of a body. Each refuses with the place in the caller's words.


def text_field(body: Body, name: str, *, limit: int = 100_000) -> str:
    """One text that is not empty, of at most `limit` characters."""
    value = body.get(name)
    if not isinstance(value, str):
        raise BadInput(name, Words("is not a text", "不是文本"), "string")
    return _text(value, name, limit)


def texts_field(body: Body, name: str, *, most: int = 256, limit: int = 100_000) -> list[str]:
    """A text or a list of them: at least one, at most `most`."""
    value = body.get(name)
    if isinstance(value, str):
        return [_text(value, name, limit)]
    if not isinstance(value, list) or not value:
        why = Words("is neither a text nor a list of texts", "既不是文本，也不是文本列表")
        raise BadInput(name, why, "string | [string, …]")
    if len(value) > most:
        why = Words(f"has {len(value)} texts", f"含有 {len(value)} 条文本")
        raise BadInput(name, why, Words(f"at most {most} texts in a request", f"每次请求至多 {most} 条文本"))
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise BadInput(f"{name}[{index}]", Words("is not a text", "不是文本"), "string")
    return [_text(item, f"{name}[{index}]", limit) for index, item in enumerate(value)]


def bytes_field(body: Body, name: str) -> bytes:
    """Bytes sent as {"base64": …}, as a base64 text, as a data: URL, or as a part of a multipart body."""
    value = body.get(name)
    if isinstance(value, dict) and set(value) == {"base64"}:
        value = value["base64"]
    if isinstance(value, bytes):
        data = value
    elif isinstance(value, str):
        encoded = value.partition(",")[2] if value.startswith("data:") else value
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            why = Words("is not valid base64", "不是有效的 base64")
            raise BadInput(name, why, '{"base64": "…"}') from error
    else:
        raise BadInput(name, Words("holds no bytes", "没有数据"), '{"base64": "…"}')
    if not data:
        raise BadInput(name, Words("is empty", "是空的"), '{"base64": "…"}')
    return data


def int_field(body: Body, name: str, default: int, *, least: int, most: int) -> int:
    """A whole number between bounds; `default` when it is absent (a multipart body sends digits)."""
    value: Any = body.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        why = Words("is not a whole number in range", "不是范围内的整数")
        raise BadInput(name, why, f"{least} … {most}")
    return value


def float_field(body: Body, name: str, default: float, *, least: float, most: float) -> float:
    """A number between bounds; `default` when it is absent (a multipart body sends digits)."""
    value: Any = body.get(name, default)
    if isinstance(value, str) and len(value) < 32:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadInput(name, Words("is not a number in range", "不是范围内的数"), f"{least} … {most}")
    return float(value)


def bool_field(body: Body, name: str, default: bool) -> bool:
    """true or false; `default` when it is absent."""
    value = body.get(name, default)
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise BadInput(name, Words("is neither true nor false", "既不是 true 也不是 false"), "true | false")
    return value


def utf8(data: bytes, where: str) -> str:
    """Bytes as text; refuses what is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(where, Words("is not UTF-8", "不是 UTF-8 文本"), "UTF-8") from error


def _text(value: str, where: str, limit: int) -> str:
    if not value.strip():
        raise BadInput(where, Words("is empty", "是空的"), "string")
    if len(value) > limit:
        why = Words(f"has {len(value)} characters", f"有 {len(value)} 个字符")
        raise BadInput(where, why, Words(f"at most {limit} characters", f"至多 {limit} 个字符"))
    return value


def _strings(name: str, array: Array) -> Array:
    """BYTES as the text that ONNX Runtime takes; it would write b'…' for bytes."""
    if array.dtype != object:
        return array
    texts = np.empty(array.size, dtype=object)
    for index, item in enumerate(array.reshape(-1)):
        texts[index] = utf8(item, f"{name}[{index}]") if isinstance(item, bytes) else str(item)
    return texts.reshape(array.shape)


def _refused(message: str) -> Words:
    """What ONNX Runtime says, without node names and source paths."""
    tail = message.rpartition("Status Message:")[2].rpartition("INVALID_ARGUMENT :")[2].strip()
    tail = re.sub(r"\S*/\S+\.(?:cc|h|cpp):\d+\s*\S*", "", tail.splitlines()[0] if tail else "").strip()
    return Words(f"the model refuses these tensors: {tail[:300]}", f"模型拒绝这些张量：{tail[:300]}")
