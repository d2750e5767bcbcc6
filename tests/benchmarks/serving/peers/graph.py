"""What every peer's script shares: the graph named by $MODEL, with no thread but the caller's."""

import os

import numpy as np
import onnxruntime

MODEL, PORT = os.environ["MODEL"], int(os.environ["PORT"])
BATCH, WORKERS = 16, 2
DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32}


class Graph:
    """The ONNX graph, its inputs by name, and its one output."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self.inputs = {one.name: DTYPES[one.type] for one in self.session.get_inputs()}
        self.output = self.session.get_outputs()[0].name

    def row(self, body):
        """The arrays of one request: {name: [row]} as JSON has it."""
        return {name: np.array(body[name], dtype) for name, dtype in self.inputs.items()}

    def run(self, rows):
        """One result for each row."""
        feed = {name: np.stack([row[name] for row in rows]) for name in self.inputs}
        return self.session.run([self.output], feed)[0]
