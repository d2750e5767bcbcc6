"""A model's graph for a phone: in .ort form, the operators that a runtime needs, and the same answers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from deployer import devices
from deployer.devices import Form
from deployer.errors import TerminalNotSupported
from deployer.examples import check
from deployer.server.graph import Outputs, Run
from deployer.server.http import to_json
from deployer.server.model import Model, session_options
from deployer.server.predictor import Predictor, finish
from deployer.server.signature import Array
from deployer.terminals.phone_order import in_order

MOST_EXAMPLES = 3
CLOSE = 5e-3  # of an output's largest value: the server's kernels add up in another order
BLOATED = 1.5  # times the graph's own size


def refused(device: str, model: Model, why: str, why_zh: str) -> TerminalNotSupported:
    """The refusal of a model for this phone."""
    return TerminalNotSupported(terminal=device, task=model.task, why=why, why_zh=why_zh)


def accepted(model: Model, device: str) -> Path:
    """The graph's file, of a version that the phone's runtime reads."""
    import onnx

    path, form = model.path("model"), devices.profile(device).form
    try:
        found = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises types of its own
        raise refused(device, model, "its graph cannot be read", "读不了它的计算图") from error
    opset = max((one.version for one in found.opset_import if one.domain in ("", "ai.onnx")), default=0)
    domains = {one.domain or "ai.onnx" for one in found.opset_import} - {"ai.onnx.ml"}
    return _within(device, model, path, form, (opset, found.ir_version, domains))


def _within(device: str, model: Model, path: Path, form: Form, found: tuple[int, int, set[str]]) -> Path:
    opset, ir, domains = found
    if opset > form.max_opset or ir > form.max_ir:
        raise refused(
            device,
            model,
            f"its opset {opset} (IR {ir}) is newer than the phone's runtime reads: "
            f"{form.max_opset} (IR {form.max_ir})",
            f"它的算子集 {opset}（IR {ir}）比手机运行库支持的 {form.max_opset}（IR {form.max_ir}）新",
        )
    if strange := domains.difference(form.domains):
        names = ", ".join(sorted(strange))
        raise refused(
            device, model, f"its operators of {names} are unknown there", f"手机上没有 {names} 的算子"
        )
    return path


def write_ort(device: str, model: Model, graph: Path, path: Path) -> Path:
    """The graph as .ort; calculations over weights stay undone where their results would bloat the file."""
    from deployer.optimizer.targets.mobile import to_ort

    try:
        written = to_ort(graph, path.parent)
        if written.stat().st_size > BLOATED * _weight(graph):
            written = to_ort(graph, path.parent, disabled=["ConstantFolding"])
        in_order(written)
    except Exception as error:  # onnxruntime raises types of its own
        why = str(error)[:300] or type(error).__name__
        raise refused(device, model, f"it cannot be written as .ort: {why}", "无法转成 .ort 格式") from error
    return written.rename(path)


def _weight(graph: Path) -> int:
    """Bytes of a graph with the files of weights beside it."""
    return sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*")) + (64 << 10)


def write_operators(written: Path, path: Path) -> int:
    """Write which operators and types a runtime needs for this model; how many operators they are."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    whole = path.with_suffix(".whole")
    create_config_from_models([written], whole, enable_type_reduction=True)
    lines = whole.read_text(encoding="utf-8").splitlines()
    whole.unlink()
    plain = [line for line in lines if line and not line.startswith("#")]
    path.write_text("\n".join([f"# The operators that {written.name} needs.", *plain, ""]), encoding="utf-8")
    return sum(_count(line.split(";", 2)[2]) for line in plain)


def _count(operators: str) -> int:
    """How many operators stand in Name{"inputs": …},Name,…"""
    bare = operators
    while (shorter := re.sub(r"\{[^{}]*\}", "", bare)) != bare:
        bare = shorter
    return len(bare.split(","))


def suits(device: str, graph: Path) -> tuple[str, str]:
    """The phone's accelerator and the usability checker's verdict: yes, maybe, no or unknown."""
    from deployer.optimizer.targets.mobile import PHONES, suitability

    try:
        return suitability(device, graph)
    except Exception:  # the checker infers shapes, which some graphs do not let it
        return PHONES[device], "unknown"


class _Beside:
    """Runs the .ort file in place of the graph, and holds every output against the graph's own."""

    def __init__(self, written: Path) -> None:
        import onnxruntime as ort

        self._session = ort.InferenceSession(
            str(written), session_options(1), providers=["CPUExecutionProvider"]
        )
        self.runs = 0
        self.difference = 0.0
        self.agrees = True

    def __call__(self, run: Run) -> Outputs:
        """One run in both; the .ort file's outputs."""
        theirs = dict(zip(run.outputs, self._session.run(list(run.outputs), run.feeds), strict=True))
        for name, ours in run.graph.run(run).items():
            self._compare(ours, theirs[name])
        self.runs += 1
        return theirs

    def _compare(self, ours: Array, theirs: Array) -> None:
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            self.agrees = False
        elif ours.dtype.kind == "f" and ours.size:
            apart = float(np.nanmax(np.abs(ours - theirs)))
            self.agrees &= apart <= CLOSE * max(float(np.nanmax(np.abs(ours))), 1e-6)
            self.difference = max(self.difference, apart)
        else:
            self.agrees &= bool((ours == theirs).all())


def answers(model: Model, predictor: Predictor, written: Path) -> dict[str, Any]:
    """What the .ort file answers to the manifest's examples; raises RuntimeError when it differs."""
    beside, examples = _Beside(written), list(model.manifest.get("examples", []))[:MOST_EXAMPLES]
    for number, example in enumerate(examples):
        answer = orjson.loads(to_json(finish(predictor.predict(dict(example["request"])), beside)))
        mismatches = check(answer, example["expect"]) if example.get("expect") is not None else []
        if mismatches or not beside.agrees:
            raise RuntimeError(f"example {number + 1} is answered otherwise in .ort form: {mismatches[:1]}")
    return {"examples": len(examples), "runs": beside.runs, "difference": beside.difference}
