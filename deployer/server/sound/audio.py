"""Sound from strangers: WAV files decoded to one float channel, and resampled, with numpy alone.

The header is read by hand, because the standard library's reader knows neither float samples nor files
whose length was not known when their writing began, which is what recorders pipe out.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from deployer.server.errors import BadInput, Words
from deployer.server.signature import Array

MAX_SECONDS = 3600
MEDIA_TYPES = ("audio/wav", "audio/x-wav")
FIELD: dict[str, Any] = {
    "description": "WAV: PCM of 8, 16, 24 or 32 bits, or float of 32 or 64",
    "x-accepts": list(MEDIA_TYPES),
    "anyOf": [
        {
            "type": "object",
            "required": ["base64"],
            "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
        },
        {"type": "string", "contentEncoding": "base64"},
    ],
}

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_EXPECTED = Words(
    f"a WAV file of at most {MAX_SECONDS // 60} minutes: PCM of 8, 16, 24 or 32 bits or float, 4 to 192 kHz",
    f"WAV 文件，至多 {MAX_SECONDS // 60} 分钟：8、16、24、32 位 PCM 或浮点，4 至 192 kHz",
)


def decode(data: bytes, where: str = "audio") -> tuple[Array, int]:
    """A WAV file as float32 [samples], its channels averaged, with its rate; raises BadInput."""
    if len(data) < 12 or data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise BadInput(where, Words("is not a WAV file", "不是 WAV 文件"), _EXPECTED)
    form, payload = b"", b""
    for name, content in _chunks(data):
        if name == b"fmt " and not form:
            form = content
        elif name == b"data":
            payload = content
            break
    if len(form) < 16:
        raise BadInput(where, Words("has no sound format", "没有声音格式信息"), _EXPECTED)
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if code == _EXTENSIBLE and len(form) >= 26:
        code = struct.unpack("<H", form[24:26])[0]
    if not 1 <= channels <= 64 or not 4_000 <= rate <= 192_000:
        why = Words(f"has {channels} channels at {rate} Hz", f"为 {channels} 声道、{rate} Hz")
        raise BadInput(where, why, _EXPECTED)
    frames = _samples(payload, code, bits, channels, where)
    if frames.shape[0] == 0:
        raise BadInput(where, Words("holds no sound", "没有声音数据"), _EXPECTED)
    if frames.shape[0] > MAX_SECONDS * rate:
        minutes = frames.shape[0] / rate / 60
        raise BadInput(where, Words(f"lasts {minutes:.0f} minutes", f"长 {minutes:.0f} 分钟"), _EXPECTED)
    return np.ascontiguousarray(frames.mean(axis=1, dtype=np.float32)), rate


def decode_pcm(data: bytes, rate: int, where: str = "audio") -> Array:
    """Bare samples, 16 bit little-endian, one channel, as float32 [samples]; raises BadInput."""
    expected = Words("PCM of 16 bits, little-endian, one channel", "16 位小端单声道 PCM")
    if len(data) % 2:
        why = Words(f"has {len(data)} bytes, half a sample too many", f"有 {len(data)} 字节，多出半个样本")
        raise BadInput(where, why, expected)
    if len(data) > 2 * MAX_SECONDS * rate:
        minutes = len(data) / 2 / rate / 60
        raise BadInput(where, Words(f"lasts {minutes:.0f} minutes", f"长 {minutes:.0f} 分钟"), _EXPECTED)
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file; a length that runs past the end (a pipe's 0xFFFFFFFF) ends with it."""
    place = 12
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"data" and length == 0:  # a recorder that never came back to fill it in
            length = len(data)
        yield name, data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _samples(payload: bytes, code: int, bits: int, channels: int, where: str) -> Array:
    """float32 [frames, channels] of interleaved samples; a cut-off last frame is dropped."""
    if (code, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        why = Words(f"is coded as WAV format {code} with {bits} bits", f"编码为 WAV 格式 {code}、{bits} 位")
        raise BadInput(where, why, _EXPECTED)
    width = bits // 8 * channels
    raw = memoryview(payload)[: len(payload) // width * width]
    if code == _FLOAT:
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, then silent
            values = np.frombuffer(raw, f"<f{bits // 8}").astype(np.float32)
        values = np.clip(np.nan_to_num(values, posinf=0.0, neginf=0.0), -1.0, 1.0)
    elif bits == 8:  # the only unsigned one
        values = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128.0) / 128.0
    elif bits == 24:
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        values = padded.view("<i4")[:, 0].astype(np.float32) / 2147483648.0
    else:
        values = np.frombuffer(raw, f"<i{bits // 8}").astype(np.float32) / float(1 << (bits - 1))
    return np.asarray(values, np.float32).reshape(-1, channels)


def resample(samples: Array, rate: int, wanted: int) -> Array:
    """The same sound at another rate: band-limited, by Fourier transforms of overlapping blocks.

    A block is a whole number of the shortest span that both rates divide, so that blocks join exactly;
    a quarter of a second on either side is computed and thrown away, with its ringing.
    """
    if rate == wanted:
        return samples
    common = math.gcd(rate, wanted)
    step, out_step = rate // common, wanted // common
    margin, body = -(-common // 4), common * 8  # in such spans: a quarter second, eight seconds
    total = -(-samples.size * wanted // rate)
    blocks = -(-samples.size // (body * step))
    padded = np.zeros((blocks * body + 2 * margin) * step, np.float32)
    padded[margin * step : margin * step + samples.size] = samples
    size, out_size = (body + 2 * margin) * step, (body + 2 * margin) * out_step
    pieces = []
    for block in range(blocks):
        start = block * body * step
        spectrum = np.fft.rfft(padded[start : start + size])
        bins = np.zeros(out_size // 2 + 1, spectrum.dtype)
        shared = min(bins.size, spectrum.size)
        bins[:shared] = spectrum[:shared]
        piece = np.fft.irfft(bins, out_size) * (out_size / size)
        pieces.append(piece[margin * out_step : (margin + body) * out_step].astype(np.float32))
    return np.concatenate(pieces)[:total]
