# mypy: ignore-errors
"""Runs inside Olive: our recorded inputs as its data set, and our metric as its evaluator.

What it is to use stands in asked.json beside it. Imports nothing of ours: the metric is taken by the other
Python, with the pipeline that serves the model.
"""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from olive.data.registry import Registry as Data
from olive.evaluator.metric_result import MetricResult
from olive.evaluator.olive_evaluator import OliveEvaluator
from olive.evaluator.registry import Registry as Evaluators

ASKED = json.loads((Path(__file__).parent / "asked.json").read_text())
MOST = 32  # inputs that quantising is calibrated with
TIMED, LEAST = 8, 2.0  # inputs, seconds


def recorded():
    """Some of the inputs of the graph, as real rows gave them."""
    paths = sorted(Path(ASKED["feeds"]).glob("*.npz"))
    step = max(1, len(paths) // MOST)
    return [dict(np.load(path)) for path in paths[::step][:MOST]]


@Data.register_dataset()
def recorded_feeds(**_):
    """The same as a data set."""
    return recorded()


@Data.register_dataloader()
def one_by_one(dataset, **_):
    """Each input whole, with a label that nobody looks at."""
    pairs = [({name: torch.from_numpy(array) for name, array in item.items()}, 0) for item in dataset]
    return torch.utils.data.DataLoader(pairs, batch_size=None)


@Evaluators.register("our_rows")
class OurRows(OliveEvaluator):
    """The task's metric (or the agreement) with this graph in its place, and its time on one thread."""

    def evaluate(self, model, metrics, device=None, execution_providers=None):
        found = {
            "quality-accuracy_score": {"value": score(model), "priority": 2, "higher_is_better": True},
            "latency-avg": {"value": milliseconds(model), "priority": 1, "higher_is_better": False},
        }
        print("evaluated", {name: one["value"] for name, one in found.items()}, flush=True)
        return MetricResult.model_validate(found)

    def _evaluate_accuracy(self, *_, **__):
        raise NotImplementedError

    def _evaluate_raw_latency(self, *_, **__):
        raise NotImplementedError

    def _inference(self, *_, **__):
        raise NotImplementedError


def score(model):
    """As the other Python takes it."""
    command = [ASKED["python"], "-m", "tests.benchmarks.optimizing.scoring"]
    command += [ASKED["job"], ASKED["role"], str(model.model_path), ASKED["scratch"]]
    done = subprocess.run(command, cwd=ASKED["root"], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr[-2000:], flush=True)
        return 0.0
    return float(done.stdout.strip().splitlines()[-1])


def milliseconds(model):
    """The median time of a run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model.model_path), options, providers=["CPUExecutionProvider"])
    took, items, until = [], recorded()[:TIMED], time.monotonic() + LEAST
    for item in items:
        session.run(None, item)
    while len(took) < 3 or time.monotonic() < until:
        began = time.process_time()
        for item in items:
            session.run(None, item)
        took.append((time.process_time() - began) / len(items))
    return 1000 * float(np.median(took))
