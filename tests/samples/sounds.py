"""Sound: synthetic speech between silences and noise, with the truth of when and what is said.

The voices are espeak-ng's, Chinese and English; what they say comes from `tests.samples.texts`.
"""

import io
import random
import shutil
import subprocess
import wave
from functools import cache

import numpy as np
import numpy.typing as npt

from tests.samples.texts import chinese_sentences, english_lines
from tests.samples.writing import Made, Missing

RATE = 16_000
Samples = npt.NDArray[np.float64]
_VOICES = {"zh": ("cmn",), "en": ("en-us", "en-gb")}
_FRAME = RATE // 100
_QUIET = 0.02  # of the loudest frame: below it nobody speaks

_WHO = ("The customer", "My brother", "Our manager", "The doctor", "A good friend", "The teacher")
_DID = (
    "paid the bill",
    "called the office",
    "opened the window",
    "bought a new computer",
    "signed the contract",
    "forgot the keys",
    "ordered two cups of coffee",
    "answered the letter",
)
_WHEN = ("yesterday morning", "last Friday", "before lunch", "in the evening", "two days ago", "after work")


def clips(rows: int, seed: int) -> list[Made]:
    """{"audio", "label": [{"start", "end"}] in seconds}: clips of 4 to 8 s with one to three stretches."""
    chance = random.Random(seed)
    made = []
    for _ in range(rows):
        samples, spans = _clip(chance)
        noisy = samples + _noise(len(samples), chance)
        label = [{"start": round(a / RATE, 3), "end": round(b / RATE, 3)} for a, b in spans]
        made.append(Made({"label": label}, {"audio": (wav(noisy), "wav")}))
    return made


def _clip(chance: random.Random) -> tuple[Samples, list[tuple[int, int]]]:
    """Speech of amplitude .1 to .6 between pauses of .4 to 1.5 s, and where it stands."""
    length = chance.randint(4 * RATE, 8 * RATE)
    samples, spans = np.zeros(length), list[tuple[int, int]]()
    place = int(chance.uniform(0.3, 1.2) * RATE)
    while len(spans) < 3:
        speech = trimmed(say(*_line(chance), chance))
        if place + len(speech) > length - RATE // 5:
            speech = speech[: max(0, length - RATE // 5 - place)]
            if len(speech) < RATE // 2 and spans:
                break
        samples[place : place + len(speech)] += speech * chance.uniform(0.1, 0.6)
        spans.append((place, place + len(speech)))
        place += len(speech) + int(chance.uniform(0.4, 1.5) * RATE)
        if place > length - RATE:
            break
    return samples, spans


def _line(chance: random.Random) -> tuple[str, str]:
    if chance.random() < 0.6:
        return chance.choice(_short("zh")), "zh"
    return chance.choice(_short("en")), "en"


@cache
def _short(language: str) -> list[str]:
    if language == "zh":
        return [text for text in chinese_sentences() if len(text) < 14]
    return [text for text in english_lines() if len(text) < 40]


def _noise(length: int, chance: random.Random) -> Samples:
    """White or brown noise or a hum, up to a tenth of a loud voice."""
    random_state = np.random.default_rng(chance.getrandbits(32))
    kind, level = chance.choice(("white", "brown", "hum")), chance.uniform(0.0005, 0.03)
    noise: Samples = random_state.normal(0, 1, length)
    if kind == "brown":
        noise = np.convolve(noise, np.exp(-np.arange(200) / 40), "same")
    elif kind == "hum":
        noise = np.sin(2 * np.pi * chance.choice((50, 60, 120)) * np.arange(length) / RATE) + noise / 8
    return np.asarray(noise / noise.std() * level)


def say(text: str, language: str, chance: random.Random) -> Samples:
    """A line read out at 16 kHz, peak 1; raises Missing without espeak-ng."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise Missing("the program espeak-ng")
    speed, pitch = chance.randint(140, 190), chance.randint(30, 70)
    voice = chance.choice(_VOICES[language])
    command = [program, "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    rate = int.from_bytes(data[24:28], "little")
    found = np.frombuffer(data[44 : len(data) - len(data) % 2], "<i2").astype(np.float64)
    places = np.arange(0, len(found), rate / RATE)
    loud: Samples = np.interp(places, np.arange(len(found)), found)
    return loud / max(1.0, float(np.abs(loud).max()))


def trimmed(samples: Samples) -> Samples:
    """Without the silence before and after the voice."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > _QUIET * level.max())
    return samples[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]


def wav(samples: Samples) -> bytes:
    """16 bit, one channel, 16 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def sayings(rows: int, seed: int) -> list[Made]:
    """{"audio", "label": text}: an everyday sentence of English read out, with a little room around it."""
    chance = random.Random(seed)
    every = [f"{who} {did} {when}." for who in _WHO for did in _DID for when in _WHEN]
    made = []
    for text in chance.sample(every, min(rows, len(every))):
        room = np.zeros(RATE // 4)
        speech = np.concatenate([room, 0.5 * trimmed(say(text, "en", chance)), room])
        made.append(Made({"label": text}, {"audio": (wav(speech), "wav")}))
    return made
