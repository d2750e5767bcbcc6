"""`python -m tests.benchmarks [--rounds N] [--json]`: how long the first answer takes, and against what.

A server's cold start is measured from spawning `python -m deployer.server` to its first good answer on
/predict. Its floor is a bare process that imports ONNX Runtime, opens the same graph and ends.
"""

import argparse
import dataclasses
import json
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests.benchmarks.harness import Case, Row, first_answer, interleave, row, script, table
from tests.shelf_files import model_dir

SERVED = ("en-minilm-l6-int8", "zh-sentiment")
_FLOOR = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
onnxruntime.InferenceSession(sys.argv[1], options)
"""


def cold_starts(sockets: Path, rounds: int) -> list[Row]:
    """For each model: its bare process, and the server's first answer against it."""
    rows = []
    for listing in SERVED:
        folder = model_dir(listing)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        body = manifest["examples"][0]["request"]
        floor, server = f"{listing}: graph opened", f"{listing}: server's cold start"
        cases: dict[str, Case] = {
            floor: partial(script, _FLOOR, str(folder / manifest["files"]["model"])),
            server: partial(first_answer, folder, body, sockets),
        }
        found = interleave(cases, rounds)
        rows += [row(found, floor), row(found, server, floor)]
    return rows


def main() -> int:
    """Measure and print; exit code 1 when a ratio is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
        rows = cold_starts(Path(sockets), given.rounds)
    if given.json:
        print(json.dumps([dataclasses.asdict(one) for one in rows], indent=2))
    else:
        print(table(rows))
    return 0 if all(one.kept for one in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
