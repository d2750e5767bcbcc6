"""Sound to text: Whisper's two graphs, as the converter `whisper` makes them, and greedy decoding.

A recording is cut where nobody speaks into windows of at most 30 s, and each is written down by itself: no
word is cut in two, what is not speech is not heard, and a mistake stays in its window. Where the speech lies
is told by Silero VAD's graph if the model has one, else by loudness. Where Whisper's own times say that it
stopped while somebody spoke on, the next window begins there.

A transcript that goes round in circles, repeats itself or is not likely is written once more, without the
prompt and without times; the better of both is kept. A window that Whisper takes for no speech and cannot
write well is left out.

Roles: `encoder`, `decoder`, `tokenizer`; `config` with suppress_ids and suppress_ids_begin; `vad`. Options:
max_tokens of a window; most_seconds of a window; pause_ms, which ends one; prompts, by language: a text
that the model takes for what was said before, to set a style (for Chinese: simplified characters); it is
not used for translation. threshold, min_speech_ms, min_silence_ms and pad_ms of the speech's detection.
The model's text is never changed afterwards: what it writes in traditional characters stays so.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.fields import Body, bool_field, bytes_field
from deployer.server.graph import Graph, Outputs, Run
from deployer.server.model import Model, metadata
from deployer.server.pipelines.voice_activity_detection import SpeechFinder, segments
from deployer.server.predictor import JsonPredictor, Work
from deployer.server.signature import Array, TensorSpec
from deployer.server.sound.audio import FIELD, decode, resample
from deployer.server.sound.spectrogram import HOP, RATE, log_mel
from deployer.server.sound.transcription import TICK, Segment, Vocabulary, Writing, density, joined
from deployer.server.sound.windows import following, levelled, loudness, spoken

_DENSE = 2.4  # times that a transcript may be compressed before it counts as repeating itself
_DOUBTFUL = -1.0  # mean logarithm of likelihoods below which a transcript is not believed
_NOTHING = 0.6  # likelihood of no speech above which a doubtful transcript is left out
_PROGRESS = 1.0  # seconds that a window must have been written up to, to be gone on with from there
_UNHEARD = 1.0  # seconds of speech behind that which are worth it, the widening of segments included
_PAST = "past_"
TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Transcript:
    """What was said; the language is None where nobody spoke and none was named."""

    text: str
    language: str | None
    duration: float
    segments: list[Segment]


class Asked(NamedTuple):
    """How a window is to be written down, and how long it is."""

    language: str
    translate: bool
    seconds: float


class Memory:
    """What the decoder keeps of the tokens so far: for each of its inputs float32 [1, most, width].

    Room is made once; a run is given views of what is filled, so nothing is copied but what is new.
    """

    def __init__(self, specs: list[TensorSpec], most: int) -> None:
        self.size = 0
        self._kept = {spec.name: np.empty((1, most, spec.shape[2]), np.float32) for spec in specs}

    def feeds(self) -> dict[str, Array]:
        """The decoder's inputs for the past: float32 [1, size, width] each."""
        return {name: kept[:, : self.size] for name, kept in self._kept.items()}

    def add(self, outputs: Outputs, count: int) -> None:
        """Keep what a run made of `count` more tokens."""
        for name, kept in self._kept.items():
            kept[:, self.size : self.size + count] = outputs[name.removeprefix(_PAST)]
        self.size += count


class Transcriber(JsonPredictor):
    """Encoder, decoder and, if there is one, a detector of speech as one unit."""

    task = "automatic-speech-recognition"
    field = "audio"

    def __init__(self, model: Model) -> None:
        from tokenizers import Tokenizer

        self.encoder = model.graph("encoder", exclusive=True)
        self.decoder = model.graph("decoder", exclusive=True)
        self.finder = _finder(model)
        self.past = [spec for spec in self.decoder.inputs if spec.name.startswith(_PAST)]
        size = _paired(self.encoder, self.decoder)
        settings = {**(model.json("config") if model.has("config") else {}), **model.options}
        self.vocabulary = Vocabulary(Tokenizer.from_file(str(model.path("tokenizer"))), size, settings)
        _, self.bands, self.frames = self.encoder.inputs[0].shape
        self._options(model.options)
        self.schema = {
            "type": "object",
            "required": ["audio"],
            "x-field": "audio",
            "properties": {
                "audio": FIELD,
                "language": {"type": "string", "enum": sorted(self.vocabulary.languages)},
                "task": {"type": "string", "enum": list(TASKS), "default": TASKS[0]},
                "timestamps": {"type": "boolean", "default": True},
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """What is said in a recording, in which language, and when.

        Without `timestamps` there are no segments.
        """
        language = self.language(body.get("language"))
        task = body.get("task", TASKS[0])
        if task not in TASKS:
            raise BadInput("task", Words("is not known", "不是已知的任务"), " | ".join(TASKS))
        timed = bool_field(body, "timestamps", True)
        samples = _samples(bytes_field(body, "audio"), "audio")
        found = yield from self._transcribe(samples, language, task == "translate")
        return {
            "text": found.text,
            "language": found.language,
            "duration": found.duration,
            "segments": [segment._asdict() for segment in found.segments if timed],
        }

    def transcribe(
        self, audio: bytes, *, language: str | None, translate: bool, where: str
    ) -> Work[Transcript]:
        """What is said in a WAV file, or what that means in English; raises BadInput at `where`."""
        known = self.language(language, "language")
        return (yield from self._transcribe(_samples(audio, where), known, translate))

    def language(self, name: Any, where: str = "language") -> str | None:
        """A language's code out of one like zh or zh-CN; None, "" and "auto" mean that it is to be found."""
        if name is None or name in ("", "auto"):
            return None
        code = name.lower().replace("_", "-").partition("-")[0] if isinstance(name, str) else ""
        if code not in self.vocabulary.languages:
            why = Words("is not a language of this model", "不是该模型的语言")
            raise BadInput(where, why, " | ".join(sorted(self.vocabulary.languages)))
        return code

    def close(self) -> None:
        """Drop the sessions."""
        self.encoder.close()
        self.decoder.close()
        if self.finder is not None:
            self.finder.close()

    def _transcribe(self, samples: Array, language: str | None, translate: bool) -> Work[Transcript]:
        found: list[Segment] = []
        texts = []
        spans, activity = yield from self._listen(samples)
        place = 0
        while (window := self._following(spans, activity, place)) is not None:
            start, place = window
            crossed = yield from self._look(samples[start:place])
            logits, memory = yield from self._begin(crossed)
            heard = language or self.vocabulary.language(logits)
            asked = Asked(heard, translate, (place - start) / RATE)
            writing = yield from self._write_well(crossed, memory, asked)
            nothing = writing.score < _DOUBTFUL and _share(logits, self.vocabulary.nothing) > _NOTHING
            if nothing or not writing.text.strip():
                continue
            end, place, language = place, self._reached(writing, spans, start, place), heard
            texts.append(writing.text)
            found += writing.segments(start / RATE, end / RATE)
        said = "en" if translate else language or ""
        return Transcript(joined(texts, said), language, round(samples.size / RATE, 3), found)

    def _listen(self, samples: Array) -> Work[tuple[list[tuple[int, int]], Array]]:
        """Stretches [start, end) of speech in samples, and how much goes on in every 512 of them."""
        if self.finder is None:
            activity = loudness(samples)
        else:
            activity = yield from self.finder.listen(levelled(samples))
        spans = segments(
            activity,
            samples.size,
            threshold=self.threshold,
            least_speech=self.least_speech,
            least_silence=self.least_silence,
            pad=self.pad,
        )
        return spans, activity

    def _following(self, spans: list[tuple[int, int]], activity: Array, place: int) -> tuple[int, int] | None:
        return following(spans, activity, place, longest=self.longest, pause=self.pause)

    def _reached(self, writing: Writing, spans: list[tuple[int, int]], start: int, end: int) -> int:
        """The sample from which to go on: the end, or where Whisper stopped while somebody spoke on."""
        seconds = writing.reached(_PROGRESS)
        if seconds is None:
            return end
        place = start + round(seconds * RATE)
        return place if spoken(spans, place, end) > _UNHEARD * RATE else end

    def _look(self, samples: Array) -> Work[Outputs]:
        """What the decoder's layers see of a window."""
        mel = log_mel(samples, self.frames, self.bands)[None]
        return (yield Run(self.encoder, {self.encoder.inputs[0].name: mel}, self.encoder.all_outputs))

    def _begin(self, crossed: Outputs) -> Work[tuple[Array, Memory]]:
        """Logits [size] behind the start alone, which tell language and silence, and the memory of it."""
        memory = Memory(self.past, self.context)
        logits = yield from self._step(crossed, memory, [self.vocabulary.start])
        return logits, memory

    def _write_well(self, crossed: Outputs, memory: Memory, asked: Asked) -> Work[Writing]:
        """A transcript of a window; the better of two where the first is not to be believed."""
        prompt = [] if asked.translate else self.prompts.get(asked.language, [])
        writing = yield from self._write(crossed, memory, asked, prompt)
        if writing.circles and writing.score >= _DOUBTFUL and writing.reached(_PROGRESS) is not None:
            return writing  # somebody may well say the same again and again: it is heard one by one
        lost = self._astray(writing, prompt)
        if lost or writing.score < _DOUBTFUL:
            again = yield from self._write(crossed, memory, asked, [], timed=False)
            if not self._astray(again, prompt) and (lost or again.score > writing.score):
                return again
        return writing

    def _write(
        self, crossed: Outputs, memory: Memory, asked: Asked, prompt: list[int], *, timed: bool = True
    ) -> Work[Writing]:
        """One transcript of a window; `memory` holds the start, which a prompt has to go before."""
        known = self.vocabulary
        ids = [known.languages[asked.language], known.translate if asked.translate else known.transcribe]
        if not timed:
            ids.append(known.untimed)
        if prompt:
            memory = Memory(self.past, self.context)
            ids = [known.previous, *prompt, known.start, *ids]
        else:
            memory.size = 1
        limit = min(self.max_tokens, self.context - memory.size - len(ids))
        writing = Writing(known, timed=timed, seconds=asked.seconds, limit=limit)
        while not writing.done:
            logits = yield from self._step(crossed, memory, ids)
            ids = [writing.add(logits)]
        return writing

    def _step(self, crossed: Outputs, memory: Memory, ids: list[int]) -> Work[Array]:
        """Logits float32 [size] behind these ids."""
        feeds = {"ids": np.array([ids], np.int64), **memory.feeds(), **crossed}
        outputs = yield Run(self.decoder, feeds, self.decoder.all_outputs)
        memory.add(outputs, len(ids))
        logits: Array = outputs["logits"][0]
        return logits

    def _astray(self, writing: Writing, prompt: list[int]) -> bool:
        """Whether a transcript went round in circles, repeats itself or the prompt, or was cut off."""
        text = writing.text.strip()
        echoed = bool(prompt) and text == self.vocabulary.text(prompt).strip()
        cut_off = writing.full and not writing.timed  # a timed one is gone on with
        return writing.circles or echoed or cut_off or density(text) > _DENSE

    def _options(self, options: dict[str, Any]) -> None:
        """Read the options; refuses what is out of range."""
        told = metadata(self.decoder).get("context", "448")
        self.context = _whole(options, "context", int(told) if told.isdecimal() else 448, 8, 1 << 16)
        self.max_tokens = _whole(options, "max_tokens", self.context // 2, 1, self.context)
        most = self.frames * HOP // RATE
        self.longest = _whole(options, "most_seconds", most, 1, most) * RATE
        self.pause = _whole(options, "pause_ms", 3000, 0, 60_000) * RATE // 1000
        self.least_speech = _whole(options, "min_speech_ms", 100, 0, 10_000) * RATE // 1000
        self.least_silence = _whole(options, "min_silence_ms", 300, 0, 10_000) * RATE // 1000
        self.pad = _whole(options, "pad_ms", 250, 0, 1000) * RATE // 1000
        self.threshold = options.get("threshold", 0.4)
        if not isinstance(self.threshold, int | float) or not 0.05 <= self.threshold <= 1:
            raise BadModel(f"options.threshold is {self.threshold!r}, not a number from 0.05 to 1")
        prompts = options.get("prompts", {})
        if not isinstance(prompts, dict) or not set(prompts) <= set(self.vocabulary.languages):
            raise BadModel("options.prompts is not a text for each of some languages")
        self.prompts = {code: self._prompt(str(text).strip()) for code, text in prompts.items()}

    def _prompt(self, text: str) -> list[int]:
        """A text as a segment of two seconds: led by times, the model goes on to tell them too."""
        first = self.vocabulary.first_time
        ids = self.vocabulary.ids(text)[: self.context // 2 - 3]
        return [first, *ids, first + round(2 / TICK)] if ids else []


def load(model: Model) -> Transcriber:
    """Read the files `encoder`, `decoder`, `tokenizer` and, if they are there, `config` and `vad`."""
    return Transcriber(model)


def _paired(encoder: Graph, decoder: Graph) -> int:
    """The number of tokens; refuses graphs that do not fit each other as the converter's do."""
    taken = {spec.name: spec for spec in decoder.inputs}
    given = {spec.name: spec for spec in decoder.outputs}
    past = {name for name in taken if name.startswith(_PAST)}
    crossed = {spec.name: spec for spec in encoder.outputs}
    sides = [*encoder.inputs, *encoder.outputs, *decoder.inputs, *decoder.outputs]
    fit = (
        [len(spec.shape) for spec in encoder.inputs] == [3]
        and min(encoder.inputs[0].shape[1:]) > 0
        and bool(past)
        and set(taken) == {"ids", *crossed, *past}
        and set(given) == {"logits", *(name.removeprefix(_PAST) for name in past)}
        and all(taken[name].shape == spec.shape for name, spec in crossed.items())
        and all(len(taken[name].shape) == 3 and taken[name].shape[2] > 0 for name in past)
        and len(given["logits"].shape) == 2
        and given["logits"].shape[1] > 0
        and {spec.datatype for spec in sides if spec.name != "ids"} == {"FP32"}
        and taken["ids"].datatype == "INT64"
    )
    if not fit:
        form = "mel → cross_…; ids, past_…, cross_… → logits, …"
        raise BadModel(f"encoder and decoder are not a pair as the converter makes them ({form})")
    return given["logits"].shape[1]


def _finder(model: Model) -> SpeechFinder | None:
    """The detector of speech in the file `vad`, as a model of its own."""
    if not model.has("vad"):
        return None
    manifest = {"files": {"model": model.manifest["files"]["vad"]}}
    return SpeechFinder(dataclasses.replace(model, manifest=manifest, prepared=None))


def _samples(data: bytes, where: str) -> Array:
    """A WAV file as float32 [samples] at 16 kHz."""
    samples, rate = decode(data, where)
    return resample(samples, rate, RATE)


def _share(logits: Array, token: int) -> float:
    """The likelihood of a token by logits [size]."""
    shares = np.exp(logits - logits.max())
    return float(shares[token] / shares.sum())


def _whole(options: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadModel(f"options.{name} is {value!r}, not a whole number from {least} to {most}")
    return value
