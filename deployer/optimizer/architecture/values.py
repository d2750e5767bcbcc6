"""Small tensors worked out where they are known: what graphs compute of the shapes of their inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

MOST = 4096  # values of a tensor that is worked out
Array = npt.NDArray[Any]
Work = Callable[[Sequence[Array | None], Mapping[str, Any]], Array]


def work_out(op: str, inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array | None:
    """The output of an operator on small known inputs; None where it is too large or not worked out here."""
    make = _WORKS.get(op)
    if make is None:
        return None
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(make(inputs, given))
    except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError, OverflowError, MemoryError):
        return None
    return found if found.size <= MOST else None


def _given(inputs: Sequence[Array | None], index: int) -> Array | None:
    return inputs[index] if index < len(inputs) else None


def _axes(inputs: Sequence[Array | None], given: Mapping[str, Any], place: int = 1) -> list[int] | None:
    told = _given(inputs, place)
    if told is not None:
        return [int(axis) for axis in told.reshape(-1)]
    return [int(axis) for axis in given["axes"]] if "axes" in given else None


def _first(inputs: Sequence[Array | None]) -> Array:
    found = inputs[0]
    if found is None:
        raise ValueError("no input")
    return found


def _slice(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    data = _first(inputs)
    starts, ends, axes, steps = (_given(inputs, place) for place in (1, 2, 3, 4))
    starts = np.asarray(given["starts"]) if starts is None else starts
    ends = np.asarray(given["ends"]) if ends is None else ends
    axes = np.asarray(given.get("axes", range(len(starts)))) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    cut = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        last: int | None = int(end)
        if step < 0 and end < -data.shape[int(axis)]:
            last = None
        cut[int(axis)] = slice(int(start), last, int(step))
    return data[tuple(cut)]


def _range(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    start, limit, step = (_first(inputs[place : place + 1]) for place in range(3))
    if abs((float(limit.item()) - float(start.item())) / float(step.item())) > MOST:
        raise ValueError("too long")
    return np.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


def _filled(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    shape = [int(length) for length in _first(inputs)]
    _small(shape)
    value = given.get("value")
    filling = np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value)
    return np.full(shape, filling.reshape(-1)[0], filling.dtype)


def _expand(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    data = _first(inputs)
    shape = [int(length) for length in _first(inputs[1:])]
    shape = list(np.broadcast_shapes(data.shape, tuple(shape)))
    _small(shape)
    return np.broadcast_to(data, shape)


def _small(shape: Sequence[int]) -> None:
    size = 1
    for length in shape:
        size *= length
        if length < 0 or size > MOST:
            raise ValueError("too large")


def _reshape(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    data = _first(inputs)
    told = [int(length) for length in _first(inputs[1:])]
    keep = not given.get("allowzero")
    shape = [data.shape[axis] if keep and not length else length for axis, length in enumerate(told)]
    return data.reshape(shape)


def _divided(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    over, under = _first(inputs), _first(inputs[1:])
    if over.dtype.kind not in "iu":
        return np.asarray(over / under)
    quotient = np.abs(over) // np.abs(under)  # ONNX cuts towards zero
    return np.asarray((quotient * np.sign(over) * np.sign(under)).astype(over.dtype))


def _cast(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    return _first(inputs).astype(helper.tensor_dtype_to_np_dtype(given["to"]))


def _reduce(work: Callable[..., Any]) -> Work:
    def make(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
        axes = _axes(inputs, given)
        keep = bool(given.get("keepdims", 1))
        return np.asarray(work(_first(inputs), axis=None if axes is None else tuple(axes), keepdims=keep))

    return make


def _on_one(work: Callable[..., Any]) -> Work:
    return lambda inputs, given: np.asarray(work(_first(inputs)))


def _on_two(work: Callable[..., Any]) -> Work:
    return lambda inputs, given: np.asarray(work(_first(inputs), _first(inputs[1:])))


def _on_all(work: Callable[..., Any]) -> Work:
    def make(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
        found = _first(inputs)
        for place in range(1, len(inputs)):
            found = np.asarray(work(found, _first(inputs[place:])))
        return found

    return make


def _same(array: Array) -> Array:
    return array


def _squeeze(inputs: Sequence[Array | None], given: Mapping[str, Any]) -> Array:
    axes = _axes(inputs, given)
    return np.squeeze(_first(inputs), None if axes is None else tuple(axes))


_WORKS: Mapping[str, Work] = {
    "Abs": _on_one(np.abs),
    "Add": _on_two(np.add),
    "And": _on_two(np.logical_and),
    "Cast": _cast,
    "Ceil": _on_one(np.ceil),
    "Concat": lambda inputs, given: np.concatenate(
        [_first(inputs[place:]) for place in range(len(inputs))], given["axis"]
    ),
    "ConstantOfShape": _filled,
    "Div": _divided,
    "Equal": _on_two(np.equal),
    "Expand": _expand,
    "Floor": _on_one(np.floor),
    "Gather": lambda inputs, given: np.take(
        _first(inputs), _first(inputs[1:]).astype(np.int64), int(given.get("axis", 0))
    ),
    "Greater": _on_two(np.greater),
    "GreaterOrEqual": _on_two(np.greater_equal),
    "Identity": _on_one(_same),
    "Less": _on_two(np.less),
    "LessOrEqual": _on_two(np.less_equal),
    "Max": _on_all(np.maximum),
    "Min": _on_all(np.minimum),
    "Mod": _on_two(np.mod),
    "Mul": _on_two(np.multiply),
    "Neg": _on_one(np.negative),
    "Not": _on_one(np.logical_not),
    "Or": _on_two(np.logical_or),
    "Range": _range,
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _on_one(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _on_two(np.subtract),
    "Transpose": lambda inputs, given: np.transpose(_first(inputs), given.get("perm")),
    "Unsqueeze": lambda inputs, given: np.expand_dims(_first(inputs), tuple(_axes(inputs, given) or ())),
    "Where": lambda inputs, given: np.where(*(_first(inputs[place:]) for place in range(3))),
}
