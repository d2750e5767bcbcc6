"""Running graphs with bfloat16 inputs or outputs, which numpy has no dtype for.

Here a BF16 tensor is a uint16 array of its bits: the upper halves of float32.
"""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnxruntime

ONNX_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16


def from_float32(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Round finite float32 to the nearest bfloat16 bits, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_float32(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Widen bfloat16 bits to float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def run(
    session: "onnxruntime.InferenceSession",
    names: Sequence[str],
    feeds: dict[str, npt.NDArray[Any]],
    inputs: Sequence[tuple[str, str, tuple[int, ...]]],
    options: "onnxruntime.RunOptions | None" = None,
) -> list[npt.NDArray[Any]]:
    """Like session.run, with BF16 tensors as uint16 on both sides."""
    import onnxruntime as ort

    datatypes = {name: datatype for name, datatype, _ in inputs}
    values = {}
    for name, array in feeds.items():
        if datatypes[name] == "BF16":
            array = np.ascontiguousarray(array)
            values[name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ONNX_BFLOAT16)
        else:
            values[name] = ort.OrtValue.ortvalue_from_numpy(array)
    return [_array(value) for value in session.run_with_ort_values(list(names), values, options)]


def _array(value: "onnxruntime.OrtValue") -> npt.NDArray[Any]:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    size = int(np.prod(shape))
    # The copy is taken while `value`, which owns the memory, is still alive.
    data = ctypes.string_at(value.data_ptr(), size * 2) if size else b""
    return np.frombuffer(data, np.uint16).reshape(shape)
