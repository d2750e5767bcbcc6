"""Pickles told by their opcodes. They are read as a list of instructions and never carried out."""

import io
import pickletools
import warnings

from catalog.scan.findings import shown
from catalog.scan.source import Source

MOST_OPS = 100_000
MOST_BYTES = 16 << 20
_NAMES = {"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_CALLS = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
_STRINGS = {
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
}


class Pickle:
    """What a stream of opcodes would name and call."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.calls = False
        self.ended = False
        self.ops = 0
        self._strings = [""]
        self._stack: list[bool] = []  # what is a mark

    @property
    def acts(self) -> bool:
        """Whether loading it would run code by name."""
        return bool(self.names) and self.calls

    def take(self, op: pickletools.OpcodeInfo, argument: object) -> None:
        """Follow one instruction; raises ValueError where an unpickler would stop for want of operands."""
        self._move(op)
        self.ops += 1
        if op.name in _STRINGS and isinstance(argument, str | bytes):
            self._strings = [*self._strings[-1:], shown(argument)]
        if op.name in _NAMES:
            named = shown(argument) if isinstance(argument, str) else ".".join(self._strings[-2:])
            self.names.append(named.replace(" ", "."))
        self.calls = self.calls or op.name in _CALLS
        self.ended = op.name == "STOP"

    def _move(self, op: pickletools.OpcodeInfo) -> None:
        if pickletools.markobject in op.stack_before:
            while not self._stack.pop():
                pass
            above = op.stack_before.index(pickletools.markobject)
        else:
            above = len(op.stack_before)
        for _ in range(above):
            if self._stack.pop():
                raise ValueError
        self._stack += [each is pickletools.markobject for each in op.stack_after]


def read(source: Source) -> Pickle | None:
    """The opcodes at the head of a file; None when it does not look like a pickle.

    A pickle that breaks off still runs what stands before the break, so it counts as one.
    """
    head = source.head[:2]
    marked = len(head) == 2 and head[0] == 0x80 and head[1] <= 5
    found = _walk(source.read(0, min(source.size, MOST_BYTES)))
    return found if found.acts or (marked and found.ops >= 2) else None


def _walk(data: bytes) -> Pickle:
    found = Pickle()
    try:
        # pickletools reads the escapes of old strings, about which Python may warn.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for op, argument, _ in pickletools.genops(io.BytesIO(data)):
                found.take(op, argument)
                if found.ended or found.ops >= MOST_OPS:
                    break
    except (ValueError, UnicodeError, OverflowError, IndexError, KeyError):
        pass  # it breaks off here
    return found
