"""What a stream of sound is known by between two requests: packed into text that the caller carries.

The server keeps nothing. The text is checked like any input when it comes back: it only affects the caller's
own stream, so it is not signed, but a hostile one must do no more than be refused or give another answer.
"""

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deployer.server.errors import BadInput, Words
from deployer.server.signature import Array
from deployer.server.sound.resampling import RATES, kept, ready, resample_piece
from deployer.server.sound.turns import FRAME, RATE, Turns

CONTEXT = 64  # samples before a frame that the graph sees too
WIDTH = 128  # of the graph's memory
MOST_SAMPLES = 1 << 46  # a stream of 45 years
_MARK = b"VAD1"
_HEAD = struct.Struct("<4sIqqqqqBHH")
_LONGEST = 16_384  # characters of a state
_EXPECTED = Words(
    "null to begin with, then the state of the last answer", "首次为 null，之后为上次返回的 state"
)


def _silence() -> Array:
    return np.zeros(WIDTH, np.float32)


@dataclass
class Memory:
    """A stream so far: counts of samples, the graph's memory, and the sound that no frame holds yet."""

    rate: int = RATE
    received: int = 0
    """Samples at the caller's rate."""
    made: int = 0
    """Samples at ours."""
    turns: Turns = field(default_factory=Turns)
    h: Array = field(default_factory=_silence)
    c: Array = field(default_factory=_silence)
    tail: Array = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    """The context of the next frame, and the samples that it has already."""
    before: Array = field(default_factory=lambda: np.empty(0, np.float32))
    """Samples at the caller's rate that the next ones at ours still need."""

    @property
    def heard(self) -> int:
        """Samples that frames have been made of."""
        return self.made - (self.tail.size - CONTEXT)

    def take(self, piece: Array, *, last: bool) -> Array:
        """Frames [n, context + frame] that the piece completes; the last one is filled up with silence."""
        samples, self.before = resample_piece(self.before, piece, self.received, self.rate, RATE, last=last)
        self.received += piece.size
        self.made += samples.size
        known = np.concatenate([self.tail, samples])
        spare = (known.size - CONTEXT) % FRAME
        if last and spare:
            known = np.concatenate([known, np.zeros(FRAME - spare, np.float32)])
            spare = 0
        self.tail = known[known.size - CONTEXT - spare :]
        if known.size < CONTEXT + FRAME:
            return np.empty((0, CONTEXT + FRAME), np.float32)
        return np.lib.stride_tricks.sliding_window_view(known, CONTEXT + FRAME)[::FRAME]

    def pack(self) -> str:
        """The text that the caller carries."""
        turns = self.turns
        head = _HEAD.pack(
            _MARK,
            self.rate,
            self.received,
            self.made,
            turns.start,
            turns.silent,
            turns.ended,
            turns.told,
            self.tail.size,
            self.before.size,
        )
        arrays = (self.h, self.c, self.tail, self.before)
        data = head + b"".join(np.asarray(array, "<f4").tobytes() for array in arrays)
        return base64.b64encode(data + struct.pack("<I", zlib.crc32(data))).decode()


def unpack(text: Any, where: str = "state") -> Memory:
    """The stream that a text stands for; None and the empty text stand for a new one. Raises BadInput."""
    if text is None or text == "":
        return Memory()
    try:
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError("no text of ours")
        memory = _read(base64.b64decode(text, validate=True))
    except (ValueError, struct.error, binascii.Error) as error:
        why = Words("is not a state of such a stream", "不是此类音频流的状态")
        raise BadInput(where, why, _EXPECTED) from error
    return memory


def _read(data: bytes) -> Memory:
    """Raises ValueError or struct.error for what no stream can have come to."""
    mark, rate, received, made, start, silent, ended, told, tail, before = _HEAD.unpack_from(data)
    body = data[_HEAD.size : -4]
    if mark != _MARK or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("another version, or damaged")
    if len(body) != 4 * (2 * WIDTH + tail + before) or told not in (0, 1):
        raise ValueError("of another length")
    numbers = np.frombuffer(body, "<f4").astype(np.float32)
    h, c, tail_samples, before_samples = np.split(numbers, [WIDTH, 2 * WIDTH, 2 * WIDTH + tail])
    memory = Memory(rate, received, made, Turns(start, silent, ended, bool(told)), h, c)
    memory.tail, memory.before = tail_samples, before_samples
    if not (_counts_fit(memory) and _places_fit(memory) and _numbers_fit(memory)):
        raise ValueError("no stream comes to this")
    return memory


def _counts_fit(memory: Memory) -> bool:
    if memory.rate not in RATES or not 0 <= memory.received <= MOST_SAMPLES:
        return False
    return (
        memory.made == ready(memory.received, memory.rate, RATE)
        and memory.before.size == kept(memory.received, memory.rate, RATE)
        and CONTEXT <= memory.tail.size < CONTEXT + FRAME
        and memory.heard >= 0
        and memory.heard % FRAME == 0
    )


def _places_fit(memory: Memory) -> bool:
    turns = memory.turns
    places = (turns.start, turns.silent, turns.ended)
    if any(place != -1 and not 0 <= place < memory.heard for place in places):
        return False
    if any(place > 0 and place % FRAME for place in places):
        return False
    if turns.told and turns.ended >= 0:
        return False
    if turns.start < 0:
        return turns.silent < 0 and not turns.told
    return (turns.silent < 0 or turns.silent > turns.start) and turns.ended < turns.start


def _numbers_fit(memory: Memory) -> bool:
    bounds = [(memory.h, 1.001), (memory.c, 1e6), (memory.tail, 4.0), (memory.before, 4.0)]
    return all(bool((np.abs(numbers) <= most).all()) for numbers, most in bounds)  # NaN is not
