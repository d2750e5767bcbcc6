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


def behind_padding(canary: Path) -> bytes:
    """Acts after more instructions than anybody reads, and each four bytes of it are a float of sane size."""

    def text(value: str) -> bytes:
        return b"N0S'" + b"".join(b"\\%03o" % c for c in value.encode()) + b"'\nN0"

    line = text(f"open({str(canary)!r}, 'w').close()")
    call = b"\x93K\x000" + line + b"\x85K\x000RK\x000K\x000."
    return b"N0N0" * 60_000 + text("builtins") + text("exec") + call


def behind_a_long_text(canary: Path) -> bytes:
    """Acts behind one operand that is longer than what used to be read."""
    return b"B" + struct.pack("<I", 17 << 20) + bytes(17 << 20) + b"0" + by_shell(canary)


def behind_a_mark(canary: Path) -> bytes:
    """Takes a mark away with POP, as unpicklers allow and pickletools does not."""
    return b"(0" + by_shell(canary)


def behind_a_hex_number(canary: Path) -> bytes:
    """Begins with a number as C writes it, which Python's int() refuses."""
    return b"I0x10\n0" + by_shell(canary)


def behind_a_bad_number(canary: Path) -> bytes:
    """Begins with a number that ends at a zero byte, as C reads it."""
    return b"L1\0 is no number\n0" + by_shell(canary)


def behind_other_signs(canary: Path) -> bytes:
    """Begins with a text that is read in an encoding that its loader names."""
    return b"S'\\xff'\n0" + by_shell(canary)


def without_an_end(canary: Path) -> bytes:
    """Its last line has no end; the unpickler takes what there is."""
    return f"(S'touch {canary}'\nios\nsystem_".encode()


def second_in_a_row(canary: Path) -> bytes:
    """The row of pickles that PyTorch wrote before 1.6, in the oldest protocol: only the last one acts."""
    heads = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(head, 0) for head in heads) + plain(canary, 0)


def as_safetensors(canary: Path) -> bytes:
    """Sound safetensors whose length is an instruction that skips the header; the tensor is the pickle."""
    body = by_shell(canary)
    entry = f'{{"w":{{"dtype":"U8","shape":[{len(body)}],"data_offsets":[0,{len(body)}]}}'
    return forge.safetensors_raw(entry.encode().ljust(0x156 - 2) + b"\n}", body)


def as_gguf(canary: Path) -> bytes:
    """Sound GGUF: G takes eight bytes, the count of tensors holds a V, and a word ends its line."""
    words = {"general.architecture": (8, forge.text(b"\n" + by_shell(canary)))}
    return forge.gguf(words, [(f"t{n}", [0], 0, 0) for n in range(0x5601)], b"")


def as_onnx(canary: Path) -> bytes:
    """Sound ONNX: its fields in another order are instructions, and the pickle is a comment."""
    words = forge.number(5, ord("N")) + forge.data(6, by_shell(canary).ljust(0x08 | ord("N") << 7))
    return words + forge.sound_model()


def tar_without_a_mark(canary: Path) -> bytes:
    """A tar as it was written before tars had a mark; only the checksum of its head tells it."""
    made = bytearray(torch_tar(canary))
    made[257:265] = bytes(8)
    made[148:156] = b"%06o\0 " % (sum(made[:148]) + 8 * 32 + sum(made[156:512]))
    return bytes(made)


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
