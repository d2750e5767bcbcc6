"""Carrying a recipe out: read, prepare, run, write, load; and every way in which that fails, by name."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from deployer.optimizer.recipes import cleaning, graphs, preparation, rewriting
from deployer.optimizer.recipes.guards import cause, guarded, session
from deployer.optimizer.recipes.protocol import Calibration, Feeds, Recipe, RecipeRefused, Refused

LESS = 0.98
"""A graph that keeps more of its bytes than this has not become smaller."""


def carry_out(
    recipe: Recipe,
    source: Path,
    out: Path,
    feeds: Sequence[Feeds] = (),
    *,
    keep: Sequence[str] = (),
    folder: Path,
) -> dict[str, Any]:
    """Make `out` from `source` and say what was done; every failure is a RecipeRefused."""
    began = time.perf_counter()
    with refusing(recipe), workplace(folder) as scratch, guarded(scratch):
        facts = _carry_out(recipe, source, out, Calibration(feeds, tuple(keep), scratch))
    return facts | {"seconds": round(time.perf_counter() - began, 3)}


@contextmanager
def refusing(recipe: Recipe) -> Iterator[None]:
    """Whatever goes wrong inside becomes a RecipeRefused with its cause."""
    try:
        yield
    except Refused as no:
        raise RecipeRefused(recipe=recipe.id, reason=no.reason, why=no.why, why_zh=no.why_zh) from no
    except MemoryError as error:
        raise RecipeRefused(
            recipe=recipe.id, reason="memory", why="not enough memory", why_zh="内存不足"
        ) from error
    except Exception as error:
        told = f"{type(error).__name__}: {cause(error)}"
        raise RecipeRefused(
            recipe=recipe.id,
            reason="failed",
            why=f"the recipe failed: {told}",
            why_zh=f"配方执行失败：{told}",
        ) from error


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A folder of its own inside `folder`, gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="recipe-", dir=folder))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prepared(recipe: Recipe, source: Path, calibration: Calibration) -> ModelProto:
    """The graph as the recipe wants it; node names are the same whenever this is done."""
    model = preparation.load(source)
    preparation.check_weights(model)
    refuse_quantized(recipe, model)
    no = recipe.refusal(model)
    if no is not None:
        raise no
    model = preparation.constants_to_initializers(model)
    model = preparation.to_opset(model, recipe.opset, recipe.least)
    if recipe.folds:
        folded = preparation.fold(model, cleaning.scratch(calibration))
        del model
        model = preparation.load(folded)
        model = preparation.constants_to_initializers(model)
        if recipe.fuses:
            model, _ = rewriting.rewrite(preparation.infer_shapes(model))
    return preparation.infer_shapes(preparation.flatten_biases(model))


def refuse_quantized(recipe: Recipe, model: ModelProto) -> None:
    """Refuse to make a graph smaller that is in few bits already."""
    done = graphs.quantized(model)
    if recipe.precision != "fp32" and done:
        raise Refused(
            "already-quantized",
            f"the graph is quantised already: {len(done)} nodes, {done[0].op_type} among them",
            f"此图已经量化：{len(done)} 个节点，例如 {done[0].op_type}",
        )


def _carry_out(recipe: Recipe, source: Path, out: Path, calibration: Calibration) -> dict[str, Any]:
    if recipe.calibrates and not calibration.feeds:
        raise Refused(
            "no-calibration-data", "the recipe needs real inputs of the graph", "此配方需要该图的真实输入"
        )
    model = prepared(recipe, source, calibration)
    face = graphs.face(onnx.load(str(source), load_external_data=False))
    before = _measure(model)
    model = graphs.with_face(recipe.function(model, calibration), face)
    facts = _facts(recipe, model, before)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        recipe.saves(model, out)
        del model
        _smaller(recipe, source, out)
        preparation.loads(out, apart=recipe.precision in ("fp16", "mixed"))
        if calibration.feeds:
            _sane(source, out, calibration.feeds[0])
    except Exception:
        discard(out)
        raise
    return facts


def discard(out: Path) -> None:
    """Remove a graph with the weights beside it."""
    for path in (out, out.with_name(f"{out.name}.data"), out.with_name(f"{out.stem}.bin")):
        path.unlink(missing_ok=True)


def footprint(path: Path) -> int:
    """Bytes of a graph with the weights beside it."""
    model = onnx.load(str(path), load_external_data=False)
    tensors = list(model.graph.initializer)
    beside = {entry.value for t in tensors for entry in t.external_data if entry.key == "location"}
    return int(path.stat().st_size + sum((path.parent / name).stat().st_size for name in beside))


def _smaller(recipe: Recipe, source: Path, out: Path) -> None:
    """Refuse a recipe that is only about size and leaves it as it was."""
    if not recipe.shrinks:
        return
    before, after = footprint(source), footprint(out)
    if after >= LESS * before:
        raise Refused(
            "no-effect",
            f"the file would not become smaller: {after} bytes instead of {before}",
            f"文件不会变小：{after} 字节，原为 {before} 字节",
        )


def _sane(source: Path, out: Path, feed: Feeds) -> None:
    """Refuse a graph that does not run, or answers NaN or infinity where its source answers numbers."""
    expected = session(source).run(None, feed)
    try:
        got = session(out).run(None, feed)
    except Exception as error:
        raise Refused(
            "does-not-run",
            f"the result loads and does not run: {cause(error)}",
            f"结果可以加载但无法运行：{cause(error)}",
        ) from error
    for ours, theirs in zip(got, expected, strict=True):
        numbers = isinstance(theirs, np.ndarray) and theirs.dtype.kind == "f"
        if numbers and np.isfinite(theirs).all() and not np.isfinite(ours).all():
            raise Refused(
                "not-finite",
                "the result answers NaN or infinity where the graph answers numbers",
                "结果输出 NaN 或无穷值，而原图输出正常数值",
            )


def _measure(model: ModelProto) -> tuple[list[str], int]:
    return sorted(node.op_type for node in model.graph.node), graphs.size(model)


def _facts(recipe: Recipe, model: ModelProto, before: tuple[list[str], int]) -> dict[str, Any]:
    """What the recipe reached; refuses a result that is the graph as it was."""
    if recipe.precision == "fp32":
        reached = 0
        nodes, size = _measure(model)
        idle = nodes == before[0] and size >= LESS * before[1] and recipe.portable
    elif recipe.precision in ("fp16", "mixed"):
        half = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
        reached = sum(any(name in half for name in node.input) for node in model.graph.node)
        idle = not reached
    else:
        reached = len(graphs.quantized(model))
        idle = not reached
    if idle:
        raise Refused("no-effect", "the recipe changes nothing in this graph", "此配方对该图没有任何改变")
    return {
        "nodes_quantised": reached,
        "kept_float": [node.name for node in graphs.weighted(model)],
        "in_subgraphs": graphs.hidden(model),
        "opset": graphs.opset(model),
    }
