"""Each of TFLite's operators that is known, as ONNX nodes.

A function here reads the options of its operator by their numbers in the schema, fetches its inputs in the
order of axes that suits it, and says in which order its output is.
"""

import math
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from deployer.optimizer.convert.tflite.build import TO_FIRST, Build, same, scale
from deployer.optimizer.convert.tflite.schema import Operator

Step = Callable[[Build, Operator], None]
_SAME, _VALID = 0, 1
_PADDINGS = {1: _SAME, 2: _VALID}  # as MediaPipe's own operators write them
_FUSED = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}  # TANH is in the schema, and in no kernel
_CLIPS = {"RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}


def _activate(b: Build, kind: str, value: str, name: str) -> str:
    if kind in _CLIPS:
        low, high = _CLIPS[kind]
        return b.op("Clip", [value, b.scalar(low), b.scalar(high)], name)
    return b.op("Relu", [value], name)


def _finish(
    b: Build, op: Operator, first: bool, kind: str, inputs: list[str], fused: int = 0, **more: Any
) -> None:
    """The node that makes a step's output, with the activation that is fused into it."""
    name = b.out(op)
    if fused not in (0, *_FUSED):
        raise b.refuse(op, f"fused activation {fused}", f"内嵌激活函数 {fused}")
    value = b.op(kind, inputs, f"{name}/{kind}" if fused else name, **more)
    if fused:
        _activate(b, _FUSED[fused], value, name)
    b.put(op.outputs[0], name, first)


def _shape(b: Build, op: Operator, place: int = 0, rank: int = 0) -> tuple[int, ...]:
    """The shape of an input, of `rank` axes if asked for."""
    if len(op.inputs) <= place or op.inputs[place] < 0:
        raise b.broken(f"{op.name} without input {place}")
    shape = b[op.inputs[place]].shape
    if rank and len(shape) != rank:
        raise b.refuse(op, f"input {place} has shape {list(shape)}", f"输入 {place} 的形状是 {list(shape)}")
    return shape


def _given(op: Operator, place: int) -> bool:
    return len(op.inputs) > place and op.inputs[place] >= 0


def _out_shape(b: Build, op: Operator, rank: int = 0) -> tuple[int, ...]:
    b.out(op)
    shape = b[op.outputs[0]].shape
    if rank and len(shape) != rank:
        raise b.refuse(op, f"answers the shape {list(shape)}", f"输出的形状是 {list(shape)}")
    return shape


def _pads(
    padding: int, size: Sequence[int], out: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> list[int]:  # fmt: skip
    """ONNX's pads for height and width, first before both, then behind."""
    if padding != _SAME:
        return [0, 0, 0, 0]
    pairs = [same(*each) for each in zip(size, out, kernel, strides, dilations, strict=True)]
    return [before for before, _ in pairs] + [behind for _, behind in pairs]


def _positive(b: Build, op: Operator, *values: int) -> list[int]:
    if min(values) < 1 or max(values) > 1 << 16:
        raise b.broken(f"{op.name} with the lengths {list(values)}")
    return list(values)


def _convolution(b: Build, op: Operator, depthwise: bool) -> None:
    _, high, wide, channels = _shape(b, op, 0, 4)
    _, *out, filters = _out_shape(b, op, 4)
    weight = b.fixed(op, 1)
    if weight.ndim != 4:
        raise b.broken(f"{op.name} with a kernel of {weight.ndim} axes")
    dilation = 5 if depthwise else 4
    strides = _positive(b, op, op.option(2, "i"), op.option(1, "i"))
    dilations = _positive(b, op, op.option(dilation + 1, "i", 1), op.option(dilation, "i", 1))
    kernel = weight.shape[1:3]
    if depthwise:  # [1, h, w, channels × multiplier]
        groups, turned = channels, weight.transpose(3, 0, 1, 2)
    else:  # [out, h, w, channels / groups]
        groups, turned = channels // max(1, weight.shape[3]), weight.transpose(0, 3, 1, 2)
    if groups < 1 or turned.shape[0] != filters or turned.shape[1] * groups != channels:
        raise b.broken(f"{op.name} with the kernel {list(weight.shape)} upon {channels} channels")
    inputs = [b.get(op.inputs[0], True), b.initializer(f"{b.out(op)}/kernel", turned.astype(np.float32))]
    if _given(op, 2):
        inputs.append(b.get(op.inputs[2]))
    _finish(
        b, op, True, "Conv", inputs, op.option(4 if depthwise else 3, "b"),
        kernel_shape=kernel, strides=strides, dilations=dilations, group=groups,
        pads=_pads(op.option(0, "b"), (high, wide), out, kernel, strides, dilations),
    )  # fmt: skip


def _transposed(
    b: Build, op: Operator, picture: int, weight: int, bias: int, padding: int, strides: list[int], fused: int
) -> None:
    """A transposed convolution with its inputs at these places."""
    _, high, wide, _ = _shape(b, op, picture, 4)
    _, *out, _ = _out_shape(b, op, 4)
    kernel = b.fixed(op, weight)  # [out, h, w, channels]
    if kernel.ndim != 4:
        raise b.broken(f"{op.name} with a kernel of {kernel.ndim} axes")
    sides = kernel.shape[1:3]
    full = [(length - 1) * s + k for length, s, k in zip((high, wide), strides, sides, strict=True)]
    inputs = [
        b.get(op.inputs[picture], True),
        b.initializer(f"{b.out(op)}/kernel", kernel.transpose(3, 0, 1, 2).astype(np.float32)),
    ]
    if _given(op, bias):
        inputs.append(b.get(op.inputs[bias]))
    more = [max(0, length - whole) for length, whole in zip(out, full, strict=True)]
    if padding != _SAME and any(whole > length for length, whole in zip(out, full, strict=True)):
        raise b.broken(f"{op.name} answers {out}, its windows make {full}")
    _finish(
        b, op, True, "ConvTranspose", inputs, fused, kernel_shape=sides, strides=strides,
        output_padding=more, pads=_pads(padding, out, (high, wide), sides, strides),
    )  # fmt: skip


def _transpose_conv(b: Build, op: Operator) -> None:
    strides = _positive(b, op, op.option(2, "i"), op.option(1, "i"))
    _transposed(b, op, 2, 1, 3, op.option(0, "b"), strides, op.option(3, "b"))


def _transpose_conv_bias(b: Build, op: Operator) -> None:
    """MediaPipe's own: padding, stride across and stride down as three int32."""
    if len(op.custom) < 12:
        raise b.broken(f"{op.name} with {len(op.custom)} bytes of options")
    padding, across, down = struct.unpack("<3i", op.custom[:12])
    if padding not in _PADDINGS:
        raise b.refuse(op, f"padding {padding}", f"填充方式 {padding}")
    _transposed(b, op, 0, 1, 2, _PADDINGS[padding], _positive(b, op, down, across), 0)


def _pool(b: Build, op: Operator, kind: str) -> None:
    _, *size, _ = _shape(b, op, 0, 4)
    _, *out, _ = _out_shape(b, op, 4)
    strides = _positive(b, op, op.option(2, "i"), op.option(1, "i"))
    kernel = _positive(b, op, op.option(4, "i"), op.option(3, "i"))
    pads = _pads(op.option(0, "b"), size, out, kernel, strides)
    value, fused = b.get(op.inputs[0], True), op.option(5, "b")
    if kernel == size and out == [1, 1] and not any(pads):
        _finish(b, op, True, f"Global{kind}", [value], fused)
    else:
        _finish(b, op, True, kind, [value], fused, kernel_shape=kernel, strides=strides, pads=pads)


def _operands(b: Build, op: Operator) -> tuple[bool, list[str]]:
    """The inputs of a step that goes value by value, all in one order of axes."""
    rank = len(_out_shape(b, op))
    computed = [n for n in op.inputs if b.constant(n) is None]
    first = rank == 4 and b.first(*computed) and all(len(b[n].shape) == 4 for n in computed)
    for number in set(op.inputs) - set(computed):
        if len(b[number].shape) == rank and b[number].shape[:1] != (1,):
            b.free = False
    return first, [b.get(number, first, rank if first else 0) for number in op.inputs]


def _binary(b: Build, op: Operator, kind: str, fused: bool = False) -> None:
    first, inputs = _operands(b, op)
    _finish(b, op, first, kind, inputs, op.option(0, "b") if fused else 0)


def _difference(b: Build, op: Operator) -> None:
    """(x − y)²."""
    first, inputs = _operands(b, op)
    value = b.op("Sub", inputs, f"{b.out(op)}/difference")
    _finish(b, op, first, "Mul", [value, value])


def _unary(b: Build, op: Operator, kind: str, **more: Any) -> None:
    first, inputs = _operands(b, op)
    _finish(b, op, first, kind, inputs, **more)


def _leaky(b: Build, op: Operator) -> None:
    _unary(b, op, "LeakyRelu", alpha=float(op.option(0, "f")))


def _clip(b: Build, op: Operator) -> None:
    first, (value,) = _operands(b, op)
    _activate(b, op.name, value, b.out(op))
    b.put(op.outputs[0], b.out(op), first)


def _softmax(b: Build, op: Operator, kind: str) -> None:
    rank = len(_shape(b, op))
    first = b.first(op.inputs[0])
    value, beta = b.get(op.inputs[0], first), op.option(0, "f", 1.0) if kind == "Softmax" else 1.0
    if beta != 1.0:
        value = b.op("Mul", [value, b.scalar(float(beta))], f"{b.out(op)}/scaled")
    _finish(b, op, first, kind, [value], axis=1 if first else rank - 1)


def _prelu(b: Build, op: Operator) -> None:
    b.fixed(op, 1)
    first, inputs = _operands(b, op)
    _finish(b, op, first, "PRelu", inputs)


def _reciprocal_root(b: Build, op: Operator) -> None:
    first, inputs = _operands(b, op)
    _finish(b, op, first, "Reciprocal", [b.op("Sqrt", inputs, f"{b.out(op)}/root")])


def _square(b: Build, op: Operator) -> None:
    first, inputs = _operands(b, op)
    _finish(b, op, first, "Mul", inputs * 2)


def _resize(b: Build, op: Operator, mode: str, align: int, half: int) -> None:
    _, high, wide, _ = _shape(b, op, 0, 4)
    _, *out, _ = _out_shape(b, op, 4)
    if op.option(align, "b"):
        how, nearest = "align_corners", "round_prefer_ceil"
    elif op.option(half, "b"):
        how, nearest = "half_pixel", "round_prefer_ceil"
    else:
        how, nearest = "asymmetric", "floor"
    _positive(b, op, high, wide, *out)
    factors = [1.0, 1.0, scale(high, out[0]), scale(wide, out[1])]
    scales = b.initializer("scales/" + ",".join(map(str, factors)), np.array(factors, np.float32))
    more: dict[str, Any] = {"nearest_mode": nearest} if mode == "nearest" else {}
    inputs = [b.get(op.inputs[0], True), "", scales]
    _finish(b, op, True, "Resize", inputs, mode=mode, coordinate_transformation_mode=how, **more)


def _reshape(b: Build, op: Operator) -> None:
    before, after = _shape(b, op), _out_shape(b, op)
    if math.prod(before) != math.prod(after):
        raise b.broken(f"{op.name} of {list(before)} to {list(after)}")
    form = list(after)
    if before[:1] == after[:1] == (1,):
        form[0] = 0  # the batch as it comes
    else:
        b.free = False
    _finish(b, op, False, "Reshape", [b.get(op.inputs[0]), b.integers(*form)])


def _axis(b: Build, op: Operator, axis: int, rank: int) -> int:
    """An axis counted from the front; a step along the batch makes its length fixed."""
    if not -rank <= axis < rank:
        raise b.broken(f"{op.name} along axis {axis} of {rank}")
    axis %= rank
    if axis == 0:
        b.free = False
    return axis


def _concatenation(b: Build, op: Operator) -> None:
    rank = len(_out_shape(b, op))
    axis = _axis(b, op, op.option(0, "i"), rank)
    first = rank == 4 and b.first(*op.inputs)
    if any(b.constant(n) is not None for n in op.inputs):
        b.free = False
    inputs = [b.get(number, first) for number in op.inputs]
    _finish(b, op, first, "Concat", inputs, op.option(1, "b"), axis=TO_FIRST.index(axis) if first else axis)


def _fully_connected(b: Build, op: Operator) -> None:
    weight, before, after = b.fixed(op, 1), _shape(b, op), _out_shape(b, op)
    if op.option(1, "b") or weight.ndim != 2:
        raise b.refuse(op, "weights in a form of their own", "权重采用特殊格式")
    out, inner = weight.shape
    if math.prod(before) * out != math.prod(after) * inner or after[-1:] != (out,):
        raise b.broken(f"{op.name} of {list(before)} to {list(after)}")
    value, fused, name = b.get(op.inputs[0]), op.option(0, "b"), b.out(op)
    bias = [b.get(op.inputs[2])] if _given(op, 2) else []
    if len(after) > 2 and before[:-1] == after[:-1]:  # upon the last axis of any number
        turned = b.initializer(f"{name}/weight", weight.T.astype(np.float32))
        if not bias:
            _finish(b, op, False, "MatMul", [value, turned], fused)
            return
        product = b.op("MatMul", [value, turned], f"{name}/product")
        _finish(b, op, False, "Add", [product, *bias], fused)
        return
    if len(after) != 2:
        raise b.refuse(op, f"answers the shape {list(after)}", f"输出的形状是 {list(after)}")
    if before != (after[0], inner):
        rows = 0 if before[:1] == after[:1] else -1
        value = b.op("Reshape", [value, b.integers(rows, inner)], f"{name}/rows")
    kernel = b.initializer(f"{name}/weight", weight.astype(np.float32))
    _finish(b, op, False, "Gemm", [value, kernel, *bias], fused, transB=1)


def _pad(b: Build, op: Operator) -> None:
    rank = len(_shape(b, op))
    widths = b.fixed(op, 1).reshape(-1)
    if widths.size != 2 * rank or widths.min(initial=0) < 0 or widths.max(initial=0) > 1 << 16:
        raise b.broken(f"{op.name} by {widths.tolist()[:16]}")
    first = rank == 4 and b.first(op.inputs[0])
    pairs = widths.reshape(rank, 2)[list(TO_FIRST) if first else slice(None)]
    if pairs[0].any():
        b.free = False
    inputs = [b.get(op.inputs[0], first), b.integers(*map(int, pairs.T.reshape(-1)))]
    if _given(op, 2):
        inputs.append(b.scalar(float(b.fixed(op, 2).reshape(-1)[0])))
    _finish(b, op, first, "Pad", inputs, mode="constant")


def _reduce(b: Build, op: Operator, kind: str) -> None:
    rank, keep = len(_shape(b, op)), bool(op.option(0, "b"))
    axes = sorted({_axis(b, op, int(axis), rank) for axis in b.fixed(op, 1).reshape(-1)})
    first = rank == 4 and b.first(op.inputs[0])
    if first and not keep:  # what is left must come out in the source's order
        left = [axis for axis in TO_FIRST if axis not in axes]
        first = left == sorted(left)
    value = b.get(op.inputs[0], first)
    if first:
        axes = sorted(TO_FIRST.index(axis) for axis in axes)
    name = b.out(op)
    if kind == "ReduceSum":
        b.op(kind, [value, b.integers(*axes)], name, keepdims=int(keep))
    else:
        b.op(kind, [value], name, axes=axes, keepdims=int(keep))
    b.put(op.outputs[0], name, first and keep)


def _transpose(b: Build, op: Operator) -> None:
    order = [int(axis) for axis in b.fixed(op, 1).reshape(-1)]
    if sorted(order) != list(range(len(_shape(b, op)))):
        raise b.broken(f"{op.name} by {order[:16]}")
    if order[:1] != [0]:
        b.free = False
    _finish(b, op, False, "Transpose", [b.get(op.inputs[0])], perm=order)


def _depth_to_space(b: Build, op: Operator, kind: str) -> None:
    _shape(b, op, 0, 4)
    (block,) = _positive(b, op, op.option(0, "i"))
    value = b.get(op.inputs[0], True)
    if kind == "DepthToSpace":
        _finish(b, op, True, kind, [value], blocksize=block, mode="DCR")
    else:
        _finish(b, op, True, kind, [value], blocksize=block)


def _dequantize(b: Build, op: Operator) -> None:
    """Constants only: weights kept as halves or bytes become float32."""
    values = b.constant(op.inputs[0]) if _given(op, 0) else None
    if values is None:
        raise b.refuse(op, "of values that are computed", "作用于计算得到的值")
    b.out(op)
    b.folded[op.outputs[0]] = values.astype(np.float32)


STEPS: dict[str, Step] = {
    "ABS": partial(_unary, kind="Abs"),
    "ADD": partial(_binary, kind="Add", fused=True),
    "AVERAGE_POOL_2D": partial(_pool, kind="AveragePool"),
    "CEIL": partial(_unary, kind="Ceil"),
    "CONCATENATION": _concatenation,
    "CONV_2D": partial(_convolution, depthwise=False),
    "COS": partial(_unary, kind="Cos"),
    "Convolution2DTransposeBias": _transpose_conv_bias,
    "DEPTHWISE_CONV_2D": partial(_convolution, depthwise=True),
    "DEPTH_TO_SPACE": partial(_depth_to_space, kind="DepthToSpace"),
    "DEQUANTIZE": _dequantize,
    "DIV": partial(_binary, kind="Div", fused=True),
    "ELU": partial(_unary, kind="Elu"),
    "EXP": partial(_unary, kind="Exp"),
    "EXPAND_DIMS": _reshape,
    "FLOOR": partial(_unary, kind="Floor"),
    "FULLY_CONNECTED": _fully_connected,
    "HARD_SWISH": partial(_unary, kind="HardSwish"),
    "LEAKY_RELU": _leaky,
    "LOG": partial(_unary, kind="Log"),
    "LOGISTIC": partial(_unary, kind="Sigmoid"),
    "LOG_SOFTMAX": partial(_softmax, kind="LogSoftmax"),
    "MAXIMUM": partial(_binary, kind="Max"),
    "MAX_POOL_2D": partial(_pool, kind="MaxPool"),
    "MEAN": partial(_reduce, kind="ReduceMean"),
    "MINIMUM": partial(_binary, kind="Min"),
    "MUL": partial(_binary, kind="Mul", fused=True),
    "NEG": partial(_unary, kind="Neg"),
    "PAD": _pad,
    "PADV2": _pad,
    "POW": partial(_binary, kind="Pow"),
    "PRELU": _prelu,
    "REDUCE_MAX": partial(_reduce, kind="ReduceMax"),
    "REDUCE_MIN": partial(_reduce, kind="ReduceMin"),
    "RELU": partial(_unary, kind="Relu"),
    "RELU6": _clip,
    "RELU_N1_TO_1": _clip,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": partial(_resize, mode="linear", align=2, half=3),
    "RESIZE_NEAREST_NEIGHBOR": partial(_resize, mode="nearest", align=0, half=1),
    "RSQRT": _reciprocal_root,
    "SIN": partial(_unary, kind="Sin"),
    "SOFTMAX": partial(_softmax, kind="Softmax"),
    "SPACE_TO_DEPTH": partial(_depth_to_space, kind="SpaceToDepth"),
    "SQRT": partial(_unary, kind="Sqrt"),
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _difference,
    "SQUEEZE": _reshape,
    "SUB": partial(_binary, kind="Sub", fused=True),
    "SUM": partial(_reduce, kind="ReduceSum"),
    "TANH": partial(_unary, kind="Tanh"),
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transpose_conv,
}
