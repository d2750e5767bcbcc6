"""`python -m tests.benchmarks [--rounds N] [--json]`: how long the first answer takes, and against what.

A click is measured from the request to deploy to the first good answer through the gateway, with every
file cached, against the server's own cold start. That is measured from spawning `python -m deployer.server`
to its first good answer on /predict; its floor is a bare process that imports ONNX Runtime, opens the same
graph and ends.
"""

import argparse
import dataclasses
import json
import os
import tempfile
from functools import partial
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests.benchmarks.clicks import Clicker, shop_starts
from tests.benchmarks.harness import Case, Row, first_answer, interleave, row, script, table
from tests.shelf_files import model_dir
from tests.shop import Shop

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


CLICKED = "zh-sentiment"
LIMITS = {"process": 1.5, "docker": 2.5}


def clicks(folder: Path, rounds: int) -> tuple[list[Row], str]:
    """Click to first answer on each runtime that is here, against the server's cold start; and the parts."""
    model = model_dir(CLICKED)
    body = json.loads((model / "manifest.json").read_text("utf-8"))["examples"][0]["request"]
    with Shop.start(folder / "home", MARKET_SHELF_ONLY=CLICKED) as shop:
        shop.wait_shelf()
        clicker = Clicker(shop, f"opc-market/{CLICKED}", body)
        with shop.api as api:
            here = [r["name"] for r in api.get("/api/doctor").json()["runtimes"] if r["ok"]]
        base = f"{CLICKED}: server's cold start"
        cases: dict[str, Case] = {base: partial(first_answer, model, body, folder)}
        cases |= {f"{CLICKED}: click, {runtime}": partial(clicker.click, runtime) for runtime in here}
        found = interleave(cases, rounds)
    rows = [row(found, base)]
    rows += [row(found, f"{CLICKED}: click, {r}", base, LIMITS[r]) for r in here]
    seconds, megabytes = shop_starts(folder / "home", min(rounds, 5))
    start = f"shop start: {seconds:.2f} s (limit 3), {megabytes:.0f} MB in all its processes (limit 200)"
    return rows, f"{clicker.parts()}\n{start}"


def main() -> int:
    """Measure and print; exit code 1 when a ratio is above its limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
        rows = cold_starts(Path(sockets), given.rounds)
        clicked, parts = clicks(Path(sockets), given.rounds)
        rows += clicked
    if given.json:
        print(json.dumps([dataclasses.asdict(one) for one in rows], indent=2))
    else:
        print(table(rows), parts, sep="\n")
    return 0 if all(one.kept for one in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
