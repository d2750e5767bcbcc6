"""Sound for callers: WAV and PCM against two readers, MP3 where its library is, and all piece by piece."""

import io
import sys
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.errors import BadInput
from deployer.server.sound.audio import decode
from deployer.server.sound.encoding import MEDIA_TYPES, encoder, pcm, wav, wav_head

RATE = 24_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def test_wav_is_read_by_the_standard_library() -> None:
    with wave.open(io.BytesIO(wav(TONE, RATE))) as opened:
        assert opened.getparams()[:4] == (1, 2, RATE, RATE)
        assert opened.readframes(RATE) == pcm(TONE)


def test_wav_comes_back_as_it_went() -> None:
    samples, rate = decode(wav(TONE, RATE))
    assert rate == RATE
    assert np.abs(samples - TONE).max() < 1e-4


def test_a_wav_of_unknown_length_is_read_to_its_end() -> None:
    assert len(wav_head(RATE)) == len(wav_head(RATE, 5)) == 44
    samples, rate = decode(wav_head(RATE) + pcm(TONE))
    assert (samples.size, rate) == (RATE, RATE)


def test_what_is_too_loud_is_clipped() -> None:
    assert (
        pcm(np.array([-9.0, -1.0, 0.0, 1.0, 9.0]))
        == np.array([-32767, -32767, 0, 32767, 32767], "<i2").tobytes()
    )
    assert pcm(np.zeros(0, np.float32)) == b""


@given(st.lists(st.integers(0, 3000), max_size=6), st.sampled_from(["wav", "pcm"]))
def test_pieces_make_the_whole(lengths: list[int], form: str) -> None:
    made = encoder(form, RATE)
    pieces = [made.write(TONE[:length]) for length in lengths]
    found = b"".join(pieces) + made.end()
    whole = np.concatenate([TONE[:length] for length in lengths]) if lengths else TONE[:0]
    assert found == (wav_head(RATE) if form == "wav" else b"") + pcm(whole)


def test_mp3_has_frames_from_its_first_byte_and_is_small() -> None:
    whole = encoder("mp3", RATE)
    data = whole.write(np.tile(TONE, 5)) + whole.end()
    assert data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    assert 35_000 < len(data) < 50_000  # 64 kbit/s
    made = encoder("mp3", RATE)
    pieces = [made.write(TONE) for _ in range(5)] + [made.end()]
    assert b"".join(pieces) == data
    assert all(pieces[1:5])
    assert encoder("mp3", RATE).end() == b""


def test_mp3_without_its_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lameenc", None)
    with pytest.raises(BadInput) as refused:
        encoder("mp3", RATE, "response_format")
    assert refused.value.where == "response_format"
    assert "wav" in refused.value.expected.en
    assert "lameenc" in refused.value.why.zh


def test_other_formats_are_refused_with_those_that_there_are() -> None:
    for form in ("opus", "", "WAV", "x" * 1000):
        with pytest.raises(BadInput) as refused:
            encoder(form, RATE)
        assert refused.value.expected.en == " | ".join(MEDIA_TYPES)
        assert len(str(refused.value)) < 200
