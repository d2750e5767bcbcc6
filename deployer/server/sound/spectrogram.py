"""What Whisper sees of a sound: the logarithm of its energy in bands of the mel scale, with numpy alone.

Frames of 25 ms every 10 ms under Hann's window, mirrored at both ends; bands spaced evenly in Slaney's mel
(linear below 1 kHz, logarithmic above), each weighed by its width; what lies more than 80 dB below the
loudest is raised to that.
"""

import math
from functools import cache

import numpy as np

from deployer.server.signature import Array

RATE, FRAME, HOP = 16_000, 400, 160
_LINEAR = 200 / 3  # Hz of one mel below the bend
_BEND = 1000.0  # Hz
_OCTAVES = math.log(6.4) / 27  # logarithm of the frequencies' ratio, one mel to the next above the bend
_LOWEST = 1e-10


def log_mel(samples: Array, frames: int, bands: int = 80) -> Array:
    """float32 [bands, frames] of samples [n] at 16 kHz; what is missing at the end is silence.

    Refuses nothing: samples beyond `frames` × 10 ms are left out.
    """
    whole = np.zeros(frames * HOP, np.float32)
    kept = samples[: whole.size]
    whole[: kept.size] = kept
    mirrored = np.pad(whole, FRAME // 2, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(mirrored, FRAME)[::HOP][:frames]
    spectrum = np.fft.rfft(cut * _window(), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    levels = np.log10(np.maximum(power @ filters(bands).T, _LOWEST)).T
    levels = np.maximum(levels, levels.max() - 8.0)
    return np.ascontiguousarray((levels + 4.0) / 4.0, np.float32)


@cache
def filters(bands: int) -> Array:
    """float32 [bands, 201]: how much each frequency of a frame counts in each band."""
    edges = _hertz(np.linspace(0.0, _mel(RATE / 2), bands + 2))
    frequencies = np.linspace(0.0, RATE / 2, FRAME // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    kept: Array = weights.astype(np.float32)
    return kept


def _mel(hertz: float) -> float:
    return _BEND / _LINEAR + math.log(hertz / _BEND) / _OCTAVES


def _hertz(mels: Array) -> Array:
    bend = _BEND / _LINEAR
    return np.where(mels < bend, mels * _LINEAR, _BEND * np.exp((mels - bend) * _OCTAVES))


@cache
def _window() -> Array:
    """Hann's window over one period of 400: float32 [400]."""
    turns = np.arange(FRAME) / FRAME
    return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)
