"""Text to sound: a Kokoro-like model, which takes symbols of speech, a style and a speed.

The graph has three inputs: the symbols' numbers (integers [1, n], a 0 at either end), the style (float [1,
width]) and the speed (float [1]); its output is the sound. A voice is a table of styles, one row for each
number of symbols.

Roles: `model`; `vocab`, JSON with the number of each symbol; `lexicon` (deployer.server.text.lexicon); the
voices, each as `voice-NAME`, raw float32 [rows, width], or all as `voices`, an .npz. Options: sample_rate;
voice (the default one, else the first); voices (their names in order, else sorted); numerals (the language in
which digits are read: zh); max_tokens; most_characters; min_speed and max_speed.
"""

import base64
from typing import Any, NamedTuple

import numpy as np

from deployer.server.errors import BadInput, BadModel, Words
from deployer.server.fields import Body, float_field, text_field
from deployer.server.graph import Run
from deployer.server.model import Model
from deployer.server.predictor import JsonPredictor, Work
from deployer.server.signature import Array, signature
from deployer.server.sound.encoding import wav
from deployer.server.text.lexicon import Lexicon
from deployer.server.text.pronunciation import NUMERALS, Pronouncer

_VOICE = "voice-"
_EASY = 200  # symbols of a phrase made of several sentences: some 12 s of sound
_QUIET = 0.01  # the loudest sample of what counts as a pause
_LEAD, _TAIL = 0.1, 0.25  # seconds of quiet left before and after a phrase; the model makes up to 0.5 and 1.2
_BREAKS = (".!?;", ",:—…", " ")


class Phrase(NamedTuple):
    """What the model says in one go: symbols of speech and their numbers."""

    symbols: str
    ids: tuple[int, ...]


class Speaker(JsonPredictor):
    """One graph, its voices, and the way from text to symbols."""

    task = "text-to-speech"
    field = "text"
    raw = False

    def __init__(self, model: Model) -> None:
        self.graph = model.graph("model", exclusive=True)
        self._tokens, self._style, self._speed = self._inputs()
        options = model.options
        self.rate = int(options.get("sample_rate", 24_000))
        self.limit = int(options.get("max_tokens", 510))
        self.most_characters = int(options.get("most_characters", 4096))
        self.speeds = float(options.get("min_speed", 0.5)), float(options.get("max_speed", 2.0))
        self.vocab = _vocab(model)
        numerals = str(options.get("numerals", ""))
        if numerals and numerals not in NUMERALS:
            raise BadModel(f"options.numerals is {numerals!r}; known are {', '.join(NUMERALS)}")
        self.pronouncer = Pronouncer(Lexicon.open(model.path("lexicon")), self.vocab, numerals)
        self._styles = self._voices(model)
        self.voices = list(self._styles)
        self.schema = {
            "type": "object",
            "required": ["text"],
            "x-field": "text",
            "properties": {
                "text": {"type": "string", "minLength": 1, "maxLength": self.most_characters},
                "voice": {"type": "string", "enum": self.voices, "default": self.voices[0]},
                "speed": {
                    "type": "number",
                    "minimum": self.speeds[0],
                    "maximum": self.speeds[1],
                    "default": 1.0,
                },
            },
        }

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """The text as a WAV file, its length in seconds, and the letters that could not be said."""
        text = text_field(body, "text", limit=self.most_characters)
        voice = self.voice(body.get("voice", self.voices[0]))
        speed = self._pace(body)
        phrases, silent = self._pieces(text, "text")
        pieces = []
        for phrase in phrases:
            sound = yield from self.say(phrase, voice=voice, speed=speed)
            pieces.append(sound)
        samples = np.concatenate(pieces)
        return {
            "audio": {"base64": base64.b64encode(wav(samples, self.rate)).decode()},
            "sample_rate": self.rate,
            "duration": round(samples.size / self.rate, 3),
            "voice": voice,
            "left_out": silent,
            "usage": {"characters": len(text)},
        }

    def voice(self, name: Any, where: str = "voice") -> str:
        """The name of a voice; raises BadInput with the names that there are."""
        if not isinstance(name, str) or name not in self._styles:
            why = Words("is not a voice of this model", "不是该模型的声音")
            raise BadInput(where, why, " | ".join(self.voices))
        return name

    def phrases(self, text: str, *, where: str = "text") -> list[Phrase]:
        """A text in pieces that the model takes, parted at ends of sentences, the first one short.

        Raises BadInput for a text that is too long or has nothing that can be said.
        """
        return self._pieces(text_field({where: text}, where, limit=self.most_characters), where)[0]

    def say(self, phrase: Phrase, *, voice: str, speed: float) -> Work[Array]:
        """The sound of a phrase, float32 [samples] in -1 … 1 at `rate`; refuses voices and speeds."""
        styles, speed = self._styles[self.voice(voice)], self._pace({"speed": speed})
        row = min(len(phrase.ids), len(styles)) - 1
        feeds: dict[str, Array] = {
            self._tokens: np.array([[0, *phrase.ids, 0]], np.int64),
            self._style: np.asarray(styles[row : row + 1], np.float32),
            self._speed: np.array([speed], np.float32),
        }
        output = self.graph.outputs[0].name
        sound = (yield Run(self.graph, feeds, (output,)))[output].reshape(-1)
        return self._trimmed(np.clip(np.nan_to_num(sound.astype(np.float32)), -1.0, 1.0))

    def close(self) -> None:
        """Drop the session."""
        self.graph.close()

    def _pace(self, body: Body) -> float:
        return float_field(body, "speed", 1.0, least=self.speeds[0], most=self.speeds[1])

    def _pieces(self, text: str, where: str) -> tuple[list[Phrase], str]:
        """The phrases of a text, and the letters that have no sound."""
        spoken = self.pronouncer.speak(text)
        if not spoken.sentences:
            why = Words("has nothing that can be said", "没有可以朗读的内容")
            raise BadInput(where, why, Words("words of the model's language", "该模型语言的文字"))
        pieces = [piece for sentence in spoken.sentences for piece in cut(sentence, self.limit)]
        return [
            Phrase(p, tuple(map(self.vocab.__getitem__, p))) for p in joined(pieces, min(_EASY, self.limit))
        ], spoken.silent

    def _trimmed(self, samples: Array) -> Array:
        """A phrase with short pauses around it, so that phrases in a row sound like one text."""
        loud = np.flatnonzero(np.abs(samples) > _QUIET)
        if not loud.size:
            return samples
        start = max(0, int(loud[0]) - round(_LEAD * self.rate))
        return samples[start : int(loud[-1]) + round(_TAIL * self.rate)]

    def _inputs(self) -> tuple[str, str, str]:
        """The names of the inputs by their types and ranks, which is how exports agree."""
        kinds = {(spec.datatype, len(spec.shape)): spec.name for spec in self.graph.inputs}
        wanted = ("INT64", 2), ("FP32", 2), ("FP32", 1)
        if set(kinds) != set(wanted) or len(self.graph.inputs) != 3:
            taken = signature(self.graph.inputs)
            raise BadModel(f"the graph takes {taken}; not symbols [1, n], a style [1, width] and a speed [1]")
        return kinds[wanted[0]], kinds[wanted[1]], kinds[wanted[2]]

    def _voices(self, model: Model) -> dict[str, Array]:
        """The style tables by name, the default voice first."""
        width = next(spec.shape[1] for spec in self.graph.inputs if spec.name == self._style)
        if model.has("voices"):
            kept = np.load(model.path("voices"), allow_pickle=False)
            if not isinstance(kept, np.lib.npyio.NpzFile):
                raise BadModel("the file `voices` is not an .npz of voices by name")
            with kept:
                found = {name: _table(kept[name], width, name) for name in sorted(kept.files)}
        else:
            roles = sorted(role for role in model.manifest.get("files") or {} if role.startswith(_VOICE))
            found = {}
            for role in roles:
                raw = np.fromfile(model.path(role), "<f4")
                found[role.removeprefix(_VOICE)] = _table(raw, width, role)
        if not found:
            raise BadModel("there is no voice: give a file voice-NAME or voices")
        order = list(map(str, model.options.get("voices", found)))
        first = str(model.options.get("voice", order[0] if order else ""))
        if set(order) != set(found) or first not in found:
            raise BadModel(f"options.voice and options.voices do not name the files: {', '.join(found)}")
        return {name: found[name] for name in sorted(order, key=lambda name: name != first)}


def load(model: Model) -> Speaker:
    """Read the files `model`, `vocab`, `lexicon` and the voices."""
    return Speaker(model)


def cut(symbols: str, limit: int) -> list[str]:
    """A sentence in pieces of at most `limit` symbols: behind a mark, else between words, else anywhere."""
    pieces = []
    while len(symbols) > limit:
        for breaks in _BREAKS:
            place = max(symbols.rfind(sign, limit // 4, limit) for sign in breaks) + 1
            if place:
                break
        place = place or limit
        pieces.append(symbols[:place].strip())
        symbols = symbols[place:].strip()
    return [piece for piece in [*pieces, symbols] if piece]


def joined(pieces: list[str], most: int) -> list[str]:
    """Neighbours in one phrase of at most `most` symbols; the first stays alone, to be heard soon."""
    phrases = pieces[:1]
    for piece in pieces[1:]:
        if len(phrases) > 1 and len(phrases[-1]) + 1 + len(piece) <= most:
            phrases[-1] += f" {piece}"
        else:
            phrases.append(piece)
    return phrases


def _vocab(model: Model) -> dict[str, int]:
    """The number of each symbol, which is one character."""
    found = model.json("vocab")
    found = found.get("vocab", found) if isinstance(found, dict) else {}
    kept = {k: v for k, v in found.items() if len(k) == 1 and isinstance(v, int) and v >= 0}
    if " " not in kept:
        raise BadModel("the vocab does not give numbers to symbols, with the space among them")
    return kept


def _table(values: Array, width: int, name: str) -> Array:
    """Styles float32 [rows, width] out of any shape with as many values."""
    if width < 1 or values.size == 0 or values.size % width or values.dtype.kind != "f":
        raise BadModel(f"{name} is not a table of styles with {width} columns")
    return values.astype(np.float32).reshape(-1, width)
