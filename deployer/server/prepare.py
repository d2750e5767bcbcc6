"""Graphs in the form that one machine runs: optimised, with packed weights laid out to be mapped.

A session on such a graph starts in a fraction of the time, since nothing is optimised or packed any more,
and maps its weights instead of copying them, so that replicas and restarts share them in the page cache.
The form depends on ONNX Runtime and on the processor's abilities; both are in the machine's name, and a
server that finds no folder of that name uses the graphs as they came. Other devices compile the graphs by
themselves, so nothing is prepared for them.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from deployer.server import machine
from deployer.server.model import Model, session_options

LEAST = 1 << 20  # bytes of a graph below which there is nothing to gain


def prepare(model: Model, out: Path) -> dict[str, Any]:
    """Write the model's larger graphs in this machine's form into a folder, with a report.

    The report names the machine, and what was done for each role: seconds, or why it stays as it is.
    """
    import onnxruntime as ort

    graphs = {role: _prepare_graph(model, role, out) for role in _graphs(model)}
    report = {"machine": machine.name(ort.__version__), "graphs": graphs}
    (out / machine.REPORT).write_text(json.dumps(report))
    return report


def _graphs(model: Model) -> list[str]:
    files = model.manifest.get("files") or {}
    return [role for role, name in files.items() if str(name).endswith(".onnx") and role.isidentifier()]


def _prepare_graph(model: Model, role: str, out: Path) -> dict[str, Any]:
    import onnxruntime as ort

    if not model.device.is_processor:
        return {"as_it_is": f"compiled by {model.device.provider}"}
    source = model.path(role)
    size = sum(path.stat().st_size for path in source.parent.glob(f"{source.stem}*"))
    if size < LEAST:
        return {"as_it_is": "small"}
    began = time.perf_counter()
    settings = session_options(1)
    settings.optimized_model_filepath = str(out / f"{role}.onnx")
    for name, value in {
        "optimized_model_external_initializers_file_name": f"{role}.bin",
        "optimized_model_external_initializers_min_size_in_bytes": "1024",
        "save_external_prepacked_constant_initializers": "1",
    }.items():
        settings.add_session_config_entry(f"session.{name}", value)
    try:
        ort.InferenceSession(str(source), settings, providers=["CPUExecutionProvider"])
        dataclasses.replace(model, prepared=out).graph(role).close()
    except Exception as error:
        for path in out.glob(f"{role}.*"):
            path.unlink()
        return {"as_it_is": str(error).splitlines()[0][:300] if str(error) else type(error).__name__}
    return {"seconds": round(time.perf_counter() - began, 3)}
