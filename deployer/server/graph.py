"""One ONNX graph in a session: runs of it, each alone or several joined along the batch axis.

Requests that differ in nothing but their rows may share a run, if the graph answers each row by itself.
Shapes do not tell: dynamic quantisation scales by the whole batch, and a recurrent graph's first axis is
time. So it is found out, for each choice of outputs: first runs are done alone, and done again together with
an earlier one of other content. Runs are joined once that gave the same answers PROOFS times, and never after
it gave others; runs of other lengths are filled up only after the same was seen of such runs.
"""

import logging
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

Outputs = dict[str, Array]

ROWS = 16  # of one run, unless the manifest says otherwise: beyond it the caches of a CPU serve no better
BYTES = 16 << 20  # of the inputs of one run; what a graph holds while it runs is a multiple of them
TOKENS = 8192  # rows × length of padded inputs: attention takes memory by the square of the length
PROOFS = 3
MOST_PROOFS = 16  # choices of outputs that are looked at; runs with others go alone
TOLERANCE = {"float16": 4e-3, "float32": 1e-4, "float64": 1e-4}  # of the largest value of an output
_NO_PADS: Mapping[str, float] = MappingProxyType({})

log = logging.getLogger("market.server")


class Run(NamedTuple):
    """Tensors for a graph. With `pads`, axis 1 of those inputs may be filled up to a neighbour's length."""

    graph: "Graph"
    feeds: dict[str, Array]
    outputs: tuple[str, ...]
    pads: Mapping[str, float] = _NO_PADS


class Proof:
    """What is known of runs for one choice of outputs: whether they may be joined, and filled up before."""

    def __init__(self, joins: bool | None) -> None:
        self.joins = joins  # None while unknown
        self.fills = joins
        self.seen = {False: 0, True: 0}  # pairs that agreed: of one length, and filled up
        self.witness: tuple[Run, Outputs] | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to find out."""
        return self.joins is False or (self.joins is not None and self.fills is not None)


class Graph:
    """A session with its signature, and what is known of joining its runs.

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
        role: str = "model",
    ) -> None:
        self.session = session
        self.role = role
        self.inputs = specs(session.get_inputs())
        self.outputs = specs(session.get_outputs())
        self.names = tuple(spec.name for spec in self.inputs)
        self.all_outputs = tuple(spec.name for spec in self.outputs)
        self.rows = rows
        sides = [*self.inputs, *self.outputs]
        free = bool(self.inputs) and all(spec.shape[:1] == (-1,) for spec in sides)
        self._joins = joins if free and rows > 1 and not exclusive else False
        self._proofs: dict[tuple[str, ...], Proof] = {}
        self.exclusive = exclusive
        self._turn = threading.Lock() if exclusive else nullcontext()
        self._texts = [spec.name for spec in self.inputs if spec.datatype == "BYTES"]
        self._bfloat16 = any(spec.datatype == "BF16" for spec in sides)
        self._free = {
            spec.name: [axis for axis, length in enumerate(spec.shape) if axis and length < 0]
            for spec in self.outputs
        }
        self._proving = threading.Lock()

    def proof(self, outputs: tuple[str, ...]) -> Proof:
        """What is known of runs with these outputs."""
        found = self._proofs.get(outputs)
        if found is None:
            few = len(self._proofs) < MOST_PROOFS  # a stranger may name outputs in any order
            found = Proof(self._joins if few else False)
            if few:
                self._proofs[outputs] = found
        return found

    def key(self, run: Run) -> Hashable | None:
        """Equal for runs that may be joined; None for one that must go alone."""
        proof = self.proof(run.outputs)
        return self._shape(run, bool(proof.fills)) if proof.joins else None

    def _shape(self, run: Run, fills: bool) -> Hashable | None:
        """All lengths but those that may differ within a joined run; None when the inputs' rows differ."""
        rows = len(run.feeds[self.names[0]])
        parts: list[Hashable] = [id(self), run.outputs]
        for name in self.names:
            shape = run.feeds[name].shape
            if shape[0] != rows:
                return None
            parts.append((bucket(shape[1]), *shape[2:]) if fills and name in run.pads else shape[1:])
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
        proof = self.proof(run.outputs)
        if not proof.settled and (proof.joins is None or run.pads):
            self._prove(proof, run, outputs, options)
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
        self._proofs.clear()
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
        if own == whole:
            return
        for name, array in answer.items():
            for axis in self._free[name]:
                if array.shape[axis] == whole:
                    answer[name] = array = np.take(array, range(own), axis)

    def _prove(
        self, proof: Proof, run: Run, outputs: Outputs, options: "onnxruntime.RunOptions | None"
    ) -> None:
        """Do `run` again together with an earlier one, and learn whether such runs may be joined."""
        shape = self._shape(run, True)
        if shape is None:
            return
        with self._proving:
            witness, proof.witness = proof.witness, (run, outputs)
        if witness is None or self._shape(witness[0], True) != shape or _same(witness[0].feeds, run.feeds):
            return
        filled = any(witness[0].feeds[name].shape[1] != run.feeds[name].shape[1] for name in run.pads)
        try:
            answers = self._together([witness[0], run], options)
            agreed = agree(answers[0], witness[1]) and agree(answers[1], outputs)
            cause = "a row's answer depends on its neighbours"
        except Terminated:
            raise
        except Exception as error:
            agreed, cause = False, str(error)
        self._learn(proof, filled, agreed, cause)

    def _learn(self, proof: Proof, filled: bool, agreed: bool, cause: str) -> None:
        with self._proving:
            before = (proof.joins, proof.fills)
            if not agreed and filled:
                proof.fills = False
            elif not agreed:
                proof.joins = proof.fills = False
            else:
                proof.seen[filled] += 1
                if proof.fills is None and proof.seen[True] >= PROOFS:
                    proof.fills = True
                if proof.joins is None and sum(proof.seen.values()) >= PROOFS:
                    proof.joins = True
            changed = (proof.joins, proof.fills) != before
            if proof.settled:
                proof.witness = None
        if changed:
            told = cause[:300] if not agreed else f"{PROOFS} pairs gave the same answers as alone"
            facts = {"joined": proof.joins, "filled_up": proof.fills, "cause": told}
            log.info("requests may share runs" if proof.joins else "requests run one by one", extra=facts)


def bucket(length: int) -> int:
    """The upper end of a length's class, two to an octave: runs of one class are padded to the longest."""
    if length <= 16:
        return 16
    octave = 1 << (length - 1).bit_length()
    return octave * 3 // 4 if length <= octave * 3 // 4 else octave


def agree(ours: Outputs, theirs: Outputs) -> bool:
    """Whether outputs are the same up to what another order of additions does to them."""
    return all(_alike(array, theirs[name]) for name, array in ours.items())


def _alike(one: Array, other: Array) -> bool:
    tolerance = TOLERANCE.get(one.dtype.name)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if tolerance is None or not one.size:
        return bool((one == other).all())
    # Infinities and NaN stand for something, such as what is masked: they must be in the same places.
    finite = np.isfinite(one)
    if not np.array_equal(np.where(finite, 0, one), np.where(np.isfinite(other), 0, other), equal_nan=True):
        return False
    columns = np.where(finite, one, 0).reshape(-1, one.shape[-1] if one.ndim > 1 else 1).astype(np.float64)
    others = np.where(finite, other, 0).reshape(columns.shape).astype(np.float64)
    # Each column by its own measure: scores must not be excused by the pixels beside them.
    largest = np.abs(columns).max(axis=0)
    least = np.quantile(largest, 0.05)
    return bool((np.abs(columns - others) <= tolerance * np.maximum(largest, least)).all())


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
