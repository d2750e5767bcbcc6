"""When somebody speaks in a recording: Silero VAD's sequence graph, and its rule for segments.

The graph takes frames of 512 samples at 16 kHz, each led by the 64 samples before it, as many at once as
there are, and hands its memory (h, c) on to the next block; so a recording costs a few runs, not one a frame.
A frame at or above `threshold` opens a segment; only a pause of `min_silence_ms` below the threshold less
0.15 closes it. Shorter segments than `min_speech_ms` are dropped, the others widened by `pad_ms`.
"""

from typing import Any

import numpy as np

from deployer.server.audio import FIELD, audio_field
from deployer.server.errors import BadModel
from deployer.server.fields import Body, float_field, int_field
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array

RATE, FRAME, CONTEXT = 16_000, 512, 64
_BLOCK = 512  # frames in one run: 16 s
_HYSTERESIS = 0.15
_MS = {"type": "integer", "minimum": 0, "maximum": 10_000}


class SpeechFinder(GraphPredictor):
    """One graph from frames to the likelihood of speech in each."""

    task = "voice-activity-detection"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        names = [spec.name for spec in self.inputs], [spec.name for spec in self.outputs]
        if names != (["input", "h", "c"], ["speech_probs", "hn", "cn"]):
            raise BadModel("the graph is not the sequence form of Silero VAD (input, h, c)")
        options = model.options
        self.threshold = float(options.get("threshold", 0.5))
        self.least_speech = int(options.get("min_speech_ms", 250))
        self.least_silence = int(options.get("min_silence_ms", 100))
        self.pad = int(options.get("pad_ms", 30))
        self.schema = {
            "type": "object",
            "required": ["audio"],
            "x-field": "audio",
            "properties": {
                "audio": FIELD,
                "threshold": {"type": "number", "minimum": 0.05, "maximum": 1, "default": self.threshold},
                "min_speech_ms": {**_MS, "default": self.least_speech},
                "min_silence_ms": {**_MS, "default": self.least_silence},
                "pad_ms": {**_MS, "maximum": 1000, "default": self.pad},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Segments in seconds, the share of the recording that they make up, and its length."""
        threshold = float_field(body, "threshold", self.threshold, least=0.05, most=1)
        least_speech = int_field(body, "min_speech_ms", self.least_speech, least=0, most=10_000)
        least_silence = int_field(body, "min_silence_ms", self.least_silence, least=0, most=10_000)
        pad = int_field(body, "pad_ms", self.pad, least=0, most=1000)
        samples = audio_field(body, rate=RATE)
        likely = yield from self.listen(samples)
        spans = segments(
            likely,
            samples.size,
            threshold=threshold,
            least_speech=least_speech * RATE // 1000,
            least_silence=least_silence * RATE // 1000,
            pad=pad * RATE // 1000,
        )
        spoken = sum(end - start for start, end in spans)
        return {
            "segments": [
                {"start": round(start / RATE, 3), "end": round(end / RATE, 3)} for start, end in spans
            ],
            "speech_ratio": round(spoken / max(samples.size, 1), 4),
            "duration": round(samples.size / RATE, 3),
        }

    def listen(self, samples: Array) -> Work[Array]:
        """The likelihood of speech in every frame of samples [n] at 16 kHz: float32 [n / 512, rounded up]."""
        count = -(-samples.size // FRAME)
        whole = np.zeros(CONTEXT + count * FRAME, np.float32)
        whole[CONTEXT : CONTEXT + samples.size] = samples
        frames = np.lib.stride_tricks.sliding_window_view(whole, CONTEXT + FRAME)[::FRAME]
        memory = {"h": np.zeros((1, 1, 128), np.float32), "c": np.zeros((1, 1, 128), np.float32)}
        found = []
        for start in range(0, count, _BLOCK):
            block = np.ascontiguousarray(frames[start : start + _BLOCK])
            answer = yield from self.run({"input": block, **memory})
            memory = {"h": answer["hn"], "c": answer["cn"]}
            found.append(answer["speech_probs"].reshape(-1))
        return np.concatenate(found)


def load(model: Model) -> SpeechFinder:
    """Read the file `model`: the sequence graph at 16 kHz."""
    return SpeechFinder(model)


def segments(
    likely: Array, length: int, *, threshold: float, least_speech: int, least_silence: int, pad: int
) -> list[tuple[int, int]]:
    """Stretches of speech as [start, end) in samples of a recording of that length, by Silero's rule."""
    found: list[list[int]] = []
    lower = max(threshold - _HYSTERESIS, 0.01)
    start = silent = -1  # where the open segment began, where its pause began; -1 is none
    for index, value in enumerate(likely.tolist()):
        place = index * FRAME
        if value >= threshold:
            start, silent = (place if start < 0 else start), -1
        elif start >= 0 and value < lower:  # between the two thresholds everything stays as it is
            silent = place if silent < 0 else silent
            if place - silent >= least_silence:
                if silent - start > least_speech:
                    found.append([start, silent])
                start = silent = -1
    if start >= 0 and length - start > least_speech:
        found.append([start, length])
    return _padded(found, length, pad)


def _padded(found: list[list[int]], length: int, pad: int) -> list[tuple[int, int]]:
    """Segments widened by `pad`; neighbours closer than twice that share the pause between them."""
    for index, span in enumerate(found):
        if index == 0:
            span[0] = max(0, span[0] - pad)
        if index + 1 == len(found):
            span[1] = min(length, span[1] + pad)
        else:
            following = found[index + 1]
            room = min(pad, (following[0] - span[1]) // 2)
            span[1], following[0] = span[1] + room, following[0] - room
    return [(start, end) for start, end in found]
