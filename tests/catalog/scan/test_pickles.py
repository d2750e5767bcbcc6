"""The walk over opcodes held against unpicklers: where one of them would call something, the walk says so."""

import io
import pickle
import pickletools
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from catalog.scan import pickles
from catalog.scan.source import Source

STREAMS = 20_000
_LINES = {
    "INT": (b"1", b"00", b"01", b"0x1f", b"-0o7", b"1_0", b" 2 ", b"3\0x", b"x"),
    "LONG": (b"1L", b"0xffL", b"5", b"-0b1L", b"\t7L", b"8\0 L", b"L"),
    "FLOAT": (b"1.5", b"nan", b"-inf", b"1e3", b".5", b"Infinity", b"f"),
    "STRING": (b"'a'", b'"b"', b"''", b"'\\xff'", b"'\\101'", b"'a", b"a"),
    "UNICODE": (b"a", b"", b"\\u4e00", b"\xff"),
    "PERSID": (b"1", b"", b"\xff"),
    "GET": (b"0", b"1", b"2\0x", b"-1", b"x"),
    "PUT": (b"0", b"1", b"2\0x", b"-1", b"x"),
}
_NAMES = (b"m\nn\n", b"m.o\nn.p\n", b"\xc3\xa9\nn\n", b"\nn\n", b"m\n\n", b"\xff\nn\n")
_WEIGHTS = {"GLOBAL": 8, "STACK_GLOBAL": 3, "REDUCE": 5, "MARK": 5, "EMPTY_TUPLE": 6, "UNICODE": 3, "POP": 3}
_ENDS = (
    b".",
    b"R",
    b"R.",
    b"o.",
    b"b",
    b"\x81",
    b")R",
    b")b.",
    b"}b",
    b"(im\nn\n.",
    b"(im\nno",
    b"a.",
    b"cm\nn\n)R",
)
_SKIPPED = {"EXT1", "EXT2", "EXT4", "BYTEARRAY8"}
"""What needs a registry that is empty, and what leaves the unpickler with a noisy error."""


def _stream(chance: random.Random) -> bytes:
    """A few instructions whose operands are mostly right."""
    ops = [op for op in pickletools.opcodes if op.name not in _SKIPPED]
    weights = [_WEIGHTS.get(op.name, 1) for op in ops]
    made = chance.choice((b"", b"", b"\x80\x02", b"\x80\x04"))
    for op in chance.choices(ops, weights, k=chance.randint(1, 8)):
        made += op.code.encode("latin-1") + _operand(op, chance)
    return made + chance.choice(_ENDS)


def _operand(op: pickletools.OpcodeInfo, chance: random.Random) -> bytes:
    if op.arg is None:
        return b""
    if op.name in ("GLOBAL", "INST"):
        return chance.choice(_NAMES)
    if op.arg.n == pickletools.UP_TO_NEWLINE:
        return chance.choice(_LINES[op.name]) + b"\n"
    body = bytes(chance.choices(b"ab)N(.\xff", k=chance.randint(0, 3)))
    head = {-2: "<B", -3: "<i", -4: "<I", -5: "<Q"}.get(op.arg.n)
    if head:
        return struct.pack(head, len(body)) + body
    return bytes([chance.randint(0, 4)]) + bytes(op.arg.n - 1)  # small, or memos and frames grow huge


class _Reached(Exception):
    """An unpickler was about to call something that the stream names."""


class _Named:
    """What every name stands for here."""

    def __new__(cls, *_: object, **__: object) -> "_Named":
        raise _Reached

    def __setstate__(self, state: object) -> None:
        raise _Reached


class _State:
    """An object in the place of a name whose state may be set."""

    def __setstate__(self, state: object) -> None:
        raise _Reached

    def __call__(self, *_: object) -> None:
        raise _Reached


def _found(module: str, name: str) -> Any:
    if not module or not name:
        raise ImportError
    return _Named if len(name) == 1 else _State()


class _InC(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _found(module, name)


class _InPython(pickle._Unpickler):  # type: ignore[name-defined,misc]
    def find_class(self, module: str, name: str) -> Any:
        return _found(module, name)


def _reaches(unpickler: Any, data: bytes) -> bool:
    try:
        unpickler(io.BytesIO(data), encoding="latin-1", buffers=[b"x"] * 9).load()
    except _Reached:
        return True
    except Exception:
        return False
    return False


def _is_seen(data: bytes, place: Path) -> bool:
    place.write_bytes(data)
    with Source(place) as source:
        return pickles.is_also_one(source)


@pytest.mark.parametrize("unpickler", [_InC, _InPython])
def test_what_an_unpickler_would_call_is_seen(unpickler: Any, tmp_path: Path) -> None:
    reached = 0
    for seed in range(STREAMS):
        data = _stream(random.Random(seed))
        if _reaches(unpickler, data):
            reached += 1
            assert _is_seen(data, tmp_path / "a.bin"), data
    assert reached > STREAMS / 50


@pytest.mark.parametrize(
    "words",
    [
        "Iron\ncopper\nzinc\nboron\n",
        "cat\ndog\nbird\n",
        "cat\ndog\n.gitignore\n",
        "Paris\nNbeing\n",
        "x^2 + y^2 = z^2\n",
        "N" * 99_999 + "\n",
        "I have\nto say\n)R\n",
    ],
)
def test_words_are_no_pickle(words: str, tmp_path: Path) -> None:
    assert not _is_seen(words.encode(), tmp_path / "a.txt")


def test_instructions_without_end_are_a_pickle(tmp_path: Path) -> None:
    assert _is_seen(b"N" * pickles.MOST_OPS, tmp_path / "a.bin")


def test_a_list_that_a_name_reaches_is_not_added_to(tmp_path: Path) -> None:
    """No call, but `sys.path` has another folder afterwards."""
    assert _is_seen(b"csys\npath\nS'/tmp'\na.", tmp_path / "a.txt")
