"""GGUF: counts, metadata and tensor places, each held against the file before anything is believed."""

import math
import struct
from typing import Any

from catalog.scan import templates
from catalog.scan.findings import Refused, Report, shown
from catalog.scan.onnx_tensors import special
from catalog.scan.source import Source

MOST_TENSORS = 100_000
MOST_KEYS = 10_000
MOST_ITEMS = 8_000_000  # of all arrays together
LONGEST_KEY = 65_535
LONGEST_TEXT = 4 << 20
MOST_TEXT = 256 << 20  # bytes of all texts together
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FORMS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Numbers and bytes of a block, by the number of the tensor type in ggml."""
_FLOATS = {0: 1, 1: 10, 28: 11, 30: 16}


class _Cursor:
    """Reads on through the head of a file, in windows."""

    WINDOW = 1 << 20

    def __init__(self, source: Source) -> None:
        self.source, self.place, self.start = source, 0, 0
        self.window = b""
        self.items = self.texts = 0

    def take(self, size: int) -> bytes:
        begin = self.place - self.start
        if begin < 0 or begin + size > len(self.window):
            if self.place + size > self.source.size:
                raise Refused("file-truncated", needed=self.place + size, size=self.source.size)
            self.start, begin = self.place, 0
            length = min(max(size, self.WINDOW), self.source.size - self.place)
            self.window = self.source.read(self.place, length)
        self.place += size
        return self.window[begin : begin + size]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self, longest: int) -> bytes:
        size = self.number("<Q")
        self.texts += size
        if size > longest or self.texts > MOST_TEXT:
            raise Refused("gguf-text-large", limit=longest)
        return self.take(size)

    def skip(self, size: int) -> None:
        if self.place + size > self.source.size:
            raise Refused("file-truncated", needed=self.place + size, size=self.source.size)
        self.place += size

    def spend(self, items: int) -> None:
        self.items += items
        if self.items > MOST_ITEMS:
            raise Refused("gguf-too-many-parts")


def check(source: Source, report: Report) -> None:
    """Refuse versions that are not known, counts that the file cannot hold, and tensors out of place."""
    cursor = _Cursor(source)
    cursor.take(4)
    version, tensors, keys = cursor.number("<I"), cursor.number("<Q"), cursor.number("<Q")
    if version not in (2, 3):
        raise Refused("gguf-version", version=version)
    if tensors > MOST_TENSORS or keys > MOST_KEYS or 24 + 13 * keys + 24 * tensors > source.size:
        raise Refused("gguf-counts", tensors=tensors, keys=keys)
    words = _metadata(cursor, keys)
    _check_words(source, words, report)
    places = _tensors(cursor, tensors, int(words.get("general.alignment", 32)))
    _check_places(source, report, places, cursor.place, int(words.get("general.alignment", 32)))
    report.facts |= {
        "version": version,
        "tensors": tensors,
        "architecture": shown(str(words.get("general.architecture", "")), 40),
    }


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    words: dict[str, Any] = {}
    for _ in range(count):
        raw = cursor.text(LONGEST_KEY)
        try:
            key = raw.decode("ascii")
        except UnicodeDecodeError:
            raise Refused("gguf-key", key=shown(raw)) from None
        if key in words or not key or not key.isprintable():
            raise Refused("gguf-key", key=shown(key))
        value = _value(cursor, cursor.number("<I"))
        kept = not isinstance(value, str) or key.startswith(("general.", "tokenizer.chat_template"))
        words[key] = value if kept else None
    return words


def _value(cursor: _Cursor, kind: int) -> Any:
    if kind in _SIZES:
        if kind == 7 and (flag := cursor.take(1)) not in (b"\0", b"\1"):
            raise Refused("gguf-value", kind=flag[0])
        return cursor.number(_FORMS[kind]) if kind != 7 else flag == b"\1"
    if kind == _STRING:
        return cursor.text(LONGEST_TEXT).decode("utf-8", "replace")
    if kind != _ARRAY:
        raise Refused("gguf-value", kind=kind)
    inner, count = cursor.number("<I"), cursor.number("<Q")
    cursor.spend(min(count, MOST_ITEMS + 1))
    if inner in _SIZES:
        cursor.skip(count * _SIZES[inner])
    elif inner == _STRING:
        for _ in range(count):
            cursor.text(LONGEST_KEY)
    else:  # arrays of arrays, which nothing needs and readers recurse on
        raise Refused("gguf-value", kind=inner)
    return count


def _check_words(source: Source, words: dict[str, Any], report: Report) -> None:
    alignment = words.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise Refused("gguf-alignment", alignment=shown(str(alignment), 20))
    for key, value in words.items():
        if key.startswith("tokenizer.chat_template") and isinstance(value, str):
            templates.check(value)
            report.facts["chat_template"] = True
    for key in ("split.count", "split.no"):
        if isinstance(words.get(key), int) and words[key] > 1000:
            raise Refused("gguf-value", kind=key)


Place = tuple[int, int, int, str]


def _tensors(cursor: _Cursor, count: int, alignment: int) -> list[Place]:
    places: list[Place] = []
    names: set[bytes] = set()
    for _ in range(count):
        raw = cursor.text(256)
        dims = cursor.number("<I")
        if raw in names or not raw or dims > 4:
            raise Refused("gguf-tensor", name=shown(raw))
        names.add(raw)
        shape = [cursor.number("<Q") for _ in range(dims)]
        kind, offset = cursor.number("<I"), cursor.number("<Q")
        if kind not in _TYPES:
            raise Refused("gguf-type", name=shown(raw), type=kind)
        per_block, block = _TYPES[kind]
        numbers = math.prod(shape)
        if any(d >= 1 << 48 for d in shape) or numbers >= 1 << 48 or (shape and shape[0] % per_block):
            raise Refused("gguf-tensor", name=shown(raw))
        if offset % alignment:
            raise Refused("gguf-alignment", alignment=alignment)
        places.append((offset, numbers // per_block * block, kind, shown(raw)))
    return places


def _check_places(source: Source, report: Report, places: list[Place], head: int, alignment: int) -> None:
    """Tensors lie behind each other with no more between them than alignment asks for, up to the end."""
    start, covered = -(-head // alignment) * alignment, 0
    for offset, size, kind, name in sorted(places):
        if offset < covered:
            raise Refused("gguf-overlap", name=name)
        if offset - covered >= alignment:
            raise Refused("gguf-gap", name=name)
        covered = offset + size
        if start + covered > source.size:
            raise Refused("file-truncated", needed=start + covered, size=source.size)
        if kind in _FLOATS:
            found = special(source, start + offset, start + covered, _FLOATS[kind])
            if found == "nan":
                raise Refused("file-nan", name=name)
            if found:
                report.warn("file-infinite", name=name)
    if (places and source.size - start - covered >= alignment) or (
        not places and source.size - head >= alignment
    ):
        raise Refused("file-trailing", size=source.size - start - covered)
