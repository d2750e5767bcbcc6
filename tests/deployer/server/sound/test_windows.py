"""Windows of a recording: no longer than asked, all speech in one of them, cut where it is quiet."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.sound.windows import FRAME, following, levelled, loudness, quietest, spoken

LONGEST, PAUSE = 60 * FRAME, 8 * FRAME
Spans = list[tuple[int, int]]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Spans, np.ndarray]:
    """Stretches of speech in frames, and an activity that is low in their pauses."""
    spans, place = [], 0
    for pause, length in draw(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 150)), max_size=12)):
        spans.append(((place + pause) * FRAME, (place + pause + length) * FRAME))
        place += pause + length
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    activity = np.zeros(place + 5, np.float32)
    for start, end in spans:
        activity[start // FRAME : end // FRAME] = rng.uniform(0.5, 1, (end - start) // FRAME)
    return spans, activity


def windows(spans: Spans, activity: np.ndarray) -> Spans:
    found, place = [], 0
    while (window := following(spans, activity, place, longest=LONGEST, pause=PAUSE)) is not None:
        assert window[1] > place
        found.append(window)
        place = window[1]
    return found


@given(recordings())
def test_every_stretch_is_heard_once(recording: tuple[Spans, np.ndarray]) -> None:
    spans, activity = recording
    found = windows(spans, activity)
    assert all(0 < end - start <= LONGEST for start, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    assert sum(spoken(spans, *window) for window in found) == sum(end - start for start, end in spans)
    for start, end in found:
        pauses = [max(0, min(b[0], end) - max(a[1], start)) for a, b in pairwise(spans)]
        assert max(pauses, default=0) <= PAUSE


def test_neighbours_share_a_window_until_it_is_full_or_a_long_pause_lies_between() -> None:
    spans = [(FRAME * a, FRAME * b) for a, b in ((2, 10), (12, 30), (33, 61), (64, 70), (90, 95))]
    activity = np.zeros(100, np.float32)
    assert windows(spans, activity) == [(FRAME * 2, FRAME * 61), (FRAME * 64, FRAME * 70), spans[-1]]
    # from within a stretch, as where a model stopped
    place = FRAME * 40
    assert following(spans, activity, place, longest=LONGEST, pause=PAUSE) == (place, FRAME * 70)


def test_a_long_stretch_is_cut_where_least_goes_on() -> None:
    activity = np.ones(200, np.float32)
    activity[44:50] = 0.1
    (start, cut), *others = windows([(0, 100 * FRAME)], activity)
    assert start == 0 and 44 * FRAME <= cut <= 50 * FRAME
    assert others == [(cut, 100 * FRAME)]
    assert 40 * FRAME <= quietest(np.zeros(100, np.float32), 40 * FRAME, 60 * FRAME) <= 60 * FRAME


def test_how_much_is_spoken() -> None:
    spans = [(10, 20), (30, 50), (60, 61)]
    assert spoken(spans, 0, 100) == 31
    assert spoken(spans, 15, 40) == 15
    assert spoken(spans, 20, 30) == spoken(spans, 61, 99) == spoken([], 0, 9) == 0


def test_loudness_tells_sound_from_silence() -> None:
    rng = np.random.default_rng(1)
    sound = np.concatenate([rng.normal(0, 0.1, 9 * FRAME), rng.normal(0, 1e-5, 9 * FRAME + 3)])
    found = loudness(sound.astype(np.float32))
    assert found.shape == (19,)
    assert (found[:9] > 0.9).all() and (found[9:] == 0).all()
    assert not loudness(np.zeros(5000, np.float32)).any()
    assert loudness(np.zeros(0, np.float32)).shape == (0,)


def test_soft_sound_is_made_as_loud_as_speech_and_nothing_else_is() -> None:
    wave = np.sin(np.arange(20_000) / 9).astype(np.float32)
    assert np.abs(levelled(wave * 0.01)).max() > 0.4
    assert np.abs(levelled(wave * 0.0005)).max() < 0.06  # a hundred times at most
    for same in (wave, wave * 0.00005, np.zeros(9, np.float32), np.zeros(0, np.float32)):
        np.testing.assert_array_equal(levelled(same), same)
    click = np.concatenate([wave * 0.01, np.ones(3, np.float32)])
    assert np.abs(levelled(click)).max() <= 1
