"""The Open Inference Protocol, version 2, over HTTP, with the binary tensor data extension.

Tensors arrive as JSON lists or as raw little-endian bytes after the JSON (`Inference-Header-Content-Length`
says where it ends), mixed as the caller likes, and leave as asked for: each output's `binary_data`, else
the request's `binary_data_output`, else JSON. A BF16 tensor is a uint16 array of its bits in here.
"""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from deployer.server import bfloat16, http
from deployer.server.batching import Answering
from deployer.server.errors import BadInput, Words
from deployer.server.http import Request, Response, json_response, read_json
from deployer.server.predictor import Predictor
from deployer.server.problems import Problem
from deployer.server.providers import Device
from deployer.server.signature import Array, TensorSpec, signature

VERSION = "1"
HEADER_LENGTH = b"inference-header-content-length"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}


# A sum of squares below which no number can be beyond its datatype: cheaper than looking at each.
_SAFE = {"FP16": 4e9, "BF16": 1e76, "FP32": 1e76, "FP64": np.inf}
_NUMBERS = {int, float, bool}
_NO_NUMBER = Words("holds what is not a number of its datatype", "含有不属于该 datatype 的值")


class InputParameters(msgspec.Struct):
    """What a tensor's sender says of it; further parameters are let through."""

    binary_data_size: int | None = None


class InputTensor(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct):
    """How an output is wanted."""

    binary_data: bool | None = None
    classification: int = 0


class WantedOutput(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: OutputParameters | None = None


class RequestParameters(msgspec.Struct):
    """How all outputs are wanted."""

    binary_data_output: bool = False


class InferRequest(msgspec.Struct):
    """The JSON part of a request."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None
    id: str = ""
    parameters: RequestParameters | None = None


class OpenInference:
    """The protocol's routes for one predictor."""

    def __init__(self, name: str, predictor: Predictor, device: Device) -> None:
        self.name = name
        self.predictor = predictor
        self.device = device
        self.inputs = {spec.name: spec for spec in predictor.inputs}
        self.outputs = {spec.name: spec for spec in predictor.outputs}

    def server_metadata(self, request: Request) -> Response:
        """GET /v2; beyond the protocol it names the device and the provider that the model runs on."""
        return json_response(
            {
                "name": "opc-market",
                "version": "0.1.0",
                "extensions": ["binary_tensor_data"],
                "device": self.device.id,
                "execution_provider": self.device.provider,
            }
        )

    def model_metadata(self, request: Request) -> Response:
        """GET /v2/models/{name}."""
        return json_response(
            {
                "name": self.name,
                "versions": [VERSION],
                "platform": "onnxruntime_onnx",
                "inputs": [spec._asdict() for spec in self.inputs.values()],
                "outputs": [spec._asdict() for spec in self.outputs.values()],
            }
        )

    def infer(self, request: Request) -> Answering:
        """POST /v2/models/{name}/infer."""
        head, tail = _split(request)
        asked = read_json(head, InferRequest)
        tensors = _inputs(asked.inputs, tail, self.inputs)
        wanted = _wanted(asked, self.outputs)
        asked.inputs = []  # what was made of them waits, not they
        results = yield from self.predictor.infer(tensors, tuple(wanted))
        return _answer(self.name, asked.id, wanted, results, self.outputs)


def _split(request: Request) -> tuple[bytes, memoryview]:
    """The JSON part and the binary part of a body."""
    if request.headers.get(b"content-encoding", b"identity") != b"identity":
        why = Words("Compressed bodies are not taken here.", "此处不接受压缩的请求体。")
        raise Problem("unsupported-media-type", why)
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return request.body, memoryview(b"")
    if not (text.isdigit() and len(text) < 12 and int(text) <= len(request.body)):
        why = Words("is not a length within the body", "不是请求体范围内的长度")
        raise BadInput("Inference-Header-Content-Length", why, f"0 … {len(request.body)}")
    return request.body[: int(text)], memoryview(request.body)[int(text) :]


def _inputs(given: list[InputTensor], tail: memoryview, expected: dict[str, TensorSpec]) -> dict[str, Array]:
    """Checked arrays by name; consumes the whole binary part."""
    tensors: dict[str, Array] = {}
    offset = 0
    for tensor in given:
        spec = expected.get(tensor.name)
        if spec is None:
            why = Words("is no input of this model", "不是该模型的输入")
            raise _bad_input(tensor.name[:80], why, expected)
        if tensor.name in tensors:
            raise _bad_input(tensor.name, Words("is sent twice", "重复出现"), expected)
        check(spec, tensor.datatype, tensor.shape)
        size = tensor.parameters.binary_data_size if tensor.parameters else None
        if size is None:
            tensors[spec.name] = from_json(spec, tensor.data, tensor.shape)
            continue
        if not 0 <= size <= len(tail) - offset:
            why = Words("binary_data_size exceeds the binary part", "binary_data_size 超出二进制部分")
            raise BadInput(f"inputs.{spec.name}", why, str(spec))
        tensors[spec.name] = from_binary(spec, tail[offset : offset + size], tensor.shape)
        offset += size
    if offset != len(tail):
        extra = len(tail) - offset
        why = Words(f"{extra} bytes belong to no tensor", f"有 {extra} 字节不属于任何张量")
        raise BadInput("body", why, signature(expected.values()))
    if len(tensors) < len(expected):
        missing = next(name for name in expected if name not in tensors)
        raise _bad_input(missing, Words("is missing", "缺失"), expected)
    return tensors


def _bad_input(name: str, why: Words, expected: dict[str, TensorSpec]) -> BadInput:
    return BadInput(f"inputs.{name}", why, signature(expected.values()))


def check(spec: TensorSpec, datatype: str, shape: Sequence[int]) -> None:
    """Refuse another dtype, another rank, or another length on an axis that is fixed."""
    if datatype != spec.datatype:
        why = Words(f"has datatype {datatype[:20]}", f"的 datatype 是 {datatype[:20]}")
        raise BadInput(f"inputs.{spec.name}", why, str(spec))
    fits = len(shape) == len(spec.shape)
    if fits:
        for length, axis in zip(shape, spec.shape, strict=True):
            if length < 0 or (axis >= 0 and length != axis):
                fits = False
    if not fits:
        why = Words(f"has shape {list(shape[:16])}", f"的形状是 {list(shape[:16])}")
        raise BadInput(f"inputs.{spec.name}", why, str(spec))


def from_json(spec: TensorSpec, data: list[Any] | None, shape: Sequence[int]) -> Array:
    """A JSON list, flat or nested, as an array of the spec's dtype; never rounds or wraps a number."""
    where = f"inputs.{spec.name}"
    if data is None:
        raise BadInput(where, Words("has no data", "没有 data"), str(spec))
    if spec.datatype == "BYTES":
        return _shaped(spec, _text_array(where, data, spec), shape)
    if not kinds(data) <= _NUMBERS:
        # Before numpy sees it, which would make every number as wide as the longest text.
        raise BadInput(where, _NO_NUMBER, str(spec))
    try:
        values = np.array(data)
        if spec.datatype == "UINT64" and values.dtype.kind == "f":
            values = _unsigned(data, values)
    except (ValueError, OverflowError) as error:
        raise BadInput(where, Words("is ragged", "各行长度不一"), str(spec)) from error
    if values.size == 0:
        values = values.astype(DTYPES[spec.datatype])
    return _shaped(spec, _cast(where, values, spec), shape)


def kinds(data: list[Any]) -> set[type]:
    """The types of what is in a list, and in the lists in it."""
    found: set[type] = set()
    lists = [data]
    while lists:
        level = lists.pop()
        types = set(map(type, level))
        if list in types:
            types.discard(list)
            lists += [item for item in level if type(item) is list]
        found |= types
    return found


def _unsigned(data: list[Any], values: Array) -> Array:
    """Whole numbers that numpy made floats of, because some need the 64th bit and others do not."""
    objects = np.array(data, dtype=object)
    if all(type(item) is int and 0 <= item < 1 << 64 for item in objects.reshape(-1)):
        return objects.astype(np.uint64)
    return values


def _cast(where: str, values: Array, spec: TensorSpec) -> Array:
    dtype, kind = DTYPES[spec.datatype], values.dtype.kind
    if values.dtype == dtype or values.size == 0:
        return values
    if spec.datatype in _SAFE:
        return _cast_float(where, values, spec)
    if spec.datatype == "BOOL":
        if kind in "iu" and bool(np.isin(values, (0, 1)).all()):
            return values.astype(dtype)
        raise BadInput(where, _NO_NUMBER, f"{spec}: true | false")
    limits = np.iinfo(dtype)
    if kind not in "iu" or int(values.min()) < limits.min or int(values.max()) > limits.max:
        raise BadInput(where, _NO_NUMBER, f"{spec}: {limits.min} … {limits.max}")
    return values.astype(dtype)


def _cast_float(where: str, values: Array, spec: TensorSpec) -> Array:
    if values.dtype.kind not in "iuf":
        raise BadInput(where, _NO_NUMBER, str(spec))
    dtype = np.dtype(np.float32) if spec.datatype == "BF16" else DTYPES[spec.datatype]
    flat = values.reshape(-1)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused
        single = values.astype(dtype)
        safe = values.dtype.kind != "f" or flat.dot(flat) < _SAFE[spec.datatype]
    if not safe and not np.isfinite(single).all():
        raise BadInput(where, Words("holds a number out of range", "含有超出范围的数"), str(spec))
    return bfloat16.from_float32(single) if spec.datatype == "BF16" else single


def _text_array(where: str, data: list[Any], spec: TensorSpec) -> Array:
    """Texts of a list, nested as deep as the tensor has axes at most."""
    flat: list[Any] = data
    for _ in range(max(len(spec.shape) - 1, 0)):
        if flat and all(isinstance(item, list) for item in flat):
            flat = [item for row in flat for item in row]
    array = np.empty(len(flat), dtype=object)
    for index, item in enumerate(flat):
        if not isinstance(item, str):
            raise BadInput(f"{where}[{index}]", Words("is not a text", "不是文本"), str(spec))
        array[index] = item
    return array


def from_binary(spec: TensorSpec, data: memoryview, shape: Sequence[int]) -> Array:
    """Raw bytes as an array of the spec's dtype; BYTES elements carry a 4-byte length each."""
    if spec.datatype == "BYTES":
        return _shaped(spec, _byte_elements(spec, data), shape)
    dtype = DTYPES[spec.datatype]
    if len(data) % dtype.itemsize:
        why = Words(f"has {len(data)} bytes", f"有 {len(data)} 字节")
        raise BadInput(f"inputs.{spec.name}", why, f"{spec}: {dtype.itemsize} bytes each")
    if spec.datatype == "BOOL":
        return _shaped(spec, np.frombuffer(data, np.uint8) != 0, shape)
    return _shaped(spec, np.frombuffer(data, dtype), shape)


def _byte_elements(spec: TensorSpec, data: memoryview) -> Array:
    items: list[bytes] = []
    offset = 0
    while offset < len(data):
        end = offset + 4
        if end <= len(data):
            end += struct.unpack_from("<I", data, offset)[0]
        if end > len(data) or end < offset + 4:
            why = Words("its last element is cut off", "最后一个元素不完整")
            raise BadInput(f"inputs.{spec.name}", why, str(spec))
        items.append(bytes(data[offset + 4 : end]))
        offset = end
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _shaped(spec: TensorSpec, values: Array, shape: Sequence[int]) -> Array:
    count = 1
    for axis in shape:
        count *= axis
    if values.size != count:
        size, axes = values.size, list(shape)
        why = Words(f"has {size} elements for shape {axes}", f"有 {size} 个元素，与形状 {axes} 不符")
        raise BadInput(f"inputs.{spec.name}", why, str(spec))
    try:
        return values.reshape(tuple(shape))
    except (ValueError, OverflowError) as error:  # a nought beside axes that no memory has
        why = Words(f"has shape {list(shape[:16])}", f"的形状是 {list(shape[:16])}")
        raise BadInput(f"inputs.{spec.name}", why, str(spec)) from error


def _wanted(asked: InferRequest, known: dict[str, TensorSpec]) -> dict[str, bool]:
    """Names of the outputs to send, each with whether it goes as bytes."""
    default = asked.parameters is not None and asked.parameters.binary_data_output
    if not asked.outputs:
        return dict.fromkeys(known, default)
    wanted: dict[str, bool] = {}
    for output in asked.outputs:
        if output.name not in known:
            why = Words("is no output of this model", "不是该模型的输出")
            raise BadInput(f"outputs.{output.name[:80]}", why, signature(known.values()))
        said = output.parameters or OutputParameters()
        if said.classification:
            why = Words("asks for the classification extension", "请求了 classification 扩展")
            raise BadInput(f"outputs.{output.name}", why, "binary_tensor_data")
        wanted[output.name] = default if said.binary_data is None else said.binary_data
    return wanted


def _answer(
    name: str, id: str, wanted: dict[str, bool], results: dict[str, Array], specs: dict[str, TensorSpec]
) -> Response:
    outputs, blobs = [], []
    for output, binary in wanted.items():
        array, datatype = results[output], specs[output].datatype
        tensor: dict[str, Any] = {"name": output, "datatype": datatype, "shape": array.shape}
        if binary:
            blob = to_binary(array, datatype)
            tensor["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            tensor["data"] = to_json(output, array, datatype)
        outputs.append(tensor)
    answer: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": outputs}
    if id:
        answer["id"] = id
    head = http.to_json(answer)
    if not blobs:
        return Response(head)
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return Response(b"".join([head, *blobs]), content_type="application/octet-stream", headers=headers)


def to_json(name: str, array: Array, datatype: str) -> list[Any] | Array:
    """Flat, ready to be JSON; a BYTES element that is not UTF-8 can only go as binary data."""
    if datatype == "BYTES":
        try:
            return [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
        except UnicodeDecodeError as error:
            why = Words("is not UTF-8 and cannot be sent as JSON", "不是 UTF-8，无法以 JSON 发送")
            raise BadInput(f"outputs.{name}", why, '"binary_data": true') from error
    if datatype == "BF16":
        array = bfloat16.to_float32(array)
    return array.reshape(-1)


def to_binary(array: Array, datatype: str) -> bytes:
    """Raw little-endian bytes; BYTES elements with a 4-byte length each."""
    if datatype == "BYTES":
        items = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1)]
        return b"".join(struct.pack("<I", len(item)) + item for item in items)
    return np.ascontiguousarray(array, DTYPES[datatype]).tobytes()
