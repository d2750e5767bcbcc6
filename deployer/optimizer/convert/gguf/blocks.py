"""How GGUF keeps numbers: whole, or in blocks of small integers with a scale, as llama.cpp defines them.

Each kind of block is brought into one form: integers from 0 on, a scale, and either the integer that stands
for zero or an offset for each block, so that a value is scale × (integer - zero) or scale × integer + offset.
ONNX Runtime's MatMulNBits takes the same, so nothing is lost on the way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deployer.optimizer.convert.weights import Float

Bytes = npt.NDArray[np.uint8]
SUPER = 256  # values of a block of the K kinds


class Blocks(NamedTuple):
    """Integers [blocks, n] of so many bits, scale [blocks], and zero or offset [blocks]."""

    integers: Bytes
    scale: Float
    bits: int
    zero: int = 0
    offset: Float | None = None

    def floats(self) -> Float:
        """The values themselves, [blocks, n]."""
        if self.offset is None:
            return (self.integers.astype(np.float32) - self.zero) * self.scale[:, None]
        return self.integers * self.scale[:, None] + self.offset[:, None]


@dataclass(frozen=True)
class Kind:
    """One way to keep numbers: how many in a block, of how many bytes, and how they are read."""

    name: str
    values: int
    bytes: int
    read: Callable[[Bytes], Float] | None = None
    split: Callable[[Bytes], Blocks] | None = None

    def size(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor of this shape, -1 where its rows are no whole blocks."""
        if shape and shape[-1] % self.values:
            return -1
        return (
            math.prod(shape) // self.values * self.bytes if self.values > 1 else math.prod(shape) * self.bytes
        )

    def blocks(self, raw: Bytes) -> Blocks:
        """The blocks of a tensor's bytes."""
        assert self.split is not None
        return self.split(raw.reshape(-1, self.bytes))

    def floats(self, raw: Bytes) -> Float:
        """The values of a tensor's bytes, in one row."""
        if self.read is not None:
            return self.read(raw)
        return self.blocks(raw).floats().reshape(-1)


def _half(raw: Bytes) -> Float:
    """Float16 numbers out of their bytes, the last axis being those."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def _nibbles(raw: Bytes) -> Bytes:
    """The lower halves of all bytes, then the upper ones."""
    return np.asarray(np.concatenate([raw & 15, raw >> 4], axis=-1), np.uint8)


def _fifth_bits(raw: Bytes, low: Bytes) -> Bytes:
    """Four bits of each of 32 values, with the fifth ones out of four bytes."""
    high = np.unpackbits(np.ascontiguousarray(raw), axis=-1, bitorder="little")
    return np.asarray(low | (high << 4), np.uint8)


def _q4_0(b: Bytes) -> Blocks:
    return Blocks(_nibbles(b[:, 2:]), _half(b[:, :2])[:, 0], 4, zero=8)


def _q4_1(b: Bytes) -> Blocks:
    return Blocks(_nibbles(b[:, 4:]), _half(b[:, :2])[:, 0], 4, offset=_half(b[:, 2:4])[:, 0])


def _q5_0(b: Bytes) -> Blocks:
    return Blocks(_fifth_bits(b[:, 2:6], _nibbles(b[:, 6:])), _half(b[:, :2])[:, 0], 8, zero=16)


def _q5_1(b: Bytes) -> Blocks:
    integers = _fifth_bits(b[:, 4:8], _nibbles(b[:, 8:]))
    return Blocks(integers, _half(b[:, :2])[:, 0], 8, offset=_half(b[:, 2:4])[:, 0])


def _q8_0(b: Bytes) -> Blocks:
    # From two's complement to 0 … 255.
    return Blocks(b[:, 2:] ^ np.uint8(128), _half(b[:, :2])[:, 0], 8, zero=128)


def _six_bits(b: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minima of six bits each, packed into twelve bytes: [blocks, 8] both."""
    low, mid, high = b[:, 0:4], b[:, 4:8], b[:, 8:12]
    scales = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
    minima = np.concatenate([mid & 63, (high >> 4) | ((mid >> 6) << 4)], axis=1)
    return scales, minima


def _k_scaled(b: Bytes) -> tuple[Float, Float]:
    """Scales and offsets of the eight parts of Q4_K's and Q5_K's blocks."""
    scales, minima = _six_bits(b[:, 4:16])
    return _half(b[:, :2]) * scales, -_half(b[:, 2:4]) * minima


def _q4_k(b: Bytes) -> Blocks:
    scale, offset = _k_scaled(b)
    integers = _nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 32)
    return Blocks(integers, scale.reshape(-1), 4, offset=offset.reshape(-1))


def _q5_k(b: Bytes) -> Blocks:
    scale, offset = _k_scaled(b)
    low = _nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    high = (b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None]) & 1
    integers = np.asarray(low | (high << 4), np.uint8).reshape(-1, 32)
    return Blocks(integers, scale.reshape(-1), 8, offset=offset.reshape(-1))


def _q6_k(b: Bytes) -> Blocks:
    low = b[:, :128].reshape(-1, 2, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2)  # [blocks, 2, 4, 32]
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = (b[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3
    scale = _half(b[:, 208:210]) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    integers = np.asarray(low | (high << 4), np.uint8).reshape(-1, 16)
    return Blocks(integers, scale.reshape(-1), 8, zero=32)


def _bfloat16(raw: Bytes) -> Float:
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


KINDS = {
    0: Kind("F32", 1, 4, read=lambda raw: raw.view("<f4").astype(np.float32)),
    1: Kind("F16", 1, 2, read=lambda raw: raw.view("<f2").astype(np.float32)),
    2: Kind("Q4_0", 32, 18, split=_q4_0),
    3: Kind("Q4_1", 32, 20, split=_q4_1),
    6: Kind("Q5_0", 32, 22, split=_q5_0),
    7: Kind("Q5_1", 32, 24, split=_q5_1),
    8: Kind("Q8_0", 32, 34, split=_q8_0),
    12: Kind("Q4_K", SUPER, 144, split=_q4_k),
    13: Kind("Q5_K", SUPER, 176, split=_q5_k),
    14: Kind("Q6_K", SUPER, 210, split=_q6_k),
    30: Kind("BF16", 1, 2, read=_bfloat16),
}
