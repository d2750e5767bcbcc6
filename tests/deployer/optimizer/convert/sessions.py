"""ONNX Runtime on one thread for the answers of a converted graph."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


def answer(model: onnx.ModelProto, feeds: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The first output for inputs in their order."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    names = [given.name for given in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, feeds, strict=True)))[0])
