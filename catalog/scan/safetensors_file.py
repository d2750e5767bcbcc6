"""safetensors: a JSON header of names, types and places, then the numbers, without a gap, to the end."""

import math

from catalog.scan.findings import Refused, Report, shown
from catalog.scan.onnx_tensors import special
from catalog.scan.source import Source
from catalog.scan.texts import read_json, refuse_code

LARGEST_HEADER = 100_000_000  # as the format's own library has it
MOST_TENSORS = 200_000
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_FLOATS = {"F32": 1, "F64": 11, "F16": 10, "BF16": 16, "C64": 1}
_MEMBERS = {"dtype", "shape", "data_offsets"}


def check(source: Source, report: Report) -> None:
    """Refuse headers that do not fit the file, tensors that overlap or leave gaps, and not-a-number."""
    length = int.from_bytes(source.read(0, 8), "little")
    if not 2 <= length <= min(LARGEST_HEADER, source.size - 8):
        raise Refused("safetensors-header")
    header = read_json(_header(source, length), source.name)
    if not isinstance(header, dict) or len(header) > MOST_TENSORS:
        raise Refused("safetensors-header")
    words = header.pop("__metadata__", {})
    if not isinstance(words, dict) or not all(isinstance(w, str) for w in words.values()):
        raise Refused("safetensors-header")
    refuse_code(words, source.name)
    start, covered = 8 + length, 0
    for begin, end, kind, name in sorted(_place(source, n, t) for n, t in header.items()):
        if begin != covered:
            code = "safetensors-overlap" if begin < covered else "safetensors-gap"
            raise Refused(code, name=shown(name))
        covered = end
        _refuse_special(source, report, name, (start + begin, start + end), kind)
    if start + covered != source.size:
        code = "file-trailing" if start + covered < source.size else "file-truncated"
        raise Refused(code, size=abs(source.size - start - covered), needed=start + covered)
    report.facts["tensors"] = len(header)


def _header(source: Source, length: int) -> bytes:
    data = b"".join(source.pieces(8, 8 + length))
    if not data.startswith(b"{"):
        raise Refused("safetensors-header")
    return data


def _place(source: Source, name: str, entry: object) -> tuple[int, int, str, str]:
    """Begin, end and type of a tensor, its shape held against them."""
    if not isinstance(entry, dict) or set(entry) != _MEMBERS:
        raise Refused("safetensors-header")
    bits, dims, offsets = _BITS.get(str(entry["dtype"])), entry["shape"], entry["data_offsets"]
    if bits is None:
        raise Refused("safetensors-type", name=shown(name), type=shown(str(entry["dtype"]), 20))
    if not _counts(dims, 64) or not _counts(offsets, 2) or len(offsets) != 2:
        raise Refused("safetensors-header")
    begin, end = offsets
    needed = math.prod(dims) * bits
    if begin > end or needed % 8 or needed // 8 != end - begin:
        raise Refused("safetensors-size", name=shown(name))
    return begin, end, str(entry["dtype"]), name


def _counts(value: object, most: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(type(v) is int and 0 <= v < 1 << 62 for v in value)
    )


def _refuse_special(source: Source, report: Report, name: str, extent: tuple[int, int], kind: str) -> None:
    if kind not in _FLOATS or extent[1] > source.size:
        return
    found = special(source, *extent, _FLOATS[kind])
    if found == "nan":
        raise Refused("file-nan", name=shown(name))
    if found:
        report.warn("file-infinite", name=shown(name))
