"""Another rate piece by piece: the pieces do not show, and the sound stays what it is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.server.sound.audio import resample
from deployer.server.sound.resampling import RATES, kept, kernel, ready, resample_piece

WANTED = 16_000


def in_pieces(samples: np.ndarray, rate: int, cuts: list[int]) -> np.ndarray:
    """The whole resampled by pieces that end at the cuts."""
    edges = [0, *sorted(cut for cut in cuts if cut < samples.size), samples.size]
    before, received, made = np.empty(0, np.float32), 0, []
    for start, end in itertools.pairwise(edges):
        new, before = resample_piece(
            before,
            samples[start:end],
            received,
            rate,
            WANTED,
            last=end == samples.size and start == edges[-2],
        )
        received += end - start
        made.append(new)
        assert before.dtype == new.dtype == np.float32
        if end < samples.size:
            assert before.size == kept(received, rate, WANTED)
            assert sum(map(len, made)) == ready(received, rate, WANTED)
    return np.concatenate(made)


@given(
    st.sampled_from(RATES),
    st.integers(0, 3000),
    st.lists(st.integers(0, 3000), max_size=6),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_pieces_do_not_show(rate: int, size: int, cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)
    whole = in_pieces(samples, rate, [])
    assert np.array_equal(in_pieces(samples, rate, cuts), whole)
    assert whole.size == -(-size * WANTED // rate)
    assert np.array_equal(in_pieces(samples, rate, list(range(0, size, 7))), whole)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_and_what_is_too_high_goes(rate: int) -> None:
    def tone(hertz: int, of: int) -> np.ndarray:
        return np.sin(2 * np.pi * hertz * np.arange(of) / of).astype(np.float32) * np.float32(0.5)

    inner = slice(2000, 14_000)
    made = in_pieces(tone(1000, rate), rate, [rate // 3])
    assert np.abs(made[inner] - tone(1000, WANTED)[inner]).max() < 2e-3
    assert np.abs(made[inner] - resample(tone(1000, rate), rate, WANTED)[inner]).max() < 2e-3
    assert np.abs(in_pieces(np.full(rate, 0.25, np.float32), rate, [])[inner] - 0.25).max() < 1e-5
    if rate > 20_000:
        assert np.abs(in_pieces(tone(9000, rate), rate, [])[inner]).max() < 0.01


def test_what_is_kept_is_little() -> None:
    for rate in RATES:
        most = max(kept(received, rate, WANTED) for received in range(2000))
        assert most <= (2 * kernel(rate, WANTED).reach if rate != WANTED else 0)
        assert kept(1 << 46, rate, WANTED) <= most
