"""PyTorch state dicts for tests, written opcode by opcode, apart from the reader and without torch."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

_STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}
MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # LONG1 of the magic number
_EMPTY = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    """A text pushed."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """A whole number pushed."""
    return b"J" + struct.pack("<i", value)


def _tuple(*values: int) -> bytes:
    return b"(" + b"".join(number(v) for v in values) + b"t"


def tensor(key: str, values: np.ndarray, legacy: bool, storage: str = "", **changes: Any) -> bytes:
    """The call that makes a tensor of a storage; `changes` make it a wrong one."""
    strides = changes.get("strides", [step // values.itemsize for step in values.strides])
    kind = storage or _STORAGES[values.dtype.str]
    count = changes.get("count", max(values.size, 1))
    pid = text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number(count)
    pid = b"(" + pid + (b"N" if legacy else b"") + b"tQ"
    shape = changes.get("shape", values.shape)
    call = pid + number(changes.get("offset", 0)) + _tuple(*shape) + _tuple(*strides) + b"\x89" + _EMPTY
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + call + b"tR"


def content(tensors: dict[str, bytes], nested: str = "") -> bytes:
    """A pickle of a dictionary of these calls, inside of another one if asked for."""
    items = b"".join(text(name) + call for name, call in tensors.items())
    inner = _EMPTY + b"(" + items + b"u"
    whole = b"}(" + text(nested) + inner + b"u" if nested else inner
    return b"\x80\x02" + whole + b"."


def write_zip(path: Path, tensors: dict[str, np.ndarray], *, nested: str = "", **changes: Any) -> Path:
    """Today's form."""
    calls = {name: tensor(str(n), v, False, **changes) for n, (name, v) in enumerate(tensors.items())}
    members = {
        "data.pkl": content(calls, nested),
        "byteorder": changes.get("order", b"little"),
        "version": b"3",
    }
    members |= {f"data/{n}": v.tobytes() for n, v in enumerate(tensors.values())}
    return archive(path, members, changes.get("compression", zipfile.ZIP_STORED))


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip with these members in a folder."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(f"archive/{name}", data)
    return path


def write_row(path: Path, tensors: dict[str, np.ndarray], *, nested: str = "") -> Path:
    """The form before PyTorch 1.6."""
    out = io.BytesIO()
    out.write(b"\x80\x02" + MAGIC + b".")
    out.write(b"\x80\x02" + number(1001) + b".")
    out.write(b"\x80\x02}(" + text("little_endian") + b"\x88u.")
    calls = {name: tensor(f"s{n}", v, True) for n, (name, v) in enumerate(tensors.items())}
    out.write(content(calls, nested))
    keys = b"".join(text(f"s{n}") for n in range(len(tensors)))
    out.write(b"\x80\x02](" + keys + b"e.")
    for values in tensors.values():
        out.write(struct.pack("<q", values.size) + values.tobytes())
    path.write_bytes(out.getvalue())
    return path
