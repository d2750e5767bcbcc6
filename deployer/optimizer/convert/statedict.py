"""Reads a PyTorch state dict (.pth, .pt, .bin) that nobody vouches for, without torch and without running it.

Such a file is a pickle, and a pickle can call anything. Here it may only name what a state dict is made of:
ordered dictionaries, tensors and their storages. Anything else is refused by its name before it is made.
Both forms are read: the zip of today, and the row of pickles from before PyTorch 1.6.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.weights import Float, Tensors, Weights, refuse

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    **{"FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1"},
    **{"ByteStorage": "<u1", "BoolStorage": "?"},
}
_NESTED = ("state_dict", "model", "model_state_dict", "net", "params", "module")
_PICKLE_LIMIT = 64 << 20  # bytes of the part that says what there is; the numbers lie beside it
_RANK = 8
_MOST = 1_000_000  # tensors


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, by its key."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class Entry:
    """One tensor: a storage looked at from an offset with strides, all in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class StateDict:
    """A state dict opened for reading; `entries` are its tensors by name, `float32` gives their numbers."""

    def __init__(self, path: Path, entries: dict[str, Entry], read: Callable[[Storage], bytes]) -> None:
        self.path = path
        self.entries = entries
        self._read = read

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read what there is and check that it lies in the file; raises ConversionFailed."""
        form = _Zip if zipfile.is_zipfile(path) else _Row
        try:
            source = form(path)
            entries = _entries(path, source.content)
        except ConversionFailed:
            raise
        except _Forbidden as error:
            en = f"the pickle asks for {error}, which is no part of a state dict; it was not run"
            zh = f"pickle 要调用 {error}，这不属于 state dict；没有执行"
            raise refuse(path, en, zh, found=str(error)) from None
        except Exception as error:  # pickle and zipfile raise anything on a damaged file
            raise _damaged(path, f"{type(error).__name__}: {error}"[:200]) from None
        return cls(path, entries, source.read)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def float32(self, name: str) -> Float:
        """The tensor as float32; refuses integers, and values that are not finite."""
        entry = self.entries[name]
        if entry.storage.dtype == "bfloat16":
            upper = self._numbers(entry, "<u2")
            values: Float = (upper.astype(np.uint32) << 16).view(np.float32)
        elif np.dtype(entry.storage.dtype).kind == "f":
            with np.errstate(over="ignore"):
                values = self._numbers(entry, entry.storage.dtype).astype(np.float32)
        else:
            kind = entry.storage.dtype
            en, zh = f"{name} is {kind}, not a float", f"{name} 的类型是 {kind}，不是浮点数"
            raise refuse(self.path, en, zh, tensor=name, dtype=kind)
        if not np.isfinite(values).all():
            raise refuse(self.path, f"{name} holds NaN or infinity", f"{name} 含有 NaN 或无穷大", tensor=name)
        return values

    def _numbers(self, entry: Entry, dtype: str) -> npt.NDArray[Any]:
        try:
            raw = self._read(entry.storage)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise _damaged(self.path, str(error)[:200]) from None
        whole = np.frombuffer(raw, dtype)[entry.offset :]
        steps = [stride * whole.itemsize for stride in entry.strides]
        # Checked by _sound: the last number that these strides reach lies inside the storage.
        view = np.lib.stride_tricks.as_strided(whole, entry.shape, steps, writeable=False)
        return np.ascontiguousarray(view)


def open_weights(path: Path) -> Tensors:
    """Weights out of safetensors or a state dict, as the file's first bytes say; raises ConversionFailed."""
    with path.open("rb") as file:
        head = file.read(4)
    pickled = head[:1] == b"\x80" or head == b"PK\x03\x04"
    return StateDict.open(path) if pickled else Weights.open(path)


class _Forbidden(Exception):
    """A pickle names something that no state dict needs; the message is its name."""


class _Unpickler(pickle.Unpickler):
    """Makes nothing but ordered dictionaries, and tensors and storages of our own."""

    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for a name, if a state dict may use it."""
        found = _ALLOWED.get(f"{module}.{name}")
        if found is None and module in ("torch", "torch.storage") and name in _STORAGES:
            found = _STORAGES[name]
        if found is None:
            raise _Forbidden(f"{module}.{name}"[:120])
        return found

    def persistent_load(self, pid: Any) -> Storage:
        """A storage: kind, key, device, how many numbers, and in old files which part of another one."""
        kind, dtype, key, _device, count, *view = pid
        if kind != "storage" or dtype not in _STORAGES.values() or any(part is not None for part in view):
            raise ValueError("not a storage")
        return Storage(str(dtype), str(key), int(count))


def _tensor(
    storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any
) -> Entry:
    return Entry(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Entry, *_rest: Any) -> Entry:
    return data


_ALLOWED: Mapping[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


class _Zip:
    """Today's form: data.pkl beside a member for each storage, none of them compressed."""

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path)
        names = [name for name in self._file.namelist() if name.endswith("data.pkl")]
        if len(names) != 1:
            raise ValueError(f"{len(names)} members data.pkl")
        self._folder = names[0].removesuffix("data.pkl")
        order = f"{self._folder}byteorder"
        if order in self._file.namelist() and self._member(order, 16).strip() != b"little":
            raise ValueError("numbers that are not little-endian")
        self.content = _Unpickler(io.BytesIO(self._member(names[0], _PICKLE_LIMIT))).load()

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        size = storage.count * _size(storage.dtype)
        name = f"{self._folder}data/{storage.key}"
        if self._file.getinfo(name).file_size < size:
            raise ValueError(f"storage {storage.key} is shorter than {size} bytes")
        return self._member(name, self._file.getinfo(name).file_size)[:size]

    def _member(self, name: str, limit: int) -> bytes:
        info = self._file.getinfo(name)
        if info.file_size > limit or info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name[:80]} is compressed, or larger than {limit} bytes")
        return self._file.read(info)


class _Row:
    """The form before PyTorch 1.6: five pickles, then each storage behind the count of its numbers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
                raise ValueError("not a file of PyTorch")
            system = _Unpickler(file).load()
            if not isinstance(system, dict) or system.get("little_endian") is not True:
                raise ValueError("numbers that are not little-endian")
            unpickler = _Unpickler(file)
            self.content = unpickler.load()
            keys = _Unpickler(file).load()
            self._places = self._find(file, [str(key) for key in keys])

    def _find(self, file: io.BufferedReader, keys: list[str]) -> dict[str, tuple[int, int]]:
        """Where the numbers of each storage begin and how many they are."""
        sizes = {tensor.storage.key: _size(tensor.storage.dtype) for tensor in _flat(self.content).values()}
        end = self._path.stat().st_size
        places = {}
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            places[key] = file.tell(), count
            if key not in sizes or file.tell() + count * sizes[key] > end:
                raise ValueError(f"storage {key[:40]} runs out of the file")
            file.seek(count * sizes[key], io.SEEK_CUR)
        return places

    def read(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        begin, count = self._places[storage.key]
        if count < storage.count:
            raise ValueError(f"storage {storage.key[:40]} has {count} numbers")
        with self._path.open("rb") as file:
            file.seek(begin)
            return file.read(storage.count * _size(storage.dtype))


def _size(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _flat(content: Any) -> dict[str, Entry]:
    """The tensors by name, out of the dictionary or one that a checkpoint keeps it in."""
    for _ in range(3):
        if not isinstance(content, dict):
            break
        tensors = {str(name): value for name, value in content.items() if type(value) is Entry}
        if tensors:
            return tensors
        content = next((content[name] for name in _NESTED if isinstance(content.get(name), dict)), None)
    raise ValueError("no dictionary of tensors")


def _entries(path: Path, content: Any) -> dict[str, Entry]:
    """All tensors, each of them seen to lie inside its storage."""
    found = _flat(content)
    if len(found) > _MOST:
        raise _damaged(path, f"{len(found)} tensors")
    for name, entry in found.items():
        if not _sound(entry):
            raise _damaged(path, f"tensor {name[:80]!r} does not lie in its storage")
    return found


def _sound(entry: Entry) -> bool:
    numbers = (entry.offset, *entry.shape, *entry.strides)
    if type(entry.storage) is not Storage or not all(type(n) is int and n >= 0 for n in numbers):
        return False
    if not len(entry.shape) == len(entry.strides) <= _RANK or entry.storage.count < 0:
        return False
    if 0 in entry.shape:
        return True
    last = sum((n - 1) * stride for n, stride in zip(entry.shape, entry.strides, strict=True))
    # Strides of 0 would make much of little.
    return entry.offset + last < entry.storage.count and math.prod(entry.shape) <= entry.storage.count


def _damaged(path: Path, detail: str) -> ConversionFailed:
    en, zh = "not a sound PyTorch state dict", "不是完好的 PyTorch state dict"
    return refuse(path, f"{en}: {detail}", f"{zh}：{detail}", detail=detail)
