"""Pickles told by their opcodes. They are read as a list of instructions and never carried out.

What this walk takes for a break, an unpickler must take for one too, or something could stand behind it. It
reads operands by their length alone and is laxer than pickletools, which refuses what unpicklers accept.
"""

import pickletools
import re
from typing import Protocol

from catalog.scan.findings import shown
from catalog.scan.source import Source

MOST_OPS = 100_000
"""What goes on for so many instructions is a pickle: anything else breaks off within a few."""
LONGEST_LINE = 1 << 16  # bytes of a line that are looked at
_NAMES = {"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_STRINGS = {
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}
_CALLS = {"REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
"""Their lowest operand is called, or has its state set by its own code."""
_FILLED = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_NUMBER = re.compile(rb"\s*[+-]?\d[\da-fxob_]*l?\s*", re.I)
_LINES = {
    "INT": _NUMBER,
    "LONG": _NUMBER,
    "PUT": _NUMBER,
    "GET": _NUMBER,
    "FLOAT": re.compile(rb"\s*[+-]?(?:[\d.][\d._e+-]*|inf(?:inity)?|nan)\s*", re.I),
    "STRING": re.compile(rb"\s*(?:'.*'|\".*\")\s*", re.S),
    "PERSID": re.compile(rb"[\x00-\x7f]*"),
}
"""What a line may look like at most, whichever unpickler reads it."""
_MARK, _PLAIN, _NAMED = range(3)
"""What lies on the stack: a mark, a value, or what was reached by a name and could be called."""


class Bytes(Protocol):
    """What is walked: bytes, or a mapped file."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: slice, /) -> bytes:
        """Some of them."""

    def find(self, sub: bytes, start: int, /) -> int:
        """Where these stand next, or -1."""


class _Broken(Exception):
    """No unpickler goes on from here."""


class Pickle:
    """What a stream of opcodes would name and call."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.acts = False
        """Whether loading it would run code by name."""
        self.ops = 0
        self._strings = [""]
        self._begin()

    @property
    def dangerous(self) -> bool:
        """Whether it acts, or goes on for longer than it was read.

        A pickle that breaks off still runs what stands before the break.
        """
        return self.acts or self.ops >= MOST_OPS

    def _begin(self) -> None:
        self._stack: list[int] = []
        self._kept: set[int] = set()
        self._touches = False

    def take(self, op: pickletools.OpcodeInfo, argument: bytes) -> None:
        """Follow one instruction; raises _Broken where an unpickler would stop for want of operands."""
        self.ops += 1
        if op.name in _STRINGS:
            self._strings = [*self._strings[-1:], shown(argument)]
        self._move(op)
        if op.name in _NAMES:
            named = shown(argument.replace(b"\n", b".")) if argument else ".".join(self._strings[-2:])
            self.names.append(named)
        if op.name == "STOP":
            self.acts = self.acts or self._touches
            self._begin()  # another one may follow, which old PyTorch loads too

    def _move(self, op: pickletools.OpcodeInfo) -> None:
        if op.name == "POP":  # which takes marks as well
            if not self._stack:
                raise _Broken
            self._stack.pop()
            return
        if op.name in _PUTS:
            self._kept.add(self._top())
            return
        if op.name == "DUP":
            self._stack.append(self._top())
            return
        taken = self._take(op)
        self.acts = self.acts or op.name == "INST" or (op.name in _CALLS and taken == _NAMED)
        # Something that has the names of a list's methods, such as sys.path itself.
        self._touches = self._touches or (op.name in _FILLED and taken == _NAMED)
        if op.name in _GETS:
            if not self._kept:
                raise _Broken
            self._stack.append(max(self._kept))
        elif op.name in _NAMES and op.name != "PERSID":
            self._stack.append(_NAMED)
        elif op.name in _CALLS | _FILLED:
            self._stack.append(taken)
        else:
            self._stack += [_MARK if each is pickletools.markobject else _PLAIN for each in op.stack_after]

    def _top(self) -> int:
        if not self._stack or self._stack[-1] == _MARK:
            raise _Broken
        return self._stack[-1]

    def _take(self, op: pickletools.OpcodeInfo) -> int:
        """Take an instruction's operands from the stack; the lowest of them is returned."""
        above, taken = len(op.stack_before), _PLAIN
        if pickletools.markobject in op.stack_before:
            above = op.stack_before.index(pickletools.markobject)
            while (top := self._pop()) != _MARK:
                taken = top
        for _ in range(above):
            taken = self._pop()
            if taken == _MARK:
                raise _Broken
        return taken

    def _pop(self) -> int:
        if not self._stack:
            raise _Broken
        return self._stack.pop()


_OPS = {ord(op.code): op for op in pickletools.opcodes}
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_SIGNED = pickletools.TAKEN_FROM_ARGUMENT4


def read(source: Source) -> Pickle | None:
    """The opcodes from the head of a file on; None when it does not look like a pickle."""
    head = source.head[:2]
    marked = len(head) == 2 and head[0] == 0x80 and head[1] <= 5
    found = _walk(source.mapped)
    return found if found.dangerous or (marked and found.ops >= 2) else None


def is_also_one(source: Source) -> bool:
    """Whether an unpickler would run something of a file that is of another form."""
    return _walk(source.mapped).dangerous


def _walk(data: Bytes) -> Pickle:
    found, place, end, frame = Pickle(), 0, len(data), 0
    try:
        while place < end and not found.dangerous:
            op = _OPS.get(data[place : place + 1][0])
            if op is None:
                break
            begin = place + 1
            argument, place = _argument(data, begin, op)
            found.take(op, argument)
            if begin < frame < place or (op.name == "FRAME" and place < frame):
                # Nobody writes so, and unpicklers do not agree on where to go on.
                found.acts = True
            if op.name == "FRAME":
                frame = place + int.from_bytes(argument, "little")
    except _Broken:
        pass
    return found


def _argument(data: Bytes, place: int, op: pickletools.OpcodeInfo) -> tuple[bytes, int]:
    """The first bytes of an instruction's operand, and where it ends."""
    if op.arg is None:
        return b"", place
    if op.arg.n == pickletools.UP_TO_NEWLINE:
        return _lines(data, place, op.name)
    size = op.arg.n
    if width := _WIDTHS.get(size):
        length = data[place : place + width]
        size = int.from_bytes(length, "little", signed=size == _SIGNED)
        place += width
    if size < 0 or place + size > len(data):
        raise _Broken
    return data[place : place + min(size, LONGEST_LINE)], place + size


def _lines(data: Bytes, place: int, name: str) -> tuple[bytes, int]:
    """The line, or the two lines of a name, that stand here; the end of the file ends a line too."""
    found = []
    for _ in range(2 if name in ("GLOBAL", "INST") else 1):
        end = data.find(b"\n", place)
        end = len(data) if end < 0 else end
        found.append(data[place : min(end, place + LONGEST_LINE + 1)])
        place = end + 1
    shape = _LINES.get(name)
    # C reads a number up to a zero byte, whatever follows.
    line = found[0].partition(b"\0")[0] if shape is _NUMBER else found[0]
    if shape and len(line) <= LONGEST_LINE and not shape.fullmatch(line):
        raise _Broken
    if len(found) == 2 and not _is_name(*found):
        raise _Broken
    return b"\n".join(found), place


def _is_name(module: bytes, name: bytes) -> bool:
    """Whether something could be imported by these two lines."""
    if not module or b"\0" in module or max(len(module), len(name)) > LONGEST_LINE:
        return False
    try:
        return bool(module.decode() and name.decode())
    except UnicodeDecodeError:
        return False
