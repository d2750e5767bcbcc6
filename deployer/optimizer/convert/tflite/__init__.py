"""Makes an ONNX graph of a TFLite file, without TensorFlow: float networks, also with weights kept as halves.

The file's own FlatBuffer is read with checks of every offset. Convolutions and what lies between them work
with channels before height and width, as ONNX wants it. Networks whose values in between are quantised are
refused; their float form is what our own quantising starts from.
"""

from pathlib import Path
from typing import Any

import onnx

from deployer.optimizer.convert import worker
from deployer.optimizer.convert.nodes import save
from deployer.optimizer.convert.tflite.build import Build
from deployer.optimizer.convert.tflite.flatbuffer import Damaged
from deployer.optimizer.convert.tflite.operators import STEPS
from deployer.optimizer.convert.tflite.schema import Source
from deployer.optimizer.convert.weights import refuse
from deployer.spec import Progress, silent

LAYOUTS = ("NHWC", "NCHW")


def build(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Do `convert` in a process of its own."""
    worker.run(__name__, inputs, out, options, progress)


def convert(inputs: dict[str, Path], out: Path, options: dict[str, Any], progress: Progress) -> None:
    """Write model.onnx into `out`; raises ConversionFailed.

    `inputs` is `model`, a .tflite. Option: layout of pictures that go in and come out, NHWC as the source
    has them, or NCHW.
    """
    layout = options.get("layout", LAYOUTS[0])
    if set(options) - {"layout"} or layout not in LAYOUTS:
        choices = " | ".join(LAYOUTS)
        raise refuse("options", f"layout: {choices}; not {options}", f"layout：{choices}；不是 {options}")
    model = network(Source.open(inputs["model"]), first=layout == "NCHW", progress=progress)
    save(model, out)


def network(source: Source, *, first: bool = False, progress: Progress = silent) -> onnx.ModelProto:
    """The checked ONNX model, pictures with channels first if asked for; raises ConversionFailed."""
    build = Build(source)
    computed = [t for t in source.tensors if t.quantised and t.constant is None]
    if computed:
        en = f"{computed[0].name[:80]!r} is quantised while it is computed; the float model is needed"
        zh = f"中间值 {computed[0].name[:80]!r} 是量化的；需要浮点版本的模型"
        raise refuse(source.path, en, zh, tensor=computed[0].name)
    unknown = sorted({op.name for op in source.operators if op.name not in STEPS})
    if unknown:
        listed = ", ".join(unknown)
        en, zh = f"operators that are not known: {listed}", f"有不认识的算子：{listed}"
        raise refuse(source.path, en, zh, operators=unknown)
    build.begin(first)
    try:
        for done, operator in enumerate(source.operators):
            STEPS[operator.name](build, operator)
            progress(done + 1, len(source.operators))
    except Damaged as error:
        raise build.broken(str(error)) from None
    return build.model(first)
