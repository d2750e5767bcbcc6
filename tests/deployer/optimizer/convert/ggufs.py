"""GGUF files for tests: written by hand, with a Llama of random weights and its forward pass in numpy.

The forward pass follows Hugging Face's form of the network (halves of a head turned against each other); the
writer changes the rows of query and key over as llama.cpp's converter does. The block kinds are written and
read value by value, as ggml's comments describe them.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_KINDS = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13,
          "Q6_K": 14, "BF16": 30}  # fmt: skip


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _fact(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + np.asarray(value, "<i4").tobytes()


def write(path: Path, facts: dict[str, Any], tensors: dict[str, tuple[str, Any, bytes]], **more: Any) -> Path:
    """A file of facts and tensors: (kind, shape as numpy counts, bytes) by name."""
    out = b"GGUF" + struct.pack("<IQQ", more.get("version", 3), len(tensors), len(facts))
    out += b"".join(_text(key) + _fact(value) for key, value in facts.items())
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        out += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        out += struct.pack("<IQ", _KINDS.get(kind, 99), len(data))
        data += raw + bytes(-len(raw) % 32)
    path.write_bytes(out + bytes(-len(out) % 32) + data)
    return path


def quantise(values: np.ndarray, kind: str) -> tuple[bytes, np.ndarray]:
    """The bytes of a matrix in a simple kind, and the values that those stand for."""
    if kind == "F32":
        return values.astype("<f4").tobytes(), values.astype(np.float32)
    if kind == "F16":
        return values.astype("<f2").tobytes(), values.astype(np.float16).astype(np.float32)
    blocks = values.reshape(-1, 32)
    raw, kept = b"", np.zeros_like(blocks, np.float32)
    for number, block in enumerate(blocks):
        if kind == "Q8_0":
            scale = np.float16(np.abs(block).max() / 127)
            whole = np.clip(np.rint(block / np.float32(scale)), -127, 127).astype(np.int8)
            raw += scale.tobytes() + whole.tobytes()
            kept[number] = whole * np.float32(scale)
        else:
            low, high = (0.0, np.abs(block).max()) if kind == "Q4_0" else (block.min(), block.max())
            scale = np.float16(high / 7 if kind == "Q4_0" else (high - low) / 15)
            least = np.float16(-8 * np.float32(scale) if kind == "Q4_0" else low)
            shift = -8 * np.float32(scale) if kind == "Q4_0" else np.float32(least)
            whole = np.clip(np.rint((block - shift) / np.float32(scale)), 0, 15).astype(np.uint8)
            raw += scale.tobytes() + (b"" if kind == "Q4_0" else least.tobytes())
            raw += (whole[:16] | (whole[16:] << 4)).tobytes()
            kept[number] = whole * np.float32(scale) + shift
    return raw, kept.reshape(values.shape)


def read_block(kind: str, raw: bytes) -> list[float]:
    """The values of one block, one after another."""
    half = [struct.unpack_from("<e", raw, at)[0] for at in (0, 2)]
    if kind == "Q8_0":
        return [half[0] * value for value in struct.unpack("<32b", raw[2:])]
    if kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        five, minimum = kind[1] == "5", kind[3] == "1"
        start = 4 if minimum else 2
        high = struct.unpack_from("<I", raw, start)[0] if five else 0
        packed = raw[start + 4 * five :]
        middle = 16 if five else 8
        values = []
        for n in range(32):
            whole = packed[n % 16] >> 4 if n >= 16 else packed[n % 16] & 15
            whole |= ((high >> n) & 1) << 4
            values.append(half[0] * whole + half[1] if minimum else half[0] * (whole - middle))
        return values
    if kind == "Q6_K":
        (scale,) = struct.unpack_from("<e", raw, 208)
        values = []
        for n in range(256):
            part, place = divmod(n, 128)
            row, column = divmod(place, 32)
            byte = raw[64 * part + 32 * (row % 2) + column]
            low = byte >> 4 if row >= 2 else byte & 15
            top = (raw[128 + 32 * part + column] >> (2 * row)) & 3
            (step,) = struct.unpack_from("<b", raw, 192 + n // 16)
            values.append(scale * step * ((low | (top << 4)) - 32))
        return values
    values = []
    for n in range(256):  # Q4_K and Q5_K
        part, column = divmod(n, 32)
        six = raw[4:16]
        if part < 4:
            step, least = six[part] & 63, six[part + 4] & 63
        else:
            step = (six[part + 4] & 15) | ((six[part - 4] >> 6) << 4)
            least = (six[part + 4] >> 4) | ((six[part] >> 6) << 4)
        byte = raw[(48 if kind == "Q5_K" else 16) + 32 * (part // 2) + column]
        whole = byte >> 4 if part % 2 else byte & 15
        if kind == "Q5_K":
            whole |= ((raw[16 + column] >> part) & 1) << 4
        values.append(half[0] * step * whole - half[1] * least)
    return values


@dataclass(frozen=True)
class Tiny:
    """A network of two layers."""

    family: str = "llama"
    kind: str = "F32"
    heads: int = 4
    pairs: int = 2
    tokens: int = 40
    width: int = 64
    inner: int = 96
    base: float = 1000.0
    tied: bool = False
    stretched: bool = False

    @property
    def each(self) -> int:
        return self.width // self.heads

    def facts(self, **changes: Any) -> dict[str, Any]:
        """What the file says of it; None leaves a fact out."""
        told = {
            "general.architecture": self.family, f"{self.family}.block_count": 2,
            f"{self.family}.embedding_length": self.width, f"{self.family}.feed_forward_length": self.inner,
            f"{self.family}.attention.head_count": self.heads,
            f"{self.family}.attention.head_count_kv": self.pairs, f"{self.family}.context_length": 64,
            f"{self.family}.rope.freq_base": self.base,
            f"{self.family}.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.tokens": ["a", "b"],
            "some.numbers": [1, 2, 3], "some.flag": True,
        }  # fmt: skip
        return {key: value for key, value in {**told, **changes}.items() if value is not None}

    def weights(self) -> dict[str, np.ndarray]:
        """Random weights in Hugging Face's order of rows, by GGUF's names."""
        rng = np.random.default_rng(5)
        wide, narrow = self.heads * self.each, self.pairs * self.each
        shapes: dict[str, tuple[int, ...]] = {"token_embd": (self.tokens, self.width)}
        if not self.tied:
            shapes["output"] = (self.tokens, self.width)
        for n in range(2):
            shapes |= {
                f"blk.{n}.attn_q": (wide, self.width), f"blk.{n}.attn_k": (narrow, self.width),
                f"blk.{n}.attn_v": (narrow, self.width), f"blk.{n}.attn_output": (self.width, wide),
                f"blk.{n}.ffn_gate": (self.inner, self.width), f"blk.{n}.ffn_up": (self.inner, self.width),
                f"blk.{n}.ffn_down": (self.width, self.inner),
            }  # fmt: skip
        found = {f"{name}.weight": rng.normal(0, 0.25, shape) for name, shape in shapes.items()}
        norms = ["output_norm", *(f"blk.{n}.{part}" for n in range(2) for part in ("attn_norm", "ffn_norm"))]
        found |= {f"{name}.weight": rng.normal(1, 0.2, self.width) for name in norms}
        if self.family == "qwen2":
            for n in range(2):
                found |= {f"blk.{n}.attn_q.bias": rng.normal(size=wide)}
                found |= {f"blk.{n}.attn_{part}.bias": rng.normal(size=narrow) for part in "kv"}
        if self.stretched:
            found["rope_freqs.weight"] = rng.uniform(1, 4, self.each // 2)
        return {name: value.astype(np.float32) for name, value in found.items()}

    def write(self, path: Path, **changes: Any) -> tuple[Path, dict[str, np.ndarray]]:
        """The file, and the weights as they are after rounding."""
        tensors, kept = {}, {}
        for name, values in self.weights().items():
            heads = {"attn_q": self.heads, "attn_k": self.pairs}.get(name.split(".")[-2], 0)
            over = self.family == "llama" and heads
            turned = _over(values, heads) if over else values
            kind = self.kind if values.ndim == 2 else "F32"
            raw, rounded = quantise(turned, kind)
            tensors[name] = (kind, values.shape, raw)
            kept[name] = _back(rounded, heads) if over else rounded
        return write(path, self.facts(**changes), tensors), kept


def _over(rows: np.ndarray, heads: int) -> np.ndarray:
    """Halves of a head become neighbours, as llama.cpp's converter has it."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _back(rows: np.ndarray, heads: int) -> np.ndarray:
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def forward(shape: Tiny, w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The logits [n, tokens] of a text [n], in double precision."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    speed = shape.base ** (-np.arange(0, shape.each, 2) / shape.each)
    speed = speed / w["rope_freqs.weight"] if shape.stretched else speed
    angles = np.arange(len(ids))[:, None] * np.concatenate([speed, speed])

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def turn(x: np.ndarray) -> np.ndarray:
        half = shape.each // 2
        against = np.concatenate([-x[..., half:], x[..., :half]], -1)
        return x * np.cos(angles)[:, None] + against * np.sin(angles)[:, None]

    x = w["token_embd.weight"][ids]
    for n in range(2):
        before = norm(x, f"blk.{n}.attn_norm")
        q, k, v = (dense(before, f"blk.{n}.attn_{p}").reshape(len(ids), -1, shape.each) for p in "qkv")
        q, k = turn(q), turn(k)
        k, v = (np.repeat(part, shape.heads // shape.pairs, axis=1) for part in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(shape.each)
        scores = np.where(np.tri(len(ids), dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = np.einsum("hij,jhd->ihd", shares, v).reshape(len(ids), -1)
        x = x + dense(context, f"blk.{n}.attn_output")
        before = norm(x, f"blk.{n}.ffn_norm")
        gate = dense(before, f"blk.{n}.ffn_gate")
        x = x + dense(gate / (1 + np.exp(-gate)) * dense(before, f"blk.{n}.ffn_up"), f"blk.{n}.ffn_down")
    x = norm(x, "output_norm")
    return x @ w["token_embd.weight" if shape.tied else "output.weight"].T
