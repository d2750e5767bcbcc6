"""Rows of an .npz: an array for each input of the graph, all of the same length, and optionally `label`.

Arrays are read row by row out of the archive, so none of them has to fit into memory.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from deployer.optimizer.rows.contents import MOST_BYTES, Arrays
from deployer.optimizer.rows.errors import (
    DataBroken,
    DataColumns,
    DataEmpty,
    DataNotFinite,
    DataTooLarge,
    DataZipBomb,
    DataZipBroken,
)
from deployer.optimizer.rows.forms import LABEL, Form, suggestion
from deployer.optimizer.rows.tables import Line

_KINDS = "fiubU"
_MOST_MEMBERS = 1000
_MOST_RATIO = 1100  # deflate's own bound: zeros may well be real data


class _Stream:
    """One array of the archive, handed out row by row."""

    def __init__(self, file: IO[bytes], member: zipfile.ZipInfo, where: str) -> None:
        self.file, self.where = file, where
        self.name = member.filename.removesuffix(".npy")
        self.shape, self.dtype = self._head()
        self.row = int(np.prod(self.shape[1:], dtype=np.float64)) * self.dtype.itemsize
        if self.row > MOST_BYTES:
            raise DataTooLarge(name=where, row=1, line=None, column=self.name, limit=MOST_BYTES)

    def _head(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        form = np.lib.format
        try:
            version = form.read_magic(self.file)
            reader = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            shape, fortran, dtype = reader(self.file)
        except (ValueError, EOFError, SyntaxError, TypeError) as error:
            raise self._broken("is not an array", "不是数组") from error
        if dtype.kind not in _KINDS or dtype.itemsize == 0:
            raise self._broken(f"holds {dtype.str}, not numbers or texts", "存放的不是数或文本")
        if fortran and len(shape) > 1:
            raise self._broken(
                "lies in Fortran's order: save numpy.ascontiguousarray(array)",
                "按 Fortran 顺序存放：请保存 numpy.ascontiguousarray(array)",
            )
        if not shape or min(shape) < 0:
            raise self._broken("has no axis of rows", "没有行这一维")
        return tuple(shape), dtype

    def next(self, number: int) -> npt.NDArray[Any]:
        """The next row, with a batch axis of 1."""
        data = self.file.read(self.row)
        if len(data) < self.row:
            raise self._broken("ends too early", "数据不完整", number)
        array = np.frombuffer(data, self.dtype).reshape((1, *self.shape[1:]))
        if self.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataNotFinite(name=self.where, row=number, line=None, column=self.name)
        return array

    def _broken(self, why: str, why_zh: str, row: int = 0) -> DataBroken:
        return DataBroken(
            name=self.where,
            row=row,
            line=None,
            why=f"{self.name[:80]} {why}",
            why_zh=f"{self.name[:80]} {why_zh}",
        )


def is_arrays(path: Path) -> bool:
    """Whether a zip archive holds arrays and nothing else."""
    try:
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def array_lines(path: Path, inputs: Mapping[str, bool] | None) -> Generator[Line, None, None]:
    """The rows of an .npz as cells `inputs` and `label`; raises a refusal."""
    with ExitStack() as stack:
        opened = stack.enter_context(zipfile.ZipFile(path))
        members = opened.infolist()
        _check(members, path.name)
        streams = [_Stream(stack.enter_context(opened.open(one)), one, path.name) for one in members]
        _check_names([stream.name for stream in streams], path.name, inputs)
        lengths = {stream.name: stream.shape[0] for stream in streams}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            why, why_zh = f"arrays differ in length ({listed[:200]})", f"各数组长度不一（{listed[:200]}）"
            raise DataBroken(name=path.name, row=0, line=None, why=why, why_zh=why_zh)
        if not next(iter(lengths.values())):
            raise DataEmpty(name=path.name)
        yield from _rows(streams, next(iter(lengths.values())), path.name)


def _rows(streams: list[_Stream], count: int, where: str) -> Iterator[Line]:
    for number in range(1, count + 1):
        try:
            row = {stream.name: stream.next(number) for stream in streams}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataZipBroken(name=where, why=str(error)[:200], why_zh="文件已损坏") from error
        label = row.pop(LABEL, None)
        cells: dict[str, Any] = {"inputs": Arrays(row)}
        if label is not None:
            if label.size != 1:
                why, why_zh = "label is not one value a row", "label 不是每行一个值"
                raise DataBroken(name=where, row=number, line=None, why=why, why_zh=why_zh)
            cells[LABEL] = label.reshape(-1).tolist()[0]
        yield Line(number, number, cells)


def _check(members: list[zipfile.ZipInfo], where: str) -> None:
    if len(members) > _MOST_MEMBERS:
        raise DataZipBroken(name=where, why="lists far too many members", why_zh="包含的文件过多")
    for member in members:
        if member.flag_bits & 1:
            raise DataZipBroken(name=where, why="a password is needed", why_zh="需要密码")
        if member.file_size > _MOST_RATIO * max(member.compress_size, 1024):
            limit = _MOST_RATIO * max(member.compress_size, 1024)
            raise DataZipBomb(name=where, member=member.filename[:80], size=member.file_size, limit=limit)


def _check_names(names: list[str], where: str, inputs: Mapping[str, bool] | None) -> None:
    given = [name for name in names if name != LABEL]
    wanted = list(inputs or given)
    absent = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if absent or extra or not given:
        meant = suggestion(given, absent, Form(dict.fromkeys(wanted, "json")))
        raise DataColumns(
            name=where,
            missing=", ".join(absent),
            found=", ".join(names)[:300],
            expected=", ".join([*wanted, LABEL])[:300],
            meant=meant,
        )


def digest(path: Path) -> str:
    """sha256 of the archive."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
