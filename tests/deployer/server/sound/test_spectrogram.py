"""Whisper's view of a sound against its definition, and against figures of another implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.sound.audio import decode, resample
from deployer.server.sound.spectrogram import FRAME, HOP, RATE, filters, log_mel
from tests.deployer.server.pipelines.examples import example_file

# faster-whisper 1.2.1 (FeatureExtractor): bands and frames of the logarithm, padded to 30 s with silence.
BANDS, FRAMES = [0, 10, 40, 79], [0, 50, 120, 300]
SPEECH = [
    [0.32738, 0.46267, 0.53807, 0.4026],
    [0.93544, 1.00907, 0.82883, 0.8087],
    [0.07044, 0.93996, 0.36436, 0.43826],
    [-0.75121, -0.75121, -0.75121, -0.75121],
]
TONE = [[1.33624, 1.34874, 1.34946, -0.5618], [1.1116, 1.4382, 1.43695, -0.5618]]


def by_definition(samples: np.ndarray, frames: int, bands: int) -> np.ndarray:
    """The same in float64, by a plain transform of each frame."""
    whole = np.zeros(frames * HOP)
    whole[: min(samples.size, whole.size)] = samples[: whole.size]
    mirrored = np.concatenate([whole[FRAME // 2 : 0 : -1], whole, whole[-2 : -2 - FRAME // 2 : -1]])
    n = np.arange(FRAME)
    turn = np.exp(-2j * np.pi * np.outer(np.arange(FRAME // 2 + 1), n) / FRAME)
    window = np.sin(np.pi * n / FRAME) ** 2
    power = [np.abs(turn @ (mirrored[t * HOP : t * HOP + FRAME] * window)) ** 2 for t in range(frames)]
    levels = np.log10(np.maximum(filters(bands).astype(float) @ np.array(power).T, 1e-10))
    return (np.maximum(levels, levels.max() - 8) + 4) / 4


@pytest.mark.parametrize("bands", [80, 128])
def test_it_is_what_the_definition_says(bands: int) -> None:
    rng = np.random.default_rng(5)
    for samples in (rng.normal(0, 0.2, 9000), np.sin(np.arange(20_000) ** 1.5 / 900), np.zeros(0)):
        found = log_mel(samples.astype(np.float32), 100, bands)
        assert found.shape == (bands, 100) and found.dtype == np.float32
        np.testing.assert_allclose(found, by_definition(samples, 100, bands), atol=1e-4)


def test_it_is_what_others_make_of_speech_and_of_a_tone() -> None:
    samples, rate = decode(example_file("asr-whisper-base", "support-en.wav"))
    found = log_mel(resample(samples, rate, RATE), 3000)
    np.testing.assert_allclose(found[np.ix_(BANDS, FRAMES)], SPEECH, atol=1e-4)
    assert found.mean() == pytest.approx(-0.66644, abs=1e-4)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    found = log_mel(tone.astype(np.float32), 3000)
    np.testing.assert_allclose(found[np.ix_([10, 11], [0, 50, 99, 2000])], TONE, atol=1e-4)


def test_each_band_has_its_place() -> None:
    weights = filters(80)
    assert weights.shape == (80, 201)
    assert (weights >= 0).all() and (weights.sum(axis=1) > 0).all()
    assert (np.diff(weights.argmax(axis=1)) >= 0).all()


@given(st.integers(0, 3000), st.floats(0, 1))
def test_any_length_and_level_is_seen(size: int, level: float) -> None:
    found = log_mel(np.full(size, level, np.float32), 12)
    assert found.shape == (80, 12)
    assert np.isfinite(found).all()
    assert found.max() - found.min() <= 2.0001  # 80 dB
