"""One small TFLite network for each operator and each way that it can be set, with inputs for it."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.deployer.optimizer.convert.tflites import Fields, Network

Array = npt.NDArray[Any]
CONV, DEPTHWISE, POOL, DENSE, SOFTMAX, CONCAT = 1, 2, 5, 8, 9, 10
ADD, RESIZE, RESHAPE, MUL, REDUCE, TRANSPOSED = 11, 15, 17, 21, 27, 49


@dataclass(frozen=True)
class Case:
    """A file, its inputs, and whether it may take several at once."""

    name: str
    model: bytes
    feeds: list[Array]
    batch: bool = True


def _values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def byte(value: int) -> tuple[str, int]:
    """A field of one byte."""
    return "b", value


def integer(value: int) -> tuple[str, int]:
    """A field of an int32."""
    return "i", value


def _one(
    name: str, make: Callable[[Network, int], int], shape: tuple[int, ...], batch: bool = True,
    positive: bool = False, after: bool = True,
) -> Case:  # fmt: skip
    """A network of one input; a 1 × 1 convolution before a picture's step has it come channels-first."""
    net = Network()
    x = net.feed(*shape)
    if after and len(shape) == 4:
        eye = np.eye(shape[3], dtype=np.float32)[:, None, None, :]
        x = net.op(3, [x, net.constant(eye), net.constant(np.zeros(shape[3], np.float32))], shape,
                   {0: byte(0), 1: integer(1), 2: integer(1)}, CONV)  # fmt: skip
    make(net, x)
    feed = _values(*shape, seed=len(name))
    return Case(name, net.file(), [np.abs(feed) + 0.1 if positive else feed], batch)


def convolutions() -> Iterator[Case]:
    """Strides, dilations, paddings, groups and fused activations."""
    for padding, high, stride, dilation, kernel, fused in [
        (0, 7, 2, 1, 3, 1), (1, 7, 2, 1, 3, 0), (0, 8, 2, 1, 3, 3), (0, 9, 1, 2, 3, 2), (0, 6, 3, 1, 2, 0),
    ]:  # fmt: skip
        reach = (kernel - 1) * dilation + 1
        out = -(-high // stride) if padding == 0 else -(-(high - reach + 1) // stride)
        wide = -(-5 // stride) if padding == 0 else -(-(5 - reach + 1) // stride)
        options = {0: byte(padding), 1: integer(stride), 2: integer(stride), 3: byte(fused)}
        options |= {4: integer(dilation), 5: integer(dilation)}

        def conv(net: Network, x: int, k: int = kernel, o: Any = options, s: Any = (1, out, wide, 4)) -> int:
            weight = net.constant(_values(4, k, k, 3, seed=1))
            return net.op(3, [x, weight, net.constant(_values(4, seed=2))], s, o, CONV)

        def deep(net: Network, x: int, k: int = kernel, o: Any = options, s: Any = (1, out, wide, 6)) -> int:
            weight = net.constant(_values(1, k, k, 6, seed=1))
            told = {0: o[0], 1: o[1], 2: o[2], 3: integer(2), 4: o[3], 5: o[4], 6: o[5]}
            return net.op(4, [x, weight, net.constant(_values(6, seed=2))], s, told, DEPTHWISE)

        told = f"{padding}-{high}-{stride}-{dilation}-{kernel}-{fused}"
        yield _one(f"conv-{told}", conv, (1, high, 5, 3))
        yield _one(f"depthwise-{told}", deep, (1, high, 5, 3))

    def grouped(net: Network, x: int) -> int:
        weight = net.constant(_values(4, 1, 1, 2, seed=1))
        options = {0: byte(0), 1: integer(1), 2: integer(1)}
        return net.op(3, [x, weight, net.constant(_values(4, seed=2))], (1, 3, 3, 4), options, CONV)

    yield _one("conv-groups", grouped, (1, 3, 3, 4))


def transposed() -> Iterator[Case]:
    """TFLite's transposed convolution, and MediaPipe's."""
    for padding, stride, kernel, out in [
        (0, 2, 3, 8),
        (1, 2, 3, 9),
        (0, 2, 2, 8),
        (0, 3, 2, 12),
        (1, 1, 3, 6),
    ]:

        def plain(
            net: Network, x: int, p: int = padding, s: int = stride, k: int = kernel, o: int = out
        ) -> int:
            size = net.constant(np.array([1, o, o, 2], np.int32))
            weight = net.constant(_values(2, k, k, 3, seed=1))
            options = {0: byte(p), 1: integer(s), 2: integer(s)}
            inputs = [size, weight, x, net.constant(_values(2, seed=3))]
            made = net.op(67, inputs, (1, o, o, 2), options, TRANSPOSED)
            net.codes[-1][2] = integer(3)  # the version that has a bias
            return made

        yield _one(f"transposed-{padding}-{stride}-{kernel}", plain, (1, 4, 4, 3))

    def mediapipe(net: Network, x: int) -> int:
        inputs = [x, net.constant(_values(2, 2, 2, 3, seed=1)), net.constant(_values(2, seed=3))]
        custom = struct.pack("<3i", 1, 2, 2)
        return net.op("Convolution2DTransposeBias", inputs, (1, 8, 8, 2), custom=custom)

    yield _one("transposed-mediapipe", mediapipe, (1, 4, 4, 3))


def pools() -> Iterator[Case]:
    """Means and maxima, at the edges and over all."""
    for code in (1, 17):
        for padding, side, stride, kernel in [(0, 5, 2, 3), (1, 5, 2, 3), (1, 5, 5, 5), (0, 4, 1, 2)]:
            out = -(-side // stride) if padding == 0 else -(-(side - kernel + 1) // stride)
            options = {0: byte(padding), 1: integer(stride), 2: integer(stride)}
            options |= {3: integer(kernel), 4: integer(kernel), 5: byte(3 if stride == 1 else 0)}

            def pool(net: Network, x: int, c: int = code, o: Any = options, s: Any = (1, out, out, 3)) -> int:
                return net.op(c, [x], s, o, POOL)

            yield _one(f"pool-{code}-{padding}-{stride}-{kernel}", pool, (1, side, side, 3))


def resizing() -> Iterator[Case]:
    """Both ways of resizing, by each way of counting."""
    for code, kind, first in ((23, RESIZE, 2), (97, 74, 0)):
        for align, half in ((0, 0), (1, 0), (0, 1)):
            how = {first: byte(align), first + 1: byte(half)}
            for high, wide in ((8, 10), (7, 3), (2, 5)):
                size = np.array([high, wide], np.int32)

                def resize(
                    net: Network, x: int, c: int = code, k: int = kind, o: Any = how, s: Any = size
                ) -> int:
                    return net.op(c, [x, net.constant(s)], (1, *s, 3), o, k)

                yield _one(f"resize-{code}-{align}{half}-{high}x{wide}", resize, (1, 4, 5, 3))


_UNARY = {
    **{14: "logistic", 19: "relu", 20: "relu1", 21: "relu6", 28: "tanh", 117: "hard-swish", 47: "exp"},
    **{59: "neg", 101: "abs", 8: "floor", 104: "ceil", 66: "sin", 108: "cos", 111: "elu", 92: "square"},
}


def by_value() -> Iterator[Case]:
    """Steps that go value by value, with and without constants that are spread."""
    for code, name in _UNARY.items():
        yield _one(name, lambda net, x, c=code: net.op(c, [x], (1, 3, 2, 4)), (1, 3, 2, 4))  # type: ignore[misc]
    for code, name in {75: "sqrt", 76: "rsqrt", 73: "log"}.items():
        yield _one(name, lambda n, x, c=code: n.op(c, [x], (1, 5)), (1, 5), positive=True)  # type: ignore[misc]
    yield _one("leaky", lambda n, x: n.op(98, [x], (1, 5), {0: ("f", 0.2)}, 75), (1, 5))
    for code, name, kind in [
        (0, "add", ADD), (41, "sub", 28), (18, "mul", MUL), (42, "div", 29), (55, "max", 39), (57, "min", 39),
        (99, "difference", 76),
    ]:  # fmt: skip
        for shape in ((4,), (2, 1), (1, 3, 1, 4), ()):

            def spread(net: Network, x: int, c: int = code, k: int = kind, s: Any = shape) -> int:
                other = net.constant(np.asarray(_values(*s, seed=5)) + np.float32(3))
                fused: Fields = {0: byte(1)} if k in (ADD, MUL) else {}
                return net.op(c, [x, other], (1, 3, 2, 4), fused, k)

            yield _one(f"{name}-{'x'.join(map(str, shape))}", spread, (1, 3, 2, 4))
    yield _one("self", lambda n, x: n.op(18, [x, x], (1, 3, 2, 4), {}, MUL), (1, 3, 2, 4))

    def prelu(net: Network, x: int) -> int:
        return net.op(54, [x, net.constant(_values(1, 1, 4, seed=4))], (1, 3, 2, 4))

    yield _one("prelu", prelu, (1, 3, 2, 4))


def shapes() -> Iterator[Case]:
    """Steps that move values, before and behind convolutions."""
    four = (1, 3, 2, 4)

    def then(net: Network, x: int, shape: tuple[int, ...]) -> int:
        return net.op(
            22, [x, net.constant(np.array(shape, np.int32))], shape, {0: np.array(shape, "<i4")}, RESHAPE
        )

    yield _one("reshape", lambda n, x: then(n, x, (1, 24)), four)
    yield _one("reshape-no-batch", lambda n, x: then(n, x, (6, 4)), four, batch=False)
    yield _one("squeeze", lambda n, x: n.op(43, [x], (1, 3, 4), {0: np.array([2], "<i4")}, 30), (1, 3, 1, 4))

    def expand(net: Network, x: int) -> int:
        return net.op(70, [x, net.constant(np.array(1, np.int32))], (1, 1, 5), {}, 52)

    yield _one("expand", expand, (1, 5))

    def transpose(net: Network, x: int, order: tuple[int, ...] = (0, 3, 1, 2)) -> int:
        shape = [four[axis] for axis in order]
        return net.op(39, [x, net.constant(np.array(order, np.int32))], shape, {}, 26)

    yield _one("transpose", transpose, four)
    yield _one("transpose-wide", lambda n, x: transpose(n, x, (0, 2, 1, 3)), four)
    yield _one("transpose-batch", lambda n, x: transpose(n, x, (1, 0, 2, 3)), four, batch=False)

    def pad(net: Network, x: int) -> int:
        widths = net.constant(np.array([[0, 0], [1, 2], [0, 1], [2, 0]], np.int32))
        return net.op(34, [x, widths], (1, 6, 3, 6), {}, 22)

    def padded(net: Network, x: int) -> int:
        widths = net.constant(np.array([[0, 0], [1, 2]], np.int32))
        return net.op(60, [x, widths, net.constant(np.float32(-7))], (1, 8), {}, 43)

    yield _one("pad", pad, four)
    yield _one("pad-value", padded, (1, 5))
    for axis, out in ((3, (1, 3, 2, 8)), (-1, (1, 3, 2, 8)), (1, (1, 6, 2, 4)), (0, (2, 3, 2, 4))):

        def concat(net: Network, x: int, a: int = axis, s: Any = out) -> int:
            other = net.op(19, [x], four)
            return net.op(2, [x, other], s, {0: integer(a), 1: byte(0)}, CONCAT)

        yield _one(f"concat{axis}", concat, four, batch=axis != 0)
    for code, name in ((40, "mean"), (74, "sum"), (82, "reduce-max"), (89, "reduce-min")):
        for axes in ((1, 2), (3,), (2,), (1, 2, 3), (0,)):
            for keep in (True, False):
                out = tuple(1 if a in axes else n for a, n in enumerate(four) if keep or a not in axes)

                def reduce(
                    net: Network, x: int, c: int = code, a: Any = axes, s: Any = out, k: bool = keep
                ) -> int:
                    return net.op(c, [x, net.constant(np.array(a, np.int32))], s, {0: byte(k)}, REDUCE)

                yield _one(f"{name}-{axes}-{keep}", reduce, four, batch=0 not in axes)
    for code, kind, before, after in ((5, 94, four, (1, 6, 4, 1)), (26, 19, (1, 4, 2, 3), (1, 2, 1, 12))):
        yield _one(
            f"blocks-{code}",
            lambda n, x, c=code, k=kind, s=after: n.op(c, [x], s, {0: integer(2)}, k),
            before,
        )  # type: ignore[misc]
    for code, kind in ((25, SOFTMAX), (50, 36)):
        for shape in (four, (1, 5)):
            beta = {0: ("f", 0.5)} if code == 25 else {}
            yield _one(
                f"softmax-{code}-{len(shape)}",
                lambda n, x, c=code, k=kind, s=shape, o=beta: n.op(c, [x], s, o, k),
                shape,
            )  # type: ignore[misc]


def dense() -> Iterator[Case]:
    """Fully connected layers upon rows, pictures and rows of rows."""
    for before, after, keep, fused, batch in [
        ((1, 6), (1, 5), 0, 1, True), ((1, 3, 2, 1), (1, 5), 0, 0, True), ((1, 4, 6), (1, 4, 5), 1, 3, True),
        ((1, 4, 6), (4, 5), 0, 0, False),
    ]:  # fmt: skip
        for bias in (True, False):

            def layer(
                net: Network, x: int, s: Any = after, k: int = keep, f: int = fused, b: bool = bias
            ) -> int:
                inputs = [
                    x,
                    net.constant(_values(5, 6, seed=1)),
                    net.constant(_values(5, seed=2)) if b else -1,
                ]
                return net.op(9, inputs, s, {0: byte(f), 2: byte(k)}, DENSE)

            yield _one(f"dense-{len(before)}-{keep}-{bias}", layer, before, batch)


def halves() -> Iterator[Case]:
    """Weights kept as float16 or bytes, and brought back by a step."""

    def half(net: Network, x: int) -> int:
        kept = net.constant(_values(4, 3, 3, 3, seed=1).astype(np.float16))
        weight = net.op(6, [kept], (4, 3, 3, 3), {}, 38)
        bias = net.op(6, [net.constant(_values(4, seed=2).astype(np.float16))], (4,), {}, 38)
        return net.op(3, [x, weight, bias], (1, 5, 5, 4), {0: byte(0), 1: integer(1), 2: integer(1)}, CONV)

    def bytes_(net: Network, x: int) -> int:
        kept = np.arange(-12, 12, dtype=np.int8).reshape(4, 1, 2, 3)
        made = net.constant(kept, scale=[0.5, 0.25, 0.1, 2.0], zero=0, axis=0)
        weight = net.op(6, [made], (4, 1, 2, 3), {}, 38)
        bias = net.constant(_values(4, seed=2))
        return net.op(3, [x, weight, bias], (1, 5, 5, 4), {0: byte(0), 1: integer(1), 2: integer(1)}, CONV)

    yield _one("half", half, (1, 5, 5, 3))
    yield _one("bytes", bytes_, (1, 5, 5, 3))


def every() -> list[Case]:
    """All of them."""
    makers = (convolutions, transposed, pools, resizing, by_value, shapes, dense, halves)
    return [case for make in makers for case in make()]
