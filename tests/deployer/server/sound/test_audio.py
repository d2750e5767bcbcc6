"""WAV files of every coding decode alike; resampling keeps a tone; anything else is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.errors import BadInput
from deployer.server.sound.audio import decode, decode_pcm, resample

PCM, ALAW, FLOAT, EXTENSIBLE = 1, 6, 3, 0xFFFE


def wav(
    payload: bytes, code: int = PCM, channels: int = 1, rate: int = 16_000, bits: int = 16, length: int = -1
) -> bytes:
    form = struct.pack(
        "<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits
    )
    if code == EXTENSIBLE:
        form += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", PCM) + bytes(14)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    size = len(payload) if length < 0 else length
    chunks += b"data" + struct.pack("<I", size) + payload
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


WAVE = np.array([0.0, 0.5, -0.5, 0.25, -1.0])


@pytest.mark.parametrize(
    ("code", "bits", "payload"),
    [
        (PCM, 8, (WAVE * 128 + 128).astype(np.uint8).tobytes()),
        (PCM, 16, (WAVE * 32768).astype("<i2").tobytes()),
        (PCM, 24, b"".join(int(v * 8388608).to_bytes(3, "little", signed=True) for v in WAVE)),
        (PCM, 32, (WAVE * 2147483648).astype("<i4").tobytes()),
        (FLOAT, 32, WAVE.astype("<f4").tobytes()),
        (FLOAT, 64, WAVE.astype("<f8").tobytes()),
        (EXTENSIBLE, 16, (WAVE * 32768).astype("<i2").tobytes()),
    ],
)
def test_every_coding_gives_the_same_samples(code: int, bits: int, payload: bytes) -> None:
    samples, rate = decode(wav(payload, code, bits=bits, rate=22_050))
    assert rate == 22_050
    assert samples.dtype == np.float32
    assert np.allclose(samples, WAVE, atol=1e-6)


def test_channels_are_averaged_and_a_cut_off_frame_is_dropped() -> None:
    stereo = np.stack([WAVE, -WAVE], 1)
    samples, _ = decode(wav((stereo * 16384).astype("<i2").tobytes() + b"\1\2\3", channels=2))
    assert samples.tolist() == [0.0] * 5


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 7_000])
def test_a_length_that_was_never_filled_in_ends_with_the_file(length: int) -> None:
    samples, _ = decode(wav((WAVE * 32768).astype("<i2").tobytes(), length=length))
    assert samples.size == 5


def test_floats_that_are_no_numbers_are_silent() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 3.0, 0.5], "<f8")
    samples, _ = decode(wav(values.tobytes(), FLOAT, bits=64))
    assert samples.tolist() == [0.0, 0.0, 0.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ID3\x04 an mp3 file, say", "is not a WAV file"),
        (b"OggS" + bytes(40), "is not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "has no sound format"),
        (wav(b""), "holds no sound"),
        (wav(b"\1"), "holds no sound"),
        (wav(b"\1" * 8, ALAW, bits=8), "is coded as WAV format 6 with 8 bits"),
        (wav(b"\1" * 8, PCM, bits=12), "is coded as WAV format 1 with 12 bits"),
        (wav(b"\1" * 8, rate=0), "has 1 channels at 0 Hz"),
        (wav(b"\1" * 8, channels=0), "has 0 channels at 16000 Hz"),
        (wav(bytes(4_000 * 3601), bits=8, rate=4_000), "lasts 60 minutes"),
    ],
)
def test_what_is_no_good_sound_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode(data)
    assert refused.value.where == "audio"
    assert refused.value.why.en == why
    assert "WAV" in refused.value.expected.zh


@given(st.binary(max_size=80), st.integers(0, 60), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_damaged_files_decode_or_are_refused(noise: bytes, place: int, tail: bytes) -> None:
    good = wav((WAVE * 32768).astype("<i2").tobytes())
    for data in (noise, b"RIFF\0\0\0\0WAVE" + noise, good[:place] + noise + tail):
        try:
            samples, rate = decode(data)
        except BadInput:
            continue
        assert samples.size and np.isfinite(samples).all() and np.abs(samples).max() <= 1 and rate >= 4_000


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 11_127])
def test_a_tone_stays_the_same_tone(rate: int) -> None:
    samples = np.sin(2 * np.pi * 440 * np.arange(rate * 19) / rate).astype(np.float32)
    found = resample(samples, rate, 16_000)
    assert found.size == 19 * 16_000
    wanted = np.sin(2 * np.pi * 440 * np.arange(found.size) / 16_000)
    assert np.abs(found - wanted)[4_000:-4_000].max() < 1e-3


def test_what_the_lower_rate_cannot_hold_is_filtered_out() -> None:
    samples = np.sin(2 * np.pi * 11_000 * np.arange(44_100) / 44_100).astype(np.float32)
    assert np.abs(resample(samples, 44_100, 16_000))[2_000:-2_000].max() < 1e-2


@given(st.integers(4_000, 192_000), st.integers(1, 5_000))
@settings(max_examples=60, deadline=None)
def test_any_rate_gives_as_many_seconds(rate: int, count: int) -> None:
    found = resample(np.ones(count, np.float32), rate, 16_000)
    assert found.size == -(-count * 16_000 // rate)
    assert np.isfinite(found).all()


def test_bare_samples() -> None:
    assert decode_pcm(b"\x00\x00\xff\x7f\x00\x80", 8000).tolist() == [0.0, 32767 / 32768, -1.0]
    assert decode_pcm(b"", 8000).size == 0
    for data, said in ((b"\0", "half a sample"), (bytes(2 * 4000 * 3601), "lasts 60 minutes")):
        with pytest.raises(BadInput, match=said):
            decode_pcm(data, 4000)
