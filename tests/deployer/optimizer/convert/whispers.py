"""A Whisper forward pass in plain numpy, in double precision, and small models with random weights.

Written from the paper (Radford et al., 2022) and CTranslate2's description of its file, apart from the
converter: it shares no code with it.
"""

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.deployer.optimizer.convert.encoders import ERF, norm, softmax

PROJECTION = "decoder/projection/weight"
KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
SMALL = {"mels": 6, "frames": 10, "context": 12, "tokens": 40, "width": 16, "heads": 2, "layers": (2, 3)}


def text(value: str) -> bytes:
    """A text as the format has it."""
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def variable(name: str, value: np.ndarray, **lies: int) -> bytes:
    """A variable as the format has it; lies: rank, kind, size."""
    head = struct.pack("<B", lies.get("rank", value.ndim)) + b"".join(
        struct.pack("<I", n) for n in value.shape
    )
    kind, size = lies.get("kind", KINDS[value.dtype.name]), lies.get("size", value.nbytes)
    return text(name) + head + struct.pack("<BI", kind, size) + value.tobytes()


def model_bin(variables: Iterable[bytes], aliases: Iterable[tuple[str, str]] = (), version: int = 6) -> bytes:
    """A whole model.bin."""
    made, other = list(variables), list(aliases)
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(made))
    tail = struct.pack("<I", len(other)) + b"".join(text(a) + text(b) for a, b in other)
    return head + b"".join(made) + tail


def weights(seed: int = 7, dtype: str = "float16", **changes: Any) -> dict[str, np.ndarray]:
    """Random weights of a small model by CTranslate2's names."""
    size = {**SMALL, **changes}
    width, inner = size["width"], 3 * size["width"]
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/conv1/weight": (width, size["mels"], 3),
        "encoder/conv1/bias": (width,),
        "encoder/conv2/weight": (width, width, 3),
        "encoder/conv2/bias": (width,),
        "encoder/position_encodings/encodings": (size["frames"], width),
        "decoder/position_encodings/encodings": (size["context"], width),
        "decoder/embeddings/weight": (size["tokens"], width),
    }
    for side, layers in zip(("encoder", "decoder"), size["layers"], strict=True):
        names = {"self_attention": (3, 1), "ffn": ()}
        if side == "decoder":
            names["attention"] = (1, 2, 1)
        for n in range(layers):
            for part, widths in names.items():
                base = f"{side}/layer_{n}/{part}"
                shapes |= {f"{base}/layer_norm/{one}": (width,) for one in ("gamma", "beta")}
                for index, count in enumerate(widths):
                    shapes[f"{base}/linear_{index}/weight"] = (count * width, width)
                    shapes[f"{base}/linear_{index}/bias"] = (count * width,)
            base = f"{side}/layer_{n}/ffn"
            shapes |= {f"{base}/linear_0/weight": (inner, width), f"{base}/linear_0/bias": (inner,)}
            shapes |= {f"{base}/linear_1/weight": (width, inner), f"{base}/linear_1/bias": (width,)}
        shapes |= {f"{side}/layer_norm/{one}": (width,) for one in ("gamma", "beta")}
    rng = np.random.default_rng(seed)
    return {name: (rng.normal(0, 0.4, shape)).astype(dtype) for name, shape in shapes.items()}


def write(path: Path, made: dict[str, np.ndarray], **numbers: int) -> Path:
    """A model.bin of these weights; numbers of the decoder may be changed, a -1 leaves one out."""
    told: dict[str, Any] = {"activation": np.int8(3), "pre_norm": np.int8(1), "num_heads": np.int16(2)}
    told |= {"scale_embeddings": np.int8(0), "alibi": np.int8(0), "start_from_zero_embedding": np.int8(0)}
    told |= {name: type(told[name])(value) for name, value in numbers.items()}
    every = {f"decoder/{name}": np.array(value) for name, value in told.items() if value != -1}
    every["encoder/num_heads"] = np.array(SMALL["heads"], np.int16)
    path.write_bytes(
        model_bin(
            [variable(name, value) for name, value in sorted({**every, **made}.items())],
            [] if PROJECTION in made else [(PROJECTION, "decoder/embeddings/weight")],
        )
    )
    return path


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + ERF(x / math.sqrt(2))) / 2


class Forward:
    """The model in float64."""

    def __init__(self, made: dict[str, np.ndarray], heads: int = 2) -> None:
        self.w = {name: value.astype(np.float64) for name, value in made.items()}
        self.heads = heads

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return norm(x, self.w[f"{name}/layer_norm/gamma"], self.w[f"{name}/layer_norm/beta"], 1e-5)

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.w[f"{name}/weight"].T + self.w[f"{name}/bias"]

    def split(self, x: np.ndarray) -> np.ndarray:
        """[n, width] as [heads, n, width / heads]."""
        return x.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

    def attend(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool = False) -> np.ndarray:
        q, k, v = self.split(q), self.split(k), self.split(v)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        if causal:
            scores = np.where(np.tri(scores.shape[-1], dtype=bool), scores, -np.inf)
        return (softmax(scores) @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)

    def feed(self, name: str, x: np.ndarray) -> np.ndarray:
        return x + self.dense(f"{name}/linear_1", gelu(self.dense(f"{name}/linear_0", self.norm(name, x))))

    def convolve(self, name: str, x: np.ndarray, stride: int) -> np.ndarray:
        """[in, n] to [out, n / stride]."""
        kernel, padded = self.w[f"{name}/weight"], np.pad(x, ((0, 0), (1, 1)))
        cut = np.stack([padded[:, at : at + 3] for at in range(0, x.shape[1], stride)])
        return gelu(np.einsum("oik,nik->on", kernel, cut) + self.w[f"{name}/bias"][:, None])

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """[mels, 2 × frames] to [frames, width]."""
        x = self.convolve("encoder/conv2", self.convolve("encoder/conv1", mel, 1), 2).T
        x = x + self.w["encoder/position_encodings/encodings"]
        n = 0
        while f"encoder/layer_{n}/ffn/linear_0/bias" in self.w:
            name = f"encoder/layer_{n}/self_attention"
            q, k, v = np.split(self.dense(f"{name}/linear_0", self.norm(name, x)), 3, axis=1)
            x = x + self.dense(f"{name}/linear_1", self.attend(q, k, v))
            x, n = self.feed(f"encoder/layer_{n}/ffn", x), n + 1
        return self.norm("encoder", x)

    def decode(self, ids: list[int], seen: np.ndarray) -> np.ndarray:
        """Logits [n, tokens] behind each of the ids."""
        x = (
            self.w["decoder/embeddings/weight"][ids]
            + self.w["decoder/position_encodings/encodings"][: len(ids)]
        )
        n = 0
        while f"decoder/layer_{n}/ffn/linear_0/bias" in self.w:
            name = f"decoder/layer_{n}/self_attention"
            q, k, v = np.split(self.dense(f"{name}/linear_0", self.norm(name, x)), 3, axis=1)
            x = x + self.dense(f"{name}/linear_1", self.attend(q, k, v, causal=True))
            name = f"decoder/layer_{n}/attention"
            k, v = np.split(self.dense(f"{name}/linear_1", seen), 2, axis=1)
            q = self.dense(f"{name}/linear_0", self.norm(name, x))
            x = x + self.dense(f"{name}/linear_2", self.attend(q, k, v))
            x, n = self.feed(f"decoder/layer_{n}/ffn", x), n + 1
        table = self.w.get(PROJECTION, self.w["decoder/embeddings/weight"])
        return self.norm("decoder", x) @ table.T
