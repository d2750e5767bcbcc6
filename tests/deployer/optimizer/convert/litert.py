"""TFLite's own interpreter, in a virtual environment of its own: what conversions are checked against."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.serving.peers import Peer
from tests.benchmarks.serving.wires import JSON

Array = npt.NDArray[Any]
_LITERT = Peer("litert", ("ai-edge-litert==2.3.0",), JSON)
_SCRIPT = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
folder = sys.argv[1]
for number in range(int(sys.argv[2])):
    said = []
    feeds = np.load(f"{folder}/{number}.npz")
    try:
        model = Interpreter(f"{folder}/{number}.tflite", num_threads=1)
        model.allocate_tensors()
        for place, detail in enumerate(model.get_input_details()):
            model.set_tensor(detail["index"], feeds[str(place)])
        model.invoke()
        found = [model.get_tensor(d["index"]) for d in model.get_output_details()]
        np.savez(f"{folder}/{number}.out.npz", *found)
    except Exception as error:
        json.dump(str(error), open(f"{folder}/{number}.error", "w"))
"""


def run(cases: Sequence[tuple[bytes, Sequence[Array]]]) -> list[list[Array]]:
    """The outputs of each file for its inputs, all in one process; fails with what the interpreter says."""
    _LITERT.install()
    with tempfile.TemporaryDirectory() as folder:
        for number, (model, feeds) in enumerate(cases):
            (Path(folder) / f"{number}.tflite").write_bytes(model)
            np.savez(Path(folder) / f"{number}.npz", **{str(n): feed for n, feed in enumerate(feeds)})
        python = str(_LITERT.folder / "bin" / "python")
        subprocess.run(
            [python, "-c", _SCRIPT, folder, str(len(cases))], check=True, capture_output=True, timeout=120
        )
        found = []
        for number in range(len(cases)):
            if (said := Path(folder) / f"{number}.error").exists():
                raise AssertionError(f"case {number}: {json.loads(said.read_text())}")
            with np.load(Path(folder) / f"{number}.out.npz") as answers:
                found.append([answers[f"arr_{n}"] for n in range(len(answers.files))])
    return found
