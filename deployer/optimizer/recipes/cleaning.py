"""Recipes that change how a graph is written down and not what it computes."""

from pathlib import Path

import onnx
from onnx import ModelProto

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.guards import cause, session, session_options
from deployer.optimizer.recipes.protocol import EXTERNAL, Calibration, Refused, save

ATTENTION_PARTS = {"MatMul", "Softmax"}


def slim(model: ModelProto, calibration: Calibration) -> ModelProto:
    """onnxslim: dead nodes, duplicates, constant folding, shapes."""
    import onnxslim

    try:
        slimmed: ModelProto | None = onnxslim.slim(model)
    except Exception as error:
        raise _failed("onnxslim", error) from error
    if slimmed is None:
        raise _failed("onnxslim", RuntimeError("no result"))
    graphs.name_nodes(slimmed.graph)
    return slimmed


def basic(model: ModelProto, calibration: Calibration) -> ModelProto:
    """ONNX Runtime's basic optimisations; standard operators only."""
    return _optimized(model, calibration, "ORT_ENABLE_BASIC")


def extended(model: ModelProto, calibration: Calibration) -> ModelProto:
    """ONNX Runtime's extended optimisations: fused operators of its own, on any CPU."""
    return _optimized(model, calibration, "ORT_ENABLE_EXTENDED")


def everything(model: ModelProto, calibration: Calibration) -> ModelProto:
    """All of ONNX Runtime's optimisations; the layout is that of this machine's CPU."""
    return _optimized(model, calibration, "ORT_ENABLE_ALL")


def transformer(model: ModelProto, calibration: Calibration) -> ModelProto:
    """Attention, layer normalisation and GELU as fused operators; refuses a graph with nothing to fuse."""
    from onnxruntime.transformers import optimizer

    folder = scratch(calibration)
    source = folder / "unfused.onnx"
    save(model, source)
    try:
        # Level 0: the optimizer's own fusions. Levels above hand the graph to ONNX Runtime by way of torch.
        fused = optimizer.optimize_model(str(source), model_type="bert", opt_level=0, use_gpu=False)
    except Exception as error:
        raise _failed("onnxruntime.transformers", error) from error
    if not any(fused.get_fused_operator_statistics().values()):
        raise Refused("no-effect", "nothing in this graph can be fused", "此图中没有可融合的部分")
    result: ModelProto = fused.model
    graphs.name_nodes(result.graph)
    return result


def is_transformer(model: ModelProto) -> Refused | None:
    """Refuse the fusions where there is no attention or layer normalisation."""
    kinds = graphs.kinds(model)
    if kinds.keys() >= ATTENTION_PARTS or "LayerNormalization" in kinds:
        return None
    return Refused("no-attention", "the graph has no attention to fuse", "此图没有可融合的注意力结构")


def as_it_is(model: ModelProto, calibration: Calibration) -> ModelProto:
    """The graph unchanged: what is made of it happens while it is written."""
    return model


def save_prepacked(model: ModelProto, out: Path) -> None:
    """Write the graph optimised for this host, with its weights packed and laid out to be mapped.

    The same form as deployer.server.prepare: it depends on the processor and on ONNX Runtime's version.
    """
    source = out.with_name(f"{out.stem}.source.onnx")
    save(model, source)
    settings = session_options(
        optimized_model_external_initializers_file_name=f"{out.stem}.bin",
        optimized_model_external_initializers_min_size_in_bytes="1024",
        save_external_prepacked_constant_initializers="1",
    )
    settings.optimized_model_filepath = str(out)
    try:
        session(source, settings)
    finally:
        for path in (source, source.with_suffix(".bin")):
            path.unlink(missing_ok=True)


def scratch(calibration: Calibration) -> Path:
    """The folder for passing files."""
    assert calibration.folder is not None, "the recipe writes files and was given no folder"
    return calibration.folder


def _optimized(model: ModelProto, calibration: Calibration, level: str) -> ModelProto:
    import onnxruntime as ort

    folder = scratch(calibration)
    source, out = folder / "before.onnx", folder / "after.onnx"
    save(model, source)
    settings = session_options(disable_prepacking="1")
    settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    settings.optimized_model_filepath = str(out)
    if graphs.size(model) > EXTERNAL:
        name = "session.optimized_model_external_initializers_file_name"
        settings.add_session_config_entry(name, "after.bin")
    try:
        session(source, settings)
    except Exception as error:
        raise _failed("ONNX Runtime", error) from error
    return onnx.load(str(out))


def _failed(tool: str, error: Exception) -> Refused:
    return Refused("tool-failed", f"{tool} failed: {cause(error)}", f"{tool} 失败：{cause(error)}")
