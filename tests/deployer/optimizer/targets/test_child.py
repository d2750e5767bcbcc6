"""Frames carry every type of tensor there and back, and nothing that is broken or too large."""

import io
from typing import Any

import numpy as np
import pytest

from deployer.optimizer.targets import child
from deployer.optimizer.targets.child import BadFrame, decode, encode


def reader(data: bytes) -> Any:
    stream = io.BytesIO(data)

    def read(size: int) -> bytearray:
        part = stream.read(size)
        if len(part) < size:
            raise EOFError
        return bytearray(part)

    return read


def there_and_back(header: dict[str, Any], tensors: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return decode(reader(b"".join(bytes(part) for part in encode(header, tensors))))


@pytest.mark.parametrize("kind", sorted(child.TYPES))
def test_every_type_comes_back_as_it_was(kind: str) -> None:
    sent = np.arange(12).reshape(3, 4).astype(kind)
    header, got = there_and_back({"op": "run"}, {"x": sent, "transposed": sent.T, "one": sent[0, 0]})
    assert header == {"op": "run"}
    for name, array in {"x": sent, "transposed": sent.T, "one": sent[0, 0]}.items():
        assert got[name].dtype == kind and got[name].shape == np.shape(array)
        np.testing.assert_array_equal(got[name], array)


def test_texts_and_empty_arrays_come_back_as_they_were() -> None:
    texts = np.array([["好", ""], ["a\nb", "😀"]], dtype=object)
    _, got = there_and_back({}, {"t": texts, "none": np.zeros((0, 5), np.float32)})
    assert got["t"].tolist() == texts.tolist()
    assert got["none"].shape == (0, 5)


def test_a_type_without_bytes_is_refused() -> None:
    with pytest.raises(BadFrame, match="complex128"):
        encode({}, {"x": np.zeros(2, np.complex128)})


def test_too_long_a_header_is_refused_on_both_sides() -> None:
    with pytest.raises(BadFrame, match="header"):
        encode({"path": "x" * child.LONGEST_HEADER}, {})
    with pytest.raises(BadFrame, match="header"):
        decode(reader(b"\xff\xff\xff\xff"))


def test_more_bytes_than_a_frame_may_have_are_not_even_read() -> None:
    spec = {"name": "x", "dtype": "float32", "shape": [1 << 40], "bytes": 1 << 42}
    head = child.json.dumps({"tensors": [spec]}).encode()
    with pytest.raises(BadFrame, match="more tensors"):
        decode(reader(len(head).to_bytes(4, "big") + head))


def test_a_cut_frame_ends() -> None:
    whole = b"".join(bytes(part) for part in encode({"op": "run"}, {"x": np.zeros(5)}))
    for at in (2, 10, len(whole) - 1):
        with pytest.raises(EOFError):
            decode(reader(whole[:at]))
