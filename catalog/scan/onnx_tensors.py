"""A graph's tensors: what their shapes promise must be there, and be numbers."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.scan.findings import Refused, Report, shown
from catalog.scan.onnx_wire import Tensor, Wire
from catalog.scan.protobuf import signed, varints
from catalog.scan.source import Source

LARGEST = 1 << 40
"""Bytes of one tensor; shapes whose product passes it are no weights of anything that this shop runs."""
SMALL = 16
"""A tensor of so few numbers is a constant of the graph, where not-a-number may be meant."""


@dataclass(frozen=True)
class Kind:
    """A data type: bits of one number, the field for numbers that are not raw, numbers in one entry of it."""

    bits: int
    typed: str
    per_entry: float = 1


_KINDS = {
    1: Kind(32, "float_data"),
    2: Kind(8, "int32_data"),
    3: Kind(8, "int32_data"),
    4: Kind(16, "int32_data"),
    5: Kind(16, "int32_data"),
    6: Kind(32, "int32_data"),
    7: Kind(64, "int64_data"),
    8: Kind(0, "string_data"),
    9: Kind(8, "int32_data"),
    10: Kind(16, "int32_data"),
    11: Kind(64, "double_data"),
    12: Kind(32, "uint64_data"),
    13: Kind(64, "uint64_data"),
    14: Kind(64, "float_data", 0.5),
    15: Kind(128, "double_data", 0.5),
    16: Kind(16, "int32_data"),
    **dict.fromkeys((17, 18, 19, 20, 24), Kind(8, "int32_data")),
    **dict.fromkeys((21, 22, 23), Kind(4, "int32_data", 2)),
    **dict.fromkeys((25, 26), Kind(2, "int32_data", 4)),
}
_EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}


def check(wire: Wire, tensor: Tensor, report: Report, *, weight: bool) -> None:
    """Refuse a tensor whose shape and data disagree, or that holds not-a-number; `weight`: not a constant."""
    kind = _KINDS.get(tensor.kind)
    name = shown(tensor.name)
    if kind is None:
        raise Refused("onnx-type", name=name, type=tensor.kind)
    if any(d < 0 for d in tensor.dims):
        raise Refused("onnx-shape", name=name)
    count = math.prod(tensor.dims)
    needed = (count * kind.bits + 7) // 8
    if needed > LARGEST or count > LARGEST:
        raise Refused("onnx-shape", name=name)
    if tensor.elsewhere:
        _check_external(wire, tensor, needed, report)
        return
    if tensor.external:
        raise Refused("onnx-tensor-size", name=name, needed=needed, size=0)
    found = _size(wire, tensor, kind)
    if found != (needed if tensor.raw else math.ceil(count / kind.per_entry)):
        raise Refused("onnx-tensor-size", name=name, needed=needed, size=found)
    special = _special(wire, tensor)
    if special == "nan" and (weight or count > SMALL):
        raise Refused("file-nan", name=name)
    if special == "nan" or (special and weight and count > SMALL):
        report.warn("file-infinite" if special != "nan" else "onnx-nan-constant", name=name)


def _size(wire: Wire, tensor: Tensor, kind: Kind) -> int:
    """Bytes of raw data, or entries of the one field that this type's numbers may stand in."""
    present = {name for name, _, _ in tensor.packed} | set(tensor.single)
    if tensor.strings:
        present.add("string_data")
    if tensor.raw is not None:
        if present or not kind.bits:
            raise Refused("onnx-tensor-size", name=shown(tensor.name), needed=0, size=0)
        return tensor.raw[1] - tensor.raw[0]
    if present - {kind.typed}:
        raise Refused("onnx-tensor-size", name=shown(tensor.name), needed=0, size=0)
    if kind.typed == "string_data":
        return tensor.strings
    packed = sum(_entries(wire, field, a, b) for field, a, b in tensor.packed)
    return packed + sum(tensor.single.values())


def _entries(wire: Wire, field: str, a: int, b: int) -> int:
    width = {"float_data": 4, "double_data": 8}.get(field)
    if width:
        if (b - a) % width:
            raise wire.malformed(a)
        return (b - a) // width
    count, last = 0, 0
    for piece in wire.source.pieces(a, b):
        values = np.frombuffer(piece, np.uint8)
        count += int(np.count_nonzero(values < 128))
        last = int(values[-1])
    if last > 127:
        raise wire.malformed(b)
    return count


def _special(wire: Wire, tensor: Tensor) -> str:
    """The worst of a tensor's numbers: nan, infinite or ""."""
    worst = tensor.special
    spans = (
        [tensor.raw] if tensor.raw else [(a, b) for field, a, b in tensor.packed if field.endswith("e_data")]
    )
    if tensor.raw is None:
        spans += [(a, b) for field, a, b in tensor.packed if field == "float_data"]
    for start, end in spans:
        worst = max(worst, special(wire.source, start, end, tensor.kind), key=_BADNESS.index)
    return worst


_BADNESS = ["", "infinite", "nan"]
_FLOATS = {1: "<f4", 11: "<f8", 10: "<f2", 14: "<f4", 15: "<f8"}


def special(source: Source, start: int, end: int, kind: int) -> str:
    """Whether floats of this type hold a nan or +infinite number; masks are made of -infinite ones."""
    form = _FLOATS.get(kind)
    worst = ""
    if form is None and kind != 16:
        return ""
    for piece in source.pieces(start, end):
        if kind == 16:
            found = _half_special(np.frombuffer(piece, "<u2"), 0x7F80, 0x007F)
        elif kind == 10:
            found = _half_special(np.frombuffer(piece, "<u2"), 0x7C00, 0x03FF)
        else:
            found = _float_special(np.frombuffer(piece, str(form)))
        worst = max(worst, found, key=_BADNESS.index)
        if worst == "nan":
            break
    return worst


def _float_special(values: "npt.NDArray[np.floating]") -> str:
    # One sum is far cheaper than looking at each number: any that is not finite shows in it.
    with np.errstate(all="ignore"):
        if np.isfinite(np.add.reduce(values)):
            return ""
    if np.isnan(values).any():
        return "nan"
    return "infinite" if np.isposinf(values).any() else ""


def _half_special(bits: "npt.NDArray[np.uint16]", exponent: int, fraction: int) -> str:
    size = bits & np.uint16(exponent | fraction)
    if not size.size or size.max() < exponent:
        return ""
    if size.max() > exponent:
        return "nan"
    return "infinite" if (bits == exponent).any() else ""


def _check_external(wire: Wire, tensor: Tensor, needed: int, report: Report) -> None:
    """Where the data of a tensor lies outside of the file: a plain name beside it, and a place in that."""
    place = tensor.external
    location, name = place.get("location", ""), shown(tensor.name)
    if tensor.raw or tensor.packed or tensor.single or tensor.strings or set(place) - _EXTERNAL_KEYS:
        raise Refused("onnx-external-path", name=shown(location))
    parts = location.split("/")
    plain = location and not location.startswith("/") and not {"", ".", ".."} & set(parts)
    if not plain or any(c in location for c in '\\:*?"<>|\x00') or not location.isprintable():
        raise Refused("onnx-external-path", name=shown(location))
    offset, length = _number(wire, place.get("offset", "0")), _number(wire, place.get("length", str(needed)))
    if not _KINDS[tensor.kind].bits or length != needed:
        raise Refused("onnx-tensor-size", name=name, needed=needed, size=length)
    report.external.setdefault(location, []).append((offset, length, tensor.kind))


def _number(wire: Wire, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused("onnx-external-range", name=shown(text), size=0)
    return int(text)


def values(wire: Wire, tensor: Tensor) -> list[int] | None:
    """The whole numbers of a small tensor, such as a shape or a count; None for all others."""
    if tensor.kind not in (6, 7, 9) or tensor.elsewhere or math.prod(tensor.dims) > 64:
        return None
    if tensor.raw:
        form = {6: "<i4", 7: "<i8", 9: "?"}[tensor.kind]
        return [int(v) for v in np.frombuffer(bytes(wire.data[tensor.raw[0] : tensor.raw[1]]), form)]
    packed = [signed(v) for _, a, b in tensor.packed for v in varints(wire.data, a, b)]
    return packed or tensor.first
