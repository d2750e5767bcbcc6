"""An .ort file with one spelling: onnxruntime writes its table of kernel types in an order of chance.

That table is the last that the file's writer adds, so its bytes lie together in front of the model's. It is
written anew in order behind the file's end, the session is pointed there, and the old bytes become zeros.
"""

from pathlib import Path
from typing import Any

_FIRST, _TYPES = 4, 10  # the first field of a table; the field of the types


def in_order(path: Path) -> None:
    """Rewrite the file so that the same graph gives the same bytes; an .ort file without the table stays."""
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs.InferenceSession import InferenceSession

    content = bytearray(path.read_bytes())
    session = InferenceSession.GetRootAs(content, 0)
    types = session.KernelTypeStrResolver()
    if types is None:
        return
    root, model = session._tab.Pos, session.Model()._tab.Pos
    field = root + session._tab.Offset(_TYPES)
    told = _told(types)
    ranges = [(start, end) for start, end in _ranges(types) if root < start and end <= model]
    first, last = min(start for start, _ in ranges), max(end for _, end in ranges)
    kept = root - int.from_bytes(content[root : root + 4], "little", signed=True)
    if first <= kept < last:
        return  # the session's own layout lies among them
    content[first:last] = bytes(last - first)
    content += bytes(-len(content) % 16)
    table = _written(told)
    target = len(content) + int.from_bytes(table[:4], "little")
    content[field : field + 4] = (target - field).to_bytes(4, "little")
    path.write_bytes(content + table)


Types = list[tuple[bytes, list[tuple[bytes, list[tuple[int, int]]]]]]


def _told(types: Any) -> Types:
    """Operators in order, each with its type parameters in order, and where these occur."""
    found = []
    for operator in (types.OpKernelTypeStrArgs(j) for j in range(types.OpKernelTypeStrArgsLength())):
        names = []
        for name in (operator.KernelTypeStrArgs(j) for j in range(operator.KernelTypeStrArgsLength())):
            places = [name.Args(j) for j in range(name.ArgsLength())]
            names.append((name.KernelTypeStr(), [(one.ArgType(), one.Index()) for one in places]))
        found.append((operator.OpId(), sorted(names)))
    return sorted(found)


def _ranges(types: Any) -> list[tuple[int, int]]:
    """Where the bytes of the table and all below it lie: tables, their layouts, vectors and texts."""
    found = _table_ranges(types)
    for operator in (types.OpKernelTypeStrArgs(j) for j in range(types.OpKernelTypeStrArgsLength())):
        found += _table_ranges(operator)
        for name in (operator.KernelTypeStrArgs(j) for j in range(operator.KernelTypeStrArgsLength())):
            found += _table_ranges(name)
            for place in (name.Args(j) for j in range(name.ArgsLength())):
                found += _table_ranges(place, leaf=True)
    return found


def _table_ranges(thing: Any, *, leaf: bool = False) -> list[tuple[int, int]]:
    table = thing._tab
    content, at = table.Bytes, table.Pos

    def number(place: int, size: int = 4) -> int:
        return int.from_bytes(content[place : place + size], "little", signed=size == 4)

    layout = at - number(at)
    found = [(layout, layout + number(layout, 2)), (at, at + number(layout + 2, 2))]
    for slot in () if leaf else range(4, number(layout, 2), 2):
        if offset := table.Offset(slot):
            target = at + offset + number(at + offset)
            text = slot == _FIRST and not hasattr(thing, "OpKernelTypeStrArgsLength")
            length = number(target)
            found.append((target, target + 4 + (length + 1 if text else 4 * length)))
    return found


def _written(told: Types) -> bytes:
    """The table by itself, as flatbuffers write one."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    operators = []
    for operator, names in told:
        entries = []
        for name, places in names:
            leaves = [_record(builder, [("Int8", kind), ("Uint32", index)]) for kind, index in places]
            vector = _vector(builder, leaves)
            text = builder.CreateString(name)
            entries.append(_record(builder, [("UOffsetTRelative", text), ("UOffsetTRelative", vector)]))
        vector = _vector(builder, entries)
        text = builder.CreateString(operator)
        operators.append(_record(builder, [("UOffsetTRelative", text), ("UOffsetTRelative", vector)]))
    vector = _vector(builder, operators)
    builder.Finish(_record(builder, [("UOffsetTRelative", vector)]))
    return bytes(builder.Output())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    made: int = builder.EndVector()
    return made


def _record(builder: Any, fields: list[tuple[str, int]]) -> int:
    builder.StartObject(len(fields))
    for slot, (kind, value) in enumerate(fields):
        getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
    made: int = builder.EndObject()
    return made
