"""Holds a converted graph against its source, and against what is known to be right.

Two checks, because one alone misleads. `compare` runs the source and the graph on the same examples: it finds
what the conversion changed. `check_labels` runs the graph on examples whose answers are known: it finds what
was wrong before, such as a network that was given another activation on its way and agrees with its spoiled
self to the fifth digit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deployer.optimizer.convert.weights import refuse

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]
Source = Callable[[Feeds], Mapping[str, Array]]
Run = Callable[[Feeds], dict[str, Array]]

_SMALL = 1e-6  # below this a value's relative error says nothing


@dataclass(frozen=True)
class Agreement:
    """How far a graph is from its source: the worst of all examples and outputs."""

    examples: int
    max_abs: float
    max_rel: float
    cosine: float  # the lowest
    argmax: float  # share of rows with the same highest place along the last axis
    example: int  # where the largest difference is
    output: str

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def compare(
    source: Source, graph: Path, feeds: Sequence[Feeds], *, bound: float = 1e-4, argmax: float = 1.0
) -> Agreement:
    """Run both on each example; refuses absolute differences above `bound`, and too few equal choices.

    `source` answers an example with its outputs by the graph's names. Raises ConversionFailed, also when
    shapes differ, when either says what is not a number, and when there are no examples.
    """
    found = agreement(source, runner(graph), feeds, graph)
    if found.max_abs <= bound and found.argmax >= argmax:
        return found
    en = f"differs from its source by {found.max_abs:.3g} in {found.output} (bound {bound:.3g})"
    zh = f"与源模型在 {found.output} 上相差 {found.max_abs:.3g}（上限 {bound:.3g}）"
    if found.max_abs <= bound:
        en = f"chooses as its source does in {found.argmax:.1%} of the rows (bound {argmax:.1%})"
        zh = f"与源模型的选择一致的占 {found.argmax:.1%}（下限 {argmax:.1%}）"
    raise refuse(graph, en, zh, **found.facts())


def agreement(source: Source, run: Run, feeds: Sequence[Feeds], graph: Path) -> Agreement:
    """The differences of a source and a run on these examples, without a judgement on their size."""
    if not feeds:
        raise refuse(graph, "no examples to compare on", "没有可供比较的例子")
    worst, where, relative, cosine, same, rows = -1.0, (0, ""), 0.0, 1.0, 0, 0
    for number, feed in enumerate(feeds):
        wanted, got = source(feed), run(feed)
        for name, expected in wanted.items():
            a, b = _pair(graph, name, expected, got)
            gap = np.abs(a - b)
            if (most := float(gap.max(initial=0.0))) > worst:
                worst, where = most, (number, name)
            relative = max(relative, float((gap / np.maximum(np.abs(a), _SMALL)).max(initial=0.0)))
            cosine = min(cosine, _cosine(a, b))
            best = np.atleast_1d(a.argmax(-1) == b.argmax(-1)) if a.ndim and a.size else np.ones(1, bool)
            same, rows = same + int(best.sum()), rows + best.size
    return Agreement(len(feeds), worst, relative, cosine, same / max(rows, 1), *where)


def check_labels(
    graph: Path,
    examples: Sequence[tuple[Feeds, int | Sequence[int]]],
    *,
    output: str = "",
    least: float = 1.0,
) -> float:
    """The share of examples whose highest score is (one of) the known labels; refuses less than `least`.

    Raises ConversionFailed, which tells the first examples that are wrong.
    """
    if not examples:
        raise refuse(graph, "no examples with known labels", "没有已知标签的例子")
    run, wrong = runner(graph), []
    for number, (feed, label) in enumerate(examples):
        answers = run(feed)
        scores = answers[output] if output else next(iter(answers.values()))
        right = {label} if isinstance(label, int) else set(label)
        if (found := int(scores.reshape(-1).argmax())) not in right:
            wrong.append(f"{number}: {found} ≠ {'/'.join(map(str, sorted(right)))}")
    share = 1 - len(wrong) / len(examples)
    if share < least:
        shown = "; ".join(wrong[:5])
        en = f"{len(wrong)} of {len(examples)} examples with known labels come out wrong ({shown})"
        zh = f"{len(examples)} 个已知标签的例子里错了 {len(wrong)} 个（{shown}）"
        raise refuse(graph, en, zh, right=share, wanted=least)
    return share


def runner(graph: Path) -> Run:
    """The graph in ONNX Runtime on one thread; raises ConversionFailed for what it does not load or run."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common root for its errors
        raise _unusable(graph, error) from None
    names = [output.name for output in session.get_outputs()]

    def run(feeds: Feeds) -> dict[str, Array]:
        try:
            return dict(zip(names, session.run(names, dict(feeds)), strict=True))
        except Exception as error:
            raise _unusable(graph, error) from None

    return run


def inputs_of(graph: Path) -> dict[str, tuple[int, list[int | str]]]:
    """The graph's inputs: TensorProto's type and shape by name."""
    model = onnx.load(graph, load_external_data=False)
    constant = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in model.graph.input
        if value.name not in constant
    }


def _unusable(graph: Path, error: Exception) -> Exception:
    cause = str(error).strip().splitlines()[-1][:300]
    return refuse(graph, f"ONNX Runtime cannot use it: {cause}", f"ONNX Runtime 无法使用：{cause}")


def _pair(graph: Path, name: str, expected: Array, got: Mapping[str, Array]) -> tuple[Array, Array]:
    """Both sides of an output as float64, of one shape and without what is not a number."""
    if name not in got:
        raise refuse(graph, f"no output is called {name}", f"没有名为 {name} 的输出", output=name)
    a, b = np.asarray(expected), np.asarray(got[name])
    if a.shape != b.shape:
        en = f"{name} has shape {list(b.shape)}, its source {list(a.shape)}"
        raise refuse(graph, en, f"{name} 的形状是 {list(b.shape)}，源模型是 {list(a.shape)}", output=name)
    if a.dtype.kind not in "fiub":  # words: equal or not
        return np.zeros(a.shape), (a != b).astype(np.float64)
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise refuse(graph, f"{name} holds NaN or infinity", f"{name} 含有 NaN 或无穷大", output=name)
    return a, b


def _cosine(a: Array, b: Array) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / norm if norm else float(np.array_equal(a, b))
