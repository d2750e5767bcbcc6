"""The safetensors reader: what it reads, and headers that lie."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.weights import Weights


def written(path: Path, header: Any, data: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def tensor(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_reads_what_the_formats_own_library_wrote(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tensors = {
        "a": rng.normal(size=(3, 4)).astype(np.float32),
        "half": rng.normal(size=(5,)).astype(np.float16),
        "double": rng.normal(size=(2, 1, 2)),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "ids": np.arange(4),
    }
    save_file(tensors, tmp_path / "w", metadata={"format": "np"})
    read = Weights.open(tmp_path / "w")
    assert set(read.entries) == set(tensors)
    assert "a" in read and "b" not in read
    for name in set(tensors) - {"ids"}:
        np.testing.assert_array_equal(read.float32(name), tensors[name].astype(np.float32))
    with pytest.raises(ConversionFailed, match="I64"):
        read.float32("ids")


def test_reads_an_empty_file_of_the_format(tmp_path: Path) -> None:
    assert Weights.open(written(tmp_path / "w", {}, b"")).entries == {}


def test_values_too_large_for_a_float_are_refused(tmp_path: Path) -> None:
    save_file({"a": np.array([1e300])}, tmp_path / "w")
    with pytest.raises(ConversionFailed, match="infinity"):
        Weights.open(tmp_path / "w").float32("a")


LIES: dict[str, tuple[Any, bytes]] = {
    "not JSON": (b"{'a': 1}", b""),
    "not UTF-8": (b'{"\xff": 1}', b""),
    "a list": ([], b""),
    "deep": (b"[" * 200_000, b""),
    "long number": (b'{"a": ' + b"9" * 10_000 + b"}", b""),
    "name twice": (b'{"a": %b, "a": %b}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), bytes(4)),
    "entry is a number": ({"a": 1}, b""),
    "entry lacks a shape": ({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)),
    "unknown dtype": ({"a": tensor([1], 0, 4, "F33")}, bytes(4)),
    "dtype is a list": ({"a": tensor([1], 0, 4, [])}, bytes(4)),
    "shape is a number": ({"a": tensor(1, 0, 4)}, bytes(4)),
    "shape is a boolean": ({"a": tensor([True], 0, 4)}, bytes(4)),
    "negative shape": ({"a": tensor([-1, -1], 0, 4)}, bytes(4)),
    "many axes": ({"a": tensor([1] * 9, 0, 4)}, bytes(4)),
    "shape and bytes differ": ({"a": tensor([2], 0, 4)}, bytes(4)),
    "huge": ({"a": tensor([2**62, 2**62], 0, 4)}, bytes(4)),
    "backwards": ({"a": tensor([0], 4, 0)}, bytes(4)),
    "fraction": ({"a": tensor([1], 0.0, 4.0)}, bytes(4)),
    "three offsets": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, bytes(4)),
    "past the end": ({"a": tensor([2], 0, 8)}, bytes(4)),
    "hole before": ({"a": tensor([1], 4, 8)}, bytes(8)),
    "hole after": ({"a": tensor([1], 0, 4)}, bytes(8)),
    "overlap": ({"a": tensor([2], 0, 8), "b": tensor([1], 4, 8)}, bytes(8)),
}


@pytest.mark.parametrize(("header", "data"), LIES.values(), ids=LIES)
def test_lies_are_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    with pytest.raises(ConversionFailed, match="not a sound safetensors file"):
        Weights.open(written(tmp_path / "w", header, data))


@pytest.mark.parametrize("length", [0, 1, 3, 2**40, 2**64 - 1])
def test_lies_about_the_headers_length_are_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ConversionFailed, match="not a sound safetensors file"):
        Weights.open(written(tmp_path / "w", {}, b"", length))


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_short_files_are_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "w").write_bytes(bytes(size))
    with pytest.raises(ConversionFailed, match="not a sound safetensors file"):
        Weights.open(tmp_path / "w")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_refused_or_read_within_bounds(tmp_path: Path, data: st.DataObject) -> None:
    header = {"a": tensor([2, 2], 0, 16), "b": tensor([3], 16, 22, "F16")}
    raw = bytearray(written(tmp_path / "w", header, bytes(22)).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 23), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    (tmp_path / "w").write_bytes(raw)
    try:
        read = Weights.open(tmp_path / "w")
    except ConversionFailed:
        return
    for name, entry in read.entries.items():
        assert entry.end <= 22
        if entry.dtype in ("F32", "F16"):
            assert read.float32(name).shape == entry.shape
