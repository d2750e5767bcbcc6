"""Hostile and broken files, and the sound twin of each kind, all made here; none is kept as a file."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.catalog.scan import forge, pickled

# ruff: noqa: E501 -- one sample a line

Build = Callable[[Path, Path], Any]
"""Writes a version's files into a folder, with a place for a canary; may give the announced artifacts."""


@dataclass(frozen=True)
class Sample:
    """A folder that must be refused with this code."""

    name: str
    code: str
    build: Build
    executes: bool = False
    """Whether loading it with the usual library would run code."""


def announced(folder: Path) -> list[dict[str, Any]]:
    """What an honest vendor says of the plain files in a folder."""
    return [
        {
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]


def file(name: str, content: "bytes | str | Callable[[Path], bytes]") -> Build:
    """One file of this content."""

    def build(folder: Path, canary: Path) -> None:
        body = content(canary) if callable(content) else content
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)

    return build


def files(**members: Any) -> Build:
    """Several files; two underscores in a name stand for its point."""

    def build(folder: Path, canary: Path) -> None:
        for name, content in members.items():
            file(name.replace("__", "."), content)(folder, canary)

    return build


def onnx(name: str, code: str, body: bytes) -> Sample:
    return Sample(name, code, file("model.onnx", body))


def executing(name: str, code: str, path: str, content: Any) -> Sample:
    return Sample(name, code, file(path, content), executes=True)


# pickles and their kin


def _beside_a_graph(content: Callable[[Path], bytes]) -> Build:
    """A graph whose only tensor is a whole file beside it, of any bytes."""

    def build(folder: Path, canary: Path) -> None:
        body = content(canary)
        place = [forge.data(13, forge.data(1, "location"), forge.data(2, "model.onnx_data"))]
        held = forge.tensor("w", [len(body)], 2, *place, forge.number(14, 1))
        nodes = [forge.node("Identity", ["x"], ["y"])]
        file("model.onnx", forge.model(forge.graph(nodes, [held])))(folder, canary)
        file("model.onnx_data", body)(folder, canary)

    return build


PICKLES = [
    executing("pickle, protocol 4", "file-pickle", "model.pkl", pickled.plain),
    executing("pickle, protocol 0", "file-pickle", "model.pickle", lambda c: pickled.plain(c, 0)),
    executing("pickle by hand, system", "file-pickle", "weights.pt", pickled.by_shell),
    executing("pickle with INST", "file-pickle", "weights.pth", pickled.by_instance),
    executing("pickle with OBJ", "file-pickle", "weights.ckpt", pickled.by_object),
    executing("pickle with BUILD", "file-pickle", "weights.dill", pickled.by_build),
    executing("pickle with STACK_GLOBAL", "file-pickle", "model.bin", pickled.by_stack_global),
    executing("pickle with names in its memo", "file-pickle", "pytorch_model.bin", pickled.by_memo),
    executing("pickle that breaks off", "file-pickle", "training_args.bin", pickled.broken),
    executing("pickle through pip", "file-pickle", "data.bin", pickled.behind_a_name),
    executing("pickle called ONNX", "file-pickle", "model.onnx", pickled.plain),
    executing("pickle called safetensors", "file-pickle", "model.safetensors", lambda c: pickled.plain(c, 2)),
    executing("pickle called JSON", "file-pickle", "config.json", pickled.by_shell),
    executing("pickle called labels", "file-pickle", "labels.txt", pickled.by_instance),
    executing("pickle called sentencepiece", "file-pickle", "spiece.model", lambda c: pickled.plain(c, 3)),
    executing("PyTorch zip", "file-pickle", "pytorch_model.bin", pickled.torch_zip),
    executing("PyTorch before 1.6", "file-pickle", "pytorch_model.bin", pickled.torch_legacy),
    executing("TorchScript", "file-pickle", "model.pt", pickled.torch_script),
    executing("PyTorch tar", "file-archive", "old_model.bin", pickled.torch_tar),
    executing("joblib, packed", "file-pickle", "model.joblib", pickled.joblib),
    executing("numpy objects", "file-pickle", "table.npy", pickled.array_of_objects),
    executing(
        "numpy objects in npz",
        "file-pickle",
        "tables.npz",
        lambda c: forge.zipped({"a.npy": pickled.array_of_objects(c)}),
    ),
    executing(
        "pickle in npz", "file-pickle", "voices.npz", lambda c: forge.zipped({"a.pkl": pickled.plain(c)})
    ),
    executing("pickle behind padding", "file-pickle", "pytorch_model.bin", pickled.behind_padding),
    executing("pickle behind a long text", "file-pickle", "model.onnx", pickled.behind_a_long_text),
    executing("pickle behind a mark", "file-pickle", "labels.txt", pickled.behind_a_mark),
    executing("pickle behind a hex number", "file-pickle", "labels.txt", pickled.behind_a_hex_number),
    executing("pickle behind a bad number", "file-pickle", "spiece.model", pickled.behind_a_bad_number),
    executing("pickle behind other signs", "file-pickle", "labels.txt", pickled.behind_other_signs),
    executing("pickle without an end", "file-pickle", "labels.txt", pickled.without_an_end),
    executing("pickles in a row", "file-pickle", "labels.txt", pickled.second_in_a_row),
    Sample("pickle in its graph's data", "file-pickle", _beside_a_graph(pickled.behind_padding)),
    Sample("joblib in its graph's data", "file-archive", _beside_a_graph(pickled.joblib)),
    Sample("PyTorch tar without a mark", "file-archive", _beside_a_graph(pickled.tar_without_a_mark)),
    executing("Keras zip with Lambda", "file-keras", "model.keras", pickled.keras_zip),
    executing("Keras zip, renamed", "file-keras", "model.bin", pickled.keras_zip),
    executing("Keras HDF5", "file-keras", "model.h5", pickled.keras_h5),
    executing("HDF5, renamed", "file-keras", "model.onnx", pickled.keras_h5),
    executing("SavedModel", "file-saved-model", "saved_model.pb", pickled.saved_model),
    executing(
        "7z with a pickle", "file-archive", "model.7z", lambda c: b"7z\xbc\xaf\x27\x1c" + pickled.plain(c)
    ),
    executing(
        "gzip of a pickle",
        "file-archive",
        "model.bin",
        lambda c: __import__("gzip").compress(pickled.plain(c)),
    ),
]

# programs and documents

PROGRAMS = [
    executing("ELF library", "file-program", "libops.so", forge.elf()),
    executing("ELF called ONNX", "file-program", "model.onnx", forge.elf()),
    executing("PE called numbers", "file-program", "weights.bin", forge.pe()),
    executing("Mach-O called GGUF", "file-program", "model.gguf", forge.macho()),
    executing("WebAssembly", "file-program", "ops.bin", b"\0asm\x01\0\0\0" + bytes(32)),
    onnx(
        "ELF within a tensor",
        "file-program-inside",
        forge.weights(np.frombuffer(bytes(64) + forge.elf(), "<u1")),
    ),
    Sample(
        "PE within safetensors",
        "file-program-inside",
        file(
            "m.safetensors",
            forge.safetensors({"w": ("U8", [len(forge.pe())], 0, len(forge.pe()))}, forge.pe()),
        ),
    ),
    Sample(
        "ELF with notes in its head",
        "file-program-inside",
        file("m.safetensors", forge.tensor_file(forge.elf_with_notes())),
    ),
    Sample(
        "PE behind many marks",
        "file-program-inside",
        file("m.safetensors", forge.tensor_file(b"PE\0\0" * 1001 + forge.pe()[128:])),
    ),
    Sample(
        "Mach-O behind many marks",
        "file-program-inside",
        file("m.safetensors", forge.tensor_file(b"\xcf\xfa\xed\xfe" * 1001 + forge.macho())),
    ),
    executing("Python", "file-script", "modeling.py", "import os\n"),
    executing("shell script called text", "file-script", "run.txt", "#!/bin/sh\ntouch canary\n"),
    executing("batch file", "file-script", "setup.bat", "@echo off\n"),
    executing("notebook", "file-script", "demo.ipynb", '{"cells": []}'),
    executing("SVG with a script", "file-svg", "logo.svg", "<svg><script>alert(1)</script></svg>"),
    executing("SVG called PNG", "file-svg", "logo.png", '<?xml version="1.0"?><svg onload="x()"/>'),
    executing("HTML called text", "file-html", "readme.txt", "<!DOCTYPE html><script>alert(1)</script>"),
    executing("HTML page", "file-html", "index.html", "<p>hello"),
    executing(
        "Word document", "file-office", "card.docx", forge.zipped({"[Content_Types].xml": b"<Types/>"})
    ),
    executing(
        "old Office file", "file-office", "prices.txt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)
    ),
    Sample("PDF", "file-office", file("paper.pdf", b"%PDF-1.7\n")),
    Sample("zip", "file-archive", file("model.zip", forge.zipped({"../../evil.txt": b"x"}))),
    Sample("tar called numbers", "file-archive", file("model.bin", bytes(257) + b"ustar\x0000" + bytes(248))),
    Sample("TFLite", "file-tflite", file("model.tflite", b"\x1c\0\0\0TFL3" + bytes(40))),
    Sample("ORT format", "file-ort", file("model.ort", b"\x10\0\0\0ORTM" + bytes(40))),
    Sample("unknown suffix", "file-unknown", file("weights.xyz", bytes(64))),
    Sample("no numbers in .bin", "file-unknown", file("weights.bin", b"\xff" * 64)),
    Sample("empty file", "file-empty", file("model.onnx", b"")),
    Sample("GGUF called safetensors", "file-name-content", file("model.safetensors", forge.gguf())),
    Sample("PNG called JPEG", "file-name-content", file("cat.jpg", forge.png())),
]

# second forms behind or within the first

_ZIP = forge.zipped({"archive/data.pkl": b"\x80\x02]."})
_LINE = b"open('canary', 'w').close()\n"
_APP = forge.zipped({"__main__.py": _LINE})
"""Python runs it, whatever it is called: `python FILE`."""


def _counted(archive: bytes) -> bytes:
    """The zip with the place of its directory counted within the safetensors around it, and a wrong size."""
    body = bytearray(archive)
    at, start = body.rfind(b"PK\x05\x06"), len(forge.tensor_file(archive)) - len(archive)
    struct.pack_into("<2I", body, at + 12, 7, start + body.find(b"PK\x01\x02"))
    return bytes(body)


def _aligned(content: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    """Safetensors whose tensor holds a file at byte 1024, where HDF5 is looked for too."""

    def build(canary: Path) -> bytes:
        held = content(canary)
        head = len(forge.tensor_file(bytes(1024) + held)) - 1024 - len(held)
        made = forge.tensor_file(bytes(1024 - head) + held)
        return made if made[1024:1028] == held[:4] else forge.tensor_file(bytes(1025 - head) + held)

    return build


POLYGLOTS = [
    onnx("zip behind ONNX", "onnx-unknown-field", forge.sound_model() + _ZIP),
    onnx(
        "zip as the last tensor of ONNX",
        "file-polyglot",
        forge.number(1, 8)
        + forge.data(8, forge.number(2, 17))
        + forge.data(
            7,
            forge.data(1, forge.node("Identity", ["x"], ["y"])),
            forge.data(11, forge.value("x")),
            forge.data(12, forge.value("y")),
            forge.data(5, forge.tensor("w", [len(_ZIP)], 2, forge.data(9, _ZIP))),
        ),
    ),
    Sample("zip behind GGUF", "file-trailing", file("model.gguf", forge.gguf() + _ZIP)),
    Sample(
        "zip within safetensors",
        "file-polyglot",
        file("m.safetensors", forge.safetensors({"w": ("U8", [len(_ZIP)], 0, len(_ZIP))}, _ZIP)),
    ),
    executing(
        "zip with zeros behind it", "file-polyglot", "model.safetensors", forge.tensor_file(_APP + bytes(4))
    ),
    executing(
        "zip with a note that it does not name",
        "file-polyglot",
        "model.gguf",
        forge.gguf(tensors=[("w", [len(_APP) + 96], 24, 0)], body=_APP + b"note" * 24),
    ),
    executing(
        "zip of the large kind",
        "file-polyglot",
        "model.safetensors",
        forge.tensor_file(forge.zip64({"__main__.py": _LINE})),
    ),
    executing(
        "zip whose places count from the file's head",
        "file-polyglot",
        "model.safetensors",
        forge.tensor_file(_counted(_APP)),
    ),
    executing("zip as a comment of PNG", "file-polyglot", "cat.png", forge.png_with(b"Comment\0" + _APP)),
    executing(
        "zip as a comment of ONNX",
        "file-polyglot",
        "model.onnx",
        forge.sound_model() + forge.data(6, _APP + b"\n"),
    ),
    Sample("zip behind JSON", "text-not-utf8", file("config.json", b"{}" + _APP)),
    Sample("zip behind a card", "text-not-utf8", file("README.md", b"# A model\n" + _APP)),
    Sample("pickle that is safetensors", "file-polyglot", file("model.safetensors", pickled.as_safetensors)),
    Sample("pickle that is GGUF", "file-polyglot", file("model.gguf", pickled.as_gguf)),
    Sample("pickle that is ONNX", "file-pickle", file("model.onnx", pickled.as_onnx)),
    Sample("HDF5 behind safetensors", "file-polyglot", file("model.safetensors", _aligned(pickled.keras_h5))),
    Sample("zip behind PNG", "file-trailing", file("cat.png", forge.png() + _ZIP)),
    Sample("PHP behind PNG", "file-trailing", file("cat.png", forge.png() + b"<?php system('id'); ?>")),
    Sample("zip as the sound of a WAV", "file-polyglot", file("hello.wav", forge.wav(body=_ZIP))),
    Sample("zip behind WAV", "file-trailing", file("hello.wav", forge.wav() + _ZIP)),
]

# ONNX

_X = ["x"]
_LOOP_ATTRIBUTE = forge.data(5, forge.data(1, "body"), forge.data(6, b""), forge.number(20, 5))


def _inner_loop(trips: int) -> bytes:
    """A loop within a loop, with a fixed number of rounds."""
    body = b"".join(
        [
            forge.data(1, forge.node("Identity", ["c2"], ["m2"])),
            forge.data(1, forge.node("Identity", ["v2"], ["w2"])),
            *(forge.data(11, forge.value(n, [1], k)) for n, k in (("i2", 7), ("c2", 9), ("v2", 1))),
            *(forge.data(12, forge.value(n, [1], k)) for n, k in (("m2", 9), ("w2", 1))),
        ]
    )
    attribute = forge.data(5, forge.data(1, "body"), forge.data(6, body), forge.number(20, 5))
    return forge.node("Loop", ["trips", "", "v"], ["unused"], attribute)


def _nested_ifs(depth: int) -> bytes:
    inner = forge.data(1, forge.node("Identity", ["x"], ["r"])) + forge.data(12, forge.value("r"))
    for _ in range(depth):
        branches = b"".join(
            forge.data(5, forge.data(1, name), forge.data(6, inner), forge.number(20, 5))
            for name in ("then_branch", "else_branch")
        )
        held = forge.node("If", ["flag"], ["r"], branches[: len(branches) // 2])
        inner = forge.data(1, held) + forge.data(12, forge.value("r"))
    flag = forge.tensor("flag", [], 9, forge.data(9, b"\1"))
    return forge.model(inner + forge.data(5, flag) + forge.data(11, forge.value("x")))


def _nested_types(depth: int) -> bytes:
    kind = forge.data(1, forge.number(1, 1))
    for _ in range(depth):
        kind = forge.data(4, forge.data(1, kind))
    held = forge.graph(
        [forge.node("Identity", _X, ["y"])], [], None, forge.data(13, forge.data(1, "v"), forge.data(2, kind))
    )
    return forge.model(held)


def _shape_model(kind: str, shape: list[int], inputs: list[str]) -> bytes:
    held = forge.tensor("shape", [len(shape)], 7, forge.data(9, struct.pack(f"<{len(shape)}q", *shape)))
    return forge.model(forge.graph([forge.node(kind, inputs, ["y"])], [held]))


def _exploding(levels: int) -> bytes:
    made = []
    for level in range(levels):
        called = [("Identity", "") if level == 0 else (f"f{level - 1}", "own")] * 10
        names = ["a", *(f"t{i}" for i in range(9)), "b"]
        nodes = [forge.node(k, [names[i]], [names[i + 1]], domain=d) for i, (k, d) in enumerate(called)]
        made.append(forge.function(f"f{level}", nodes))
    return forge.model(forge.graph([forge.node(f"f{levels - 1}", _X, ["y"], domain="own")]), *made)


def _chain(levels: int) -> bytes:
    """Functions that call each other in a row, as they hang session creation when they are deep."""
    made = [forge.function("f0", [forge.node("Identity", ["a"], ["b"])])]
    made += [
        forge.function(f"f{n}", [forge.node(f"f{n - 1}", ["a"], ["b"], domain="own")])
        for n in range(1, levels)
    ]
    return forge.model(forge.graph([forge.node(f"f{levels - 1}", _X, ["y"], domain="own")]), *made)


_RECURSIVE = [
    forge.function("f", [forge.node("g", ["a"], ["b"], domain="own")]),
    forge.function("g", [forge.node("f", ["a"], ["b"], domain="own")]),
]
_IDENTITY = forge.graph([forge.node("Identity", _X, ["y"])])
_DEFAULT = forge.data(
    25,
    forge.data(1, "f"),
    forge.data(10, "own"),
    forge.data(11, forge.data(1, "v"), forge.data(5, forge.external("w", [4], location="/etc/passwd"))),
)
_NAN = np.ones((32, 32), np.float32)
_NAN[3, 4] = np.nan


def _external(place: str, body: bytes | None = None, **more: object) -> Build:
    """A graph whose tensor of four numbers lies at a place."""
    held = forge.external("w", [4], location=place, **more)
    built = forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [held]))
    return files(model__onnx=built, **({"weights__data": body} if body is not None else {}))


def _linked(folder: Path, canary: Path) -> None:
    """External data that is a second name of a file outside of the folder."""
    outside = folder.parent / "secret.txt"
    outside.write_bytes(bytes(16))
    _external("weights.data")(folder, canary)
    os.link(outside, folder / "weights.data")


ONNX = [
    onnx("not ONNX at all", "onnx-malformed", bytes(range(1, 9)) * 40),
    onnx("ONNX cut off", "onnx-malformed", forge.sound_model()[:-9]),
    onnx("ONNX with an unknown field", "onnx-unknown-field", forge.sound_model() + forge.data(99, b"hidden")),
    onnx("ONNX with a group", "onnx-malformed", forge.sound_model() + b"\x0b\x0c"),
    onnx("ONNX with an endless varint", "onnx-malformed", forge.sound_model() + b"\x28" + b"\xff" * 20),
    onnx("ONNX of the wrong wire type", "onnx-malformed", forge.sound_model() + forge.number(7, 1)),
    onnx("two graphs", "onnx-malformed", forge.model(_IDENTITY) + forge.data(7, _IDENTITY)),
    onnx("millions of fields", "onnx-too-many-parts", forge.model(_IDENTITY) + b"\x28\x01" * 2_600_000),
    onnx("a hundred thousand nodes", "onnx-too-many-parts", forge.model(forge.data(1, forge.node("Abs", ["x"], [])) * 100_001)),
    onnx("a huge text", "onnx-text-large", forge.model(_IDENTITY, forge.data(6, b"x" * (9 << 20)))),
    onnx("huge metadata", "onnx-text-large", forge.model(_IDENTITY, *[forge.data(14, forge.data(1, "k"), forge.data(2, b"v" * (1 << 20)))] * 5)),
    onnx("types ten thousand deep", "onnx-too-deep", _nested_types(3000)),
    onnx("branches a hundred deep", "onnx-too-deep", _nested_ifs(100)),
    onnx("IR of the future", "onnx-version", forge.model(_IDENTITY, ir=99)),
    onnx("opset of the future", "onnx-version", forge.model(_IDENTITY, opset=999)),
    onnx("settings in metadata", "onnx-settings", forge.model(_IDENTITY, forge.data(14, forge.data(1, "ort_config"), forge.data(2, "{}")))),
    onnx("operator of a domain of its own", "onnx-domain", forge.model(forge.graph([forge.node("Evil", _X, ["y"], domain="evil.ops")]))),
    onnx("PyTorch's ATen", "onnx-domain", forge.model(forge.graph([forge.node("ATen", _X, ["y"], domain="org.pytorch.aten")]))),
    onnx("operator that nobody knows", "onnx-operator", forge.model(forge.graph([forge.node("RunShell", _X, ["y"])]))),
    onnx("EPContext", "onnx-program", forge.model(forge.graph([forge.node("EPContext", _X, ["y"], domain="com.microsoft")]))),
    onnx("Snpe", "onnx-program", forge.model(forge.graph([forge.node("Snpe", _X, ["y"], domain="com.microsoft")]))),
    onnx("functions that call each other", "onnx-recursion", forge.model(forge.graph([forge.node("f", _X, ["y"], domain="own")]), *_RECURSIVE)),
    onnx("functions that explode", "onnx-functions", _exploding(8)),
    onnx("functions in a long row", "onnx-functions", _chain(40)),
    onnx("function instead of an operator", "onnx-functions", forge.model(_IDENTITY, forge.function("Identity", [], domain=""))),
    onnx("endless loop", "onnx-loop-endless", forge.loop(None, None, changes=False)),
    onnx("endless loop, always true", "onnx-loop-endless", forge.loop(None, True, changes=False)),
    onnx("loop of 2^62 rounds", "onnx-loop-endless", forge.loop(1 << 62, True, changes=False)),
    onnx("loop of a computed number of rounds", "onnx-loop-endless", forge.loop(1 << 31, True, changes=False, squared=True)),
    onnx("a graph in two parts", "onnx-malformed", forge.loop(10, True, changes=False, twice=True)),
    onnx("loops within loops", "onnx-loop-long", forge.loop(100_000, True, changes=False, inner=_inner_loop(100_000))),
    onnx("shape without data", "onnx-shape", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1 << 31, 1 << 31])]))),
    onnx("shape without data, small", "onnx-tensor-size", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1 << 16])]))),
    onnx("negative dimension", "onnx-shape", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [-4], 1, forge.data(9, bytes(16)))]))),
    onnx("dimensions that overflow", "onnx-shape", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1 << 32, 1 << 32, 0x100000001], 1, forge.data(9, bytes(4)))]))),
    onnx("more data than shape", "onnx-tensor-size", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1], 1, forge.data(9, bytes(4096)))]))),
    onnx("data of another type", "onnx-tensor-size", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1], 1, forge.number(7, 1))]))),
    onnx("type that does not exist", "onnx-type", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [forge.tensor("w", [1], 77, forge.data(9, bytes(4)))]))),
    onnx("sparse tensor", "onnx-sparse", forge.model(forge.graph([forge.node("Add", ["x", "w"], ["y"])], [], None, forge.data(15, forge.number(3, 1 << 40))))),
    onnx("huge tensor by ConstantOfShape", "onnx-shape", _shape_model("ConstantOfShape", [1 << 20, 1 << 20], ["shape"])),
    onnx("huge tensor by Expand", "onnx-shape", _shape_model("Expand", [1 << 40], ["x", "shape"])),
    onnx("huge tensor by Tile", "onnx-shape", _shape_model("Tile", [1 << 33], ["x", "shape"])),
    onnx("not-a-number in float32", "file-nan", forge.weights(_NAN)),
    onnx("not-a-number in float16", "file-nan", forge.weights(_NAN.astype(np.float16))),
    onnx("not-a-number in float64", "file-nan", forge.weights(_NAN.astype(np.float64))),
    onnx("value made twice", "onnx-name-twice", forge.model(forge.graph([forge.node("Abs", _X, ["y"]), forge.node("Neg", _X, ["y"])]))),
    onnx("value that nothing makes", "onnx-value-missing", forge.model(forge.graph([forge.node("Add", ["x", "ghost"], ["y"])]))),
    onnx("nodes in a circle", "onnx-cycle", forge.model(forge.graph([forge.node("Add", ["x", "b"], ["a"]), forge.node("Abs", ["a"], ["b"]), forge.node("Abs", ["a"], ["y"])]))),
    Sample("data in a folder above", "onnx-external-path", _external("../../../etc/passwd")),
    Sample("data of a function's default", "onnx-external-path", file("model.onnx", forge.model(_IDENTITY, _DEFAULT))),
    Sample("data by absolute path", "onnx-external-path", _external("/etc/passwd")),
    Sample("data by address in memory", "onnx-external-path", _external("*/_ORT_MEM_ADDR_/*", offset=4096)),
    Sample("data through a backslash", "onnx-external-path", _external("..\\..\\secret")),
    Sample("data that was not sent", "onnx-external-missing", _external("weights.data")),
    Sample("data behind the end", "onnx-external-range", _external("weights.data", bytes(16), offset=64)),
    Sample("data of another length", "onnx-tensor-size", _external("weights.data", bytes(64), length=64)),
    Sample("data with a gap", "file-trailing", _external("weights.data", b"\1" * 9000)),
    Sample("data that is a program", "file-program", _external("weights.data", forge.elf())),
    Sample("data with not-a-number", "file-nan", _external("weights.data", struct.pack("<4f", 1, 2, float("nan"), 4))),
    Sample("data through a hard link", "link-hard", _linked),
]  # fmt: skip

# safetensors and GGUF

_F = ("F32", [4], 0, 16)
SAFETENSORS = [
    Sample(name, code, file("model.safetensors", body))
    for name, code, body in [
        ("safetensors with a header of 2^60", "safetensors-header", struct.pack("<Q", 1 << 31) + b'{"a' + bytes(64)),
        ("safetensors that overlap", "safetensors-overlap", forge.safetensors({"a": _F, "b": ("F32", [4], 8, 24)}, bytes(24))),
        ("safetensors with a gap", "safetensors-gap", forge.safetensors({"a": _F, "b": ("F32", [4], 32, 48)}, bytes(48))),
        ("safetensors of the wrong shape", "safetensors-size", forge.safetensors({"a": ("F32", [5], 0, 16)}, bytes(16))),
        ("safetensors with a huge shape", "safetensors-size", forge.safetensors({"a": ("F32", [1 << 40, 1 << 40], 0, 16)}, bytes(16))),
        ("safetensors of no known type", "safetensors-type", forge.safetensors({"a": ("PYOBJ", [16], 0, 16)}, bytes(16))),
        ("safetensors with a name twice", "text-key-twice", forge.safetensors_raw(b'{"a":1,"a":2}', b"")),
        ("safetensors with a deep header", "text-too-deep", forge.safetensors_raw(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", b"")),
        ("safetensors cut off", "file-truncated", forge.safetensors({"a": _F}, bytes(8))),
        ("safetensors with a tail", "file-trailing", forge.safetensors({"a": _F}, bytes(99))),
        ("safetensors with a list", "safetensors-header", forge.safetensors_raw(b'{"a":[1]}', b"")),
        ("safetensors with not-a-number", "file-nan", forge.safetensors({"a": _F}, struct.pack("<4f", 1, float("nan"), 1, 1))),
        ("safetensors, bfloat16 not-a-number", "file-nan", forge.safetensors({"a": ("BF16", [2], 0, 4)}, b"\xc0\x7f\0\0")),
    ]
]  # fmt: skip
_SSTI = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
GGUF = [
    Sample(name, code, file("model.gguf", body))
    for name, code, body in [
        ("GGUF of another version", "gguf-version", forge.gguf(version=99)),
        ("GGUF of the other byte order", "gguf-version", forge.gguf(version=0x03000000)),
        ("GGUF with 2^60 tensors", "gguf-counts", forge.gguf(counts=(1 << 60, 1))),
        ("GGUF with 2^60 keys", "gguf-counts", forge.gguf(counts=(1, 1 << 60))),
        ("GGUF with an endless text", "gguf-text-large", forge.gguf({"a": (8, struct.pack("<Q", (1 << 64) - 1))})),
        ("GGUF with an array of 2^61", "file-truncated", forge.gguf({"a": (9, struct.pack("<IQ", 10, 1000))}, body=b"")),
        ("GGUF with a long array", "gguf-too-many-parts", forge.gguf({"a": (9, struct.pack("<IQ", 0, 1 << 61))})),
        ("GGUF with arrays in arrays", "gguf-value", forge.gguf({"a": (9, struct.pack("<IQ", 9, 4) * 4)})),
        ("GGUF with a value of no type", "gguf-value", forge.gguf({"a": (77, b"")})),
        ("GGUF with a key twice", "gguf-key", forge.gguf({"a": (4, bytes(4) + forge.text("a") + struct.pack("<I", 4) + bytes(4))}, counts=(1, 3))),
        ("GGUF aligned to 3", "gguf-alignment", forge.gguf({"general.alignment": (4, struct.pack("<I", 3))})),
        ("GGUF aligned to 0", "gguf-alignment", forge.gguf({"general.alignment": (4, struct.pack("<I", 0))})),
        ("GGUF with a shape that overflows", "gguf-tensor", forge.gguf(tensors=[("a", [1 << 40, 1 << 40], 0, 0)])),
        ("GGUF with five dimensions", "gguf-tensor", forge.gguf(tensors=[("a", [1] * 5, 0, 0)])),
        ("GGUF with a tensor twice", "gguf-tensor", forge.gguf(tensors=[("a", [32], 0, 0), ("a", [32], 0, 128)])),
        ("GGUF of an unknown type", "gguf-type", forge.gguf(tensors=[("a", [32], 99, 0)])),
        ("GGUF that overlaps", "gguf-overlap", forge.gguf(tensors=[("a", [32], 0, 0), ("b", [32], 0, 64)])),
        ("GGUF with a gap", "gguf-gap", forge.gguf(tensors=[("a", [8], 0, 0), ("b", [8], 0, 128)])),
        ("GGUF cut off", "file-truncated", forge.gguf()[:-100]),
        ("GGUF that reads behind its end", "file-truncated", forge.gguf(tensors=[("a", [1 << 30], 0, 0)])),
        ("GGUF with a hostile chat template", "text-template-reaches-out", forge.gguf({"tokenizer.chat_template": (8, forge.text(_SSTI))})),
        ("GGUF with not-a-number", "file-nan", forge.gguf(body=struct.pack("<64f", *[float("nan")] * 64))),
    ]
]  # fmt: skip

# texts

_WORDS = {"[UNK]": 0, "a": 1, "b": 2}


def tokenizer(**more: Any) -> str:
    """A tokenizer.json."""
    made = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": _WORDS, "unk_token": "[UNK]"},
    }
    return json.dumps({**made, **more})


def _split(pattern: str) -> str:
    return tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"})


def _chat(template: str) -> str:
    return json.dumps({"chat_template": template})


_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + b] * 9)}]\n" for b, n in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = [
    Sample(name, code, file(path, body))
    for name, code, path, body in [
        ("JSON a hundred thousand deep", "text-too-deep", "config.json", "[" * 100_000 + "]" * 100_000),
        ("JSON a hundred deep", "text-too-deep", "config.json", "[" * 100 + "]" * 100),
        ("JSON with a key twice", "text-key-twice", "config.json", '{"a": 1, "a": 2}'),
        ("JSON with a huge number", "text-huge-number", "config.json", '{"a": 1' + "0" * 5000 + "}"),
        ("JSON with NaN", "text-invalid", "config.json", '{"a": NaN}'),
        ("JSON cut off", "text-invalid", "config.json", '{"a": [1, 2'),
        ("JSON of millions of parts", "text-too-demanding", "config.json", "[" + "0," * 4_100_000 + "0]"),
        ("JSON that runs code", "text-runs-code", "config.json", '{"auto_map": {"AutoModel": "modeling.Evil"}}'),
        ("JSON that trusts remote code", "text-runs-code", "config.json", '{"trust_remote_code": true}'),
        ("JSON that names a class to build", "text-runs-code", "config.json", '{"model": {"_target_": "os.system"}}'),
        ("JSON lines, one broken", "text-invalid", "rows.jsonl", '{"a": 1}\n{"a":\n'),
        ("YAML that laughs a billion times", "text-alias", "config.yaml", _LAUGHS),
        ("YAML with a key twice", "text-key-twice", "config.yaml", "a: 1\nb: 2\na: 3\n"),
        ("YAML that builds an object", "text-tag", "config.yaml", '!!python/object/apply:os.system ["touch canary"]\n'),
        ("YAML deep", "text-too-deep", "config.yaml", "[" * 200 + "]" * 200),
        ("YAML broken", "text-invalid", "config.yaml", "a: [1, 2\nb: }"),
        ("YAML of a megabyte", "file-too-large", "config.yaml", "a: 1\n" * 200_000),
        ("TOML with a key twice", "text-key-twice", "config.toml", "a = 1\na = 2\n"),
        ("TOML deep", "text-too-deep", "config.toml", "a = " + "[" * 3000 + "]" * 3000),
        ("TOML broken", "text-invalid", "config.toml", "a = = 1\n"),
        ("UTF-16", "text-not-utf8", "labels.txt", "cat\ndog\n".encode("utf-16")),
        ("Latin-1", "text-not-utf8", "labels.txt", "caf\xe9\n".encode("latin-1") * 10),
        ("terminal escapes", "text-control", "labels.txt", "x" * 80_000 + "\x1b]0;owned\x07\n"),
        ("tokenizer that backtracks", "text-pattern", "tokenizer.json", _split("(a+)+$")),
        ("tokenizer that backtracks by choice", "text-pattern", "tokenizer.json", _split("(a|aa)+b")),
        ("tokenizer with a back reference", "text-pattern", "tokenizer.json", _split(r"(.*)\1+")),
        ("tokenizer with huge repeats", "text-pattern", "tokenizer.json", _split("a{1000000}")),
        ("tokenizer with an id of 2^40", "text-tokenizer-id", "tokenizer.json", tokenizer(model={"type": "WordLevel", "vocab": {"a": 1 << 40}})),
        ("tokenizer with a long token", "text-tokenizer-size", "tokenizer.json", tokenizer(model={"type": "BPE", "vocab": {"a" * 9999: 0}, "merges": []})),
        ("tokenizer of an unknown kind", "text-tokenizer-part", "tokenizer.json", tokenizer(pre_tokenizer={"type": "PythonCode"})),
        ("sentencepiece broken", "text-sentencepiece", "spiece.model", b"\x0a\x03\x01\x02\x03"),
        ("template that reaches for classes", "text-template-reaches-out", "tokenizer_config.json", _chat(_SSTI)),
        ("template with attr", "text-template-reaches-out", "chat_template.jinja", "{{ messages|attr('x') }}"),
        ("template through hex", "text-template-reaches-out", "chat_template.jinja", r"{{ messages['\x5f\x5fclass'] }}"),
        ("template by cycler", "text-template-reaches-out", "chat_template.jinja", "{{ cycler.next.x }}"),
        ("template that includes", "text-template-reaches-out", "chat_template.jinja", "{% include '/etc/passwd' %}"),
        ("template without end", "text-template-endless", "chat_template.jinja", "{% for i in range(999999999) %}x{% endfor %}"),
        ("template of loops in loops", "text-template-endless", "chat_template.jinja", "{% for i in x %}" * 9 + "{% endfor %}" * 9),
        ("template that hides behind quotes", "text-template-reaches-out", "chat_template.jinja", "{{ '}}' ~ x|attr('y') }}"),
        ("template that hides behind brackets", "text-template-reaches-out", "chat_template.jinja", "{{ {'a': {}}|attr('y') }}"),
        ("template that hides as raw", "text-template-reaches-out", "chat_template.jinja", "{% raw %}{#{% endraw %}{{ x|attr('y') }}{# #}"),
        ("template by power", "text-template-endless", "chat_template.jinja", "{{ 9 ** 9 ** 9 }}"),
        ("template that repeats a text", "text-template-endless", "chat_template.jinja", "{{ 'a' * 1000000000 }}"),
        ("card with a script", "text-active-html", "README.md", "# Hi\n<script>alert(1)</script>\n"),
        ("card with a handler", "text-active-html", "README.md", "<img src=x onerror=alert(1)>\n"),
        ("card with a frame", "text-active-html", "README.md", "# Hi\n\n<IFRAME src=//evil></IFRAME>"),
        ("card with a link that runs", "link-runs-code", "README.md", "[click](javascript:alert(1))\n"),
        ("card with a hidden link", "link-runs-code", "README.md", "[click](java&#115;cript&colon;alert(1))\n"),
        ("card with a link by reference", "link-runs-code", "README.md", "[a][b]\n\n[b]: vbscript:x\n"),
        ("card with a page in a link", "link-runs-code", "README.md", "[x](data:text/html;base64,PHNjcmlwdD4=)\n"),
        ("card that turns direction", "text-direction", "README.md", "free \u202eecnecil\u202c model\n"),
    ]
]  # fmt: skip

PICTURES = [
    Sample(name, code, file(path, body))
    for name, code, path, body in [
        ("picture of 60,000 pixels a side", "picture-large", "big.png", forge.png(60_000, 60_000, pixels=b"")),
        ("picture cut off", "picture-broken", "cat.png", forge.png()[:-20]),
        ("picture with a wrong checksum", "picture-broken", "cat.png", forge.png().replace(b"IDAT", b"IDAt")),
        ("GIF", "picture-form", "cat.gif", b"GIF89a" + bytes(40)),
        ("JPEG without a frame", "picture-broken", "cat.jpg", b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9"),
        ("WebP that lies about its length", "picture-broken", "cat.webp", b"RIFF\xff\xff\0\0WEBPVP8 " + bytes(30)),
        ("WAV that lies about its length", "file-truncated", "a.wav", forge.wav()[:-400]),
        ("WAV of no known coding", "sound-broken", "a.wav", forge.wav().replace(struct.pack("<HHI", 1, 1, 16000), struct.pack("<HHI", 99, 1, 16000))),
        ("MP3 without frames", "sound-broken", "a.mp3", b"ID3\x04\0\0\0\0\0\0" + bytes(90)),
        ("table shorter than its shape", "array-size", "t.npy", forge.npy("'<f4'", "(4, 4)", bytes(16))),
        ("table of 2^62 numbers", "array-header", "t.npy", forge.npy("'<f4'", f"({1 << 62},)", bytes(16))),
        ("table whose header is code", "array-header", "t.npy", forge.npy("__import__('os').system('id')", "(1,)", bytes(4))),
        ("lexicon cut off", "file-truncated", "lexicon.bin", b"LEXICON1" + struct.pack("<II", 1 << 31, 0)),
    ]
]  # fmt: skip

SECRETS = [
    Sample(f"secret: {kind}", f"secret-{kind}", file("notes.txt", "first line\n" + body + "\n"))
    for kind, body in {
        "private-key": "-----BEGIN " + "RSA PRIVATE KEY-----",
        "aws": "AKIA" + "ABCDEFGHIJKLMNOP",
        "github": "ghp_" + "a1B2" * 9,
        "hugging-face": "hf_" + "a1B2" * 9,
        "openai": "sk-proj-" + "a1B2" * 10,
        "aliyun": "LTAI" + "5tAbCdEfGhIj1234",
        "tencent": "AKID" + "a1B2" * 8,
        "slack": "xoxb-" + "1234567890-" * 3,
        "google": "AIza" + "a1B2c" * 7,
        "password-in-url": "postgres://admin:" + "hunter2" + "@db.example.org/x",
    }.items()
]

# folders


def _with_model(then: Callable[[Path, list[dict[str, Any]]], Any]) -> Build:
    """A sound model, and something done to its folder or to what is announced."""

    def build(folder: Path, canary: Path) -> Any:
        (folder / "model.onnx").write_bytes(forge.sound_model())
        artifacts = announced(folder)
        return then(folder, artifacts) or artifacts

    return build


def _named(name: str) -> Build:
    def write(folder: Path, artifacts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cat\n")
        return announced(folder)

    return _with_model(write)


def _write(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")


def _many(folder: Path, artifacts: list[dict[str, Any]]) -> None:
    (folder / "many").mkdir()
    for n in range(10_001):
        (folder / "many" / f"{n}.txt").touch()


FOLDERS = [
    Sample("symbolic link to a file", "link-symbolic", _with_model(lambda f, a: (f / "passwd.txt").symlink_to("/etc/passwd"))),
    Sample("symbolic link to a folder", "link-symbolic", _with_model(lambda f, a: (f / "data").symlink_to("/etc"))),
    Sample("symbolic link that is announced", "link-symbolic", _with_model(lambda f, a: (f / "a.txt").symlink_to("/etc/passwd") or [*a, {"path": "a.txt", "size": 1, "sha256": "0" * 64}])),
    Sample("hard link within the folder", "link-hard", _with_model(lambda f, a: os.link(f / "model.onnx", f / "again.onnx"))),
    Sample("named pipe", "file-special", _with_model(lambda f, a: os.mkfifo(f / "pipe.txt"))),
    Sample("file that nobody announced", "file-unexpected", _with_model(lambda f, a: _write(f, "extra.json"))),
    Sample("file that is missing", "file-missing", _with_model(lambda f, a: [*a, {"path": "b.txt", "size": 1, "sha256": "0" * 64}])),
    Sample("wrong digest", "file-digest-wrong", _with_model(lambda f, a: [{**a[0], "sha256": "0" * 64}])),
    Sample("wrong size", "file-size-wrong", _with_model(lambda f, a: [{**a[0], "size": a[0]["size"] + 1}])),
    Sample("names that differ in case", "file-name-collides", _with_model(lambda f, a: (_write(f, "A.json"), _write(f, "a.json"), announced(f))[2])),
    Sample("ten thousand files", "file-too-many", _with_model(_many)),
    Sample("folders twenty deep", "file-too-deep", _named("/".join("d" * 20) + "/a.txt")),
    *(
        Sample(f"name: {fault}", "file-name-unsafe", _named(name))
        for fault, name in {
            "reserved by Windows": "CON.txt",
            "an option": "-rf.txt",
            "turns direction": "model\u202etxt.txt",
            "controls": "a\nb.txt",
            "not composed": "cafe\u0301.txt",
            "backslash": "..\\..\\evil.txt",
            "stream": "a.txt:hidden.txt",
            "blank edge": " a.txt",
        }.items()
    ),
]  # fmt: skip

HOSTILE = [*PICKLES, *PROGRAMS, *POLYGLOTS, *ONNX, *SAFETENSORS, *GGUF, *TEXTS, *PICTURES, *SECRETS, *FOLDERS]
