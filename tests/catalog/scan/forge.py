"""Writers of files byte by byte, right and wrong ones, where libraries would refuse to write them."""

import io
import json
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A protobuf field of a number."""
    return varint(field << 3) + varint(value)


def data(field: int, *parts: bytes | str) -> bytes:
    """A protobuf field of bytes, text or a message."""
    body = b"".join(p.encode() if isinstance(p, str) else p for p in parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


# ONNX


def tensor(name: str, dims: list[int], kind: int = 1, *more: bytes) -> bytes:
    return b"".join([*(number(1, d) for d in dims), number(2, kind), data(8, name), *more])


def external(name: str, dims: list[int], **place: object) -> bytes:
    entries = [data(13, data(1, k), data(2, str(v))) for k, v in place.items()]
    return tensor(name, dims, 1, *entries, number(14, 1))


def node(kind: str, inputs: list[str], outputs: list[str], *more: bytes, domain: str = "") -> bytes:
    return b"".join(
        [*(data(1, i) for i in inputs), *(data(2, o) for o in outputs), data(4, kind), data(7, domain), *more]
    )


def value(name: str, dims: list[int] | None = None, kind: int = 1) -> bytes:
    shape = data(2, *(data(1, number(1, d)) for d in dims or [1]))
    return data(1, name) + data(2, data(1, number(1, kind), shape))


def graph(nodes: list[bytes], tensors: list[bytes] = [], x: list[int] | None = None, *more: bytes) -> bytes:  # noqa: B006
    parts = [*(data(1, n) for n in nodes), data(2, "g"), *(data(5, t) for t in tensors)]
    return b"".join([*parts, data(11, value("x", x)), data(12, value("y")), *more])


def model(inner: bytes, *more: bytes, ir: int = 8, opset: int = 17) -> bytes:
    return b"".join([number(1, ir), data(8, number(2, opset)), data(7, inner), *more])


def weights(values: np.ndarray[Any, Any]) -> bytes:
    """A model that adds these to its input."""
    held = numpy_helper.from_array(values, "w").SerializeToString()
    return model(graph([node("Add", ["x", "w"], ["y"])], [held], list(values.shape)))


def sound_model() -> bytes:
    """A model that onnx's own checker passes."""
    w = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
            [w],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(made)
    return made.SerializeToString()


def loop(
    trips: int | None,
    going: bool | None,
    *,
    changes: bool,
    inner: bytes | None = None,
    squared: bool = False,
    twice: bool = False,
) -> bytes:
    """A model with a loop; `changes`: its body computes the condition from what runs through it.

    `squared`: the number of rounds is multiplied by itself; `twice`: the body stands in two parts.
    """
    body_nodes = [node("Add", ["v", "v"], ["w"])]
    if changes:
        body_nodes += [node("ReduceSum", ["w"], ["s"]), node("Less", ["s", "limit"], ["more"])]
    else:
        body_nodes += [node("Identity", ["c"], ["more"])]
    if inner is not None:
        body_nodes.append(inner)
    body = b"".join(
        [
            *(data(1, n) for n in body_nodes),
            data(2, "b"),
            *(data(11, value(n, [1], k)) for n, k in (("i", 7), ("c", 9), ("v", 1))),
            *(data(12, value(n, [1], k)) for n, k in (("more", 9), ("w", 1))),
        ]
    )
    tensors = [numpy_helper.from_array(np.float32(100.0), "limit").SerializeToString()]
    names = ["", ""]
    if trips is not None:
        tensors.append(numpy_helper.from_array(np.int64(trips), "trips").SerializeToString())
        names[0] = "trips"
    if going is not None:
        tensors.append(numpy_helper.from_array(np.bool_(going), "going").SerializeToString())
        names[1] = "going"
    parts = [data(6, body), data(6, data(1, node("Abs", ["v"], ["z"])))][: 1 + twice]
    before = [node("Mul", ["trips", "trips"], ["many"])] if squared else []
    names[0] = "many" if squared else names[0]
    looping = node("Loop", [*names, "x"], ["y"], data(5, data(1, "body"), *parts, number(20, 5)))
    return model(graph([*before, looping], tensors))


def function(name: str, nodes: list[bytes], domain: str = "own") -> bytes:
    parts = [data(1, name), data(4, "a"), data(5, "b"), *(data(7, n) for n in nodes)]
    return data(25, *parts, data(9, number(2, 17)), data(10, domain))


# others


def safetensors(tensors: dict[str, tuple[str, list[int], int, int]], body: bytes, **words: str) -> bytes:
    entries: dict[str, Any] = {
        name: {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        for name, (kind, shape, begin, end) in tensors.items()
    }
    if words:
        entries["__metadata__"] = words
    return safetensors_raw(json.dumps(entries).encode(), body)


def safetensors_raw(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def gguf(
    words: dict[str, tuple[int, bytes]] | None = None,
    tensors: list[tuple[str, list[int], int, int]] | None = None,
    body: bytes | None = None,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A GGUF; words are type and bytes by key, tensors name, shape, type and offset."""
    words = {"general.architecture": (8, text("llama")), **(words or {})}
    tensors = [("token_embd.weight", [32, 2], 0, 0)] if tensors is None else tensors
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(words))))
    for key, (kind, raw) in words.items():
        head += text(key) + struct.pack("<I", kind) + raw
    for name, shape, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    head += bytes(-len(head) % 32)
    return head + (np.ones(64, "<f4").tobytes() if body is None else body)


def npy(descr: str, shape: str, body: bytes) -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 2, height: int = 2, *, pixels: bytes | None = None) -> bytes:
    rows = b"".join(b"\0" + b"\x80\x40\x20" * width for _ in range(height)) if pixels is None else pixels
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def png_with(words: bytes) -> bytes:
    """A PNG with a text in it."""
    made = png()
    return made[:33] + png_chunk(b"tEXt", words) + made[33:]


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body, method)
    return made.getvalue()


def tensor_file(body: bytes) -> bytes:
    """Sound safetensors with one tensor of these bytes."""
    return safetensors({"w": ("U8", [len(body)], 0, len(body))}, body)


def zip64(members: dict[str, bytes]) -> bytes:
    """A zip whose end record says nothing that is so; its zip64 records do."""
    body = zipped(members)
    at = body.rfind(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<H2I", body, at + 10)
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, at, 1)
    return body[:at] + record + locator + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 7, 7, 7, 7, 0)


def elf() -> bytes:
    """The head of a shared library for x86-64, and some of its text."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + b"\x90" * 200


def elf_with_notes() -> bytes:
    """A program whose head has something where zeros belong; Linux runs it all the same."""
    return b"\x7fELF\x02\x01\x01\x53ours wuz" + struct.pack("<HHI", 2, 183, 1) + b"\x90" * 200


def pe() -> bytes:
    stub = (
        b"MZ" + bytes(58) + struct.pack("<I", 128) + b"\x0e\x1f This program cannot be run in DOS mode.\r\n"
    )
    coff = struct.pack("<HHIIIHH", 0x8664, 3, 0, 0, 0, 0xF0, 0x2022) + struct.pack("<H", 0x20B)
    return stub.ljust(128, b"\0") + b"PE\0\0" + coff + bytes(300)


def macho() -> bytes:
    return b"\xcf\xfa\xed\xfe" + struct.pack("<6I", 0x01000007, 3, 6, 2, 160, 0) + bytes(200)


def wav(body: bytes = bytes(1600)) -> bytes:
    body += bytes(len(body) % 2)
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(body))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + (b"data" + struct.pack("<I", len(body)) + body)
    )
