"""Phones: a graph in onnxruntime's own file format, and how much of it an accelerator would take.

The latter is onnxruntime's mobile usability checker, with the tables of operators that come with it.

Both load the graph in this process; call them in a worker for files that are not trusted.
"""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

PHONES = {"android": "NNAPI", "ios": "CoreML"}

Suits = Literal["yes", "maybe", "no"]


def to_ort(graph: Path, folder: Path, disabled: Sequence[str] = ()) -> Path:
    """Write a graph into `folder` as <name>.ort, as onnxruntime's converter does; raises what that raises.

    The optimisations in it hold for every processor, so that it does not matter where it is made; those
    `disabled` are left out.
    """
    import onnxruntime as ort

    out = folder / f"{graph.stem}.ort"
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(out)
    options.add_session_config_entry("session.save_model_format", "ORT")
    left_out = {"disabled_optimizers": list(disabled)} if disabled else {}
    ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"], **left_out)
    return out


def cannot_convert(graph: Path) -> str:
    """Why a graph does not become an .ort file that loads again; empty when it does."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="ort-format-") as folder:
        try:
            written = to_ort(graph, Path(folder))
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.log_severity_level = 4
            ort.InferenceSession(str(written), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own
            return str(error)[:500] or type(error).__name__
    return ""


def suitability(device: str, graph: Path) -> tuple[str, Suits]:
    """The phone's accelerator, and whether onnxruntime's usability checker thinks that it helps."""
    from onnxruntime.tools.mobile_helpers import usability_checker as checker
    from onnxruntime.tools.onnx_model_utils import ModelProtoWithShapeInfo

    accelerator = PHONES[device]
    with contextlib.redirect_stdout(io.StringIO()):
        model = ModelProtoWithShapeInfo(graph).model_with_shape_info
        found = [_partitions(checker, accelerator, model, fixed) for fixed in (True, False)]
    best = max(each.suitability().value for each in found)
    names: tuple[Suits, ...] = ("no", "maybe", "yes")
    return accelerator, "yes" if found[0].suitability().value == 2 else names[min(best, 1)]


def _partitions(checker: Any, accelerator: str, model: Any, fixed: bool) -> Any:
    try:
        if accelerator == "NNAPI":
            return checker.check_nnapi_partitions(model, fixed)
        return checker.check_coreml_partitions(model, fixed, "coreml_supported_mlprogram_ops.md")
    except ValueError:  # no shapes could be inferred
        return _partitions(checker, accelerator, model, False)
