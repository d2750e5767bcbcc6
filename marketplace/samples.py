"""People's own rows: files that an optimisation is judged on, kept in the home and nowhere else.

samples/<sha256> is the file, samples/<sha256>.json says who brought it, when and under which name;
both are readable by the home's owner alone. The rows never leave the home and stand in no log.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

from catalog.models import utcnow
from catalog.storage import only_one, require_room, storage_errors
from marketplace.errors import MarketError

KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".npz", ".zip")
LOOK = 256 << 10  # bytes that a quick look reads
_SHA256 = re.compile(r"[0-9a-f]{64}")


class UnknownSample(MarketError):
    """The asker has no sample of this id. Facts: sample."""

    code = "unknown-sample"


class SampleInUse(MarketError):
    """An optimisation reads the sample. Facts: sample, id."""

    code = "sample-in-use"


class SampleRefused(MarketError):
    """What was sent is no file of rows. Facts: name, expected."""

    code = "sample-refused"


@dataclass(frozen=True)
class Sample:
    """One file of rows as its owner knows it; `rows`, `columns` and `labelled` come from a quick look."""

    id: str  # sha256
    name: str
    size: int
    rows: int | None
    columns: tuple[str, ...]
    labelled: bool | None
    created: datetime


class Intake:
    """A file on its way in: bytes are written as they come, and count only when `keep` is called."""

    def __init__(self, home: Path, name: str, size: int = 0) -> None:
        self._folder, self.name = home / "samples", safe_name(name)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_room(self._folder, size)
        descriptor, half = tempfile.mkstemp(dir=self._folder, prefix=".half-")  # mode 0600
        self._half, self._file = Path(half), os.fdopen(descriptor, "wb")
        self._digest = hashlib.sha256()
        self.lines = 0
        self._last = b"\n"

    def write(self, chunk: bytes) -> None:
        """Take some bytes; raises StorageFull."""
        with storage_errors(self._folder):
            self._file.write(chunk)
        self._digest.update(chunk)
        self.lines += chunk.count(b"\n")
        self._last = chunk[-1:] or self._last

    def keep(self, owner: str) -> Sample:
        """Call it whole; the same bytes again are kept once. Raises SampleRefused for an empty file."""
        with storage_errors(self._folder):
            self._file.close()
        size = self._half.stat().st_size
        if not size:
            raise SampleRefused(name=self.name, expected=", ".join(KINDS))
        identity = self._digest.hexdigest()
        described = self._folder / f"{identity}.json"
        seen = look(self._half, self.name, self.lines + (self._last != b"\n"))
        with only_one(self._folder / ".lock"):
            known = _read(described)
            owners = known.get("owners", {}) | {owner: {"name": self.name, "when": utcnow().isoformat()}}
            self._half.replace(self._folder / identity)
            _write(described, {"size": size, **seen, "owners": owners})
        return _sample(identity, owner, {"size": size, **seen, "owners": owners})

    def close(self) -> None:
        """Drop what was not kept."""
        self._file.close()
        self._half.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """A file's name without its folder; raises SampleRefused unless its ending is one of KINDS."""
    plain = PurePath(name.replace("\\", "/")).name[-120:]
    plain = "".join(c if c.isprintable() else "_" for c in plain)
    if not plain.lower().endswith(KINDS) or plain.startswith("."):
        raise SampleRefused(name=plain or "?", expected=", ".join(KINDS))
    return plain


def get_sample(home: Path, owner: str, identity: str) -> Sample:
    """A sample of this owner; raises UnknownSample."""
    identity = identity.removeprefix("sha256:")
    described = _read(home / "samples" / f"{identity}.json") if _SHA256.fullmatch(identity) else {}
    if owner not in described.get("owners", {}) or not path_of(home, identity).is_file():
        raise UnknownSample(sample=identity)
    return _sample(identity, owner, described)


def list_samples(home: Path, owner: str) -> list[Sample]:
    """The samples of this owner, the newest first."""
    found = []
    for described in (home / "samples").glob("*.json"):
        with contextlib.suppress(UnknownSample):
            found.append(get_sample(home, owner, described.stem))
    return sorted(found, key=lambda sample: sample.created, reverse=True)


def remove_sample(home: Path, owner: str, identity: str) -> None:
    """Forget a sample; its bytes go when nobody else brought the same. Raises UnknownSample."""
    identity = get_sample(home, owner, identity).id
    described = home / "samples" / f"{identity}.json"
    with only_one(home / "samples" / ".lock"):
        known = _read(described)
        known.get("owners", {}).pop(owner, None)
        if known.get("owners"):
            _write(described, known)
            return
        described.unlink(missing_ok=True)
        path_of(home, identity).unlink(missing_ok=True)


def path_of(home: Path, identity: str) -> Path:
    """Where the bytes of a sample lie."""
    return home / "samples" / identity


def look(path: Path, name: str, lines: int) -> dict[str, Any]:
    """Rows, columns and whether a label is among them, as far as the file's beginning tells.

    Says nothing rather than something wrong: the optimiser reads the file properly, and refuses it.
    """
    ending = PurePath(name).suffix.lower()
    with contextlib.suppress(OSError, ValueError, csv.Error, StopIteration, zipfile.BadZipFile, RuntimeError):
        if ending in (".zip", ".npz"):
            return _look_inside(path, ending)
        with path.open("rb") as file:
            seen = _look_at(file.read(LOOK), ending, lines)
        if seen["rows"] is None and ending in (".csv", ".tsv"):
            seen["rows"] = _count_records(path)
        return seen
    return {"rows": None, "columns": [], "labelled": None}


def _count_records(path: Path) -> int:
    """Rows of a CSV whose fields may hold line ends; less the header, and blank lines."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return max(0, sum(1 for row in csv.reader(file) if row) - 1)


def _look_inside(path: Path, ending: str) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if ending == ".npz":
            columns = [name.removesuffix(".npy") for name in names]
            return _seen(None, columns)
        table = next(name for name in names if PurePath(name).name in ("data.csv", "data.jsonl"))
        with archive.open(table) as file:
            lines = sum(1 for _ in _bounded(file, 64 << 20))
        with archive.open(table) as file:
            return _look_at(file.read(LOOK), PurePath(table).suffix, lines)


def _bounded(lines: Any, most: int) -> Iterator[bytes]:
    """The lines of a file that may be a bomb; raises ValueError after `most` bytes."""
    for line in iter(lambda: lines.readline(1 << 20), b""):
        most -= len(line)
        if most < 0:
            raise ValueError("too large to count")
        yield line


def _look_at(head: bytes, ending: str, lines: int) -> dict[str, Any]:
    text = head.decode("utf-8-sig", errors="replace")
    if ending in (".csv", ".tsv"):
        first = text.splitlines()[0]
        separator = max(",;\t", key=first.count)
        columns = [c.strip() for c in next(csv.reader(io.StringIO(text), delimiter=separator))]
        quoted = '"' in text  # a quoted field may hold line ends: lines are no rows then
        return _seen(None if quoted else lines - 1, columns)
    if ending == ".json":
        return {"rows": None, "columns": [], "labelled": None}
    first_row = json.loads(text.splitlines()[0])
    return _seen(lines, list(first_row) if isinstance(first_row, dict) else [])


def _seen(rows: int | None, columns: list[str]) -> dict[str, Any]:
    shown = [c[:80] for c in columns[:64]]
    return {
        "rows": rows,
        "columns": shown,
        "labelled": not {"label", "标签"}.isdisjoint(c.strip().casefold() for c in columns),
    }


def _sample(identity: str, owner: str, described: dict[str, Any]) -> Sample:
    mine = described["owners"][owner]
    return Sample(
        id=identity,
        name=mine["name"],
        size=described["size"],
        rows=described["rows"],
        columns=tuple(described["columns"]),
        labelled=described["labelled"],
        created=datetime.fromisoformat(mine["when"]),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: dict[str, Any]) -> None:
    descriptor, half = tempfile.mkstemp(dir=path.parent, prefix=".half-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
    Path(half).replace(path)
