"""Graphs as the recipes want them: read, checked, constants in their place, a newer opset, shapes, folded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

from deployer.optimizer.recipes import graphs
from deployer.optimizer.recipes.guards import cause, session, session_options
from deployer.optimizer.recipes.protocol import EXTERNAL, Refused, save

SMALL = 1024  # bytes of a constant that shape inference may want to see
_SCALARS = {
    "value_float": np.float32,
    "value_int": np.int64,
    "value_floats": np.float32,
    "value_ints": np.int64,
}


def load(source: Path) -> ModelProto:
    """Read a graph with its weights; refuses what is none."""
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:
        raise Refused(
            "not-onnx", f"not an ONNX file: {cause(error)}", f"不是 ONNX 文件：{cause(error)}"
        ) from error
    if not model.graph.node:
        raise Refused("not-onnx", "not an ONNX file: no nodes in it", "不是 ONNX 文件：其中没有节点")
    try:
        _load_weights(model, source.parent)
    except Exception as error:
        raise Refused(
            "weights-missing",
            f"the weights beside the graph cannot be read: {cause(error)}",
            f"无法读取图旁的权重文件：{cause(error)}",
        ) from error
    graphs.name_nodes(model.graph)
    return model


def _load_weights(model: ModelProto, folder: Path) -> None:
    """Take weights that lie beside the graph into it.

    onnx itself refuses files with several hard links, which all files of a model folder are.
    """
    for tensor in _get_all_tensors(model):
        if not uses_external_data(tensor):
            continue
        told = ExternalDataInfo(tensor)
        if Path(told.location).is_absolute() or ".." in Path(told.location).parts:
            raise ValueError(f"{told.location} lies outside the model's folder")
        with (folder / told.location).open("rb") as file:
            file.seek(told.offset or 0)
            tensor.raw_data = file.read(told.length if told.length is not None else -1)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def check_weights(model: ModelProto) -> None:
    """Refuse weights that are not numbers, by name."""
    constants = graphs.initializers(model.graph)
    for node in model.graph.node:
        weight = graphs.weight_of(node, constants)
        if weight is None or weight.data_type == TensorProto.BFLOAT16:
            continue
        array = graphs.values(weight)
        if not np.isfinite(array).all():
            bad = int(array.size - np.isfinite(array).sum())
            raise Refused(
                "weights-not-finite",
                f"the weight {weight.name!r} of node {node.name!r} holds {bad} NaN or infinite values",
                f"节点 {node.name!r} 的权重 {weight.name!r} 含有 {bad} 个 NaN 或无穷值",
            )


def constants_to_initializers(model: ModelProto) -> ModelProto:
    """Constant nodes as initialisers, and Identity of an initialiser as the initialiser itself.

    The quantisers look for weights among the initialisers only.
    """
    graph = model.graph
    made: dict[str, TensorProto] = {}
    alias: dict[str, str] = {}
    known = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        tensor = _constant(node) if node.op_type == "Constant" else None
        if tensor is not None and node.output[0] not in outputs:
            made[node.output[0]] = tensor
        elif (
            node.op_type == "Identity"
            and node.output[0] not in outputs
            and (source := alias.get(node.input[0], node.input[0])) in known | made.keys()
        ):
            alias[node.output[0]] = source
        else:
            kept.append(node)
    if len(kept) == len(graph.node):
        return model
    for scope in (graph, *graphs.nested(graph)):
        for node in kept if scope is graph else scope.node:
            for index, name in enumerate(node.input):
                if name in alias:
                    node.input[index] = alias[name]
    return graphs.rewrite(model, kept, [*graph.initializer, *made.values()])


def _constant(node: onnx.NodeProto) -> TensorProto | None:
    if len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = node.output[0]
        return tensor
    dtype = _SCALARS.get(attribute.name)
    if dtype is None:
        return None
    return graphs.make_tensor(np.asarray(onnx.helper.get_attribute_value(attribute), dtype), node.output[0])


def skeleton(model: ModelProto) -> tuple[ModelProto, list[TensorProto]]:
    """The model with its larger constants as inputs, and those constants: cheap to hand around."""
    out = ModelProto()
    out.ir_version = max(model.ir_version, 4)
    out.opset_import.extend(model.opset_import)
    out.functions.extend(model.functions)
    out.graph.name = model.graph.name or "graph"
    out.graph.node.extend(model.graph.node)
    out.graph.output.extend(model.graph.output)
    out.graph.value_info.extend(model.graph.value_info)
    big = [t for t in model.graph.initializer if len(t.raw_data) > SMALL or graphs.elements(t) > SMALL]
    taken = {tensor.name for tensor in big}
    out.graph.initializer.extend(t for t in model.graph.initializer if t.name not in taken)
    out.graph.input.extend(v for v in model.graph.input if v.name not in taken)
    out.graph.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in big)
    return out, big


def to_opset(model: ModelProto, wanted: int, least: int = 0) -> ModelProto:
    """The model in opset `wanted`, if its own is older.

    One that cannot be converted stays as it is, or is refused below `least`.
    """
    own = graphs.opset(model)
    if own >= wanted:
        return model
    bare, big = skeleton(model)
    try:
        converted = onnx.version_converter.convert_version(bare, wanted)
    except Exception as error:
        if own >= least:
            return model
        raise Refused(
            "opset",
            f"the recipe needs opset {least}; the graph has {own}, and converting it failed: {cause(error)}",
            f"此配方需要 opset {least}；图为 {own}，转换失败：{cause(error)}",
        ) from error
    for entry in model.opset_import:  # the converter forgets other domains
        graphs.add_opset(converted, entry.domain, entry.version)
    converted.ir_version = max(model.ir_version, 8)
    converted.metadata_props.extend(model.metadata_props)
    whole = graphs.rewrite(converted, list(converted.graph.node), [*converted.graph.initializer, *big])
    graphs.name_nodes(whole.graph)
    return constants_to_initializers(whole)


def flatten_biases(model: ModelProto) -> ModelProto:
    """Biases of Gemm with one axis: the quantiser counts channels along the first, and fails on [1, n]."""
    constants = graphs.initializers(model.graph)
    readers = graphs.consumers(model.graph)
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1 and len(readers[bias.name]) == 1:
            del bias.dims[0]
    return model


def infer_shapes(model: ModelProto) -> ModelProto:
    """The model with what onnx can tell of types and shapes; never fails.

    The symbolic inference of onnxruntime.quantization is left out: it fails on most real graphs.
    """
    bare, _ = skeleton(model)
    try:
        known = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except Exception:
        try:
            known = onnx.shape_inference.infer_shapes(bare)
        except Exception:
            return model
    del model.graph.value_info[:]
    model.graph.value_info.extend(known.graph.value_info)
    return model


def fold(model: ModelProto, folder: Path) -> Path:
    """Write the model as ONNX Runtime's basic optimisations leave it; portable, standard operators only."""
    import onnxruntime as ort

    raw, out = folder / "raw.onnx", folder / "folded.onnx"
    large = graphs.size(model) > EXTERNAL
    save(model, raw)
    del model
    settings = session_options(disable_prepacking="1")
    if large:
        settings.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", "folded.bin"
        )
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(out)
    # Constants that are shared between nodes would be quantised with one scale for all of them.
    ort.InferenceSession(
        str(raw), settings, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantSharing"]
    )
    return out


def loads(path: Path, *, apart: bool = False) -> None:
    """Refuse a graph that ONNX Runtime does not load; `apart`: in a process of its own, which may crash."""
    if apart:
        _loads_apart(path)
    try:
        session(path)
    except Exception as error:
        raise Refused(
            "does-not-load",
            f"ONNX Runtime does not load the result: {cause(error)}",
            f"ONNX Runtime 无法加载结果：{cause(error)}",
        ) from error


_LOAD = """
import sys
from pathlib import Path
from deployer.optimizer.recipes.guards import session
try:
    session(Path(sys.argv[1]))
except Exception:
    pass
"""


def _loads_apart(path: Path) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 (this very interpreter)
            [sys.executable, "-c", _LOAD, str(path)], capture_output=True, check=False
        )
    except OSError:  # no process may be started here: the caller's own is at risk, as it was before
        return
    if ended.returncode < 0:
        raise Refused(
            "crashes",
            f"ONNX Runtime crashes when it loads the result (signal {-ended.returncode})",
            f"ONNX Runtime 加载结果时崩溃（信号 {-ended.returncode}）",
        )
