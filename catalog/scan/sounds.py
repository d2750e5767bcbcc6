"""Example sounds, by their headers: WAV, FLAC and MP3."""

import struct

from catalog.scan.findings import Refused, Report
from catalog.scan.source import Source

LARGEST = 256 << 20
_WAV_FORMS = {1, 3, 6, 7, 0xFFFE}  # PCM, float, A-law, mu-law, extensible
_BITRATES = {1: 15, 2: 15, 3: 15}


def wav(source: Source, report: Report) -> None:
    """A WAV: chunks that fill the file, a known coding, sane channels and rate."""
    _bounded(source)
    end = 8 + struct.unpack_from("<I", source.head, 4)[0]
    if end != source.size:
        code = "file-trailing" if end < source.size else "file-truncated"
        raise Refused(code, size=abs(source.size - end), needed=end)
    place, data, known = 12, False, False
    while place + 8 <= source.size:
        kind, length = struct.unpack("<4sI", source.read(place, 8))
        if kind == b"fmt " and length >= 16:
            coding, channels, rate = struct.unpack("<HHI", source.read(place + 8, 8))
            known = coding in _WAV_FORMS and 1 <= channels <= 32 and 1000 <= rate <= 768_000
        data = data or kind == b"data"
        place += 8 + length + (length & 1)
    if not (known and data) or place not in (source.size, source.size + 1):
        raise Refused("sound-broken")


def flac(source: Source, report: Report) -> None:
    """A FLAC: its stream information, and metadata blocks that lead to the first frame."""
    _bounded(source)
    place, kind, first = 4, 0, True
    while True:
        head = source.read(place, 4)
        last, kind, length = head[0] >> 7, head[0] & 127, int.from_bytes(head[1:], "big")
        if kind > 6 or (first and (kind != 0 or length != 34)):
            raise Refused("sound-broken")
        place, first = place + 4 + length, False
        if last:
            break
    if source.read(place, 2)[0] != 0xFF or source.read(place, 2)[1] & 0xFC != 0xF8:
        raise Refused("sound-broken")


def mp3(source: Source, report: Report) -> None:
    """An MP3: behind its tag stands a frame of layer III, and behind that another one."""
    _bounded(source)
    place = 0
    if source.head[:3] == b"ID3":
        size = source.read(6, 4)
        place = 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3])
    for _ in range(3):
        if place == source.size:
            break
        place += _frame(source, source.read(place, 4))
        if place > source.size:
            raise Refused("sound-broken")


_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _frame(source: Source, head: bytes) -> int:
    """Bytes of the frame that begins so."""
    version, layer, bits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if (
        head[0] != 0xFF
        or head[1] & 0xE0 != 0xE0
        or layer != 1
        or version == 1
        or bits in (0, 15)
        or rate == 3
    ):
        raise Refused("sound-broken")
    slots = 144 if version == 3 else 72
    return slots * _KBITS[version == 3][bits] * 1000 // _RATES[version][rate] + (head[2] >> 1 & 1)


def _bounded(source: Source) -> None:
    if source.size > LARGEST:
        raise Refused("file-too-large", size=source.size, limit=LARGEST)
