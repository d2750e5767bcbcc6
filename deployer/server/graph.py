"""One ONNX graph in a session: runs of it, each alone or several joined along the batch axis.

Requests that differ in nothing but their rows may share a run, if the graph answers each row by itself.
Shapes do not tell: dynamic quantisation scales by the whole batch, and a recurrent graph's first axis is
time. So it is found out: first runs are done alone, and done again together with an earlier one of other
content. Runs are joined once that gave the same answers PROOFS times, and never after it gave others.
"""

import logging
import os
import re
import threading
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deployer.server.errors import BadInput, Terminated, Words
from deployer.server.fields import utf8
from deployer.server.signature import Array, signature, specs

if TYPE_CHECKING:
    import onnxruntime

# The wheels report usage to their maker unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

Outputs = dict[str, Array]

ROWS = 16  # of one run, unless the manifest says otherwise: beyond it the caches of a CPU serve no better
BYTES = 16 << 20  # of the inputs of one run; what a graph holds while it runs is a multiple of them
TOKENS = 8192  # rows × length of padded inputs: attention takes memory by the square of the length
PROOFS = 3
TOLERANCE = {"float16": 4e-3, "float32": 1e-4, "float64": 1e-4}  # of the largest value of an output
_NO_PADS: Mapping[str, float] = MappingProxyType({})

log = logging.getLogger("market.server")


class Run(NamedTuple):
    """Tensors for a graph. With `pads`, axis 1 of those inputs may be filled up to a neighbour's length."""

    graph: "Graph"
    feeds: dict[str, Array]
    outputs: tuple[str, ...]
    pads: Mapping[str, float] = _NO_PADS


class Graph:
    """A session with its signature; `joins` is whether its runs may be joined, None while unknown.

    With `exclusive` one run goes at a time, and memory is given back after each: for graphs that use
    all threads by themselves on inputs of ever other sizes.
    """

    def __init__(
        self,
        session: "onnxruntime.InferenceSession",
        *,
        rows: int = ROWS,
        joins: bool | None = None,
        exclusive: bool = False,
    ) -> None:
        self.session = session
        self.inputs = specs(session.get_inputs())
        self.outputs = specs(session.get_outputs())
        self.names = tuple(spec.name for spec in self.inputs)
        self.all_outputs = tuple(spec.name for spec in self.outputs)
        self.rows = rows
        sides = [*self.inputs, *self.outputs]
        free = bool(self.inputs) and all(spec.shape[:1] == (-1,) for spec in sides)
        self.joins = joins if free and rows > 1 and not exclusive else False
        self.exclusive = exclusive
        self._turn = threading.Lock() if exclusive else nullcontext()
        self._texts = [spec.name for spec in self.inputs if spec.datatype == "BYTES"]
        self._bfloat16 = any(spec.datatype == "BF16" for spec in sides)
        self._inner = {spec.name for spec in self.outputs if len(spec.shape) > 2 and spec.shape[1] < 0}
        self._proofs = 0
        self._witness: tuple[Run, Outputs] | None = None
        self._proving = threading.Lock()

    def key(self, run: Run) -> Hashable | None:
        """Equal for runs that may be joined; None for one that must go alone."""
        if not self.joins:
            return None
        return self._shape(run)

    def _shape(self, run: Run) -> Hashable | None:
        """All lengths but those that may differ within a joined run; None when the inputs' rows differ."""
        rows = len(run.feeds[self.names[0]])
        parts: list[Hashable] = [id(self), run.outputs]
        for name in self.names:
            shape = run.feeds[name].shape
            if shape[0] != rows:
                return None
            parts.append((bucket(shape[1]), *shape[2:]) if name in run.pads else shape[1:])
        return tuple(parts) if rows else None

    def room(self, run: Run) -> int:
        """How many rows like those of `run` go into one run."""
        rows = len(run.feeds[self.names[0]])
        size = sum(array.nbytes for array in run.feeds.values())
        most = min(self.rows, BYTES * rows // max(size, 1))
        if run.pads:
            most = min(most, TOKENS // bucket(run.feeds[next(iter(run.pads))].shape[1]))
        return max(most, 1)

    def run(self, run: Run, options: "onnxruntime.RunOptions | None" = None) -> Outputs:
        """Run alone; what the kernels refuse (an index out of range, axes at odds) is BadInput."""
        outputs = self._call(run.feeds, run.outputs, options)
        if self.joins is None:
            self._prove(run, outputs, options)
        return outputs

    def run_all(
        self, runs: Sequence[Run], options: "onnxruntime.RunOptions | None" = None
    ) -> list[Outputs | Exception]:
        """Outputs of each of several runs of one key, in their order; a bad one fails alone."""
        if len(runs) > 1:
            try:
                return list(self._together(runs, options))
            except Terminated:
                raise
            except Exception as error:
                log.debug("a joined run failed", extra={"cause": str(error), "runs": len(runs)})
        answers: list[Outputs | Exception] = []
        for run in runs:
            try:
                answers.append(self.run(run, options))
            except Terminated:
                raise
            except Exception as error:
                answers.append(error)
        return answers

    def options(self) -> "onnxruntime.RunOptions":
        """Options for one run, by which it can be ended from another thread (`terminate`)."""
        import onnxruntime as ort

        options = ort.RunOptions()
        options.log_severity_level = 4
        if self.exclusive:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    def close(self) -> None:
        """Let go of the session."""
        self._witness = None
        del self.session

    def _call(
        self,
        feeds: dict[str, Array],
        names: Sequence[str],
        options: "onnxruntime.RunOptions | None",
    ) -> Outputs:
        if self._texts:
            feeds = feeds | {name: _strings(name, feeds[name]) for name in self._texts}
        try:
            with self._turn:
                if self._bfloat16:
                    from deployer.server.bfloat16 import run

                    results = run(self.session, names, feeds, self.inputs, options)
                else:
                    results = self.session.run(names, feeds, options)
        except Exception as error:
            raise self._refusal(error) from error
        return dict(zip(names, results, strict=True))

    def _refusal(self, error: Exception) -> Exception:
        """What ONNX Runtime raised, as an error of ours where the caller's tensors are at fault."""
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        if not isinstance(error, state.InvalidArgument | state.RuntimeException | state.Fail):
            return error
        if "terminate flag" in str(error):
            return Terminated()
        return BadInput("inputs", _refused(str(error)), signature(self.inputs))

    def _together(self, runs: Sequence[Run], options: "onnxruntime.RunOptions | None") -> list[Outputs]:
        first = runs[0]
        counts = [len(run.feeds[self.names[0]]) for run in runs]
        feeds = {
            name: _joined([run.feeds[name] for run in runs], first.pads.get(name)) for name in self.names
        }
        outputs = self._call(feeds, first.outputs, options)
        for name, array in outputs.items():
            if len(array) != sum(counts):
                raise ValueError(f"{name} has {len(array)} rows for {sum(counts)}")
        answers: list[Outputs] = []
        start = 0
        for run, count in zip(runs, counts, strict=True):
            answers.append({name: array[start : start + count] for name, array in outputs.items()})
            start += count
            if run.pads:
                self._cut_back(run, answers[-1], feeds)
        return answers

    def _cut_back(self, run: Run, answer: Outputs, feeds: dict[str, Array]) -> None:
        """Take the filling out of outputs that run along the padded axis."""
        padded = next(iter(run.pads))
        own, whole = run.feeds[padded].shape[1], feeds[padded].shape[1]
        if own < whole:
            for name, array in answer.items():
                if name in self._inner and array.shape[1] == whole:
                    answer[name] = array[:, :own]

    def _prove(self, run: Run, outputs: Outputs, options: "onnxruntime.RunOptions | None") -> None:
        """Do `run` again together with an earlier one, and learn whether runs of this graph may be joined."""
        shape = self._shape(run)
        if shape is None:
            return
        with self._proving:
            witness, self._witness = self._witness, (run, outputs)
        if witness is None or self._shape(witness[0]) != shape or _same(witness[0].feeds, run.feeds):
            return
        try:
            answers = self._together([witness[0], run], options)
        except Terminated:
            raise
        except Exception as error:
            self._settle(False, str(error))
            return
        if not (agree(answers[0], witness[1]) and agree(answers[1], outputs)):
            self._settle(False, "a row's answer depends on its neighbours")
            return
        with self._proving:
            self._proofs += 1
        if self._proofs >= PROOFS:
            self._settle(True, f"{PROOFS} joined runs gave the same answers as alone")

    def _settle(self, joins: bool, cause: str) -> None:
        with self._proving:
            if self.joins is not None:
                return
            self.joins, self._witness = joins, None
        log.info("requests share runs" if joins else "requests run one by one", extra={"cause": cause[:300]})


def bucket(length: int) -> int:
    """The upper end of a length's class, two to an octave: runs of one class are padded to the longest."""
    if length <= 16:
        return 16
    octave = 1 << (length - 1).bit_length()
    return octave * 3 // 4 if length <= octave * 3 // 4 else octave


def agree(ours: Outputs, theirs: Outputs) -> bool:
    """Whether outputs are the same up to what another order of additions does to them."""
    for name, array in ours.items():
        other = theirs[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            return False
        tolerance = TOLERANCE.get(array.dtype.name)
        if tolerance is None:
            same = bool((array == other).all())
        else:
            largest = float(np.abs(np.nan_to_num(array)).max(initial=0.0))
            same = np.allclose(array, other, rtol=0, atol=tolerance * largest, equal_nan=True)
        if not same:
            return False
    return True


def _joined(arrays: list[Array], pad: float | None) -> Array:
    if pad is None or len({array.shape[1] for array in arrays}) == 1:
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    rows = sum(len(array) for array in arrays)
    whole = np.full((rows, longest, *arrays[0].shape[2:]), pad, arrays[0].dtype)
    start = 0
    for array in arrays:
        whole[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return whole


def _same(ours: dict[str, Array], theirs: dict[str, Array]) -> bool:
    return all(np.array_equal(array, theirs[name]) for name, array in ours.items())


def _strings(name: str, array: Array) -> Array:
    """BYTES as the text that ONNX Runtime takes; it would write b'…' for bytes."""
    texts = np.empty(array.size, dtype=object)
    for index, item in enumerate(array.reshape(-1)):
        texts[index] = utf8(item, f"{name}[{index}]") if isinstance(item, bytes) else str(item)
    return texts.reshape(array.shape)


def _refused(message: str) -> Words:
    """What ONNX Runtime says, without node names and source paths."""
    tail = message.rpartition("Status Message:")[2].rpartition("INVALID_ARGUMENT :")[2].strip()
    tail = re.sub(r"\S*/\S+\.(?:cc|h|cpp):\d+\s*\S*", "", tail.splitlines()[0] if tail else "").strip()
    return Words(f"the model refuses these tensors: {tail[:300]}", f"模型拒绝这些张量：{tail[:300]}")
