"""Pickles and their kin that would leave a canary if anything loaded them; none is ever loaded."""

import io
import pickle
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

from tests.catalog.scan import forge


class Canary:
    """Pickled, it calls exec on a line that makes a file."""

    def __init__(self, path: Path) -> None:
        self.line = f"open({str(path)!r}, 'w').close()"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (self.line,)


def plain(canary: Path, protocol: int = 4) -> bytes:
    return pickle.dumps({"weights": Canary(canary)}, protocol)


def by_shell(canary: Path) -> bytes:
    """The old text form, as exploits are written by hand."""
    return f"cposix\nsystem\n(S'touch {canary}'\ntR.".encode()


def by_instance(canary: Path) -> bytes:
    return f"(S'touch {canary}'\nios\nsystem\n.".encode()


def by_object(canary: Path) -> bytes:
    return f"(cos\nsystem\nS'touch {canary}'\no.".encode()


def by_stack_global(canary: Path) -> bytes:
    """Names the function by two strings on the stack, so that no module name stands in one instruction."""
    line = f"open({str(canary)!r}, 'w').close()".encode()
    names = b"\x8c\x08builtins\x8c\x04exec\x93"
    return b"\x80\x04" + names + b"X" + struct.pack("<I", len(line)) + line + b"\x85R."


def by_memo(canary: Path) -> bytes:
    """The same with the names fetched from the memo."""
    line = f"open({str(canary)!r}, 'w').close()".encode()
    names = b"\x8c\x08builtins\x94\x8c\x04exec\x940h\x00h\x01\x93"
    return b"\x80\x04" + names + b"X" + struct.pack("<I", len(line)) + line + b"\x85R."


def by_build(canary: Path) -> bytes:
    """Sets the state of an object, which calls its __setstate__."""
    return b"\x80\x02" + f"ccode\nInteractiveInterpreter\n)\x81}}S'x'\nS'touch {canary}'\nsb.".encode()


def broken(canary: Path) -> bytes:
    """Acts first and breaks off then, which some scanners take for an unreadable and so harmless file."""
    return plain(canary, 2)[:-1] + b"\xff\xff\xff"


def behind_a_name(canary: Path) -> bytes:
    """Reaches what it calls through a harmless-looking module."""
    return f"cpip._internal\nmain\n(]S'install'\naS'{canary}'\natR.".encode()


def torch_zip(canary: Path) -> bytes:
    return forge.zipped(
        {"archive/data.pkl": plain(canary, 2), "archive/version": b"3\n", "archive/data/0": b"\0" * 64}
    )


def torch_legacy(canary: Path) -> bytes:
    magic = (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2)
        + pickle.dumps(1001, 2)
        + pickle.dumps({"little_endian": True}, 2)
    )
    return magic + plain(canary, 2)


def torch_script(canary: Path) -> bytes:
    code = f"def forward(self):\n  open({str(canary)!r}, 'w')\n".encode()
    return forge.zipped(
        {"m/data.pkl": plain(canary, 2), "m/code/__torch__.py": code, "m/constants.pkl": b"\x80\x02]."}
    )


def torch_tar(canary: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            body = plain(canary, 2)
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return made.getvalue()


def joblib(canary: Path) -> bytes:
    return zlib.compress(plain(canary))


def array_of_objects(canary: Path) -> bytes:
    return forge.npy("'|O'", "(1,)", plain(canary, 4))


def keras_zip(canary: Path) -> bytes:
    layer = f'{{"class_name": "Lambda", "config": {{"function": "open({str(canary)!r}, chr(119))"}}}}'
    return forge.zipped(
        {"config.json": layer.encode(), "metadata.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
    )


def keras_h5(canary: Path) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(88) + f"lambda: open({str(canary)!r}, 'w')".encode()


def saved_model(canary: Path) -> bytes:
    """A SavedModel whose graph would write a file."""
    op = forge.data(1, "w") + forge.data(2, "WriteFile") + forge.data(5, "filename", str(canary))
    return forge.number(1, 1) + forge.data(2, forge.data(2, forge.data(1, op)))
