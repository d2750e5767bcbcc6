"""Raster pictures: read chunk by chunk to their end, so that nothing stands behind the last one.

Whoever shows a picture shows what `reencode` made of it: only pixels, without what else the file carried.
"""

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

from catalog.scan.findings import Refused, Report
from catalog.scan.source import Source

LARGEST = 32 << 20
MOST_PIXELS = 25_000_000
LONGEST_SIDE = 16_384
_PNG_CHUNKS = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"tEXt",
    b"zTXt", b"iTXt", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"eXIf", b"cICP", b"mDCv", b"cLLi",
    b"orNT",
}  # fmt: skip
_WEBP_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP "}
_STARTS = {0xC0, 0xC1, 0xC2}
"""Frames of JPEG that are served: baseline, extended and progressive."""


def png(source: Source, report: Report) -> None:
    """A PNG: known chunks with right checksums, IEND last, nothing behind it."""
    data = _bounded(source)
    place, width, height, last = 8, 0, 0, b""
    seen: set[bytes] = set()
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if place + 12 + length > len(data):
            raise _broken(source)
        body = data[place + 8 : place + 8 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, place + 8 + length)[0]:
            raise _broken(source)
        if kind == b"acTL" or (kind not in _PNG_CHUNKS and not kind[0] & 32):
            raise _broken(source)
        if kind == b"IHDR" and not seen and length == 13:
            width, height = struct.unpack_from(">II", body)
        seen.add(kind)
        last, place = kind, place + 12 + length
        if kind == b"IEND":
            break
    if last != b"IEND" or b"IDAT" not in seen or not width:
        raise _broken(source)
    _behind(source, place)
    _sized(source, report, width, height)


def jpeg(source: Source, report: Report) -> None:
    """A JPEG: segments up to the scan, the scan to its end mark, nothing behind it."""
    data = _bounded(source)
    place, size = 2, (0, 0)
    while True:
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        if data[place : place + 2] == b"\xff\xd9":
            break
        if place + 4 > len(data) or data[place] != 0xFF:
            raise _broken(source)
        mark = data[place + 1]
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if length < 2 or place + 2 + length > len(data):
            raise _broken(source)
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            if mark not in _STARTS or size != (0, 0) or length < 8:
                raise _broken(source)
            height, width = struct.unpack_from(">HH", data, place + 5)
            size = (width, height)
        place += 2 + length
        if mark == 0xDA:
            place = _scan_end(data, place)
    _behind(source, place + 2)
    _sized(source, report, *size)


def _scan_end(data: bytes, place: int) -> int:
    """Where the next mark stands that is neither a stuffed zero nor a restart."""
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return len(data)
        if data[place + 1] == 0 or 0xD0 <= data[place + 1] <= 0xD7:
            place += 2
        elif data[place + 1] == 0xFF:
            place += 1
        else:
            return place


def webp(source: Source, report: Report) -> None:
    """A WebP: a RIFF of known chunks that ends where it says."""
    data = _bounded(source)
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise _broken(source)
    place, size = 12, (0, 0)
    while place + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind not in _WEBP_CHUNKS or place + 8 + length > end:
            raise _broken(source)
        body = data[place + 8 : place + 18]
        if kind == b"VP8X" and len(body) >= 10:
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif kind == b"VP8L" and len(body) >= 5 and size == (0, 0):
            bits = int.from_bytes(body[1:5], "little")
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"VP8 " and len(body) >= 10 and size == (0, 0):
            size = tuple(n & 0x3FFF for n in struct.unpack_from("<HH", body, 6))
        place += 8 + length + (length & 1)
    if place != end:
        raise _broken(source)
    _behind(source, end)
    _sized(source, report, *size)


def _bounded(source: Source) -> bytes:
    if source.size > LARGEST:
        raise Refused("picture-large", limit=LARGEST)
    return source.whole(LARGEST)


def _behind(source: Source, end: int) -> None:
    if end < source.size:
        raise Refused("file-trailing", size=source.size - end)
    if end > source.size:
        raise _broken(source)


def _sized(source: Source, report: Report, width: int, height: int) -> None:
    if not width or not height:
        raise _broken(source)
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise Refused("picture-large", limit=MOST_PIXELS)
    report.facts |= {"width": width, "height": height}


def _broken(source: Source) -> Refused:
    return Refused("picture-broken")


def reencode(source: Path, target: Path, width: int = 0) -> dict[str, Any]:
    """Draw a picture anew as PNG, JPEG or WebP; gives its form, width, height and size in bytes.

    With `width`, as a WebP of at most so many pixels a side. To be called in a shut-in child
    (catalog.scan.child), for pictures that `scan` has passed.
    """
    from PIL import Image, ImageOps  # Pillow is heavy and only this needs it

    report = Report(source.name)
    with Source(source) as opened:
        mark = opened.head[:4]
        check = {b"\x89PNG": png, b"RIFF": webp}.get(mark, jpeg)
        check(opened, report)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of bombs
            with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as picture:
                form = str(picture.format)
                drawn = ImageOps.exif_transpose(picture)
                mode = "RGBA" if "A" in drawn.getbands() or "transparency" in drawn.info else "RGB"
                if drawn.mode in ("L", "1"):
                    mode = "L"
                fresh = Image.frombytes(mode, drawn.size, drawn.convert(mode).tobytes())
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError):
        raise Refused("picture-broken") from None
    if width:
        form = "WEBP"
        fresh.thumbnail((width, width))
    if form == "JPEG" and mode == "RGBA":
        fresh = fresh.convert("RGB")
    fresh.save(target, format=form, **({"quality": 70 if width else 90} if form != "PNG" else {}))
    return {"form": form.lower(), "width": fresh.width, "height": fresh.height, "size": target.stat().st_size}
