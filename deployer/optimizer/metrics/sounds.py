"""Speech that is made: no label says what is right, but how near it stays to the full model's."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from deployer.optimizer.metrics.judge import Answer, Expected, each
from deployer.optimizer.metrics.tally import Floats, Tally
from deployer.server.errors import BadInput
from deployer.server.sound.audio import decode

_BANDS = 40
_WINDOW, _HOP = 0.05, 0.0125  # seconds
_FLOOR = 1e-5  # of the loudest power: 50 dB below it all is silence


class VoiceJudge:
    """Judges answers of the form {"audio": {"base64": a WAV file}}; there are no labels."""

    metric = "spectral-agreement"
    form = "none"
    expected = Expected("nothing: this task has no labels", "无：该任务没有标签")

    def check(self, label: Any) -> str | None:
        """Nothing is a label of speech."""
        return "is a label, which this task does not have"

    def tally(self, answers: Sequence[Answer], labels: Sequence[Any]) -> Tally:
        """Refuses: a voice is judged by agreement alone."""
        raise ValueError("text-to-speech has no labels")

    def agreement(self, answers: Sequence[Answer], reference: Sequence[Answer]) -> Floats:
        """The correlation of log-mel spectra, brought to one length, times shorter by longer."""
        return each(_same, answers, reference)


def _same(one: Answer, other: Answer) -> float:
    mine, theirs = _spectrum(one), _spectrum(other)
    if mine is None or theirs is None:
        return 0.0
    lengths = len(mine), len(theirs)
    mine = _stretched(mine, len(theirs))
    ones, others = mine - mine.mean(), theirs - theirs.mean()
    size = float(np.sqrt((ones**2).sum() * (others**2).sum()))
    if size < 1e-12:
        return float(np.allclose(mine, theirs))
    return max(0.0, float((ones * others).sum()) / size) * min(lengths) / max(lengths)


def _spectrum(answer: Answer) -> Floats | None:
    """log-mel [frames, 40] of the sound of an answer; None where there is none."""
    audio = answer.get("audio")
    text = audio.get("base64") if isinstance(audio, Mapping) else audio
    if not isinstance(text, str):
        return None
    try:
        samples, rate = decode(base64.b64decode(text))
    except (BadInput, binascii.Error, ValueError):
        return None
    width, hop = round(_WINDOW * rate), round(_HOP * rate)
    if samples.size < width:
        samples = np.pad(samples, (0, width - samples.size))
    windows = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
    powers = np.abs(np.fft.rfft(windows * np.hanning(width), axis=1)) ** 2
    mel = powers @ _filters(rate, width)
    return np.asarray(np.log(mel + _FLOOR * max(float(mel.max()), 1e-12)), np.float64)


@cache
def _filters(rate: int, width: int) -> Floats:
    """Triangles [frequencies, 40], evenly apart on the mel scale from 60 Hz to 8 kHz or what there is."""
    low, high = 2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + min(8000.0, rate / 2) / 700)
    mels = np.linspace(low, high, _BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.fft.rfftfreq(width, 1 / rate)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None))


def _stretched(frames: Floats, count: int) -> Floats:
    """Frames drawn evenly to another number of them."""
    if len(frames) == count:
        return frames
    places = np.linspace(0, len(frames) - 1, count)
    low = np.floor(places).astype(np.int64)
    high = np.minimum(low + 1, len(frames) - 1)
    share = (places - low)[:, None]
    return np.asarray(frames[low] * (1 - share) + frames[high] * share)
