"""PyTorch's files without torch: what is written is read, and nothing that could run is."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.errors import ConversionFailed
from deployer.optimizer.convert.statedict import StateDict, open_weights
from tests.deployer.optimizer.convert import statedicts
from tests.deployer.optimizer.convert.encoders import write_safetensors

TENSORS = {
    "a.weight": np.arange(6, dtype="<f4").reshape(2, 3),
    "b": np.array([0.5, -2], "<f2"),
    "count": np.array(7, "<i8"),
    "turned": np.arange(6, dtype="<f8").reshape(2, 3).T,
}


def opened(path: Path) -> StateDict:
    return StateDict.open(path)


@pytest.mark.parametrize("nested", ["", "state_dict"])
@pytest.mark.parametrize("write", [statedicts.write_zip, statedicts.write_row])
def test_what_is_written_is_read(tmp_path: Path, write: Any, nested: str) -> None:
    stored = {**TENSORS, "turned": np.ascontiguousarray(TENSORS["turned"])}
    found = opened(write(tmp_path / "m.pth", stored, nested=nested))
    assert {name: entry.shape for name, entry in found.entries.items()} == {
        name: values.shape for name, values in TENSORS.items()
    }
    for name in ("a.weight", "b", "turned"):
        assert name in found
        np.testing.assert_array_equal(found.float32(name), TENSORS[name].astype(np.float32))
    with pytest.raises(ConversionFailed, match="count is <i8, not a float"):
        found.float32("count")


def test_strides_and_offsets_are_followed(tmp_path: Path) -> None:
    """A view of a storage: turned, and not from its begin."""
    values = np.arange(12, dtype="<f4")
    call = statedicts.tensor("0", values, False, shape=(2, 3), strides=(1, 4), offset=1, count=12)
    members = {"data.pkl": statedicts.content({"w": call}), "data/0": values.tobytes()}
    found = opened(statedicts.archive(tmp_path / "m.pth", members))
    np.testing.assert_array_equal(found.float32("w"), [[1, 5, 9], [2, 6, 10]])


def test_brain_floats_and_parameters(tmp_path: Path) -> None:
    values = np.array([0.5, -2], "<f4")
    upper = (values.view("<u4") >> 16).astype("<u2")
    call = statedicts.tensor("0", upper.view("<f2"), False, "BFloat16Storage")
    wrapped = b"ctorch._utils\n_rebuild_parameter\n(" + call + b"\x88N" + b"tR"
    members = {"data.pkl": statedicts.content({"w": wrapped}), "data/0": upper.tobytes()}
    found = opened(statedicts.archive(tmp_path / "m.pth", members))
    np.testing.assert_array_equal(found.float32("w"), values)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name, data in {
        "own": pickle.dumps({"w": Hostile(mark)}, 2),
        "os": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueR.",
        "eval": b"\x80\x02cbuiltins\neval\n(X\x03\x00\x00\x001+1tR.",
        "torch": b"\x80\x02ctorch.nn.modules.linear\nLinear\n)R.",
        "storage": b"\x80\x02ctorch\nload\n)R.",
    }.items():
        path = statedicts.archive(tmp_path / f"{name}.pth", {"data.pkl": data})
        with pytest.raises(ConversionFailed, match="it was not run") as refused:
            opened(path)
        assert "没有执行" in str(refused.value.facts["why_zh"])
    assert not mark.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1}, {"offset": -1}, {"shape": (7,), "strides": (1,)}, {"strides": (9, 1)}, {"count": 99},
        {"shape": (100, 100), "strides": (0, 0)}, {"shape": (2,), "strides": (1, 1)}, {"order": b"big"},
        {"compression": zipfile.ZIP_DEFLATED}, {"shape": (1,) * 9, "strides": (1,) * 9}, {"strides": (-3, 1)},
    ],
)  # fmt: skip
def test_tensors_that_lie_elsewhere_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = statedicts.write_zip(tmp_path / "m.pth", {"a": TENSORS["a.weight"]}, **changes)
    with pytest.raises(ConversionFailed, match="not a sound PyTorch state dict") as refused:
        opened(path).float32("a")
    assert re.search("[\u4e00-\u9fff]", str(refused.value.facts["why_zh"]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\x80\x02.",
        pickle.dumps([1]),
        pickle.dumps({"a": 1}),
        pickle.dumps({"model": {"b": {}}}),
    ],
)
def test_what_holds_no_tensors_is_refused(tmp_path: Path, data: bytes) -> None:
    for path in (tmp_path / "plain.pth", tmp_path / "zipped.pth"):
        if path.name == "plain.pth":
            path.write_bytes(data)
        else:
            statedicts.archive(path, {"data.pkl": data})
        with pytest.raises(ConversionFailed, match="not a sound PyTorch state dict"):
            opened(path)


def test_infinity_is_refused(tmp_path: Path) -> None:
    path = statedicts.write_zip(tmp_path / "m.pth", {"a": np.array([np.inf], "<f4")})
    with pytest.raises(ConversionFailed, match="NaN or infinity"):
        opened(path).float32("a")


def test_weights_are_told_from_their_first_bytes(tmp_path: Path) -> None:
    values = {"a": TENSORS["a.weight"]}
    for path in (
        statedicts.write_zip(tmp_path / "a", values),
        statedicts.write_row(tmp_path / "b", values),
        write_safetensors(tmp_path / "c", values),
    ):
        np.testing.assert_array_equal(open_weights(path).float32("a"), values["a"])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), row=st.booleans())
def test_damage_is_refused_or_read(tmp_path: Path, data: st.DataObject, row: bool) -> None:
    write = statedicts.write_row if row else statedicts.write_zip
    whole = bytearray(write(tmp_path / "m.pth", {"a": TENSORS["a.weight"], "b": TENSORS["b"]}).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.pth").write_bytes(whole[: data.draw(st.integers(0, len(whole)))] if row else whole)
    try:
        found = opened(tmp_path / "m.pth")
        for name in found.entries:
            found.float32(name)
    except ConversionFailed as refused:
        assert refused.facts["why_zh"]
