"""Another rate for a sound that arrives in pieces: the same samples whatever the pieces are.

Each new sample is a sum over a fixed stretch of old ones, weighted by a windowed sinc; so nothing but the
last few milliseconds and two counts have to be kept between the pieces. A whole file is resampled by
`audio.resample`, which needs no such stretch and is sharper at the edge of the band.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from deployer.server.signature import Array

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_CROSSINGS = 24  # of the sinc with zero, to either side
_BAND = 0.95  # of what both rates can carry
_AT_ONCE = 4096


class Kernel(NamedTuple):
    """Weights [phases, 2 × reach] for new samples that lie between old ones."""

    up: int
    down: int
    reach: int
    weights: Array


@lru_cache(maxsize=len(RATES))
def kernel(rate: int, wanted: int) -> Kernel:
    """The weights from one rate to another."""
    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    share = min(1.0, up / down) * _BAND
    reach = math.ceil(_CROSSINGS / share)
    distance = np.arange(1 - reach, reach + 1) - np.arange(up)[:, None] / up
    window = np.i0(8.0 * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None)))
    weights = np.sinc(distance * share) * window
    return Kernel(up, down, reach, weights / weights.sum(axis=1, keepdims=True))


def ready(received: int, rate: int, wanted: int) -> int:
    """How many new samples can be made of the first `received` old ones."""
    if rate == wanted:
        return received
    made = kernel(rate, wanted)
    return max(0, -(-(received - made.reach) * made.up // made.down))


def kept(received: int, rate: int, wanted: int) -> int:
    """How many of the first `received` old samples the next new ones still need."""
    if rate == wanted:
        return 0
    made = kernel(rate, wanted)
    first = ready(received, rate, wanted) * made.down // made.up - made.reach + 1
    return received - max(0, first)


def resample_piece(
    before: Array, piece: Array, received: int, rate: int, wanted: int, *, last: bool
) -> tuple[Array, Array]:
    """New samples, float32, for a piece that follows `received` old ones; and what to keep of the old.

    `before` is what was kept the last time. With `last` silence follows, and all is given out.
    """
    if rate == wanted:
        return piece, piece[:0]
    made = kernel(rate, wanted)
    done, total = ready(received, rate, wanted), received + piece.size
    target = -(-total * made.up // made.down) if last else ready(total, rate, wanted)
    known = np.concatenate([before, piece])
    # Silence before the beginning and after the end, as far as the weights reach.
    margin = made.reach
    lead = np.zeros(margin if before.size == received else 0, np.float32)
    padded = np.concatenate([lead, known, np.zeros(2 * margin if last else 0, np.float32)])
    origin = total - known.size - lead.size  # the number of the old sample that `padded` begins with
    made_samples = [np.empty(0, np.float32)]
    for start in range(done, target, _AT_ONCE):
        moments = np.arange(start, min(start + _AT_ONCE, target), dtype=np.int64) * made.down
        first = moments // made.up - made.reach + 1 - origin
        stretches = np.lib.stride_tricks.sliding_window_view(padded, 2 * made.reach)[first]
        sums = (stretches * made.weights[moments % made.up]).sum(axis=1)
        made_samples.append(sums.astype(np.float32))
    count = kept(total, rate, wanted)
    return np.concatenate(made_samples), known[known.size - count :]
