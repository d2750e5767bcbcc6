"""A recording in windows that a model hears at once: begun and ended where nobody speaks.

Stretches of speech are put together as long as they fit and no long pause lies between; a stretch that is too
long is cut where it is quietest in the last third. So no word is cut in two where a speaker takes a breath,
and what is not speech is never heard.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice

import numpy as np

from deployer.server.signature import Array

FRAME = 512  # samples of which one activity tells
_SILENT = -75.0  # dB of full scale; what stays below all along is a recording of nothing
_RANGE = 50.0  # dB below the loud that count as sound
_PEAK, _GAIN, _FAINT = 0.5, 100.0, 1e-4  # of full scale: aimed at, at most, and too little to be a sound
_SOME = 1_000_000  # samples that are enough to tell how loud all are
_SMOOTH = 8  # frames: a quarter of a second


def loudness(samples: Array) -> Array:
    """How loud each frame of samples [n] is, 0 … 1 from 50 dB below the loudest frames: float32 [n / 512].

    Stands in for a detector of speech where a model has none.
    """
    count = -(-samples.size // FRAME)
    whole = np.zeros(count * FRAME, np.float32)
    whole[: samples.size] = samples
    power = np.square(whole).reshape(count, FRAME).mean(axis=1)
    level = 10 * np.log10(np.maximum(power, 1e-12))
    loud = float(np.quantile(level, 0.98)) if count else -np.inf
    if loud < _SILENT:
        return np.zeros(count, np.float32)
    found: Array = np.clip((level - loud) / _RANGE + 1, 0, 1).astype(np.float32)
    return found


def levelled(samples: Array) -> Array:
    """The same sound as loud as speech before a microphone; a recording of nothing stays as it is.

    Detectors of speech go by how loud it is, and miss what was recorded softly.
    """
    some = np.abs(samples[:: samples.size // _SOME + 1])
    peak = float(np.quantile(some, 0.999)) if some.size else 0.0
    gain = min(_PEAK / peak, _GAIN) if peak > _FAINT else 1.0
    if gain <= 1:
        return samples
    found: Array = samples * np.float32(gain)
    return np.clip(found, -1, 1, out=found)


def following(
    spans: Sequence[tuple[int, int]], activity: Array, place: int, *, longest: int, pause: int
) -> tuple[int, int] | None:
    """The window [start, end) in samples that begins with the first speech behind `place`; None for none.

    `spans` are stretches of speech in their order, `activity` float [frames] tells for every 512 samples how
    much goes on. No window is longer than `longest` samples, and none spans a longer pause than `pause`.
    """
    index = bisect_right(spans, place, key=lambda span: span[1])
    if index == len(spans):
        return None
    start, end = max(spans[index][0], place), spans[index][1]
    if end - start > longest:
        return start, quietest(activity, start + longest * 2 // 3, start + longest)
    for begun, ended in islice(spans, index + 1, None):
        if ended - start > longest or begun - end > pause:
            break
        end = ended
    return start, end


def spoken(spans: Sequence[tuple[int, int]], start: int, end: int) -> int:
    """How many samples of [start, end) are speech."""
    index = bisect_right(spans, start, key=lambda span: span[1])
    total = 0
    for begun, ended in islice(spans, index, None):
        if begun >= end:
            break
        total += min(ended, end) - max(begun, start)
    return total


def quietest(activity: Array, start: int, end: int) -> int:
    """The sample in [start, end) around which least goes on."""
    first, last = start // FRAME, max(-(-end // FRAME), start // FRAME + 1)
    part = np.pad(activity[first:last].astype(np.float32), _SMOOTH // 2, mode="edge")
    smooth = np.convolve(part, np.ones(_SMOOTH + 1), mode="valid")
    middle = (first + int(smooth.argmin())) * FRAME + FRAME // 2
    return min(max(middle, start + 1), end)
