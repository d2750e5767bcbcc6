"""What a row holds, kept small: files and arrays are read when they are wanted, not while rows are chosen."""

import base64
import hashlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from deployer.optimizer.rows.errors import DataChanged

MOST_BYTES = 32 << 20  # of a file that a row names, and of a line: what the server takes as a body
_LOCAL_HEADER = 30
_FILE, _PLAIN = "$file", "$plain"  # what `described` says instead of a value; the second is the value


class Spoilt(Exception):
    """A member of an archive that cannot be unpacked; the message says why."""


class Lazy(ABC):
    """A value that is read when it is wanted."""

    @property
    @abstractmethod
    def mark(self) -> str:
        """What the value is told by: a digest."""

    @property
    @abstractmethod
    def cost(self) -> int:
        """Bytes that it holds in memory."""

    @abstractmethod
    def read(self) -> Any:
        """The value for a request, of JSON types."""

    def describe(self) -> Any:
        """What `resolved` makes the value of later, perhaps in another process; JSON types."""
        return {_PLAIN: self.read()}


@dataclass(frozen=True)
class Packing:
    """Where a member lies in a zip archive."""

    offset: int
    packed: int
    deflated: bool


@dataclass(frozen=True)
class File(Lazy):
    """A file beside the table, or a member of its archive."""

    path: Path
    name: str
    size: int
    sha256: str
    packing: Packing | None = None

    @property
    def mark(self) -> str:
        """Its digest."""
        return self.sha256

    @property
    def cost(self) -> int:
        """Nothing but this description."""
        return 500

    def read(self) -> dict[str, str]:
        """{"base64": …}; raises DataChanged if the bytes are not those that were read first."""
        return {"base64": base64.b64encode(self.bytes()).decode()}

    def describe(self) -> Any:
        """Where it lies, instead of its bytes."""
        return {_FILE: {**asdict(self), "path": str(self.path)}}

    def bytes(self) -> bytes:
        """Its content; raises DataChanged if that is not what was read first."""
        try:
            data = load(self.path, self.packing, self.size)
        except (OSError, Spoilt) as error:
            raise DataChanged(name=self.path.name, path=self.name) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise DataChanged(name=self.path.name, path=self.name)
        return data


def read_lazy(value: Any) -> Any:
    """A value with all that is lazy in it read."""
    if isinstance(value, Lazy):
        return value.read()
    if isinstance(value, list) and any(isinstance(item, Lazy | dict) for item in value):
        return [read_lazy(item) for item in value]
    return {key: read_lazy(item) for key, item in value.items()} if isinstance(value, dict) else value


def described(value: Any) -> Any:
    """A value with files in it named instead of read; JSON types."""
    if isinstance(value, Lazy):
        return value.describe()
    if isinstance(value, list) and any(isinstance(item, Lazy | dict) for item in value):
        return [described(item) for item in value]
    if isinstance(value, dict):
        if any(key in value for key in (_FILE, _PLAIN)):  # the person's own: it names no file of ours
            return {_PLAIN: value}
        return {key: described(item) for key, item in value.items()}
    return value


def resolved(value: Any) -> Any:
    """What `described` was made of, with its files read; raises DataChanged."""
    if isinstance(value, dict):
        if set(value) == {_PLAIN}:
            return value[_PLAIN]
        if set(value) == {_FILE}:
            told = dict(value[_FILE])
            packing = Packing(**told["packing"]) if told["packing"] else None
            return File(**{**told, "path": Path(told["path"]), "packing": packing}).read()
        return {key: resolved(item) for key, item in value.items()}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [resolved(item) for item in value]
    return value


def load(path: Path, packing: Packing | None, most: int = MOST_BYTES) -> bytes:
    """At most `most` + 1 bytes of a file or a member; raises OSError or Spoilt."""
    with path.open("rb") as file:
        if packing is None:
            return file.read(most + 1)
        file.seek(packing.offset)
        head = file.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
            raise Spoilt("has no header where one should be")
        file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        data = file.read(min(packing.packed, most + 1) if not packing.deflated else packing.packed)
    if not packing.deflated:
        return data
    try:
        return zlib.decompressobj(-15).decompress(data, most + 1)
    except zlib.error as error:
        raise Spoilt(str(error)) from error


@dataclass(frozen=True)
class Inline(Lazy):
    """A file's bytes that stood in the table itself."""

    data: bytes

    @property
    def mark(self) -> str:
        """Its digest, the same as that of a file with these bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def cost(self) -> int:
        """Its bytes."""
        return len(self.data)

    def read(self) -> dict[str, str]:
        """{"base64": …}."""
        return {"base64": base64.b64encode(self.data).decode()}


@dataclass(frozen=True)
class Packed(Lazy):
    """A structured value as JSON, which holds numbers in a quarter of the room of Python's."""

    data: bytes

    @property
    def mark(self) -> str:
        """Its digest."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def cost(self) -> int:
        """Its bytes."""
        return len(self.data)

    def read(self) -> Any:
        """The value."""
        return orjson.loads(self.data)


@dataclass(frozen=True)
class Arrays(Lazy):
    """One row of each of some arrays, with a batch axis of 1."""

    arrays: Mapping[str, npt.NDArray[Any]]

    @property
    def mark(self) -> str:
        """A digest of names, types, shapes and values."""
        digest = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def cost(self) -> int:
        """Their bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def read(self) -> dict[str, Any]:
        """Nested lists by name, as the server takes them."""
        return {name: array.tolist() for name, array in self.arrays.items()}


def mark(value: Any) -> Any:
    """A value for the canonical form of a request."""
    if isinstance(value, Lazy):
        return {"digest": value.mark}
    return value


def cost(value: Any) -> int:
    """About how many bytes a value holds in memory."""
    if isinstance(value, Lazy):
        return value.cost
    if isinstance(value, str):
        return 60 + 2 * len(value)
    if isinstance(value, dict):
        return 200 + sum(cost(key) + cost(item) for key, item in value.items())
    if isinstance(value, list):
        return 80 + sum(map(cost, value))
    return 40
