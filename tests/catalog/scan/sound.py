"""The sound twins of the hostile samples: each must pass, with a badge that is no warning."""

import io
import json
import struct
import wave
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

# ruff: noqa: E501 -- patterns and templates as they are in the wild
from tests.catalog.scan import forge, pickled
from tests.catalog.scan.samples import Build, announced, file, files, tokenizer

_IDENTITY = forge.graph([forge.node("Identity", ["x"], ["y"])])


def _picture(form: str, mode: str = "RGB") -> bytes:
    made = io.BytesIO()
    Image.radial_gradient("L").resize((64, 48)).convert(mode).save(made, form)
    return made.getvalue()


def _saved(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> bytes:
    made = io.BytesIO()
    np.save(made, array, allow_pickle=False)
    return made.getvalue()


def _saved_many(*, packed: bool) -> bytes:
    made = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(made, a=np.zeros((300, 30)), b=np.arange(5))
    return made.getvalue()


def _wave() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(3200))
    return made.getvalue()


def _mp3() -> bytes:
    import lameenc

    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_in_sample_rate(16000)
    encoder.set_channels(1)
    return bytes(encoder.encode(bytes(32000)) + encoder.flush())


def _external(folder: Path, canary: Path) -> None:
    """Two tensors in a file beside the graph, aligned to a page, and one of them named twice."""
    held = [
        forge.external("w", [4], location="model.onnx_data", offset=0, length=16),
        forge.external("v", [4], location="model.onnx_data", offset=4096, length=16),
        forge.external("u", [4], location="model.onnx_data", offset=4096, length=16),
    ]
    nodes = [forge.node("Sum", ["x", "w", "v", "u"], ["y"])]
    file("net/model.onnx", forge.model(forge.graph(nodes, held)))(folder, canary)
    file("net/model.onnx_data", bytes(4096) + np.ones(4, "<f4").tobytes())(folder, canary)


def _typed() -> bytes:
    """Tensors in every way in which numbers may be written."""
    held = [
        helper.make_tensor("a", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]),
        helper.make_tensor("b", TensorProto.INT64, [2, 2], [1, -2, 300, 4]),
        helper.make_tensor("c", TensorProto.STRING, [2], [b"x", b"y"]),
        helper.make_tensor("d", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("e", TensorProto.BFLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("f", TensorProto.DOUBLE, [1], [1.0]),
        helper.make_tensor("g", TensorProto.BOOL, [3], [True, False, True]),
        helper.make_tensor("h", TensorProto.UINT64, [1], [1 << 63]),
        helper.make_tensor("i", TensorProto.COMPLEX64, [1], [1 + 2j]),
        helper.make_tensor("j", TensorProto.INT4, [3], [1, 2, 3]),
        numpy_helper.from_array(np.zeros((0, 4), np.float32), "k"),
    ]
    return forge.model(
        forge.graph([forge.node("Identity", ["x"], ["y"])], [t.SerializeToString() for t in held])
    )


def _branches() -> bytes:
    branches = b"".join(
        forge.data(
            5,
            forge.data(1, name),
            forge.data(6, forge.data(1, forge.node("Abs", ["x"], [name])), forge.data(12, forge.value(name))),
            forge.number(20, 5),
        )
        for name in ("then_branch", "else_branch")
    )
    flag = forge.tensor("flag", [], 9, forge.data(9, b"\1"))
    return forge.model(forge.graph([forge.node("If", ["flag"], ["y"], branches)], [flag]))


def _mask() -> bytes:
    """A causal mask, which is made of -infinity."""
    return forge.weights(np.triu(np.full((32, 32), -np.inf, np.float32), 1))


def _functions() -> bytes:
    made = [
        forge.function("inner", [forge.node("Relu", ["a"], ["b"])]),
        forge.function(
            "outer", [forge.node("inner", ["a"], ["t"], domain="own"), forge.node("Abs", ["t"], ["b"])]
        ),
    ]
    return forge.model(forge.graph([forge.node("outer", ["x"], ["y"], domain="own")]), *made)


_MICROSOFT = forge.data(8, forge.data(1, "com.microsoft"), forge.number(2, 1))
_UNORDERED = [forge.node("Abs", ["a"], ["y"]), forge.node("Neg", ["x"], ["a"])]
_F = ("F32", [2, 2], 0, 16)
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLIT = {"type": "Split", "pattern": {"Regex": _LLAMA3}, "behavior": "Isolated", "invert": False}
_CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_CARD = (
    "# A model\n\nSee [the paper](https://example.org/a) and `<script>` in code.\n\n```html\n<script>\n```\n"
)
_SENTENCES = b"".join(
    forge.data(1, forge.data(1, p), b"\x15" + struct.pack("<f", -1.5), forge.number(3, 2))
    for p in ("<unk>", "▁a")
)

SOUND: dict[str, Build] = {
    "ONNX": file("model.onnx", forge.sound_model()),
    "ONNX, all types": file("model.onnx", _typed()),
    "ONNX with branches": file("model.onnx", _branches()),
    "ONNX with a mask": file("model.onnx", _mask()),
    "ONNX with functions": file("model.onnx", _functions()),
    "ONNX with a loop of ten rounds": file("model.onnx", forge.loop(10, True, changes=False)),
    "ONNX with Microsoft's operators": file(
        "model.onnx",
        forge.model(forge.graph([forge.node("Gelu", ["x"], ["y"], domain="com.microsoft")]), _MICROSOFT),
    ),
    "ONNX with nodes out of order": file("model.onnx", forge.model(forge.graph(_UNORDERED))),
    "ONNX with metadata": file(
        "model.onnx",
        forge.model(_IDENTITY, forge.data(14, forge.data(1, "labels"), forge.data(2, "cat,dog"))),
    ),
    "ONNX with data beside it": _external,
    "safetensors": file("model.safetensors", forge.safetensors({"a": _F}, bytes(16), format="pt")),
    "safetensors of bfloat16": file(
        "model.safetensors", forge.safetensors({"a": ("BF16", [8], 0, 16)}, bytes(16))
    ),
    "GGUF": file("model.gguf", forge.gguf()),
    "GGUF with words and a template": file(
        "model.gguf",
        forge.gguf(
            {
                "tokenizer.chat_template": (8, forge.text(_CHATML)),
                "tokenizer.ggml.tokens": (9, struct.pack("<IQ", 8, 2) + forge.text("a") + forge.text("b")),
                "llama.context_length": (4, struct.pack("<I", 2048)),
                "flag": (7, b"\1"),
            }
        ),
    ),
    "GGUF without tensors": file("vocab.gguf", forge.gguf(tensors=[], body=b"")),
    "configuration": files(
        config__json='{"model_type": "bert", "hidden_size": 384, "auto_map": null, "trust_remote_code": false}',
        generation__yaml="temperature: 0.7\nstop:\n  - '</s>'\n",
        settings__toml='[model]\nname = "a"\n',
        rows__jsonl='{"a": 1}\n\n{"b": [1, 2]}\n',
    ),
    "tokenizer": files(
        tokenizer__json=tokenizer(
            pre_tokenizer={"type": "Sequence", "pretokenizers": [_SPLIT, {"type": "ByteLevel"}]}
        ),
        tokenizer_config__json=json.dumps({"chat_template": _CHATML, "model_max_length": 10**30}),
        vocab__txt="[UNK]\ncat\n\x7f\n狗\n",
        merges__txt="#version: 0.2\na b\n",
        chat_template__jinja=_CHATML,
    ),
    "sentencepiece": file("spiece.model", _SENTENCES),
    "cards and licences": files(README__md=_CARD, LICENSE="Apache License\n", NOTICE__txt="Made by us.\n"),
    "table": file("labels.csv", "id,name\n1,-3.5\n2,=\n"),
    "numpy": file("table.npy", _saved(np.arange(12.0).reshape(3, 4))),
    "numpy, many": file("tables.npz", _saved_many(packed=False)),
    "numpy, many and packed": file("tables.npz", _saved_many(packed=True)),
    "plain numbers": file("voices/a.bin", np.linspace(-2, 2, 256, dtype="<f4").tobytes()),
    "numbers that repeat": file("voices/b.bin", b"N0N0" * 100 + bytes(4)),
    "safetensors with marks that lead nowhere": file(
        "model.safetensors",
        forge.tensor_file(b"PK\1\2" + b"PK\5\6" + bytes(40) + b"PE\0\0" * 3 + b"\x7fELF" + bytes(40)),
    ),
    "words that read like other forms": files(
        labels__txt="Iron\ncopper\nzinc\nboron\n",
        names__txt="x \ny^2\n",
        codes__txt="070701\n070702\n",
    ),
    "PNG": file("cat.png", _picture("PNG")),
    "PNG with a comment": file("cat.png", forge.png_with(b"Comment\0a cat")),
    "PNG by hand": file("cat.png", forge.png()),
    "JPEG": file("cat.jpg", _picture("JPEG")),
    "WebP": file("cat.webp", _picture("WEBP", "RGBA")),
    "WAV": file("hello.wav", _wave()),
    "MP3": file("hello.mp3", _mp3()),
    "names in Chinese": file("标签/类别 一.txt", "猫\n狗\n"),
}

__all__ = ["SOUND", "announced", "pickled"]
