"""The state of a stream as text: it comes back as it was, and a hostile one is refused."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.errors import BadInput
from deployer.server.sound.listening import CONTEXT, MOST_SAMPLES, WIDTH, Memory, unpack
from deployer.server.sound.resampling import RATES
from deployer.server.sound.turns import FRAME, Turns


def memory(rate: int = 16_000, size: int = 5000) -> Memory:
    made = Memory(rate)
    random = np.random.default_rng(size)
    made.take(random.uniform(-1, 1, size).astype(np.float32), last=False)
    made.h, made.c = random.uniform(-1, 1, (2, WIDTH)).astype(np.float32)
    return made


def same(one: Memory, other: Memory) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("h", "c", "tail", "before")
    )
    return arrays and (one.rate, one.received, one.made, one.turns) == (
        other.rate,
        other.received,
        other.made,
        other.turns,
    )


@given(st.sampled_from(RATES), st.integers(0, 9000))
@settings(deadline=None)
def test_a_state_comes_back_as_it_was(rate: int, size: int) -> None:
    made = memory(rate, size)
    if made.heard > 4 * FRAME:
        made.turns = Turns(3 * FRAME, -1, FRAME, False)
    text = made.pack()
    assert same(unpack(text), made)
    assert len(text) < 8000


def test_nothing_is_a_new_stream() -> None:
    assert same(unpack(None), Memory()) and same(unpack(""), Memory())
    assert same(unpack(Memory().pack()), Memory())


def altered(**change: Any) -> str:
    """The text of a state that has been changed, checksum and all."""
    stream = memory()
    for name, value in change.items():
        setattr(stream, name, value)
    return stream.pack()


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 0},
        {"rate": 16_001},
        {"rate": 8000},
        {"received": -1},
        {"received": 4999},
        {"made": 4999},
        {"received": MOST_SAMPLES + FRAME, "made": MOST_SAMPLES + FRAME},
        {"tail": np.zeros(CONTEXT + FRAME, np.float32)},
        {"tail": np.zeros(0, np.float32)},
        {"before": np.zeros(1, np.float32)},
        {"h": np.full(WIDTH, 2, np.float32)},
        {"h": np.full(WIDTH, np.nan, np.float32)},
        {"c": np.full(WIDTH, np.inf, np.float32)},
        {"tail": np.full(CONTEXT + 5000 % FRAME, 9, np.float32)},
        {"turns": Turns(start=-2)},
        {"turns": Turns(start=1)},
        {"turns": Turns(start=10 * FRAME)},
        {"turns": Turns(silent=FRAME)},
        {"turns": Turns(told=True)},
        {"turns": Turns(start=2 * FRAME, silent=FRAME)},
        {"turns": Turns(start=FRAME, ended=2 * FRAME)},
        {"turns": Turns(start=2 * FRAME, ended=FRAME, told=True)},
    ],
)
def test_what_no_stream_comes_to_is_refused(change: dict[str, Any]) -> None:
    assert unpack(altered())
    with pytest.raises(BadInput) as refused:
        unpack(altered(**change))
    assert refused.value.where == "state"
    assert refused.value.expected.zh


@pytest.mark.parametrize(
    "text", [5, [], {"h": 1}, True, "?", "AAAA", "A" * 20_000, "é", memory().pack()[:-8], b"AA"]
)
def test_what_is_no_state_is_refused(text: Any) -> None:
    with pytest.raises(BadInput, match="state"):
        unpack(text)


@given(st.integers(0, 1 << 20), st.integers(1, 255), st.booleans())
@settings(deadline=None)
def test_a_changed_byte_is_refused_or_harmless(place: int, change: int, checked: bool) -> None:
    """With its checksum mended, a state may be another one, but one that a stream can go on from."""
    data = bytearray(base64.b64decode(memory(48_000, 3000).pack()))
    data[place % (len(data) - 4)] ^= change
    if checked:
        data[-4:] = struct.pack("<I", zlib.crc32(data[:-4]))
    try:
        made = unpack(base64.b64encode(data).decode())
    except BadInput:
        return
    assert checked
    for last in (False, True):
        frames = made.take(np.zeros(700, np.float32), last=last)
        assert frames.shape[1] == CONTEXT + FRAME and np.isfinite(frames).all()


@given(st.lists(st.integers(0, 3000), max_size=8), st.sampled_from([16_000, 44_100]))
@settings(deadline=None)
def test_frames_do_not_depend_on_the_pieces(sizes: list[int], rate: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, sum(sizes)).astype(np.float32)
    made, start, found = Memory(rate), 0, []
    for size in sizes:
        found.append(made.take(samples[start : start + size], last=False))
        made = unpack(made.pack())
        start += size
    found.append(made.take(samples[:0], last=True))
    assert np.array_equal(np.concatenate(found), Memory(rate).take(samples, last=True))
