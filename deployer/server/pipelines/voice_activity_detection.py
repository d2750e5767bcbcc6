"""When somebody speaks in a recording or a stream: Silero VAD's sequence graph, and its rule for segments.

The graph takes frames of 512 samples at 16 kHz, each led by the 64 samples before it, as many at once as
there are, and hands its memory (h, c) on to the next block; so a recording costs a few runs, not one a frame.
A frame at or above `threshold` opens a segment; only a pause of `min_silence_ms` below the threshold less
0.15 closes it. Shorter segments than `min_speech_ms` are dropped, the others widened by `pad_ms`.

A stream is sent piece by piece, each with the `state` of the last answer (null to begin with), the last one
with `last`. It is answered with what has become certain: the same starts and ends as of a whole recording.
"""

from typing import Any

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.fields import Body, bool_field, bytes_field, float_field, int_field
from deployer.server.model import Model
from deployer.server.predictor import GraphPredictor, Work
from deployer.server.signature import Array
from deployer.server.sound.audio import FIELD, decode, decode_pcm, resample
from deployer.server.sound.listening import WIDTH, Memory, unpack
from deployer.server.sound.resampling import RATES
from deployer.server.sound.turns import FRAME, RATE, Event, Rule

_BLOCK = 512  # frames in one run: 16 s
_MS = {"type": "integer", "minimum": 0, "maximum": 10_000}
_STREAM: dict[str, Any] = {
    "rate": {
        "type": "integer",
        "minimum": 4000,
        "maximum": 192_000,
        "description": "given, the bytes are bare samples of this rate: 16 bit, little-endian, one channel",
    },
    "state": {"type": ["string", "null"], "description": "of a stream: the state of the last answer"},
    "last": {"type": "boolean", "description": "of a stream: whether it ends with this piece"},
}


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
                **_STREAM,
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Segments in seconds, the share of the recording that they make up, and its length."""
        rule = self._rule(body)
        if "state" in body or "last" in body:
            return (yield from self.follow(body, rule))
        samples, rate = _sound(body)
        if not samples.size:
            raise BadInput("audio", Words("holds no sound", "没有声音数据"))
        samples = resample(samples, rate, RATE)
        likely = yield from self.listen(samples)
        spans = segments(
            likely,
            samples.size,
            threshold=rule.threshold,
            least_speech=rule.least_speech,
            least_silence=rule.least_silence,
            pad=rule.pad,
        )
        spoken = sum(end - start for start, end in spans)
        return {
            "segments": [
                {"start": round(start / RATE, 3), "end": round(end / RATE, 3)} for start, end in spans
            ],
            "speech_ratio": round(spoken / max(samples.size, 1), 4),
            "duration": round(samples.size / RATE, 3),
        }

    def follow(self, body: Body, rule: Rule) -> Work[dict[str, Any]]:
        """A piece of a stream: events in seconds from its beginning, and the state for the next piece."""
        memory, last = unpack(body.get("state")), bool_field(body, "last", False)
        piece, rate = _sound(body, empty_rate=memory.rate)
        if rate not in RATES or (memory.received and rate != memory.rate):
            began = memory.rate if memory.received else 0
            raise BadInput("audio", *_another_rate(rate, began))
        memory.rate, place = rate, memory.heard
        frames = memory.take(piece, last=last)
        likely = yield from self._likelihoods(frames, memory)
        events: list[Event] = []
        for value in likely.tolist():
            end = min(place + FRAME, memory.made)
            events += memory.turns.hear(value, place, end, rule)
            place += FRAME
        if last:
            events += memory.turns.finish(memory.made, rule)
        return {
            "events": [{"type": one.type, "time": round(one.place / RATE, 3)} for one in events],
            "speaking": memory.turns.speaking,
            "state": None if last else memory.pack(),
        }

    def listen(self, samples: Array) -> Work[Array]:
        """The likelihood of speech in every frame of samples [n] at 16 kHz: float32 [n / 512, rounded up]."""
        memory = Memory()
        return (yield from self._likelihoods(memory.take(samples, last=True), memory))

    def _likelihoods(self, frames: Array, memory: Memory) -> Work[Array]:
        """Of frames [n, 576], by block; the graph's memory goes on in `memory`."""
        found = [np.empty(0, np.float32)]
        shape = (1, 1, WIDTH)
        for start in range(0, len(frames), _BLOCK):
            block = np.ascontiguousarray(frames[start : start + _BLOCK])
            feeds = {"input": block, "h": memory.h.reshape(shape), "c": memory.c.reshape(shape)}
            answer = yield from self.run(feeds)
            memory.h, memory.c = answer["hn"].reshape(-1), answer["cn"].reshape(-1)
            found.append(answer["speech_probs"].reshape(-1))
        return np.concatenate(found)

    def _rule(self, body: Body) -> Rule:
        least_speech = int_field(body, "min_speech_ms", self.least_speech, least=0, most=10_000)
        least_silence = int_field(body, "min_silence_ms", self.least_silence, least=0, most=10_000)
        return Rule(
            float_field(body, "threshold", self.threshold, least=0.05, most=1),
            least_speech * RATE // 1000,
            least_silence * RATE // 1000,
            int_field(body, "pad_ms", self.pad, least=0, most=1000) * RATE // 1000,
        )


def load(model: Model) -> SpeechFinder:
    """Read the file `model`: the sequence graph at 16 kHz."""
    return SpeechFinder(model)


def _sound(body: Body, empty_rate: int = 0) -> tuple[Array, int]:
    """The samples in the field `audio`, with their rate; of a stream they may be none."""
    given = body.get("audio")
    bare = "rate" in body
    rate = int_field(body, "rate", 0, least=4000, most=192_000) if bare else empty_rate
    if empty_rate and given in ("", b"", {"base64": ""}):
        return np.empty(0, np.float32), rate
    data = bytes_field(body, "audio")
    return (decode_pcm(data, rate), rate) if bare else decode(data)


def _another_rate(rate: int, began: int) -> tuple[Words, Words]:
    if began:
        why = Words(
            f"is at {rate} Hz, its stream began at {began}", f"为 {rate} Hz，而该流开始时为 {began} Hz"
        )
        return why, Words(f"{began} Hz", f"{began} Hz")
    listed = ", ".join(map(str, RATES))
    return Words(f"is at {rate} Hz", f"为 {rate} Hz"), Words(
        f"a stream at {listed} Hz", f"流的采样率：{listed} Hz"
    )


def segments(
    likely: Array, length: int, *, threshold: float, least_speech: int, least_silence: int, pad: int
) -> list[tuple[int, int]]:
    """Stretches of speech as [start, end) in samples of a recording of that length, by Silero's rule."""
    found: list[list[int]] = []
    lower = Rule(threshold, least_speech, least_silence, pad).lower
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
