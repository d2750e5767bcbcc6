"""Sound for callers: WAV, bare PCM and MP3, at once or piece by piece while it is made.

MP3 comes from lameenc, which is imported when somebody asks for it; without it the format is refused.
"""

import struct
from typing import Protocol

import numpy as np

from deployer.server.errors import BadInput, Words
from deployer.server.signature import Array

MEDIA_TYPES = {"wav": "audio/wav", "pcm": "audio/pcm", "mp3": "audio/mpeg"}
_UNKNOWN = 0xFFFFFFFF  # as recorders write it into a pipe; readers then go on to the end
_KBPS = 64  # of one voice: no more can be heard


class Encoder(Protocol):
    """Takes samples as they come; the bytes of all calls in a row are the file."""

    def write(self, samples: Array) -> bytes:
        """The next bytes for float samples [n] in -1 … 1; the first call brings the head along."""

    def end(self) -> bytes:
        """The last bytes."""


def encoder(form: str, rate: int, where: str = "format") -> Encoder:
    """An encoder by the format's name; raises BadInput for an unknown one, and for MP3 without lameenc."""
    if form == "mp3":
        return _Mp3(rate, where)
    if form not in MEDIA_TYPES:
        why = Words(f"is {form[:40]!r}, which is not made here", f"是 {form[:40]!r}，这里不提供")
        raise BadInput(where, why, " | ".join(MEDIA_TYPES))
    return _Pcm(wav_head(rate) if form == "wav" else b"")


def wav(samples: Array, rate: int) -> bytes:
    """Float samples [n] in -1 … 1 as a WAV file, 16 bit, one channel."""
    return wav_head(rate, samples.size) + pcm(samples)


def wav_head(rate: int, count: int | None = None) -> bytes:
    """The first 44 bytes of a WAV file with `count` samples; without it, of one that goes on to its end."""
    length = _UNKNOWN if count is None else 2 * count
    whole = _UNKNOWN if count is None else 36 + length
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", whole) + b"WAVEfmt " + form + b"data" + struct.pack("<I", length)


def pcm(samples: Array) -> bytes:
    """Float samples [n] in -1 … 1 as little-endian 16 bit; what is louder is clipped."""
    levels: Array = np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype("<i2")
    return levels.tobytes()


class _Pcm:
    """16-bit samples behind a head."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def write(self, samples: Array) -> bytes:
        """Little-endian 16 bit."""
        head, self._head = self._head, b""
        return head + pcm(samples)

    def end(self) -> bytes:
        """The head, where nothing came after it."""
        head, self._head = self._head, b""
        return head


class _Mp3:
    """One channel at a constant 64 kbit/s."""

    def __init__(self, rate: int, where: str) -> None:
        try:
            import lameenc
        except ImportError:
            why = Words("is mp3, for which lameenc is not installed", "是 mp3，但没有安装 lameenc")
            raise BadInput(where, why, "wav | pcm") from None
        self._lame = lameenc.Encoder()
        self._lame.set_bit_rate(_KBPS)
        self._lame.set_in_sample_rate(rate)
        self._lame.set_channels(1)
        self._lame.set_quality(5)
        self._lame.silence()
        self._begun = False

    def write(self, samples: Array) -> bytes:
        """The frames that are full."""
        self._begun = True
        return bytes(self._lame.encode(pcm(samples)))

    def end(self) -> bytes:
        """The last frames; nothing where no sample came."""
        return bytes(self._lame.flush()) if self._begun else b""
